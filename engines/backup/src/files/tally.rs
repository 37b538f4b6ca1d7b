//! What a run counts.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many failures are named; all are counted.
const NAMED_MAX: usize = 1000;

macro_rules! counts {
    ($($(#[$about:meta])* $name:ident,)*) => {
        /// How much of everything there was.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct FileCounts {
            $($(#[$about])* pub $name: u64,)*
        }

        /// The same while many workers count.
        #[derive(Debug, Default)]
        pub(super) struct Tally {
            $(pub $name: AtomicU64,)*
            failures: Mutex<Vec<FileFailure>>,
            warnings: Mutex<Vec<String>>,
        }

        impl Tally {
            fn counts(&self) -> FileCounts {
                FileCounts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counts! {
    /// Files in the snapshot.
    files,
    /// Folders in the snapshot, its root included.
    folders,
    /// Symbolic links in the snapshot.
    symlinks,
    /// Bytes in those files.
    bytes,
    /// Files and links taken over from an earlier snapshot.
    cached_files,
    /// Bytes in those.
    cached_bytes,
    /// Files that were read.
    read_files,
    /// Bytes that were read, holes left out.
    read_bytes,
    /// What was new in the repository, as it lies in packs.
    uploaded_bytes,
    /// Files that rules left out.
    excluded_files,
    /// Bytes in those.
    excluded_bytes,
    /// Folders that rules left out.
    excluded_folders,
    /// Entries that could not be read.
    failed,
    /// Entries that could not be read, where a policy says to ignore that.
    ignored,
    /// Entries that were gone when they were to be read.
    vanished,
}

impl FileCounts {
    /// Adds what earlier walks of the same run read and stored, and takes that out of what was
    /// taken over.
    pub(super) fn add_what_was_done(&mut self, before: Option<&Self>) {
        if let Some(before) = before {
            self.cached_files = before.cached_files.min(self.cached_files);
            self.cached_bytes = before.cached_bytes.min(self.cached_bytes);
            self.read_files += before.read_files;
            self.read_bytes += before.read_bytes;
            self.uploaded_bytes += before.uploaded_bytes;
        }
    }
}

/// An entry that is not in the snapshot because it could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFailure {
    /// Its path, relative to the source.
    pub path: String,
    /// What went wrong.
    pub reason: String,
    /// Whether a policy says to ignore it.
    pub is_ignored: bool,
}

impl Tally {
    /// Counts and names a failure.
    pub fn fail(&self, failure: FileFailure) {
        let count = if failure.is_ignored {
            &self.ignored
        } else {
            &self.failed
        };
        add(count, 1);
        let mut failures = self
            .failures
            .lock()
            .expect("no worker panics while it counts");
        if failures.len() < NAMED_MAX {
            failures.push(failure);
        }
    }

    /// Returns the first failure, for people.
    pub fn first_failure(&self) -> Option<String> {
        let failures = self
            .failures
            .lock()
            .expect("no worker panics while it counts");
        let first = failures.first();
        first.map(|failure| failure.reason.clone())
    }

    /// Keeps a warning.
    pub fn warn(&self, text: String) {
        let mut warnings = self
            .warnings
            .lock()
            .expect("no worker panics while it warns");
        if warnings.len() < NAMED_MAX {
            warnings.push(text);
        }
    }

    /// Returns everything, failures in the order of their paths.
    pub fn take(self) -> (FileCounts, Vec<FileFailure>, Vec<String>) {
        let counts = self.counts();
        let mut failures = self.failures.into_inner().expect("all workers ended");
        failures.sort_by(|a, b| a.path.cmp(&b.path));
        let warnings = self.warnings.into_inner().expect("all workers ended");
        (counts, failures, warnings)
    }
}

/// Adds to a count.
pub(super) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}
