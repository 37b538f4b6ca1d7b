//! The work that is still to be done, and who does it next.
//!
//! Pieces of big files come first, so that few are open at once. Then files; folders are opened
//! only while few files wait, so that a tree of any size takes little memory.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::big_file::{BigFile, Piece};
use super::job::{FileJob, FolderJob};
use crate::error::RestoreError;

/// Folders wait while this many files do.
const FILES_WAITING_MAX: usize = 1024;

/// A piece of work.
pub(super) enum Work {
    /// A part of a file that several workers write.
    Piece(Arc<BigFile>, Piece),
    /// A file or link.
    File(FileJob),
    /// A folder whose entries are to be looked at.
    Folder(FolderJob),
}

/// Hands out work to many workers.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    big: VecDeque<(Arc<BigFile>, VecDeque<Piece>)>,
    files: VecDeque<FileJob>,
    folders: Vec<FolderJob>,
    /// Workers that may still bring more work.
    busy: usize,
    failure: Option<RestoreError>,
}

impl Queue {
    /// Returns the next piece of work, waiting for it while others may bring some; `None` when
    /// all is done or something failed. Whoever took work says when it is [`done`](Self::done).
    pub fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if state.failure.is_some() {
                return None;
            }
            if let Some(work) = state.take() {
                state.busy += 1;
                return Some(work);
            }
            if state.busy == 0 {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .expect("no worker panics while it holds the queue");
        }
    }

    /// Says that work taken earlier is done.
    pub fn done(&self) {
        self.lock().busy -= 1;
        self.changed.notify_all();
    }

    /// Adds the entries of a folder.
    pub fn add(&self, files: Vec<FileJob>, folders: Vec<FolderJob>) {
        let mut state = self.lock();
        state.files.extend(files);
        state.folders.extend(folders);
        drop(state);
        self.changed.notify_all();
    }

    /// Adds the pieces of a file.
    pub fn add_big(&self, file: Arc<BigFile>, pieces: VecDeque<Piece>) {
        self.lock().big.push_back((file, pieces));
        self.changed.notify_all();
    }

    /// Ends the work of all; the first failure counts.
    pub fn fail(&self, error: RestoreError) {
        self.lock().failure.get_or_insert(error);
        self.changed.notify_all();
    }

    /// Returns how the work ended, and drops what was not done.
    pub fn end(self) -> Result<(), RestoreError> {
        let state = self.state.into_inner().expect("all workers ended");
        state.failure.map_or(Ok(()), Err)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no worker panics while it holds the queue")
    }
}

impl State {
    fn take(&mut self) -> Option<Work> {
        while let Some((file, pieces)) = self.big.front_mut() {
            if let Some(piece) = pieces.pop_front() {
                return Some(Work::Piece(Arc::clone(file), piece));
            }
            self.big.pop_front();
        }
        if self.files.len() < FILES_WAITING_MAX
            && let Some(folder) = self.folders.pop()
        {
            return Some(Work::Folder(folder));
        }
        self.files.pop_front().map(Work::File)
    }
}
