//! What cannot be read: the contents that a search for other copies looks for, and the places that
//! are lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use kopia::content_id::ContentId;
use kopia::record::ContentRecord;
use repo::LostContents;

/// So many contents are searched for at a time; what is beyond is counted, and found by the next run.
const CONTENTS_MAX: usize = 1 << 18;

/// Contents that points need and that cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Harm {
    /// Which.
    pub(crate) wanted: BTreeSet<ContentId>,
    /// The places that the index names and nobody can read.
    pub(crate) lost: LostContents,
    /// How many more are wanted than are searched for at a time.
    pub(crate) not_kept: u64,
}

impl Harm {
    /// Notes a content that the index does not have, or has as deleted.
    pub(crate) fn missing(&mut self, id: ContentId) {
        if self.wanted.len() < CONTENTS_MAX {
            self.wanted.insert(id);
        } else if !self.wanted.contains(&id) {
            self.not_kept += 1;
        }
    }

    /// Notes a content whose pack is gone.
    pub(crate) fn pack_gone(&mut self, record: &ContentRecord) {
        self.missing(record.id);
        self.lost.packs.insert(Arc::clone(&record.pack_blob));
    }

    /// Notes a content that cannot be read where it lies.
    pub(crate) fn unreadable(&mut self, record: &ContentRecord) {
        self.missing(record.id);
        self.lost.add(record.id, &record.pack_blob);
    }
}
