//! What differs between the trees of two snapshots: both walked side by side, folders that are the
//! same object not entered.

use std::collections::BTreeMap;
use std::sync::Arc;

use kopia::directory::{DirectoryEntry, EntryType};
use repo::{RepoErrorKind, Repository};
use snapshot::read_directory;
use time_and_chance::StopSignal;

use crate::error::{PointError, PointErrorKind, repo_error};

/// How an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Only the later tree has it, a folder with all that is in it.
    Added,
    /// Only the earlier tree has it, a folder with all that was in it.
    Removed,
    /// A file holds something else, or a link leads elsewhere.
    Content,
    /// Only mode, owner or time differ. Times of folders are not looked at: they change with what
    /// is in them.
    Metadata,
}

impl Change {
    /// Returns the word for it in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Content => "content",
            Self::Metadata => "metadata",
        }
    }
}

/// An entry that differs.
#[derive(Debug, Clone, Copy)]
pub struct ChangedEntry<'e> {
    /// Its path in the tree; empty for the root.
    pub path: &'e str,
    /// How it differs.
    pub change: Change,
    /// What it was.
    pub before: Option<&'e DirectoryEntry>,
    /// What it is.
    pub after: Option<&'e DirectoryEntry>,
}

/// Files and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Files and links.
    pub files: u64,
    /// Bytes in files.
    pub bytes: u64,
}

impl Amount {
    /// Returns what an entry amounts to, a folder with all that is in it.
    pub fn of(entry: &DirectoryEntry) -> Self {
        match &entry.summary {
            Some(summary) => Self {
                files: summary.files + summary.symlinks,
                bytes: summary.size,
            },
            None => Self {
                files: u64::from(entry.entry_type != EntryType::Directory),
                bytes: match entry.entry_type {
                    EntryType::File => entry.size,
                    _ => 0,
                },
            },
        }
    }

    fn add(&mut self, entry: Option<&DirectoryEntry>) {
        let more = entry.map(Self::of).unwrap_or_default();
        self.files = self.files.saturating_add(more.files);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

/// What differs altogether.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TreeDifference {
    /// What only the later tree has.
    pub added: Amount,
    /// What only the earlier tree has.
    pub removed: Amount,
    /// What files with other content were.
    pub changed_before: Amount,
    /// What they are.
    pub changed_after: Amount,
    /// How many entries differ in mode, owner or time alone.
    pub metadata: u64,
}

/// Two folders at the same place.
struct Pair {
    path: String,
    before: DirectoryEntry,
    after: DirectoryEntry,
}

/// Hands every entry that differs to `each`, folder by folder. Memory holds the folders at hand
/// and the names of those still to be entered.
pub fn tree_difference(
    repo: &Arc<Repository>,
    before: &DirectoryEntry,
    after: &DirectoryEntry,
    stop: &StopSignal,
    each: &mut dyn FnMut(&ChangedEntry<'_>),
) -> Result<TreeDifference, PointError> {
    let mut walk = Walk {
        total: TreeDifference::default(),
        folders: Vec::new(),
        each,
    };
    walk.compare(String::new(), before, after);
    while let Some(Pair {
        path,
        before,
        after,
    }) = walk.folders.pop()
    {
        stop.check().map_err(|_| {
            PointError::new(
                PointErrorKind::Repo(RepoErrorKind::Stopped),
                "go on: stopped on request",
            )
        })?;
        let doing = || repo_error(format!("compare the folder /{path}"));
        let old = read_directory(repo, &before.object).map_err(doing())?;
        let new = read_directory(repo, &after.object).map_err(doing())?;
        walk.compare_folders(&path, old.entries, new.entries);
    }
    Ok(walk.total)
}

struct Walk<'e> {
    total: TreeDifference,
    folders: Vec<Pair>,
    each: &'e mut dyn FnMut(&ChangedEntry<'_>),
}

impl Walk<'_> {
    fn compare_folders(&mut self, path: &str, old: Vec<DirectoryEntry>, new: Vec<DirectoryEntry>) {
        let mut names: BTreeMap<String, [Option<DirectoryEntry>; 2]> = BTreeMap::new();
        for (side, entries) in [old, new].into_iter().enumerate() {
            for entry in entries {
                let name = entry.name.clone();
                names.entry(name).or_default()[side] = Some(entry);
            }
        }
        let first_new = self.folders.len();
        for (name, [before, after]) in names {
            let path = match path {
                "" => name,
                path => format!("{path}/{name}"),
            };
            match (before, after) {
                (Some(before), Some(after)) => self.compare(path, &before, &after),
                (before, after) => self.tell(&path, before.as_ref(), after.as_ref()),
            }
        }
        // The last is taken first.
        self.folders[first_new..].reverse();
    }

    fn compare(&mut self, path: String, before: &DirectoryEntry, after: &DirectoryEntry) {
        if before.entry_type != after.entry_type {
            self.tell(&path, Some(before), None);
            self.tell(&path, None, Some(after));
            return;
        }
        let is_folder = before.entry_type == EntryType::Directory;
        let same_content = before.object == after.object;
        if !has_same_metadata(before, after, is_folder) || !(same_content || is_folder) {
            self.tell(&path, Some(before), Some(after));
        }
        if is_folder && !same_content {
            self.folders.push(Pair {
                path,
                before: before.clone(),
                after: after.clone(),
            });
        }
    }

    fn tell(
        &mut self,
        path: &str,
        before: Option<&DirectoryEntry>,
        after: Option<&DirectoryEntry>,
    ) {
        let change = match (before, after) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            (Some(before), Some(after)) => {
                let other_content =
                    before.entry_type != EntryType::Directory && before.object != after.object;
                match other_content {
                    true => Change::Content,
                    false => Change::Metadata,
                }
            }
        };
        match change {
            Change::Added => self.total.added.add(after),
            Change::Removed => self.total.removed.add(before),
            Change::Content => {
                self.total.changed_before.add(before);
                self.total.changed_after.add(after);
            }
            Change::Metadata => self.total.metadata += 1,
        }
        (self.each)(&ChangedEntry {
            path,
            change,
            before,
            after,
        });
    }
}

fn has_same_metadata(before: &DirectoryEntry, after: &DirectoryEntry, is_folder: bool) -> bool {
    (before.mode, before.uid, before.gid) == (after.mode, after.uid, after.gid)
        && (is_folder || before.mtime == after.mtime)
}
