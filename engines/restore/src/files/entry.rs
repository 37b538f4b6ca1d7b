//! Restoring one entry of a tree: a folder, a file, a symbolic link.

use std::path::Path;
use std::sync::Arc;

use kopia::directory::{DirectoryEntry, EntryType};
use progress::Progress;
use repo::{ObjectReader, Repository};
use snapshot::read_directory;
use vhdx::WriteAt;

use super::big_file::{BigFile, Piece};
use super::folder::Folder;
use super::job::{FileJob, FolderJob};
use super::options::FilesOptions;
use super::outcome::{Outcome, RestoredFiles};
use super::present::{Fate, Present, fate};
use super::queue::{Queue, Work};
use super::selection::Selection;
use super::warnings::Difference;
use crate::error::{RestoreError, RestoreErrorKind, file_error, repo_error, stopped};
use crate::file_name;
use crate::new_file::{NewFile, temporary_path};
use crate::os;
use crate::zeros::{UNIT_BYTES, non_zero_runs};

/// What is to be done below a folder.
#[derive(Default)]
struct Jobs {
    files: Vec<FileJob>,
    folders: Vec<FolderJob>,
}

/// A tree on its way.
pub(super) struct TreeRestore<'a> {
    pub repo: &'a Arc<Repository>,
    options: &'a FilesOptions,
    pub progress: &'a Progress,
    outcome: Outcome,
}

impl<'a> TreeRestore<'a> {
    pub fn new(
        repo: &'a Arc<Repository>,
        options: &'a FilesOptions,
        progress: &'a Progress,
    ) -> Self {
        Self {
            repo,
            options,
            progress,
            outcome: Outcome::default(),
        }
    }

    /// Restores what is selected below `root` into `target`.
    pub fn run(
        &self,
        root: &DirectoryEntry,
        selection: Selection,
        target: Arc<Folder>,
    ) -> Result<(), RestoreError> {
        let queue = Queue::default();
        let mut jobs = Jobs::default();
        match root.entry_type {
            EntryType::Directory => jobs.folders.push(FolderJob {
                entry: root.clone(),
                folder: target,
                selection,
            }),
            _ => self.take_in(root.clone(), selection, &target, &mut jobs)?,
        }
        queue.add(|waiting| waiting.add(jobs.files, jobs.folders));
        let workers = self.options.workers;
        queue.work_off(
            workers,
            || (),
            |&mut (), work| {
                self.progress.stop.check().map_err(stopped)?;
                self.work(work, &queue)
            },
        )
    }

    /// Returns what was done.
    pub fn finish(self) -> RestoredFiles {
        self.outcome.finish()
    }

    fn work(&self, work: Work, queue: &Queue) -> Result<(), RestoreError> {
        match work {
            Work::Folder(job) => {
                let folder = Arc::clone(&job.folder);
                self.forgive(folder.path(), self.open_folder(*job, queue))?;
                self.let_go(folder);
                Ok(())
            }
            Work::Files(jobs) => self.restore_files(jobs, queue),
            Work::Piece(file, piece) => self.restore_piece(file, piece),
        }
    }

    pub fn let_go(&self, folder: Arc<Folder>) {
        Folder::let_go(folder, self.options.attributes, &self.outcome.warnings);
    }

    /// Counts the failure of one entry instead of ending everything, if that was asked for and
    /// others may fare better.
    pub fn forgive(&self, path: &Path, done: Result<(), RestoreError>) -> Result<(), RestoreError> {
        let Err(error) = done else { return Ok(()) };
        let concerns_one = matches!(
            error.kind(),
            RestoreErrorKind::Damaged
                | RestoreErrorKind::Exists
                | RestoreErrorKind::TargetUnsuited
                | RestoreErrorKind::Unsupported
                | RestoreErrorKind::Local
        );
        if !concerns_one || !(self.options.skip_failing || self.options.dry_run) {
            return Err(error);
        }
        self.outcome.fails(path, &error);
        Ok(())
    }

    fn open_folder(&self, job: FolderJob, queue: &Queue) -> Result<(), RestoreError> {
        let FolderJob {
            entry,
            folder,
            selection,
        } = job;
        let directory = read_directory(self.repo, &entry.object).map_err(repo_error(format!(
            "read what is in {}",
            folder.path().display()
        )))?;
        let mut jobs = Jobs::default();
        for entry in directory.entries {
            let Some(selection) = selection.below(&entry.name) else {
                continue;
            };
            let path = folder.path().join(&entry.name);
            let done = self.take_in(entry, selection, &folder, &mut jobs);
            self.forgive(&path, done)?;
        }
        queue.add(|waiting| waiting.add(jobs.files, jobs.folders));
        Ok(())
    }

    /// Looks at an entry of a folder: makes it if it is a folder, and finds out what becomes of it
    /// otherwise.
    fn take_in(
        &self,
        entry: DirectoryEntry,
        selection: Selection,
        folder: &Arc<Folder>,
        jobs: &mut Jobs,
    ) -> Result<(), RestoreError> {
        file_name::check(&entry.name)?;
        match entry.entry_type {
            EntryType::Directory => {
                let folder = folder.enter(&entry, self.options)?;
                Outcome::count(&self.outcome.folders, 1);
                jobs.folders.push(FolderJob {
                    entry,
                    folder,
                    selection,
                });
            }
            EntryType::File | EntryType::Symlink => self.take_in_file(entry, folder, jobs)?,
            EntryType::Other(_) => {
                let path = folder.path().join(&entry.name);
                self.outcome.warnings.add(Difference::Kind, &path);
            }
        }
        Ok(())
    }

    fn take_in_file(
        &self,
        entry: DirectoryEntry,
        folder: &Arc<Folder>,
        jobs: &mut Jobs,
    ) -> Result<(), RestoreError> {
        let path = folder.path().join(&entry.name);
        // Nothing can be in a folder that was made a moment ago; what comes meanwhile is found
        // when the file gets its name.
        let present = match folder.was_there() {
            true => Present::at(&path).map_err(file_error("look at", &path))?,
            false => Present::Nothing,
        };
        let fate = fate(self.options.existing, &entry, present).map_err(|why| {
            RestoreError::new(
                RestoreErrorKind::Exists,
                format!("restore to {}: {why}", path.display()),
            )
        })?;
        match fate {
            Fate::Keep => {
                Outcome::count(&self.outcome.kept, 1);
                self.progress.disk_advances(0, entry.size, 0);
                return Ok(());
            }
            Fate::Replace => self.outcome.replaces(&path),
            Fate::Make => {}
        }
        if self.options.dry_run {
            self.count(&entry);
            return Ok(());
        }
        jobs.files.push(FileJob {
            entry,
            folder: Arc::clone(folder),
            replaces: fate == Fate::Replace,
        });
        Ok(())
    }

    fn count(&self, entry: &DirectoryEntry) {
        match entry.entry_type {
            EntryType::Symlink => Outcome::count(&self.outcome.symlinks, 1),
            _ => {
                Outcome::count(&self.outcome.files, 1);
                Outcome::count(&self.outcome.bytes, entry.size);
            }
        }
    }

    /// Writes a file whose bytes are all there, or makes a link that leads where they say.
    pub fn write_small(&self, job: &FileJob, bytes: &[u8]) -> Result<(), RestoreError> {
        let path = job.path();
        if job.entry.entry_type == EntryType::Symlink {
            return self.restore_link(job, &path, bytes);
        }
        let new = self.begin_file(job, &path, bytes.len() as u64)?;
        if bytes.len() as u64 > UNIT_BYTES && self.options.sparse {
            new.file()
                .set_len(bytes.len() as u64)
                .map_err(file_error("write", &path))?;
        }
        self.write(&new, 0, bytes)?;
        self.progress.disk_advances(0, bytes.len() as u64, 0);
        self.complete(job, &new, bytes.len() as u64)
    }

    /// Begins a file that several workers write.
    pub fn begin_big(
        &self,
        job: FileJob,
        object: ObjectReader,
        queue: &Queue,
    ) -> Result<(), RestoreError> {
        let path = job.path();
        let new = self.begin_file(&job, &path, object.len())?;
        new.file()
            .set_len(object.len())
            .map_err(file_error("write", &path))?;
        let (file, pieces) = BigFile::new(job, object, new);
        queue.add(|waiting| waiting.add_big(file, pieces));
        Ok(())
    }

    fn begin_file(&self, job: &FileJob, path: &Path, bytes: u64) -> Result<NewFile, RestoreError> {
        if bytes != job.entry.size {
            self.outcome.warnings.add(Difference::Length, path);
        }
        let create = match self.options.attributes.permissions {
            true => os::create_new_file,
            false => os::create_plain_file,
        };
        NewFile::begin_as(path, job.replaces, self.repo.chance(), create)
    }

    /// Writes bytes to a file that is as long as it will be if it may get holes.
    fn write(&self, new: &NewFile, offset: u64, bytes: &[u8]) -> Result<(), RestoreError> {
        let failed = || file_error("write", new.target());
        if !self.options.sparse || bytes.len() as u64 <= UNIT_BYTES {
            return new.file().write_all_at(offset, bytes).map_err(failed());
        }
        for run in non_zero_runs(offset, bytes) {
            new.file()
                .write_all_at(offset + run.start as u64, &bytes[run])
                .map_err(failed())?;
        }
        Ok(())
    }

    fn restore_piece(&self, file: Arc<BigFile>, piece: Piece) -> Result<(), RestoreError> {
        let mut done = match file.has_failed() {
            true => Ok(()),
            false => self.write_piece(&file, piece),
        };
        if done.is_err() && !file.fail() {
            done = Ok(());
        }
        if file.piece_done() && !file.has_failed() {
            done = self.complete(&file.job, &file.new, file.object.len());
        }
        self.forgive(file.new.target(), done)?;
        if let Some(file) = Arc::into_inner(file) {
            self.let_go(file.job.folder);
        }
        Ok(())
    }

    fn write_piece(&self, file: &BigFile, piece: Piece) -> Result<(), RestoreError> {
        let path = file.new.target();
        let mut bytes = vec![0; (piece.end - piece.start) as usize];
        file.object
            .read_at(piece.start, &mut bytes)
            .map_err(repo_error(format!("restore {}", path.display())))?;
        self.write(&file.new, piece.start, &bytes)?;
        self.progress.disk_advances(0, bytes.len() as u64, 0);
        Ok(())
    }

    /// Gives a file that is all written its owner, mode, time and name.
    fn complete(&self, job: &FileJob, new: &NewFile, bytes: u64) -> Result<(), RestoreError> {
        let set = os::set_file_metadata(new.file(), &job.entry, self.options.attributes);
        self.outcome.warnings.add_owner(set, new.target());
        if !os::SYNCS_FILE_SYSTEMS {
            new.sync()?;
        }
        new.publish()?;
        Outcome::count(&self.outcome.files, 1);
        Outcome::count(&self.outcome.bytes, bytes);
        Ok(())
    }

    fn restore_link(&self, job: &FileJob, path: &Path, target: &[u8]) -> Result<(), RestoreError> {
        if target.is_empty() || target.contains(&0) {
            return Err(RestoreError::new(
                RestoreErrorKind::Damaged,
                format!(
                    "restore {}: a symbolic link cannot lead where it says",
                    path.display()
                ),
            ));
        }
        match self.make_link(target, path, job.replaces) {
            Ok(()) => {
                let set = os::set_link_metadata(path, &job.entry, self.options.attributes);
                self.outcome.warnings.add_owner(set, path);
                Outcome::count(&self.outcome.symlinks, 1);
                Ok(())
            }
            // Windows lets only some people make links, and FAT has none.
            Err(error) if os::cannot_have_links(&error) => {
                self.outcome.warnings.add(Difference::Link, path);
                Ok(())
            }
            Err(error) => Err(file_error("make", path)(error)),
        }
    }

    fn make_link(&self, target: &[u8], path: &Path, replaces: bool) -> std::io::Result<()> {
        if !replaces {
            return os::create_link(target, path);
        }
        let temporary = temporary_path(path, self.repo.chance()).map_err(std::io::Error::other)?;
        os::create_link(target, &temporary)?;
        std::fs::rename(&temporary, path).inspect_err(|_| {
            // The one that could not be renamed is of no use; the error that counts is the rename's.
            let _ = std::fs::remove_file(&temporary);
        })
    }
}
