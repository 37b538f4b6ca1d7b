//! Files with several names: read once, stored under each (the format has no hard links).

use std::collections::HashMap;
use std::sync::Mutex;

use kopia::object_id::ObjectId;
use time_and_chance::Timestamp;

use super::os::Facts;

/// So many are remembered; names of further ones are read each by itself.
const REMEMBERED_MAX: usize = 1 << 17;

/// What was stored of files that have further names.
#[derive(Debug, Default)]
pub(super) struct HardLinks {
    stored: Mutex<HashMap<(u64, u128), Stored>>,
}

#[derive(Debug, Clone, Copy)]
struct Stored {
    object: ObjectId,
    bytes: u64,
    mtime: Timestamp,
    ctime: Timestamp,
    /// How many names have not been met yet.
    names_left: u64,
}

impl HardLinks {
    /// Returns the object of a file that was stored under another name and has not changed since.
    pub fn find(&self, facts: &Facts) -> Option<ObjectId> {
        if facts.links < 2 {
            return None;
        }
        let mut stored = self.stored.lock().expect("no worker panics in here");
        let key = (facts.device, facts.inode);
        let found = stored.get_mut(&key)?;
        // A number may belong to another file by now, of the same length and with a time that
        // somebody set.
        if (found.bytes, found.mtime, found.ctime) != (facts.bytes, facts.mtime, facts.ctime) {
            return None;
        }
        let object = found.object;
        found.names_left = found.names_left.saturating_sub(1);
        if found.names_left == 0 {
            stored.remove(&key);
        }
        Some(object)
    }

    /// Remembers what was stored of a file.
    pub fn remember(&self, facts: &Facts, object: ObjectId) {
        if facts.links < 2 {
            return;
        }
        let mut stored = self.stored.lock().expect("no worker panics in here");
        if stored.len() < REMEMBERED_MAX {
            let new = Stored {
                object,
                bytes: facts.bytes,
                mtime: facts.mtime,
                ctime: facts.ctime,
                names_left: facts.links - 1,
            };
            stored.insert((facts.device, facts.inode), new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::os::Kind;
    use super::*;

    #[test]
    fn a_file_that_took_the_number_of_another_is_not_taken_for_it() {
        let time = |second| Timestamp::from_second(second).unwrap();
        let facts = Facts {
            kind: Kind::File,
            mode: 0o644,
            bytes: 9,
            mtime: time(1),
            ctime: time(100),
            uid: 0,
            gid: 0,
            device: 1,
            inode: 7,
            links: 2,
            has_holes: false,
        };
        let links = HardLinks::default();
        let object: ObjectId = "00".repeat(16).parse().unwrap();
        links.remember(&facts, object);
        let other = Facts {
            ctime: time(101),
            ..facts.clone()
        };
        assert_eq!(links.find(&other), None);
        assert_eq!(links.find(&facts), Some(object));
    }
}
