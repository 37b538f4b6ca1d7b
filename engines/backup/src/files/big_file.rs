//! A file that several workers read, part by part (Kopia spec 6.4, last paragraph).

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use repo::Segments;

use super::node::FileJob;
use super::os::OpenFile;

/// A long file.
pub(super) struct BigFile {
    pub job: FileJob,
    pub open: OpenFile,
    /// How far it is read.
    end: u64,
    part_bytes: u64,
    parts: Mutex<Vec<Option<Segments>>>,
    left: AtomicUsize,
    has_failed: AtomicBool,
}

impl BigFile {
    /// Returns a file of so many parts, of which the last reaches as far as it is read.
    pub fn new(job: FileJob, open: OpenFile, end: u64, parts: u64, part_bytes: u64) -> Self {
        Self {
            job,
            open,
            end,
            part_bytes,
            parts: Mutex::new(vec![None; parts as usize]),
            left: AtomicUsize::new(parts as usize),
            has_failed: AtomicBool::new(false),
        }
    }

    /// Returns where a part is; the last one reaches to wherever the file ends when it is read.
    pub fn place(&self, part: u64) -> Range<u64> {
        let is_last = part as usize + 1 == self.lock().len();
        let start = part * self.part_bytes;
        start..if is_last {
            self.end
        } else {
            start + self.part_bytes
        }
    }

    /// Says that a part cannot be read; returns whether it is the first such.
    pub fn fail(&self) -> bool {
        !self.has_failed.swap(true, Ordering::AcqRel)
    }

    /// Returns whether a part could not be read: then the others need not be.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Says that a part is dealt with: stored, or not to be had. Returns whether it was the last.
    pub fn part_done(&self, part: u64, stored: Option<Segments>) -> bool {
        self.lock()[part as usize] = stored;
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Returns everything if every part was stored.
    pub fn whole(&self) -> Option<Segments> {
        let parts = std::mem::take(&mut *self.lock());
        let mut parts = parts.into_iter();
        let mut whole = parts.next()??;
        for part in parts {
            whole.append(part?);
        }
        Some(whole)
    }

    /// Returns what of it is stored so far, one part behind another.
    pub fn so_far(&self) -> Option<Segments> {
        let parts = self.lock();
        let mut stored = parts.iter().flatten().cloned();
        let mut whole = stored.next()?;
        stored.for_each(|part| whole.append(part));
        Some(whole)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Segments>>> {
        self.parts
            .lock()
            .expect("no worker panics while it notes a part")
    }
}
