//! Restoring many files with few requests.
//!
//! Small files that one backup wrote lie side by side in packs: what a worker takes at once is
//! fetched together. What goes wrong with one of them does not hurt the others.

use std::sync::Arc;

use kopia::content_id::ContentId;
use kopia::directory::EntryType;

use super::entry::TreeRestore;
use super::job::FileJob;
use super::queue::Queue;
use crate::copy::PIECE_BYTES;
use crate::error::{RestoreError, RestoreErrorKind, repo_error, stopped};

/// No system has links longer than this.
const LINK_BYTES_MAX: u64 = 64 << 10;

impl TreeRestore<'_> {
    /// Restores files and links.
    pub fn restore_files(&self, jobs: Vec<FileJob>, queue: &Queue) -> Result<(), RestoreError> {
        let (small, others): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|job| self.is_small(job));
        self.restore_together(small, queue)?;
        for job in others {
            self.progress.stop.check().map_err(stopped)?;
            self.end_file(job, |job| self.restore_alone(job, queue))?;
        }
        Ok(())
    }

    /// Returns whether a file or link is one content that many others fit beside in memory.
    fn is_small(&self, job: &FileJob) -> bool {
        let object = &job.entry.object;
        let bytes_max = bytes_max(&job.entry.entry_type);
        // What cannot be found in the index is found out about, and told of, where it is read.
        let record = || self.repo.find(&object.content).ok().flatten();
        object.indirection == 0
            && !object.compressed
            && record().is_some_and(|record| u64::from(record.original_bytes) <= bytes_max)
    }

    /// Restores files and links of one content each.
    fn restore_together(&self, jobs: Vec<FileJob>, queue: &Queue) -> Result<(), RestoreError> {
        self.progress.stop.check().map_err(stopped)?;
        if jobs.len() < 2 {
            let mut jobs = jobs.into_iter();
            return jobs
                .try_for_each(|job| self.end_file(job, |job| self.restore_alone(job, queue)));
        }
        let contents: Vec<ContentId> = jobs.iter().map(|job| job.entry.object.content).collect();
        let mut jobs: Vec<Option<FileJob>> = jobs.into_iter().map(Some).collect();
        let mut done = Ok(());
        let read = self.repo.read_contents(&contents, &mut |place, bytes| {
            if done.is_ok()
                && let Some(job) = jobs[place].take()
            {
                done = self.end_file(job, |job| self.write_small(&job, &bytes));
            }
            Ok(())
        });
        done?;
        match read.map_err(repo_error("restore files")) {
            // Halving finds the one that is damaged in few requests.
            Err(error) if error.kind() == RestoreErrorKind::Damaged => {
                let mut left: Vec<FileJob> = jobs.into_iter().flatten().collect();
                let others = left.split_off(left.len() / 2);
                self.restore_together(left, queue)?;
                self.restore_together(others, queue)
            }
            read => read,
        }
    }

    /// Restores a file or link, however long it is.
    fn restore_alone(&self, job: FileJob, queue: &Queue) -> Result<(), RestoreError> {
        let path = job.path();
        let failed = || repo_error(format!("restore {}", path.display()));
        let object = self.repo.open_object(&job.entry.object).map_err(failed())?;
        if job.entry.entry_type == EntryType::File && object.len() > PIECE_BYTES {
            return self.begin_big(job, object, queue);
        }
        let bytes_max = bytes_max(&job.entry.entry_type);
        let bytes = object.read_all(bytes_max).map_err(failed())?;
        self.write_small(&job, &bytes)
    }

    /// Does what is to be done for a file or link, and lets its folder go.
    fn end_file(
        &self,
        job: FileJob,
        restore: impl FnOnce(FileJob) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        let (folder, path) = (Arc::clone(&job.folder), job.path());
        self.forgive(&path, restore(job))?;
        self.let_go(folder);
        Ok(())
    }
}

/// Returns how long what is held in memory of such an entry may be.
fn bytes_max(entry_type: &EntryType) -> u64 {
    match entry_type {
        EntryType::Symlink => LINK_BYTES_MAX,
        _ => PIECE_BYTES,
    }
}
