//! The work that is still to be done, and who does it next.
//!
//! Parts of big files come first, so that few are open at once. Then files; folders are opened
//! only while few files wait, the one found last first, so that a tree of any size takes little
//! memory and few open folders.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

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

/// Hands out work to many workers.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    parts: VecDeque<(Arc<BigFile>, u64)>,
    files: VecDeque<FileJob>,
    folders: Vec<FolderJob>,
    /// Workers that may still bring more work.
    busy: usize,
    waiting: usize,
    is_over: bool,
}

impl Queue {
    /// Returns the next piece of work, waiting for it while others may bring some; `None` when
    /// all is done or the work was ended. Whoever took work says when it is
    /// [`done`](Self::done).
    pub fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if state.is_over {
                return None;
            }
            if let Some(work) = state.take() {
                state.busy += 1;
                return Some(work);
            }
            if state.busy == 0 {
                return None;
            }
            state.waiting += 1;
            state = self
                .changed
                .wait(state)
                .expect("no worker panics while it holds the queue");
            state.waiting -= 1;
        }
    }

    /// Says that work taken earlier is done.
    pub fn done(&self) {
        let mut state = self.lock();
        state.busy -= 1;
        self.tell(state);
    }

    /// Adds the entries of a folder.
    pub fn add(&self, files: Vec<FileJob>, folders: Vec<FolderJob>) {
        let mut state = self.lock();
        state.files.extend(files);
        state.folders.extend(folders);
        self.tell(state);
    }

    /// Adds the parts of a file.
    pub fn add_parts(&self, file: &Arc<BigFile>, parts: u64) {
        let mut state = self.lock();
        let parts = (0..parts).map(|part| (Arc::clone(file), part));
        state.parts.extend(parts);
        self.tell(state);
    }

    /// Ends the work of all.
    pub fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        self.tell(state);
    }

    fn tell(&self, state: MutexGuard<'_, State>) {
        let somebody_waits = state.waiting > 0;
        drop(state);
        if somebody_waits {
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no worker panics while it holds the queue")
    }
}

impl State {
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
