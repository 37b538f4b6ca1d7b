//! Which earlier snapshots a run builds on: pure functions of what the repository lists.

use kopia::directory::{DirectoryEntry, DirectorySummary, EntryType};
use snapshot::{Snapshot, Snapshots};

use super::source::FileSource;

/// So many incomplete snapshots are looked through beside the complete one.
const INCOMPLETE_MAX: usize = 3;

/// The snapshots a run builds on.
#[derive(Debug, Clone, Default)]
pub(super) struct Bases {
    snapshots: Vec<Snapshot>,
    /// The snapshot that would have been the first, were it not known to be damaged.
    damaged: Option<String>,
    /// The ids of the source's incomplete snapshots, those that nothing is taken over from included.
    unfinished: Vec<String>,
}

impl Bases {
    /// Returns the latest complete snapshot of a source and the latest of the incomplete ones
    /// that were begun after it, as Kopia does. One that verification found damaged is none: what
    /// is damaged in it must be read again, or it would go on being missing. Nor is one in which names
    /// of several sources meant other paths: what is the same by its metadata may be another file.
    pub fn find(listed: &Snapshots, source: &FileSource) -> Self {
        let is_damaged = |snapshot: &Snapshot| {
            let root = snapshot.manifest.root_entry.as_ref();
            let known = root.and_then(|root| listed.verified().of(&root.object));
            known.is_some_and(|known| known.damage.is_some())
        };
        let with_damaged = || {
            listed
                .iter()
                .filter(|snapshot| snapshot.manifest.source == source.identity)
                .filter(|snapshot| source.means_the_same(&snapshot.manifest.other))
                .filter(|snapshot| snapshot.manifest.root_entry.is_some())
        };
        let of_source = || with_damaged().filter(|snapshot| !is_damaged(snapshot));
        let is_complete = |snapshot: &&Snapshot| snapshot.manifest.incomplete.is_empty();
        let latest = with_damaged().filter(is_complete).last();
        let complete = of_source().filter(is_complete).last();
        let since = complete.map(|snapshot| snapshot.manifest.start_time);
        let mut incomplete: Vec<&Snapshot> = of_source()
            .filter(|snapshot| !is_complete(snapshot))
            .filter(|snapshot| since.is_none_or(|since| snapshot.manifest.start_time > since))
            .collect();
        incomplete.reverse();
        incomplete.truncate(INCOMPLETE_MAX);
        Self {
            snapshots: complete.into_iter().chain(incomplete).cloned().collect(),
            damaged: latest
                .filter(|latest| is_damaged(latest))
                .map(|latest| latest.id.clone()),
            unfinished: listed
                .iter()
                .filter(|snapshot| snapshot.manifest.source == source.identity)
                .filter(|snapshot| !is_complete(snapshot))
                .map(|snapshot| snapshot.id.clone())
                .collect(),
        }
    }

    /// Returns what to tell about a snapshot that was passed over.
    pub fn warning(&self) -> Option<String> {
        let id = self.damaged.as_ref()?;
        Some(format!(
            "the last snapshot, {id}, is damaged, as `repo verify` found: all is read again until it finds it whole"
        ))
    }

    /// Returns what to tell of a run that found no file where there were some.
    pub fn warning_of_no_files(&self) -> Option<String> {
        let last = self.snapshots.first()?;
        let summary = last.manifest.root_entry.as_ref()?.summary.as_ref()?;
        (summary.files > 0).then(|| {
            format!(
                "there is no file any more, where the last snapshot, {}, has {}: is the file system mounted?",
                last.id, summary.files
            )
        })
    }

    /// Returns their roots, that of the complete one first.
    pub fn roots(&self) -> Vec<DirectoryEntry> {
        let roots = self.snapshots.iter();
        roots
            .filter_map(|snapshot| snapshot.manifest.root_entry.clone())
            .filter(|root| !is_part_of_a_file(root))
            .collect()
    }

    /// Returns whether this is the id of an incomplete snapshot that the source had.
    pub fn found_unfinished(&self, id: &str) -> bool {
        self.unfinished.iter().any(|unfinished| unfinished == id)
    }

    /// Returns how many bytes the first of them has, if there is one.
    pub fn bytes(&self) -> Option<u64> {
        let root = self.snapshots.first()?.manifest.root_entry.as_ref()?;
        let summary = root.summary.as_ref();
        Some(summary.map_or(root.size, |summary| summary.size))
    }

    /// Returns whether all of them are still listed: by their ids or, since stock Kopia gives a
    /// snapshot that it edits another one, with the same root.
    pub fn are_live(&self, listed: &Snapshots) -> bool {
        self.snapshots.iter().all(|base| {
            listed.iter().any(|other| {
                let root = |snapshot: &Snapshot| {
                    let root = snapshot.manifest.root_entry.as_ref();
                    root.map(|root| root.object)
                };
                other.id == base.id || root(other) == root(base)
            })
        })
    }
}

/// Returns whether a root is what a checkpoint manifest protects of one long file: its contents
/// serve the next run, but it is no file.
fn is_part_of_a_file(root: &DirectoryEntry) -> bool {
    let is_incomplete = |summary: &DirectorySummary| !summary.incomplete.is_empty();
    root.entry_type != EntryType::Directory && root.summary.as_ref().is_some_and(is_incomplete)
}
