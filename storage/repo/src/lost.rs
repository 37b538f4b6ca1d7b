//! What the index names and nobody can read: packs that are gone, contents that are damaged.
//!
//! The index itself keeps naming them. A tombstone would make stock Kopia's collection read what
//! cannot be read, and stop there; and what was taken for lost by mistake would be deleted in time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kopia::content_id::ContentId;
use kopia::record::ContentRecord;

/// So many contents are told apart; of a pack with more, all counts as lost.
const CONTENTS_MAX: usize = 1 << 18;

/// Places in packs that cannot be read. Whoever writes such a content stores it again, and once its
/// newest record names another place, it is lost no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LostContents {
    /// Packs that are gone, and packs of which all counts as lost: contents in them cannot be read,
    /// and so many others cannot either that they are not told apart.
    pub packs: BTreeSet<Arc<str>>,
    /// Contents that cannot be read, with the pack in which that is so.
    pub contents: BTreeMap<ContentId, Arc<str>>,
}

impl LostContents {
    /// Returns whether nothing is lost.
    pub fn is_empty(&self) -> bool {
        self.packs.is_empty() && self.contents.is_empty()
    }

    /// Adds a content that cannot be read in this pack.
    pub fn add(&mut self, id: ContentId, pack: &Arc<str>) {
        if self.packs.contains(pack) {
            return;
        }
        if self.contents.len() < CONTENTS_MAX || self.contents.contains_key(&id) {
            self.contents.insert(id, Arc::clone(pack));
        } else {
            self.packs.insert(Arc::clone(pack));
        }
    }

    /// Says whether what lies where this record says is lost.
    pub fn holds(&self, record: &ContentRecord) -> bool {
        self.packs.contains(&record.pack_blob)
            || self.contents.get(&record.id) == Some(&record.pack_blob)
    }
}

#[cfg(test)]
mod tests {
    use kopia::hash::HashOutput;

    use super::*;

    #[test]
    fn however_much_is_lost_all_of_it_counts_as_lost() {
        let id = |number: u32| {
            let mut hash = [0; 16];
            hash[..4].copy_from_slice(&number.to_be_bytes());
            ContentId::new(None, HashOutput::new(&hash).unwrap())
        };
        let packs: Vec<Arc<str>> = (0..300).map(|pack| format!("p{pack}").into()).collect();
        let pack = |number: u32| &packs[number as usize / 1000];
        let mut lost = LostContents::default();
        for number in 0..300_000 {
            lost.add(id(number), pack(number));
        }
        assert_eq!(lost.contents.len(), CONTENTS_MAX);
        let holds = |number: u32| {
            lost.packs.contains(pack(number))
                || lost.contents.get(&id(number)) == Some(pack(number))
        };
        assert!((0..300_000).all(holds));
    }
}
