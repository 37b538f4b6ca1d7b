//! What the index names and nobody can read: packs that are gone, contents that are damaged.
//!
//! The index itself keeps naming them. A tombstone would make stock Kopia's collection read what
//! cannot be read, and stop there; and what was taken for lost by mistake would be deleted in time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kopia::content_id::ContentId;
use kopia::record::ContentRecord;

/// Places in packs that cannot be read. Whoever writes such a content stores it again, and once its
/// newest record names another place, it is lost no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LostContents {
    /// Packs that are gone.
    pub packs: BTreeSet<Arc<str>>,
    /// Contents that cannot be read, with the pack in which that is so.
    pub contents: BTreeMap<ContentId, Arc<str>>,
}

impl LostContents {
    /// Returns whether nothing is lost.
    pub fn is_empty(&self) -> bool {
        self.packs.is_empty() && self.contents.is_empty()
    }

    /// Says whether what lies where this record says is lost.
    pub fn holds(&self, record: &ContentRecord) -> bool {
        self.packs.contains(&record.pack_blob)
            || self.contents.get(&record.id) == Some(&record.pack_blob)
    }
}
