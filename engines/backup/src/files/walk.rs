//! One walk over a source: every worker looks through folders, reads files and stores folders
//! whose entries are all stored.
//!
//! ```text
//! folder ─► list ─► side by side with what earlier snapshots have ─┬─ unchanged: taken over
//!                                                                 ├─ file, link ─► read ─► store
//!                                                                 └─ folder ─► queue
//! last entry of a folder stored ─► folder stored ─► one entry more of its parent
//! ```

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::Duration;

use kopia::content_id::ContentId;
use kopia::directory::DirectoryEntry;
use kopia::object_id::ObjectId;
use kopia::splitter::Splitter;
use progress::Progress;
use repo::{Encoder, Repository, Writer};

use super::big_file::BigFile;
use super::checkpoint::Checkpoints;
use super::content_log::ContentLog;
use super::folder_policy::FolderPolicy;
use super::links::HardLinks;
use super::node::{FileJob, FolderJob, Node, Place};
use super::options::FileOptions;
use super::os::{self, FolderHandle, Kind};
use super::policies::Policies;
use super::previous;
use super::queue::{Queue, Work};
use super::source::{SEVERAL_NAME, SourceContent, base_name, child_names};
use super::tally::{FileFailure, Tally, add};
use crate::error::{BackupError, BackupErrorKind, repo_error, stopped};

/// How far what earlier snapshots name is believed to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Their manifests are live, so nothing they name can be collected.
    Live,
    /// Every object is looked up before it is taken over.
    Checked,
}

/// What earlier snapshots have of a root, the one that counts most first.
pub(super) type OldRoots = Vec<DirectoryEntry>;

/// One walk.
pub(super) struct Walk<'a> {
    pub writer: &'a Writer,
    pub options: &'a FileOptions,
    pub progress: &'a Progress,
    pub log: &'a ContentLog,
    pub trust: Trust,
    pub policies: &'a Policies,
    pub list_splitter: Splitter,
    /// Whether everything is only counted and nothing stored.
    pub is_estimate: bool,
    pub checkpoints: Checkpoints<'a>,
    pub tally: Tally,
    pub links: HardLinks,
    pub queue: Queue,
    pub open: OpenThings,
    /// Held by those who work; whoever wants nobody to work for a moment takes it alone.
    pub working: RwLock<()>,
    /// When a checkpoint manifest was written last.
    pub protected: Mutex<Duration>,
    /// Held while one is written.
    pub protecting: Mutex<()>,
}

/// The deepest first, each at its address.
type NodePlace = (Reverse<usize>, usize);

/// The folders that are not whole yet, the deepest first, and long files on their way.
#[derive(Default)]
pub(super) struct OpenThings {
    folders: Mutex<BTreeMap<NodePlace, Arc<Node>>>,
    files: Mutex<Vec<Weak<BigFile>>>,
}

/// What one worker needs.
pub(super) struct Hand<'w, 'a> {
    pub walk: &'w Walk<'a>,
    pub encoders: Vec<(Option<kopia::compression::CompressionAlgorithm>, Encoder)>,
    pub read: Vec<u8>,
    pub segment: Vec<u8>,
    /// What was written since the log was written last.
    pub contents: Vec<ContentId>,
    /// What was dealt with since that was told last.
    pub dealt_bytes: u64,
    pub packed_bytes: u64,
}

impl<'a> Walk<'a> {
    /// Returns every open folder and what is in it so far, the deepest first.
    pub fn open_folders(&self) -> Vec<(Arc<Node>, Vec<DirectoryEntry>)> {
        let folders = self.open.folders.lock().expect("no worker panics in here");
        let folders = folders.values();
        folders
            .map(|node| (Arc::clone(node), node.entries_so_far()))
            .collect()
    }

    /// Returns every long file that is not whole yet.
    pub fn open_files(&self) -> Vec<Arc<BigFile>> {
        let files = self.open.files.lock().expect("no worker panics in here");
        files.iter().filter_map(Weak::upgrade).collect()
    }

    /// Notes a folder that was opened.
    pub fn note_open(&self, node: &Arc<Node>) {
        let mut folders = self.open.folders.lock().expect("no worker panics in here");
        folders.insert(place_of(node), Arc::clone(node));
    }

    fn note_whole(&self, node: &Arc<Node>) {
        let mut folders = self.open.folders.lock().expect("no worker panics in here");
        folders.remove(&place_of(node));
    }

    /// Notes a long file that was opened.
    pub fn note_open_file(&self, file: &Arc<BigFile>) {
        let mut files = self.open.files.lock().expect("no worker panics in here");
        files.retain(|file| file.strong_count() > 0);
        files.push(Arc::downgrade(file));
    }

    /// Walks over the source and returns the root's entry.
    ///
    /// # Errors
    /// `Source` if there is nothing that could be read, or at the first entry that cannot be read
    /// if the options say so.
    pub fn run(
        &self,
        content: &SourceContent,
        olds: &OldRoots,
    ) -> Result<Option<DirectoryEntry>, BackupError> {
        let above = Node::above_root(Arc::clone(&self.policies.root));
        let mut hand = Hand::new(self);
        hand.begin(content, olds, &above)?;
        hand.end_of_work()?;
        drop(hand);
        let workers = self.options.workers;
        self.queue.work_off(
            workers,
            || Hand::new(self),
            |hand, work| {
                self.progress.stop.check().map_err(stopped)?;
                hand.work(work)
            },
        )?;
        let root = above.take_only_entry();
        if self.is_nothing_there(content) || (root.is_none() && !self.is_estimate) {
            let reason = self.tally.first_failure().unwrap_or_default();
            let doing = format!("read the source: {reason}");
            return Err(BackupError::new(BackupErrorKind::Source, doing));
        }
        Ok(root)
    }

    /// Returns whether nothing that the user named could be read: that is no snapshot of anything.
    fn is_nothing_there(&self, content: &SourceContent) -> bool {
        let Tally {
            files,
            folders,
            symlinks,
            ..
        } = &self.tally;
        let counts = [files, folders, symlinks].map(|count| count.load(Ordering::Relaxed));
        // The root that several paths are put into is there in any case.
        let made_up = u64::from(matches!(content, SourceContent::Several(_)));
        counts.iter().sum::<u64>() <= made_up && self.tally.first_failure().is_some()
    }

    /// Returns the repository.
    pub fn repo(&self) -> &Arc<Repository> {
        self.writer.repository()
    }

    /// Returns the policy of an entry of a folder.
    pub fn policy_of(&self, folder: &Node, name: &str) -> Arc<FolderPolicy> {
        let own = self.policies.of(|| folder.path_of(name));
        Arc::clone(own.map_or(&folder.policy, |own| &own.whole))
    }

    /// Notes an entry that cannot be read.
    pub fn fail(
        &self,
        folder: &Node,
        name: &str,
        reason: String,
        is_ignored: bool,
    ) -> Result<(), BackupError> {
        let path = folder.path_of(name);
        folder.fail(path.clone(), reason.clone(), is_ignored);
        let error = self.options.fail_fast && !is_ignored;
        let error = error
            .then(|| BackupError::new(BackupErrorKind::Source, format!("read {path}: {reason}")));
        self.tally.fail(FileFailure {
            path,
            reason,
            is_ignored,
        });
        error.map_or(Ok(()), Err)
    }

    /// Notes an entry that was gone when it was to be read.
    pub fn vanished(&self, folder: &Node, name: &str) {
        add(&self.tally.vanished, 1);
        self.tally.warn(format!(
            "{} vanished while the backup ran",
            folder.path_of(name)
        ));
    }
}

impl<'w, 'a> Hand<'w, 'a> {
    pub fn new(walk: &'w Walk<'a>) -> Self {
        Self {
            walk,
            encoders: Vec::new(),
            read: Vec::new(),
            segment: Vec::new(),
            contents: Vec::new(),
            dealt_bytes: 0,
            packed_bytes: 0,
        }
    }

    /// Brings the first work.
    fn begin(
        &mut self,
        content: &SourceContent,
        olds: &OldRoots,
        above: &Arc<Node>,
    ) -> Result<(), BackupError> {
        match content {
            SourceContent::One(path) => {
                above.expect(1);
                self.begin_path(path, None, above, olds)
            }
            SourceContent::Several(paths) => {
                let old = olds.first().cloned();
                let now = self.walk.repo().clock().now();
                let root = Node::of_several(above, SEVERAL_NAME, now, old);
                above.expect(1);
                root.expect(paths.len());
                self.walk.note_open(&root);
                let old_roots = self.children_of_several(olds, &root)?;
                for (path, name) in paths.iter().zip(child_names(paths)) {
                    let olds = old_roots
                        .iter()
                        .filter_map(|old| old.iter().find(|entry| entry.name == name).cloned())
                        .collect();
                    self.begin_path(path, Some(name), &root, &olds)?;
                }
                self.one_done(root)
            }
        }
    }

    /// Reads what earlier snapshots have of several sources.
    fn children_of_several(
        &self,
        olds: &OldRoots,
        root: &Node,
    ) -> Result<Vec<Vec<DirectoryEntry>>, BackupError> {
        let mut children = Vec::new();
        for (place, old) in olds.iter().enumerate() {
            let directory = snapshot::read_directory(self.walk.repo(), &old.object);
            match directory {
                Ok(directory) => {
                    if place == 0 {
                        root.set_old_count(directory.entries.len());
                    }
                    children.push(directory.entries);
                }
                Err(error) => self.walk.tally.warn(format!(
                    "an earlier snapshot cannot be read, so all is read anew: {error}"
                )),
            }
        }
        Ok(children)
    }

    /// Brings the work of one path that the user named.
    fn begin_path(
        &mut self,
        path: &Path,
        name: Option<String>,
        parent: &Arc<Node>,
        olds: &OldRoots,
    ) -> Result<(), BackupError> {
        let shown = name.clone().unwrap_or_else(|| base_name(path));
        let job = self.named_job(path, name, parent, olds);
        match job {
            Ok(Named::Folder(job)) => self
                .walk
                .queue
                .add(|waiting| waiting.add(Vec::new(), vec![job])),
            Ok(Named::File(job)) => self
                .walk
                .queue
                .add(|waiting| waiting.add(vec![job], Vec::new())),
            Ok(Named::Unchanged(entry, is_same)) => {
                self.count_reused(&entry);
                parent.add(entry, is_same);
                return self.one_done(Arc::clone(parent));
            }
            Err(error) => {
                let reason = format!("{}: {}", path.display(), os::reason(&error));
                let is_ignored = parent.policy.ignores_folder_errors();
                self.walk.fail(parent, &shown, reason, is_ignored)?;
                return self.one_done(Arc::clone(parent));
            }
        }
        Ok(())
    }

    fn named_job(
        &mut self,
        path: &Path,
        name: Option<String>,
        parent: &Arc<Node>,
        olds: &OldRoots,
    ) -> std::io::Result<Named> {
        // Only the path that the user named may be a link, as with Kopia.
        let whole = match path.symlink_metadata()?.is_symlink() {
            true => path.canonicalize()?,
            false => path.to_owned(),
        };
        let name = name.unwrap_or_else(|| base_name(&whole));
        if whole.is_dir() {
            let mut objects = olds.iter().map(|old| old.object);
            let first = objects.next();
            return Ok(Named::Folder(FolderJob {
                parent: Arc::clone(parent),
                name,
                place: Place::Open(FolderHandle::named(&whole)?),
                old: first.and(olds.first().cloned()),
                others: objects.collect(),
            }));
        }
        let folder = whole.parent().unwrap_or(Path::new("."));
        let folder = FolderHandle::named(folder)?;
        let disk_name = whole.file_name().unwrap_or(OsStr::new("."));
        let facts = folder.look(disk_name)?;
        if facts.kind != Kind::File {
            return Err(std::io::Error::other(
                "it is neither a folder nor a file, so there is nothing to back up",
            ));
        }
        if let Some((place, old)) = olds
            .iter()
            .enumerate()
            .find(|(_, old)| previous::is_unchanged(old, &facts))
            && !self.walk.options.full
            && self.may_reuse(&old.object).unwrap_or(false)
        {
            return Ok(Named::Unchanged(old.clone(), place == 0));
        }
        Ok(Named::File(FileJob {
            parent: Arc::clone(parent),
            disk_name: Some(disk_name.to_owned()),
            name,
            facts,
            folder: Some(Arc::new(folder)),
        }))
    }

    fn work(&mut self, work: Work) -> Result<(), BackupError> {
        let working = self.walk.working.read();
        let working = working.expect("no worker panics while it works");
        match work {
            Work::Folder(job) => self.open_folder(*job)?,
            Work::Files(jobs) => {
                for job in jobs {
                    self.walk.progress.stop.check().map_err(stopped)?;
                    self.store(job)?;
                }
            }
            Work::Part(file, part) => self.store_part(&file, part)?,
        }
        drop(working);
        self.end_of_work()?;
        if !self.walk.is_estimate {
            self.walk.protect_if_due();
        }
        Ok(())
    }

    /// Passes on what was noted.
    pub fn end_of_work(&mut self) -> Result<(), BackupError> {
        self.tell();
        self.walk.log.append(&mut self.contents)
    }

    /// Tells how far the work has come.
    pub fn tell(&mut self) {
        if self.dealt_bytes + self.packed_bytes > 0 {
            let progress = self.walk.progress;
            progress.disk_advances(0, self.dealt_bytes, self.packed_bytes);
            add(&self.walk.tally.uploaded_bytes, self.packed_bytes);
            self.dealt_bytes = 0;
            self.packed_bytes = 0;
        }
    }

    /// Returns whether an object of an earlier snapshot may be taken over.
    pub fn may_reuse(&mut self, object: &ObjectId) -> Result<bool, BackupError> {
        if self.walk.trust == Trust::Live {
            return Ok(true);
        }
        let contents = &mut self.contents;
        previous::is_live(self.walk.repo(), object, &mut |id| contents.push(id))
            .map_err(repo_error("look up what an earlier snapshot names"))
    }

    /// Says that one thing is done in a folder; whatever is whole then is stored.
    pub fn one_done(&mut self, mut node: Arc<Node>) -> Result<(), BackupError> {
        while node.one_done() {
            let Some(parent) = node.parent.clone() else {
                return Ok(());
            };
            self.walk.note_whole(&node);
            add(&self.walk.tally.folders, 1);
            if self.walk.is_estimate {
                node = parent;
                continue;
            }
            let entry = self.store_folder(&node)?;
            let is_same = node.old.as_ref() == Some(&entry);
            parent.add(entry, is_same);
            node = parent;
        }
        Ok(())
    }
}

fn place_of(node: &Arc<Node>) -> NodePlace {
    (Reverse(node.depth), Arc::as_ptr(node).addr())
}

/// What there is to do for a path that the user named.
enum Named {
    Folder(FolderJob),
    File(FileJob),
    Unchanged(DirectoryEntry, bool),
}
