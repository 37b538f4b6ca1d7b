//! What a repository holds, counted: contents in its index, blobs in its store.
//!
//! Both are streamed, so memory does not grow with them. Changes nothing.

use std::sync::Arc;

use kopia::blob_name::{BlobName, EPOCH_PREFIX};
use kopia::epoch::EpochState;
use progress::Progress;
use repo::{RepoError, RepoErrorKind, Repository};
use time_and_chance::Timestamp;

use crate::error::{MaintainError, MaintainErrorKind, repo_error, stopped, store_error};
use crate::plan::Limits;
use crate::report::Freed;

const COUNTING: &str = "count contents";
const LISTING: &str = "list the store";
/// Progress is told after so many contents or blobs.
const TOLD_EVERY: u64 = 1 << 20;

/// The figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Contents that are not deleted, and what they take in packs.
    pub live: Freed,
    /// How long those are before compression.
    pub live_original_bytes: u64,
    /// Contents marked deleted and not forgotten yet, and what they take in packs.
    pub deleted: Freed,
    /// Packs in the store.
    pub packs: Freed,
    /// Index blobs in the store, superseded ones included.
    pub indexes: Freed,
    /// Logs of clients.
    pub logs: Freed,
    /// All blobs.
    pub blobs: Freed,
    /// Sessions that count as alive: backups under way, or killed within four days.
    pub sessions_alive: u64,
    /// Markers of sessions that died; maintenance removes them.
    pub sessions_dead: u64,
    /// The epoch that index blobs are written to; `None` in repositories without epochs.
    pub epoch: Option<u64>,
}

impl Census {
    /// Counts. `now` is the store's time, as far as it is known.
    pub fn take(
        repo: &Arc<Repository>,
        now: Timestamp,
        progress: &Progress,
    ) -> Result<Self, MaintainError> {
        let mut census = Self::default();
        census.count_contents(repo, progress)?;
        census.count_blobs(repo, Limits { start: now }, progress)?;
        Ok(census)
    }

    fn count_contents(
        &mut self,
        repo: &Arc<Repository>,
        progress: &Progress,
    ) -> Result<(), MaintainError> {
        progress.phase("counting contents");
        let mut seen = 0u64;
        repo.for_each_content(None, &mut |record| {
            progress
                .stop
                .check()
                .map_err(|_| RepoError::new(RepoErrorKind::Stopped, "go on: stopped on request"))?;
            seen += 1;
            if seen.is_multiple_of(TOLD_EVERY) {
                progress.phase(&format!("counting contents: {seen} so far"));
            }
            let packed = u64::from(record.packed_bytes);
            if record.deleted {
                self.deleted.add(packed);
            } else {
                self.live.add(packed);
                self.live_original_bytes += u64::from(record.original_bytes);
            }
            Ok(())
        })
        .map_err(repo_error(COUNTING))
    }

    fn count_blobs(
        &mut self,
        repo: &Arc<Repository>,
        limits: Limits,
        progress: &Progress,
    ) -> Result<(), MaintainError> {
        progress.phase("listing the store");
        let mut of_epochs = Vec::new();
        let mut markers = Vec::new();
        repo.store()
            .list("", &mut |blob| {
                self.blobs.add(blob.bytes);
                if self.blobs.count.is_multiple_of(TOLD_EVERY) {
                    let seen = self.blobs.count;
                    progress.phase(&format!("listing the store: {seen} blobs so far"));
                }
                match BlobName::parse(&blob.name) {
                    BlobName::Pack { .. } | BlobName::MetadataPack { .. } => {
                        self.packs.add(blob.bytes);
                    }
                    BlobName::IndexUncompacted { .. }
                    | BlobName::IndexSingleEpoch { .. }
                    | BlobName::IndexEpochRange { .. }
                    | BlobName::LegacyIndex { .. } => self.indexes.add(blob.bytes),
                    BlobName::Log => self.logs.add(blob.bytes),
                    BlobName::Session { .. } => markers.push(blob.clone()),
                    _ => {}
                }
                if blob.name.starts_with(EPOCH_PREFIX) {
                    of_epochs.push(blob.name);
                }
                Ok(())
            })
            .map_err(store_error(LISTING))?;
        for marker in markers {
            progress.stop.check().map_err(stopped)?;
            match repo
                .session_alive_at(&marker)
                .map_err(repo_error(LISTING))?
            {
                Some(sign) if limits.is_alive(sign) => self.sessions_alive += 1,
                Some(_) => self.sessions_dead += 1,
                None => {}
            }
        }
        if repo.format().epoch_parameters.enabled {
            let state = EpochState::from_listing(&of_epochs).map_err(|error| {
                MaintainError::new(MaintainErrorKind::Repo(RepoErrorKind::Damaged), LISTING)
                    .caused_by(error)
            })?;
            self.epoch = Some(state.current);
        }
        Ok(())
    }
}
