//! A folder of the tree from when it is opened until everything below it is stored.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use kopia::directory::{
    Directory, DirectoryEntry, DirectorySummary, EntryFailure, EntryType, FAILURES_MAX,
};
use kopia::object_id::ObjectId;
use time_and_chance::Timestamp;

use super::folder_policy::FolderPolicy;
use super::os::{Facts, FolderHandle};
use super::rules::FolderRules;

/// A folder that is to be looked through.
pub(super) struct FolderJob {
    pub parent: Arc<Node>,
    /// What it is called in the snapshot.
    pub name: String,
    pub place: Place,
    /// What the base that counts most has of it.
    pub old: Option<DirectoryEntry>,
    /// What other bases have of it.
    pub others: Vec<ObjectId>,
}

/// Where a folder is.
pub(super) enum Place {
    /// In its parent, under this name; on this file system when it was listed.
    In { name: OsString, device: u64 },
    /// Opened already: the user named it.
    Open(FolderHandle),
}

/// A file or link that is to be stored.
pub(super) struct FileJob {
    pub parent: Arc<Node>,
    /// What it is called in the snapshot.
    pub name: String,
    /// What it is called on disk, if that is not the same.
    pub disk_name: Option<OsString>,
    pub facts: Facts,
    /// The folder it is in, if that is not its parent: the user named it.
    pub folder: Option<Arc<FolderHandle>>,
}

/// What an open folder is to the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It stands above the root and takes its entry.
    AboveRoot,
    /// It is the root.
    Root,
    /// It is below the root.
    Below,
}

/// An open folder.
#[derive(Debug)]
pub(super) struct Node {
    pub role: Role,
    pub parent: Option<Arc<Node>>,
    /// How many folders are above it.
    pub depth: usize,
    /// The folder itself; none where several sources are put together.
    pub folder: Option<FolderHandle>,
    /// Its path below the root, which has none.
    relative: String,
    pub name: String,
    pub mode: u32,
    pub mtime: Timestamp,
    pub uid: u32,
    pub gid: u32,
    /// The file system it is on.
    pub device: u64,
    pub policy: Arc<FolderPolicy>,
    /// What of it is taken; none where the user named what is.
    pub rules: Option<Arc<FolderRules>>,
    /// What the base that counts most has of it.
    pub old: Option<DirectoryEntry>,
    state: Mutex<State>,
    /// What is still to be done before the folder can be stored.
    left: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<DirectoryEntry>,
    /// How many of them the old folder has just so.
    same: usize,
    /// How many entries the old folder has; unknown unless it was read.
    old_count: Option<usize>,
    failed: u64,
    ignored: u64,
    failures: Vec<EntryFailure>,
}

/// What has become of a folder when all of it is known.
pub(super) enum Whole {
    /// It is as it was.
    Same(ObjectId, DirectorySummary),
    /// This is to be stored.
    New(Directory),
}

impl Node {
    /// Returns what takes the root's entry.
    pub fn above_root(policy: Arc<FolderPolicy>) -> Arc<Self> {
        Arc::new(Self {
            role: Role::AboveRoot,
            parent: None,
            depth: 0,
            folder: None,
            relative: String::new(),
            name: String::new(),
            mode: 0,
            mtime: Timestamp::UNIX_EPOCH,
            uid: 0,
            gid: 0,
            device: 0,
            rules: None,
            policy,
            old: None,
            state: Mutex::default(),
            left: AtomicUsize::new(1),
        })
    }

    /// Returns the root folder that several sources are put into.
    pub fn of_several(
        above: &Arc<Self>,
        name: &str,
        mtime: Timestamp,
        old: Option<DirectoryEntry>,
    ) -> Arc<Self> {
        Arc::new(Self {
            role: Role::Root,
            parent: Some(Arc::clone(above)),
            depth: above.depth + 1,
            folder: None,
            relative: String::new(),
            name: name.to_owned(),
            mode: 0o755,
            mtime,
            uid: 0,
            gid: 0,
            device: 0,
            rules: None,
            policy: Arc::clone(&above.policy),
            old,
            state: Mutex::default(),
            left: AtomicUsize::new(1),
        })
    }

    /// Returns a folder that was opened.
    pub fn opened(
        parent: &Arc<Self>,
        name: String,
        folder: FolderHandle,
        facts: &Facts,
        policy: Arc<FolderPolicy>,
        rules: Arc<FolderRules>,
        old: Option<DirectoryEntry>,
    ) -> Arc<Self> {
        Arc::new(Self {
            role: match parent.role {
                Role::AboveRoot => Role::Root,
                Role::Root | Role::Below => Role::Below,
            },
            relative: match parent.role {
                Role::AboveRoot => String::new(),
                Role::Root | Role::Below => parent.path_of(&name),
            },
            parent: Some(Arc::clone(parent)),
            depth: parent.depth + 1,
            folder: Some(folder),
            name,
            mode: facts.mode,
            mtime: facts.mtime,
            uid: facts.uid,
            gid: facts.gid,
            device: facts.device,
            rules: Some(rules),
            policy,
            old,
            state: Mutex::default(),
            left: AtomicUsize::new(1),
        })
    }

    /// Returns the path of an entry below the root.
    pub fn path_of(&self, name: &str) -> String {
        match self.relative.as_str() {
            "" => name.to_owned(),
            folder => format!("{folder}/{name}"),
        }
    }

    /// Says how many more things are to be done.
    pub fn expect(&self, more: usize) {
        self.left.fetch_add(more, Ordering::AcqRel);
    }

    /// Says that one of them is done; returns whether it was the last.
    pub fn one_done(&self) -> bool {
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Says how many entries the old folder has.
    pub fn set_old_count(&self, count: usize) {
        self.lock().old_count = Some(count);
    }

    /// Adds an entry; `is_same` says whether the old folder has it just so.
    pub fn add(&self, entry: DirectoryEntry, is_same: bool) {
        let mut state = self.lock();
        state.same += usize::from(is_same);
        state.entries.push(entry);
    }

    /// Adds many at once.
    pub fn add_all(&self, entries: Vec<DirectoryEntry>, same: usize) {
        let mut state = self.lock();
        state.same += same;
        if state.entries.is_empty() {
            state.entries = entries;
        } else {
            state.entries.extend(entries);
        }
    }

    /// Counts an entry that could not be read.
    pub fn fail(&self, path: String, error: String, is_ignored: bool) {
        let mut state = self.lock();
        if is_ignored {
            state.ignored += 1;
        } else {
            state.failed += 1;
        }
        state.failures.push(EntryFailure { path, error });
        state.failures.sort_by(|a, b| a.path.cmp(&b.path));
        state.failures.truncate(FAILURES_MAX);
    }

    /// Returns what the folder has become; everything in it is done. `may_reuse` says whether
    /// what it was can be taken over.
    pub fn whole<E>(
        &self,
        may_reuse: impl FnOnce(&ObjectId) -> Result<bool, E>,
    ) -> Result<Whole, E> {
        let state = std::mem::take(&mut *self.lock());
        if let Some(old) = self.old.as_ref()
            && let Some(summary) = old.summary.as_ref()
            && self.is_same_as(&state, summary)
            && may_reuse(&old.object)?
        {
            return Ok(Whole::Same(old.object, summary.clone()));
        }
        Ok(Whole::New(self.directory(state)))
    }

    /// Returns what is in the folder so far.
    pub fn entries_so_far(&self) -> Vec<DirectoryEntry> {
        self.lock().entries.clone()
    }

    /// Returns the entry of the folder, given what it holds.
    pub fn entry(&self, object: ObjectId, summary: DirectorySummary) -> DirectoryEntry {
        DirectoryEntry {
            name: self.name.clone(),
            entry_type: EntryType::Directory,
            mode: self.mode,
            size: 0,
            mtime: self.mtime,
            uid: self.uid,
            gid: self.gid,
            object,
            summary: Some(summary),
            other: BTreeMap::new(),
        }
    }

    /// Returns the only entry, if there is one.
    pub fn take_only_entry(&self) -> Option<DirectoryEntry> {
        self.lock().entries.pop()
    }

    fn is_same_as(&self, state: &State, old: &DirectorySummary) -> bool {
        let nothing_failed = state.failed + state.ignored + old.num_failed + old.num_ignored_errors;
        state.old_count == Some(state.same)
            && state.entries.len() == state.same
            && nothing_failed == 0
            && old.incomplete.is_empty()
            && (!state.entries.is_empty() || old.max_time == self.mtime)
    }

    fn directory(&self, state: State) -> Directory {
        let mut summary = DirectorySummary::of(&state.entries, self.mtime);
        summary.num_failed += state.failed;
        summary.num_ignored_errors += state.ignored;
        summary.errors.extend(state.failures);
        summary.errors.sort_by(|a, b| a.path.cmp(&b.path));
        summary.errors.truncate(FAILURES_MAX);
        Directory {
            entries: state.entries,
            summary: Some(summary),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no worker panics while it holds a folder")
    }
}
