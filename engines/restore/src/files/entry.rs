//! Restoring one entry of a tree: a folder, a file, a symbolic link.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kopia::directory::{DirectoryEntry, EntryType};
use progress::Progress;
use repo::Repository;
use snapshot::read_directory;
use vhdx::WriteAt;

use super::RestoredFiles;
use super::big_file::{BigFile, Piece};
use super::folder::Folder;
use super::queue::{Queue, Work};
use super::selection::Selection;
use super::warnings::{Difference, Warnings};
use crate::copy::PIECE_BYTES;
use crate::error::{RestoreError, RestoreErrorKind, file_error, repo_error, stopped};
use crate::file_name;
use crate::new_file::{NewFile, check_free, temporary_path};
use crate::options::RestoreOptions;
use crate::os::{self, Owner};
use crate::zeros::non_zero_runs;

/// No system has links longer than this.
const LINK_BYTES_MAX: u64 = 64 << 10;

/// A file or link to be restored into a folder.
pub(super) struct FileJob {
    entry: DirectoryEntry,
    folder: Arc<Folder>,
}

impl FileJob {
    fn path(&self) -> PathBuf {
        self.folder.path().join(&self.entry.name)
    }
}

/// A folder that is there and whose entries are to be looked at.
pub(super) struct FolderJob {
    entry: DirectoryEntry,
    folder: Arc<Folder>,
    selection: Selection,
}

/// A tree on its way.
pub(super) struct TreeRestore<'a> {
    repo: &'a Arc<Repository>,
    options: &'a RestoreOptions,
    progress: &'a Progress,
    warnings: Warnings,
    files: AtomicU64,
    folders: AtomicU64,
    symlinks: AtomicU64,
    bytes: AtomicU64,
}

impl<'a> TreeRestore<'a> {
    pub fn new(
        repo: &'a Arc<Repository>,
        options: &'a RestoreOptions,
        progress: &'a Progress,
    ) -> Self {
        Self {
            repo,
            options,
            progress,
            warnings: Warnings::default(),
            files: AtomicU64::new(0),
            folders: AtomicU64::new(0),
            symlinks: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
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
        match root.entry_type {
            EntryType::Directory => queue.add(
                Vec::new(),
                vec![FolderJob {
                    entry: root.clone(),
                    folder: target,
                    selection,
                }],
            ),
            _ => {
                file_name::check(&root.name)?;
                queue.add(
                    vec![FileJob {
                        entry: root.clone(),
                        folder: target,
                    }],
                    Vec::new(),
                );
            }
        }
        std::thread::scope(|scope| {
            for _ in 0..self.options.workers.max(1) {
                scope.spawn(|| {
                    while let Some(work) = queue.next() {
                        let done = self
                            .progress
                            .stop
                            .check()
                            .map_err(stopped)
                            .and_then(|()| self.work(work, &queue));
                        if let Err(error) = done {
                            queue.fail(error);
                        }
                        queue.done();
                    }
                });
            }
        });
        queue.end()
    }

    /// Returns what was done.
    pub fn finish(self) -> RestoredFiles {
        RestoredFiles {
            files: self.files.into_inner(),
            folders: self.folders.into_inner(),
            symlinks: self.symlinks.into_inner(),
            bytes: self.bytes.into_inner(),
            warnings: self.warnings.texts(),
        }
    }

    fn work(&self, work: Work, queue: &Queue) -> Result<(), RestoreError> {
        match work {
            Work::Folder(job) => self.open_folder(job, queue),
            Work::File(job) if job.entry.entry_type == EntryType::Symlink => self.restore_link(job),
            Work::File(job) => self.restore_file(job, queue),
            Work::Piece(file, piece) => self.restore_piece(file, piece),
        }
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
        let mut files = Vec::new();
        let mut folders = Vec::new();
        for entry in directory.entries {
            let Some(selection) = selection.below(&entry.name) else {
                continue;
            };
            file_name::check(&entry.name)?;
            match entry.entry_type {
                EntryType::Directory => {
                    let folder = folder.enter(&entry, self.options.overwrite)?;
                    self.folders.fetch_add(1, Ordering::Relaxed);
                    folders.push(FolderJob {
                        entry,
                        folder,
                        selection,
                    });
                }
                EntryType::File | EntryType::Symlink => {
                    let job = FileJob {
                        entry,
                        folder: Arc::clone(&folder),
                    };
                    if !self.options.overwrite {
                        check_free(&job.path(), false)?;
                    }
                    files.push(job);
                }
                EntryType::Other(_) => self
                    .warnings
                    .add(Difference::Kind, &folder.path().join(&entry.name)),
            }
        }
        queue.add(files, folders);
        Folder::let_go(folder, &self.warnings);
        Ok(())
    }

    fn restore_file(&self, job: FileJob, queue: &Queue) -> Result<(), RestoreError> {
        let path = job.path();
        let object = self
            .repo
            .open_object(&job.entry.object)
            .map_err(repo_error(format!("restore {}", path.display())))?;
        if object.len() != job.entry.size {
            self.warnings.add(Difference::Length, &path);
        }
        let new = NewFile::begin(&path, self.options.overwrite, self.repo.chance())?;
        if object.len() > PIECE_BYTES {
            new.file()
                .set_len(object.len())
                .map_err(file_error("write", &path))?;
            let (file, pieces) = BigFile::new(job, object, new);
            queue.add_big(file, pieces);
            return Ok(());
        }
        let bytes = object
            .read_all(PIECE_BYTES)
            .map_err(repo_error(format!("restore {}", path.display())))?;
        new.file()
            .write_all_at(0, &bytes)
            .map_err(file_error("write", &path))?;
        self.advance(bytes.len());
        self.complete(&job, &new)?;
        Folder::let_go(job.folder, &self.warnings);
        Ok(())
    }

    fn restore_piece(&self, file: Arc<BigFile>, piece: Piece) -> Result<(), RestoreError> {
        let path = file.new.target();
        let mut bytes = vec![0; (piece.end - piece.start) as usize];
        file.object
            .read_at(piece.start, &mut bytes)
            .map_err(repo_error(format!("restore {}", path.display())))?;
        for run in non_zero_runs(piece.start, &bytes) {
            let offset = piece.start + run.start as u64;
            file.new
                .file()
                .write_all_at(offset, &bytes[run])
                .map_err(file_error("write", path))?;
        }
        self.advance(bytes.len());
        if file.piece_done() {
            self.complete(&file.job, &file.new)?;
        }
        if let Some(file) = Arc::into_inner(file) {
            Folder::let_go(file.job.folder, &self.warnings);
        }
        Ok(())
    }

    fn advance(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.progress.disk_advances(0, bytes as u64, 0);
    }

    /// Gives a file that is all written its owner, mode, time and name.
    fn complete(&self, job: &FileJob, new: &NewFile) -> Result<(), RestoreError> {
        let owner = os::set_file_metadata(new.file(), &job.entry)
            .map_err(file_error("set owner, mode and time of", new.target()))?;
        if owner == Owner::Other {
            self.warnings.add(Difference::Owner, new.target());
        }
        if !os::SYNCS_FILE_SYSTEMS {
            new.sync()?;
        }
        new.publish()?;
        self.files.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn restore_link(&self, job: FileJob) -> Result<(), RestoreError> {
        let path = job.path();
        let target = self
            .repo
            .read_object(&job.entry.object, LINK_BYTES_MAX)
            .map_err(repo_error(format!("restore {}", path.display())))?;
        if target.is_empty() || target.contains(&0) {
            return Err(RestoreError::new(
                RestoreErrorKind::Damaged,
                format!(
                    "restore {}: a symbolic link cannot lead where it says",
                    path.display()
                ),
            ));
        }
        match self.make_link(&target, &path) {
            Ok(()) => {
                match os::set_link_metadata(&path, &job.entry) {
                    Ok(Owner::Restored) => {}
                    Ok(Owner::Other) => self.warnings.add(Difference::Owner, &path),
                    Err(_) => self.warnings.add(Difference::Metadata, &path),
                }
                self.symlinks.fetch_add(1, Ordering::Relaxed);
            }
            // Windows lets only some people make links, and FAT has none.
            Err(error) if cannot_link(&error) => self.warnings.add(Difference::Link, &path),
            Err(error) => return Err(file_error("make", &path)(error)),
        }
        Folder::let_go(job.folder, &self.warnings);
        Ok(())
    }

    fn make_link(&self, target: &[u8], path: &Path) -> std::io::Result<()> {
        if !self.options.overwrite || path.symlink_metadata().is_err() {
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

fn cannot_link(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::Unsupported
    )
}
