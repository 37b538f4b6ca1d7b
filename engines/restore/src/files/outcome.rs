//! What was restored, what was not, and what is not as it was.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::warnings::Warnings;
use crate::error::RestoreError;

/// So many paths of each kind are named; the rest is counted.
const NAMED_MAX: usize = 100;

/// What was restored, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoredFiles {
    /// How many files.
    pub files: u64,
    /// How many folders, the target excluded.
    pub folders: u64,
    /// How many symbolic links.
    pub symlinks: u64,
    /// How many bytes in files.
    pub bytes: u64,
    /// How many files and links took the place of others.
    pub replaced: u64,
    /// The first of those.
    pub replaced_first: Vec<PathBuf>,
    /// How many files and links were there already and stayed as they are.
    pub kept: u64,
    /// How many entries could not be restored.
    pub failed: u64,
    /// The first of those.
    pub failed_first: Vec<FailedEntry>,
    /// What is not as it was.
    pub warnings: Vec<String>,
}

/// An entry that could not be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedEntry {
    /// Where it would be.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// Counts while many workers restore.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub files: AtomicU64,
    pub folders: AtomicU64,
    pub symlinks: AtomicU64,
    pub bytes: AtomicU64,
    pub kept: AtomicU64,
    pub warnings: Warnings,
    replaced: Mutex<(u64, Vec<PathBuf>)>,
    failed: Mutex<(u64, Vec<FailedEntry>)>,
}

impl Outcome {
    /// Counts one more, or many.
    pub fn count(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }

    /// Notes that something takes the place of another.
    pub fn replaces(&self, path: &Path) {
        let mut replaced = self.replaced.lock().expect("nobody panics while he counts");
        replaced.0 += 1;
        if replaced.1.len() < NAMED_MAX {
            replaced.1.push(path.to_owned());
        }
    }

    /// Notes that something is not restored.
    pub fn fails(&self, path: &Path, error: &RestoreError) {
        let mut failed = self.failed.lock().expect("nobody panics while he counts");
        failed.0 += 1;
        if failed.1.len() < NAMED_MAX {
            failed.1.push(FailedEntry {
                path: path.to_owned(),
                reason: error.to_string(),
            });
        }
    }

    /// Returns what was counted.
    pub fn finish(self) -> RestoredFiles {
        let unlocked = "no worker panicked";
        let (replaced, mut replaced_first) = self.replaced.into_inner().expect(unlocked);
        let (failed, mut failed_first) = self.failed.into_inner().expect(unlocked);
        replaced_first.sort();
        failed_first.sort_by(|one, other| one.path.cmp(&other.path));
        RestoredFiles {
            files: self.files.into_inner(),
            folders: self.folders.into_inner(),
            symlinks: self.symlinks.into_inner(),
            bytes: self.bytes.into_inner(),
            replaced,
            replaced_first,
            kept: self.kept.into_inner(),
            failed,
            failed_first,
            warnings: self.warnings.texts(),
        }
    }
}
