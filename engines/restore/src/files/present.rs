//! What is at the place where an entry is to go, and what becomes of it.

use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use kopia::directory::{DirectoryEntry, EntryType};

use super::options::Existing;
use crate::os::system_time;

/// File systems of Windows keep times in units of this.
const TIME_UNIT_NS: u128 = 100;

/// What is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Present {
    Nothing,
    /// A file, or a symbolic link, whose length is that of its target's path.
    Entry {
        is_link: bool,
        bytes: u64,
        mtime: Option<SystemTime>,
    },
    /// A folder or something special.
    Other,
}

/// What is to be done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Make,
    Replace,
    Keep,
}

impl Present {
    /// Looks at a place.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        match path.symlink_metadata() {
            Ok(is) => Ok(Self::of(&is)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Nothing),
            Err(error) => Err(error),
        }
    }

    fn of(is: &Metadata) -> Self {
        if !is.is_file() && !is.is_symlink() {
            return Self::Other;
        }
        Self::Entry {
            is_link: is.is_symlink(),
            bytes: is.len(),
            mtime: is.modified().ok(),
        }
    }
}

/// Decides about a file or link; the error says what is in the way.
pub(super) fn fate(
    existing: Existing,
    entry: &DirectoryEntry,
    present: Present,
) -> Result<Fate, &'static str> {
    let stored_link = entry.entry_type == EntryType::Symlink;
    let Present::Entry {
        is_link,
        bytes,
        mtime,
    } = present
    else {
        return match (present, existing) {
            (Present::Nothing, _) => Ok(Fate::Make),
            (_, Existing::Keep) => Ok(Fate::Keep),
            _ => Err("something that is not a file is there, which is never overwritten"),
        };
    };
    let stored = system_time(entry.mtime).ok();
    let replaces = match existing {
        Existing::Keep => false,
        _ if is_link && !stored_link => {
            return Err("something that is not a file is there, which is never overwritten");
        }
        Existing::Refuse => return Err("the file exists; --overwrite replaces it"),
        Existing::Replace => true,
        Existing::ReplaceDifferent => {
            is_link != stored_link || bytes != entry.size || !is_same_time(mtime, stored)
        }
        Existing::ReplaceOlder => match (mtime, stored) {
            (Some(mtime), Some(stored)) => {
                mtime < stored && !is_same_time(Some(mtime), Some(stored))
            }
            _ => false,
        },
    };
    Ok(if replaces { Fate::Replace } else { Fate::Keep })
}

fn is_same_time(one: Option<SystemTime>, other: Option<SystemTime>) -> bool {
    let (Some(one), Some(other)) = (one, other) else {
        return false;
    };
    let distance = one
        .duration_since(other)
        .unwrap_or_else(|error| error.duration());
    distance.as_nanos() < TIME_UNIT_NS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use time_and_chance::Timestamp;

    use super::*;

    fn entry(entry_type: EntryType) -> DirectoryEntry {
        let content = "00".repeat(16).parse().unwrap();
        DirectoryEntry {
            name: "x".to_owned(),
            entry_type,
            mode: 0o644,
            size: 10,
            mtime: Timestamp::from_second(1_000).unwrap(),
            uid: 0,
            gid: 0,
            object: content,
            summary: None,
            other: BTreeMap::new(),
        }
    }

    fn present(is_link: bool, bytes: u64, ns: u64) -> Present {
        Present::Entry {
            is_link,
            bytes,
            mtime: Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(ns)),
        }
    }

    const SAME: u64 = 1_000_000_000_000;

    #[test]
    fn what_is_there_decides_together_with_what_was_asked() {
        use Existing::*;
        let file = entry(EntryType::File);
        for (existing, there, expected) in [
            (Refuse, present(false, 10, SAME), None),
            (Keep, present(false, 1, 0), Some(Fate::Keep)),
            (Replace, present(false, 10, SAME), Some(Fate::Replace)),
            (ReplaceDifferent, present(false, 10, SAME), Some(Fate::Keep)),
            (
                ReplaceDifferent,
                present(false, 10, SAME - 99),
                Some(Fate::Keep),
            ),
            (
                ReplaceDifferent,
                present(false, 10, SAME + 100),
                Some(Fate::Replace),
            ),
            (
                ReplaceDifferent,
                present(false, 11, SAME),
                Some(Fate::Replace),
            ),
            (ReplaceOlder, present(false, 10, SAME), Some(Fate::Keep)),
            (
                ReplaceOlder,
                present(false, 10, SAME - 99),
                Some(Fate::Keep),
            ),
            (
                ReplaceOlder,
                present(false, 10, SAME - 100),
                Some(Fate::Replace),
            ),
            (
                ReplaceOlder,
                present(false, 9, SAME + 100),
                Some(Fate::Keep),
            ),
        ] {
            assert_eq!(
                fate(existing, &file, there).ok(),
                expected,
                "{existing:?} {there:?}"
            );
            assert_eq!(fate(existing, &file, Present::Nothing), Ok(Fate::Make));
        }
    }

    #[test]
    fn what_is_no_file_is_kept_or_in_the_way_and_links_are_replaced_by_links_alone() {
        let (file, link) = (entry(EntryType::File), entry(EntryType::Symlink));
        let there_is_a_link = present(true, 10, SAME);
        for word in Existing::WORDS {
            let existing: Existing = word.parse().unwrap();
            for (entry, there) in [
                (&file, Present::Other),
                (&link, Present::Other),
                (&file, there_is_a_link),
            ] {
                let expected = (existing == Existing::Keep).then_some(Fate::Keep);
                assert_eq!(fate(existing, entry, there).ok(), expected, "{word}");
            }
        }
        assert_eq!(
            fate(Existing::Replace, &link, there_is_a_link),
            Ok(Fate::Replace)
        );
        assert_eq!(
            fate(Existing::ReplaceDifferent, &link, there_is_a_link),
            Ok(Fate::Keep)
        );
        let file_there = present(false, 10, SAME);
        assert_eq!(
            fate(Existing::ReplaceDifferent, &link, file_there),
            Ok(Fate::Replace)
        );
        assert!("replace-newer".parse::<Existing>().is_err());
    }
}
