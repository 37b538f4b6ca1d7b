//! What cannot be read: the contents that a search for other copies looks for, and the places that
//! are lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use kopia::content_id::ContentId;
use kopia::record::ContentRecord;
use repo::LostContents;

/// Which of the contents that are wanted are kept: the first so many by name, behind one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Behind this one, if not from the beginning.
    pub(crate) behind: Option<ContentId>,
    /// How many.
    pub(crate) max: usize,
}

/// Contents that points need and that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Harm {
    window: Window,
    /// Which, in the window.
    pub(crate) wanted: BTreeSet<ContentId>,
    /// Whether more are wanted behind these.
    pub(crate) is_cut: bool,
    /// The places that the index names and nobody can read.
    pub(crate) lost: LostContents,
}

impl Harm {
    /// Returns none so far.
    pub(crate) fn within(window: Window) -> Self {
        Self {
            window,
            wanted: BTreeSet::new(),
            is_cut: false,
            lost: LostContents::default(),
        }
    }

    /// Notes a content that the index does not have, or has as deleted.
    pub(crate) fn missing(&mut self, id: ContentId) {
        if self.window.behind.is_some_and(|behind| id <= behind) {
            return;
        }
        self.wanted.insert(id);
        if self.wanted.len() > self.window.max {
            self.wanted.pop_last();
            self.is_cut = true;
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

#[cfg(test)]
mod tests {
    use kopia::hash::HashOutput;

    use super::*;

    #[test]
    fn windows_one_behind_the_other_hold_all_that_is_wanted() {
        let id = |number: u8| ContentId::new(None, HashOutput::new(&[number; 16]).unwrap());
        // In no order, and each met twice.
        let met = [7, 3, 9, 1, 3, 8, 9, 2, 7, 1, 5, 8, 2, 5].map(id);
        let mut all = Vec::new();
        let mut behind = None;
        loop {
            let mut harm = Harm::within(Window { behind, max: 3 });
            met.iter().for_each(|id| harm.missing(*id));
            behind = harm.wanted.last().copied();
            all.extend(harm.wanted);
            if !harm.is_cut {
                break;
            }
        }
        assert_eq!(all, [1, 2, 3, 5, 7, 8, 9].map(id));
    }
}
