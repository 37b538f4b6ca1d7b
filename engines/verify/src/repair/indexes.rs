//! Index blobs: what they held is put back, then the damaged ones go.

use std::collections::BTreeMap;

use blob::BlobErrorKind;
use kopia::blob_name::BlobName;
use kopia::epoch::BlobListing;
use kopia::record::ContentRecord;
use repo::{RepoErrorKind, Writer};

use super::mended::MendedKind;
use super::run::{DOING, Run, is_refused};
use crate::blobs;
use crate::error::{VerifyError, VerifyErrorKind, repo_error, store_error};
use crate::pack_scan::{PackScan, is_manifest};

/// Records that are put back into the index at a time.
const RECORDS_AT_ONCE: usize = 4096;
/// What remains to be done about a damaged index blob that the store does not let go.
const NOT_DELETED: &str = "what it held stands in new index blobs, but these keys may not delete it, or an object lock keeps it; until it is deleted nothing but `repo verify` opens the repository: run `repo verify --repair` with keys that may delete";

impl Run<'_> {
    /// Puts every record that is in no index any more into a new index blob, then does away with
    /// the index blobs that cannot be read. Returns records of manifests that only packs know.
    pub(super) fn mend_index(&mut self) -> Result<Vec<ContentRecord>, VerifyError> {
        self.progress.phase("looking for damaged index blobs");
        let damaged = blobs::damaged_indexes(self.repo, self.progress)?;
        let damaged: Vec<String> = damaged.into_iter().map(|damage| damage.blob).collect();
        for blob in &damaged {
            if let Some(writer) = &self.writer {
                self.repo
                    .for_each_cached(blob, &mut |record| writer.index_again([record]))
                    .map_err(repo_error(DOING))?;
            }
        }
        self.flush()?;
        self.take_superseded(&damaged)?;
        self.flush()?;
        let manifests = self.put_lost_records_back()?;
        self.flush()?;
        let replaced = self.replace_indexes(damaged)?;
        for blob in replaced {
            self.note(MendedKind::IndexBlob, blob, 1);
        }
        self.repo.refresh().map_err(repo_error(DOING))?;
        Ok(manifests)
    }

    /// Puts back what superseded index blobs of the same epochs know: unlike packs, they know of
    /// deletions, too. Nothing says that they know all; packs are asked for the rest.
    fn take_superseded(&mut self, damaged: &[String]) -> Result<(), VerifyError> {
        let Some(writer) = &self.writer else {
            return Ok(());
        };
        let epochs: Vec<_> = damaged.iter().filter_map(|it| epochs_of(it)).collect();
        if epochs.is_empty() {
            return Ok(());
        }
        let of_epochs = |blob: &String| {
            epochs_of(blob).is_some_and(|(first, last)| {
                let mut epochs = epochs.iter();
                epochs.any(|damaged| first <= damaged.1 && damaged.0 <= last)
            })
        };
        let superseded = self.repo.superseded_indexes().map_err(repo_error(DOING))?;
        for (blob, bytes) in superseded.iter().filter(|(blob, _)| of_epochs(blob)) {
            let taken = self.repo.for_each_in_index(blob, *bytes, &mut |record| {
                let known = self.repo.newest_record(&record.id)?;
                match known.is_none_or(|known| record.supersedes(&known)) {
                    true => writer.index_again([record]),
                    false => Ok(()),
                }
            });
            match taken {
                Err(error) if error.kind().is_damage() => {}
                taken => taken.map_err(repo_error(DOING))?,
            }
        }
        Ok(())
    }

    /// Puts records that only packs still know back into the index; returns those of manifests,
    /// which are looked at before they count.
    fn put_lost_records_back(&mut self) -> Result<Vec<ContentRecord>, VerifyError> {
        self.progress.phase("reading the packs' own indexes");
        let scan = PackScan::new(self.repo, self.progress)?;
        let writer = self.writer.as_ref();
        let mut manifests = Vec::new();
        let mut unindexed: BTreeMap<String, u64> = BTreeMap::new();
        let mut batch = Vec::new();
        scan.each(&mut |pack, records| {
            for record in records.unwrap_or_default() {
                if !scan.was_lost(&record)? {
                    continue;
                }
                if is_manifest(&record) && !record.deleted {
                    manifests.push(record);
                    continue;
                }
                *unindexed.entry(pack.to_owned()).or_default() += 1;
                batch.push(record);
            }
            if batch.len() >= RECORDS_AT_ONCE {
                index_again(writer, &mut batch)?;
            }
            Ok(())
        })?;
        index_again(writer, &mut batch)?;
        for (pack, count) in unindexed {
            self.note(MendedKind::Unindexed, pack, count);
        }
        Ok(manifests)
    }

    /// Deletes damaged index blobs whose records stand elsewhere by now. Of a compacted set, the
    /// others are merged with what was found into a new set first: without one of its blobs a set
    /// does not count, and with it every later one. Returns those that were replaced.
    fn replace_indexes(&mut self, damaged: Vec<String>) -> Result<Vec<String>, VerifyError> {
        let mut sets: BTreeMap<(u64, u64, String), Vec<String>> = BTreeMap::new();
        let mut replaced = Vec::new();
        for blob in damaged {
            match epochs_of(&blob) {
                Some((first, last)) if !is_uncompacted(&blob) => {
                    let set = set_of(&blob).to_owned();
                    sets.entry((first, last, set)).or_default().push(blob);
                }
                Some(_) => {
                    if self.delete_damaged(&blob)? {
                        replaced.push(blob);
                    }
                }
                None => self.left.push((
                    blob,
                    "this kind of index is not written by this program".to_owned(),
                )),
            }
        }
        for ((first, last, set), damaged) in sets {
            replaced.extend(self.replace_set(first, last, &set, damaged)?);
        }
        Ok(replaced)
    }

    /// Returns those of the damaged blobs of a set that are gone.
    fn replace_set(
        &mut self,
        first: u64,
        last: u64,
        set: &str,
        damaged: Vec<String>,
    ) -> Result<Vec<String>, VerifyError> {
        if self.writer.is_none() {
            return Ok(damaged);
        }
        let active = self.repo.active_indexes().map_err(repo_error(DOING))?;
        let others: Vec<&String> = active
            .keys()
            .filter(|name| set_of(name) == set && !damaged.contains(name))
            .collect();
        if !self.has_other_set(first, last, set)?
            && !self.compact_again(first, last, &active, &others)?
        {
            let reason = "nothing is known of what it held, and later indexes build on it";
            let left = damaged.into_iter().map(|it| (it, reason.to_owned()));
            self.left.extend(left);
            return Ok(Vec::new());
        }
        let mut gone = Vec::new();
        for blob in damaged {
            if self.delete_damaged(&blob)? {
                gone.push(blob);
            }
        }
        for blob in others {
            match self.repo.delete_blob(blob) {
                // It is sound, and maintenance deletes it once its set is superseded.
                Err(error) if is_refused(&error) => {}
                deleted => deleted.map_err(repo_error(DOING))?,
            }
        }
        Ok(gone)
    }

    /// Merges the other blobs of a compacted set, and what was found, into a new set; returns whether
    /// there was anything.
    fn compact_again(
        &self,
        first: u64,
        last: u64,
        active: &BTreeMap<String, u64>,
        others: &[&String],
    ) -> Result<bool, VerifyError> {
        // What was found stands in epochs that nobody compacts yet; it may stand in both.
        let is_found =
            |name: &String| is_uncompacted(name) && !self.needs_other_keys.contains(name);
        let sound = active
            .iter()
            .filter(|(name, _)| is_found(name) || others.contains(name))
            .map(|(name, bytes)| BlobListing {
                name: name.clone(),
                length: *bytes,
                modified: self.repo.clock().now(),
            });
        let sound: Vec<BlobListing> = sound.collect();
        let made = self.repo.compact_epochs(first, last, &sound);
        Ok(made.map_err(repo_error(DOING))?.is_some())
    }

    /// Says whether these epochs have another set, whole and sound: of an earlier repair that could
    /// not delete the damaged one. What it may lack was found and stands in uncompacted epochs.
    fn has_other_set(&self, first: u64, last: u64, set: &str) -> Result<bool, VerifyError> {
        let mut sets: BTreeMap<String, u64> = BTreeMap::new();
        let superseded = self.repo.superseded_indexes().map_err(repo_error(DOING))?;
        for (blob, bytes) in superseded {
            let is_of_epochs = epochs_of(&blob) == Some((first, last)) && !is_uncompacted(&blob);
            if !is_of_epochs || set_of(&blob) == set {
                continue;
            }
            match self.repo.check_index(&blob, bytes) {
                Ok(()) => *sets.entry(set_of(&blob).to_owned()).or_default() += 1,
                Err(error) if error.kind().is_damage() => {}
                Err(error) => return Err(repo_error(DOING)(error)),
            }
        }
        Ok(sets
            .iter()
            .any(|(set, count)| set.ends_with(&format!("-c{count}"))))
    }

    /// Deletes an index blob that cannot be read, after one more attempt to. Returns whether it is
    /// gone, as it would be with a dry run.
    fn delete_damaged(&mut self, blob: &str) -> Result<bool, VerifyError> {
        if self.writer.is_none() {
            return Ok(true);
        }
        let bytes = match self.repo.store().metadata(blob) {
            Err(error) if error.kind() == BlobErrorKind::NotFound => return Ok(true),
            metadata => metadata.map_err(store_error(DOING))?.bytes,
        };
        match self.repo.check_index(blob, bytes) {
            Err(error) if error.kind() == RepoErrorKind::Damaged => {}
            Err(error) => return Err(repo_error(DOING)(error)),
            Ok(()) => {
                return Err(VerifyError::new(
                    VerifyErrorKind::Repo(RepoErrorKind::Store(BlobErrorKind::Unavailable)),
                    format!(
                        "{DOING}: the store gave two answers about {blob}; nothing was deleted"
                    ),
                ));
            }
        }
        match self.repo.delete_blob(blob) {
            Err(error) if is_refused(&error) => {
                self.left.push((blob.to_owned(), NOT_DELETED.to_owned()));
                self.needs_other_keys.push(blob.to_owned());
                Ok(false)
            }
            deleted => deleted.map(|()| true).map_err(repo_error(DOING)),
        }
    }
}

fn index_again(writer: Option<&Writer>, batch: &mut Vec<ContentRecord>) -> Result<(), VerifyError> {
    let records = std::mem::take(batch);
    match writer {
        Some(writer) => writer.index_again(records).map_err(repo_error(DOING)),
        None => Ok(()),
    }
}

/// Returns the first and the last epoch that an index blob is of.
fn epochs_of(blob: &str) -> Option<(u64, u64)> {
    match BlobName::parse(blob) {
        BlobName::IndexUncompacted { epoch, .. } | BlobName::IndexSingleEpoch { epoch } => {
            Some((epoch, epoch))
        }
        BlobName::IndexEpochRange { first, last } => Some((first, last)),
        _ => None,
    }
}

fn is_uncompacted(blob: &str) -> bool {
    matches!(BlobName::parse(blob), BlobName::IndexUncompacted { .. })
}

/// Returns the set that a compacted index blob belongs to, as id and number of blobs.
fn set_of(blob: &str) -> &str {
    blob.split_once('-').map_or(blob, |(_, set)| set)
}
