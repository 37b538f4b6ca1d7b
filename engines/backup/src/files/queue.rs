//! The work that is still to be done, and what of it comes next.
//!
//! Parts of big files come first, so that few are open at once. Then files; folders are opened
//! only while few files wait, the one found last first, so that a tree of any size takes little
//! memory and few open folders.

use std::collections::VecDeque;
use std::sync::Arc;

use progress::{Backlog, WorkQueue};

use super::big_file::BigFile;
use super::node::{FileJob, FolderJob};

/// Folders wait while this many files do; each keeps its folder open.
const FILES_WAITING_MAX: usize = 256;
/// A worker takes so many files at once: for small files the queue would cost more than they do.
const FILES_AT_ONCE: usize = 16;

/// A piece of work.
pub(super) enum Work {
    /// A part of a file that several workers read.
    Part(Arc<BigFile>, u64),
    /// Files and links.
    Files(Vec<FileJob>),
    /// A folder whose entries are to be looked at.
    Folder(Box<FolderJob>),
}

/// What is still to be done.
#[derive(Default)]
pub(super) struct Waiting {
    parts: VecDeque<(Arc<BigFile>, u64)>,
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

    /// Adds the parts of a file.
    pub fn add_parts(&mut self, file: &Arc<BigFile>, parts: u64) {
        let parts = (0..parts).map(|part| (Arc::clone(file), part));
        self.parts.extend(parts);
    }
}

impl Backlog for Waiting {
    type Work = Work;

    fn take(&mut self) -> Option<Work> {
        if let Some((file, part)) = self.parts.pop_front() {
            return Some(Work::Part(file, part));
        }
        if self.files.len() < FILES_WAITING_MAX
            && let Some(folder) = self.folders.pop()
        {
            return Some(Work::Folder(Box::new(folder)));
        }
        if self.files.is_empty() {
            return None;
        }
        // Few files are shared among all, in case they are long.
        let count = (self.files.len() / 8).clamp(1, FILES_AT_ONCE);
        Some(Work::Files(self.files.drain(..count).collect()))
    }
}
