//! What earlier snapshots have of a folder, walked side by side with the disk.

use std::iter::Peekable;
use std::sync::Arc;
use std::vec::IntoIter;

use blob::BlobErrorKind;
use kopia::directory::{DirectoryEntry, EntryType};
use kopia::object_id::ObjectId;
use repo::{RepoError, RepoErrorKind, Repository};
use snapshot::read_directory;

use super::os::{Facts, Kind};
use crate::error::{BackupError, repo_error};

/// Several earlier states of a folder, the one that counts most first.
#[derive(Default)]
pub(super) struct OldFolders {
    folders: Vec<OldFolder>,
    /// How many entries the first has, if it was read.
    pub first_count: Option<usize>,
}

struct OldFolder {
    is_first: bool,
    /// What was not passed yet, in Kopia's order.
    rest: Peekable<IntoIter<DirectoryEntry>>,
}

/// An entry found in an earlier state.
pub(super) struct OldEntry {
    pub entry: DirectoryEntry,
    /// Whether it is the first state that has it.
    pub is_first: bool,
}

impl OldFolders {
    /// Reads the folders; those that are lost or damaged are left out and told of.
    pub fn read(
        repo: &Arc<Repository>,
        first: Option<ObjectId>,
        others: &[ObjectId],
        warn: &dyn Fn(String),
    ) -> Result<Self, BackupError> {
        let mut old = Self::default();
        let others = others.iter().filter(|other| Some(**other) != first);
        let all = first.iter().map(|object| (object, true));
        for (object, is_first) in all.chain(others.map(|object| (object, false))) {
            match read_directory(repo, object) {
                Ok(directory) => {
                    if is_first {
                        old.first_count = Some(directory.entries.len());
                    }
                    old.folders
                        .push(OldFolder::new(directory.entries, is_first));
                }
                Err(error) if is_lost(&error) => warn(format!(
                    "a folder of an earlier snapshot cannot be read, so what is in it is read anew: {error}"
                )),
                Err(error) => {
                    return Err(repo_error("read a folder of an earlier snapshot")(error));
                }
            }
        }
        Ok(old)
    }

    /// Returns what the states have of the entry of this name, those that count more first.
    /// Names are asked for in Kopia's order: folders first, then by bytes.
    pub fn find(&mut self, is_folder: bool, name: &str) -> Vec<OldEntry> {
        self.folders
            .iter_mut()
            .filter_map(|folder| {
                let is_first = folder.is_first;
                let entry = folder.find(is_folder, name)?;
                Some(OldEntry { entry, is_first })
            })
            .collect()
    }
}

impl OldFolder {
    fn new(mut entries: Vec<DirectoryEntry>, is_first: bool) -> Self {
        if !entries.is_sorted_by(|a, b| key(a) <= key(b)) {
            entries.sort_by(|a, b| key(a).cmp(&key(b)));
        }
        Self {
            is_first,
            rest: entries.into_iter().peekable(),
        }
    }

    fn find(&mut self, is_folder: bool, name: &str) -> Option<DirectoryEntry> {
        let wanted = (!is_folder, name);
        while self.rest.next_if(|entry| key(entry) < wanted).is_some() {}
        self.rest.next_if(|entry| key(entry) == wanted)
    }
}

fn key(entry: &DirectoryEntry) -> (bool, &str) {
    (entry.entry_type != EntryType::Directory, &entry.name)
}

fn is_lost(error: &RepoError) -> bool {
    matches!(
        error.kind(),
        RepoErrorKind::NotFound
            | RepoErrorKind::Damaged
            | RepoErrorKind::Store(BlobErrorKind::NotFound | BlobErrorKind::Invalid)
    )
}

/// Returns whether a file or link is, by what the system says of it, what an earlier snapshot
/// has: then it is not read again.
pub(super) fn is_unchanged(old: &DirectoryEntry, facts: &Facts) -> bool {
    let is_same_type = match facts.kind {
        Kind::File => old.entry_type == EntryType::File,
        Kind::Symlink => old.entry_type == EntryType::Symlink,
        Kind::Folder | Kind::Other(_) => false,
    };
    is_same_type
        && old.mtime == facts.mtime
        && old.size == facts.bytes
        && old.mode == facts.mode
        && (old.uid, old.gid) == (facts.uid, facts.gid)
}

/// Returns whether an object is there with everything it names; every content found is handed
/// to `note`.
pub(super) fn is_live(
    repo: &Arc<Repository>,
    object: &ObjectId,
    note: &mut dyn FnMut(kopia::content_id::ContentId),
) -> Result<bool, RepoError> {
    if !repo.is_live(&object.content)? {
        return Ok(false);
    }
    note(object.content);
    let Some(list) = object.list_of() else {
        return Ok(true);
    };
    if !is_live(repo, &list, note)? {
        return Ok(false);
    }
    let mut outcome = Ok(true);
    let walked = repo.for_each_part(&list, &mut |part| {
        if matches!(outcome, Ok(true)) {
            outcome = is_live(repo, &part.object, note);
        }
    });
    match walked {
        Err(error) if is_lost(&error) => Ok(false),
        Err(error) => Err(error),
        Ok(()) => outcome,
    }
}
