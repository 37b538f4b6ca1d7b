//! Epochs: compacted, advanced, and rid of what is superseded.

use std::sync::Arc;

use progress::Progress;
use repo::{Compaction, Repository};

use crate::error::{MaintainError, repo_error, stopped};
use crate::removal::remove;
use crate::report::{Deleted, Epochs};

const DOING: &str = "maintain the index";

/// One look after the index.
pub(crate) struct Upkeep<'a> {
    pub(crate) repo: &'a Arc<Repository>,
    pub(crate) dry_run: bool,
    pub(crate) progress: &'a Progress,
}

impl Upkeep<'_> {
    /// Compacts every settled epoch by itself.
    pub(crate) fn compact_singles(&self, epochs: &mut Epochs) -> Result<(), MaintainError> {
        self.progress.phase("compacting the index");
        let listing = self.repo.list_epochs().map_err(repo_error(DOING))?;
        for (epoch, blobs) in listing.epochs_to_compact() {
            self.progress.stop.check().map_err(stopped)?;
            let done = self.compact(epoch, epoch, blobs)?;
            epochs.compactions.extend(done);
        }
        Ok(())
    }

    /// Begins the next epoch if it is time.
    pub(crate) fn advance(&self, epochs: &mut Epochs) -> Result<(), MaintainError> {
        epochs.begun = if self.dry_run {
            let listing = self.repo.list_epochs().map_err(repo_error(DOING))?;
            listing.epoch_to_begin(&self.repo.format().epoch_parameters)
        } else {
            self.repo
                .advance_epoch_if_due()
                .map_err(repo_error(DOING))?
        };
        Ok(())
    }

    /// Compacts many epochs to a range if there are enough.
    pub(crate) fn compact_range(&self, epochs: &mut Epochs) -> Result<(), MaintainError> {
        let listing = self.repo.list_epochs().map_err(repo_error(DOING))?;
        let parameters = &self.repo.format().epoch_parameters;
        if let Some((first, last)) = listing.range_to_compact(parameters) {
            let done = self.compact(first, last, &listing.active_blobs(first, last))?;
            epochs.compactions.extend(done);
        }
        Ok(())
    }

    /// Deletes markers that say nothing any more.
    pub(crate) fn clean_markers(&self, deleted: &mut Deleted) -> Result<(), MaintainError> {
        let listing = self.repo.list_epochs().map_err(repo_error(DOING))?;
        for marker in listing.useless_markers(&self.repo.format().epoch_parameters) {
            match remove(self.repo, &marker.name, self.dry_run, DOING)? {
                true => deleted.markers.add(marker.length),
                false => drop(deleted.refused.insert(marker.name.clone())),
            }
        }
        Ok(())
    }

    /// Deletes index blobs that compacted ones have replaced for long enough.
    pub(crate) fn delete_superseded(&self, deleted: &mut Deleted) -> Result<(), MaintainError> {
        let listing = self.repo.list_epochs().map_err(repo_error(DOING))?;
        for blob in listing.superseded(&self.repo.format().epoch_parameters) {
            self.progress.stop.check().map_err(stopped)?;
            match remove(self.repo, &blob.name, self.dry_run, DOING)? {
                true => deleted.indexes.add(blob.length),
                false => drop(deleted.refused.insert(blob.name.clone())),
            }
        }
        Ok(())
    }

    fn compact(
        &self,
        first: u64,
        last: u64,
        blobs: &[kopia::epoch::BlobListing],
    ) -> Result<Option<Compaction>, MaintainError> {
        if self.dry_run {
            return Ok(Some(Compaction {
                first,
                last,
                from_blobs: blobs.len() as u64,
                to_blobs: 0,
                records: 0,
            }));
        }
        self.repo
            .compact_epochs(first, last, blobs)
            .map_err(repo_error(DOING))
    }
}
