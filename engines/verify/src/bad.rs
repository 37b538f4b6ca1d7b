//! Contents that were read and are not what was stored, in memory that does not grow with the damage.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::sync::Arc;

use kopia::content_id::ContentId;
use kopia::record::ContentRecord;

/// Why something is damaged.
pub(crate) type Reason = Arc<str>;

/// Returns the reason that a content cannot be read for.
pub(crate) fn reason_of(id: &ContentId, why: &dyn Display) -> Reason {
    format!("content {id}: {why}").into()
}

/// What is known of contents that cannot be read.
#[derive(Debug)]
pub(crate) struct Bad {
    /// So many are kept with the reason.
    told_max: usize,
    told: HashMap<ContentId, Reason>,
    /// Packs with more of them: what lies in these is in doubt, and read again by whoever meets it.
    packs: BTreeSet<Arc<str>>,
}

impl Bad {
    /// Returns one that knows nothing yet, and tells this many apart.
    pub(crate) fn telling(told_max: usize) -> Self {
        Self {
            told_max,
            told: HashMap::new(),
            packs: BTreeSet::new(),
        }
    }

    /// Returns whether nothing is known to be bad.
    pub(crate) fn is_empty(&self) -> bool {
        self.told.is_empty() && self.packs.is_empty()
    }

    /// Adds a content that cannot be read where this record says.
    pub(crate) fn add(&mut self, record: &ContentRecord, reason: impl FnOnce() -> Reason) {
        if self.told.len() < self.told_max {
            self.told.entry(record.id).or_insert_with(reason);
        } else if !self.told.contains_key(&record.id) && !self.packs.contains(&record.pack_blob) {
            self.packs.insert(Arc::clone(&record.pack_blob));
        }
    }

    /// Adds what another one knows.
    pub(crate) fn append(&mut self, other: Self) {
        self.told.extend(other.told);
        self.packs.extend(other.packs);
    }

    /// Returns why a content is bad, if that is known of it.
    pub(crate) fn reason(&self, id: &ContentId) -> Option<&Reason> {
        self.told.get(id)
    }

    /// Says whether only reading tells what a content is.
    pub(crate) fn is_in_doubt(&self, record: &ContentRecord) -> bool {
        self.packs.contains(&record.pack_blob)
    }
}
