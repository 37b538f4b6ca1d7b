//! What is not as it was, said once for each reason.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::os::Owner;

/// Why an entry is not as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Difference {
    /// It belongs to whoever restored it.
    Owner,
    /// It is neither file, folder nor link, and was left out.
    Kind,
    /// Its object is not as long as the snapshot says.
    Length,
    /// A link could not be made here.
    Link,
    /// Owner, mode or time could not be set.
    Metadata,
}

impl Difference {
    fn text(self, count: u64, first: &Path) -> String {
        let first = first.display();
        match self {
            Self::Owner => format!(
                "{count} entries belong to whoever restored them, not to their owner; the first is {first}"
            ),
            Self::Kind => format!(
                "{count} entries are neither file, folder nor symbolic link and were left out; the first is {first}"
            ),
            Self::Length => {
                format!("{count} files are not as long as the snapshot says; the first is {first}")
            }
            Self::Link => format!(
                "{count} symbolic links could not be made on this system; the first is {first}"
            ),
            Self::Metadata => format!(
                "owner, mode or time of {count} entries could not be set; the first is {first}"
            ),
        }
    }
}

/// Counts differences.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    seen: Mutex<BTreeMap<Difference, (u64, PathBuf)>>,
}

impl Warnings {
    /// Counts one.
    pub fn add(&self, difference: Difference, path: &Path) {
        let mut seen = self.seen.lock().expect("no worker panics while it warns");
        seen.entry(difference)
            .or_insert_with(|| (0, path.to_owned()))
            .0 += 1;
    }

    /// Counts what setting owner, mode and time of an entry led to, if it is worth a word.
    pub fn add_owner(&self, set: io::Result<Owner>, path: &Path) {
        match set {
            Ok(Owner::AsAsked) => {}
            Ok(Owner::Other) => self.add(Difference::Owner, path),
            Err(_) => self.add(Difference::Metadata, path),
        }
    }

    /// Returns a sentence for each.
    pub fn texts(&self) -> Vec<String> {
        let seen = self.seen.lock().expect("no worker panics while it warns");
        seen.iter()
            .map(|(difference, (count, first))| difference.text(*count, first))
            .collect()
    }
}
