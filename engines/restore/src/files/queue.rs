//! The work that is still to be done, and what of it comes next.
//!
//! Pieces of big files come first, so that few are open at once. Then files; folders are opened
//! only while few files wait, so that a tree of any size takes little memory.

use std::collections::VecDeque;
use std::sync::Arc;

use progress::{Backlog, WorkQueue};

use super::big_file::{BigFile, Piece};
use super::job::{FileJob, FolderJob};

/// Folders wait while this many files do.
const FILES_WAITING_MAX: usize = 4096;
/// A worker takes so many files at once, which it fetches together.
const FILES_AT_ONCE: usize = 256;
/// … if they are no longer than this: it bounds what a worker holds.
const BYTES_AT_ONCE: u64 = 2 << 20;

/// A piece of work.
pub(super) enum Work {
    /// A part of a file that several workers write.
    Piece(Arc<BigFile>, Piece),
    /// Files and links.
    Files(Vec<FileJob>),
    /// A folder whose entries are to be looked at.
    Folder(Box<FolderJob>),
}

/// What is still to be done.
#[derive(Default)]
pub(super) struct Waiting {
    big: VecDeque<(Arc<BigFile>, VecDeque<Piece>)>,
    files: VecDeque<FileJob>,
    folders: Vec<FolderJob>,
}

/// Hands it out to many workers.
pub(super) type Queue = WorkQueue<Waiting>;

impl Waiting {
    /// Adds the entries of a folder.
    pub fn add(&mut self, files: Vec<FileJob>, folders: Vec<FolderJob>) {
        self.files.extend(files);
        self.folders.extend(folders);
    }

    /// Takes out as many files as are restored at once: one, however long it is, or several.
    fn take_files(&mut self) -> Vec<FileJob> {
        let mut bytes: u64 = 0;
        let fit = self.files.iter().take(FILES_AT_ONCE).take_while(|job| {
            bytes = bytes.saturating_add(job.entry.size);
            bytes <= BYTES_AT_ONCE
        });
        let count = fit.count().max(1).min(self.files.len());
        self.files.drain(..count).collect()
    }

    /// Adds the pieces of a file.
    pub fn add_big(&mut self, file: Arc<BigFile>, pieces: VecDeque<Piece>) {
        self.big.push_back((file, pieces));
    }
}

impl Backlog for Waiting {
    type Work = Work;

    fn take(&mut self) -> Option<Work> {
        while let Some((file, pieces)) = self.big.front_mut() {
            let piece = pieces.pop_front();
            let file = match pieces.is_empty() {
                // Whoever writes the last piece is to be the last who holds the file, and lets its
                // folder go.
                true => self.big.pop_front().map(|(file, _)| file),
                false => Some(Arc::clone(file)),
            };
            if let Some((file, piece)) = file.zip(piece) {
                return Some(Work::Piece(file, piece));
            }
        }
        if self.files.len() < FILES_WAITING_MAX
            && let Some(folder) = self.folders.pop()
        {
            return Some(Work::Folder(Box::new(folder)));
        }
        let files = self.take_files();
        (!files.is_empty()).then_some(Work::Files(files))
    }
}
