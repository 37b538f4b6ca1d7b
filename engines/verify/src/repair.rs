//! Repair: what is damaged and can be had from elsewhere is written anew.
//!
//! ```text
//! index   lost records ◄─ the cache, the packs' own indexes ─► a new index blob ─► the damaged one goes
//! points  manifests that no index named ─► listed again if they are whole
//! data    contents that cannot be read ◄─ any sound copy in any pack ─► stored anew
//! rest    the epoch's marker, the maintenance schedule, packs whose own index is damaged
//! ```
//!
//! Everything is added before anything is deleted, and nothing is deleted but index blobs that nobody
//! can read and whose records stand elsewhere by then; so a repair may end at any moment. As it
//! deletes, only the owner of the maintenance may do it, and not beside a maintenance of this
//! machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kopia::blob_name::{BlobName, EPOCH_MARKER_PREFIX, MAINTENANCE};
use kopia::content_id::ContentId;
use kopia::epoch::BlobListing;
use kopia::maintenance::MAINTENANCE_TYPE;
use kopia::manifest::{ManifestContents, ManifestEntry};
use kopia::record::ContentRecord;
use kopia::snapshot::{SNAPSHOT_TYPE, SnapshotManifest};
use progress::Progress;
use repo::{RepoErrorKind, Repository, ScheduleKeeper, Writer};

use crate::blobs;
use crate::error::{
    VerifyError, VerifyErrorKind, maintain_error, repo_error, stopped, store_error,
};
use crate::pack_scan::{PackScan, is_manifest};
use crate::packs::Packs;
use crate::report::{BlobRole, Verification, VerifyOptions};
use crate::verification::verify;
use crate::walk::Walk;

const DOING: &str = "repair the repository";
const UPLOAD_THREADS: usize = 4;
/// Copies of one content that are tried.
const COPIES_MAX: usize = 16;
/// Records that are put back into the index at a time.
const RECORDS_AT_ONCE: usize = 4096;
/// Why a manifest that no index named is not listed again.
const NOT_WHOLE: &str = "no index names it, and what it needs is not there";
/// Why one is listed though a deletion of it was found.
const DELETION_FOUND: &str = "it is listed, and a pack holds a deletion of it that no index names: it failed, or its index is lost; delete it again if it was deleted";

/// A repair to be carried out.
#[derive(Debug)]
pub struct Repair<'a> {
    /// The repository, opened despite its damage.
    pub repo: &'a Arc<Repository>,
    /// How thoroughly to look for damage.
    pub options: &'a VerifyOptions,
    /// Change nothing and tell what would be done.
    pub dry_run: bool,
    /// Become the owner of the maintenance first.
    pub take_ownership: bool,
    /// Whom to tell, and who may stop it.
    pub progress: &'a Progress,
}

/// Something that was mended, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// What.
    pub what: MendedKind,
    /// The blob it is about; the manifest, where it is one.
    pub name: String,
    /// How many records or contents.
    pub count: u64,
}

/// What was mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MendedKind {
    /// The marker of an epoch was put back.
    EpochMarker,
    /// Contents of a pack that no index named are in the index again.
    Unindexed,
    /// A damaged index blob was replaced by new ones.
    IndexBlob,
    /// A manifest that no index named is listed again.
    Manifest,
    /// Contents that cannot be read in this pack were stored anew from sound copies.
    Contents,
    /// Contents of a pack whose own index is damaged were stored anew.
    PackIndex,
    /// The maintenance schedule was begun anew.
    Schedule,
}

impl MendedKind {
    /// Returns the word for it in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EpochMarker => "epoch_marker",
            Self::Unindexed => "unindexed_contents",
            Self::IndexBlob => "index_blob",
            Self::Manifest => "manifest",
            Self::Contents => "contents",
            Self::PackIndex => "pack_index",
            Self::Schedule => "maintenance_schedule",
        }
    }
}

/// What a repair did, and how the repository is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Repaired {
    /// What was mended.
    pub mended: Vec<Mended>,
    /// What could not be mended, beside contents that are lost, with the reason.
    pub left: Vec<(String, String)>,
    /// How the repository is afterwards; of a dry run, how it is.
    pub found: Verification,
}

impl Repair<'_> {
    /// Repairs the repository, then verifies it.
    ///
    /// # Errors
    /// `NotOwner` and `Locked` before anything is done, or what the repository says. Whatever was
    /// done until then is whole.
    pub fn run(&self) -> Result<Repaired, VerifyError> {
        let lock = self.repo.lock_maintenance().map_err(repo_error(DOING))?;
        let _only_one = lock.ok_or_else(|| {
            VerifyError::new(
                VerifyErrorKind::Locked,
                format!("{DOING}: a maintenance or another repair runs on this machine"),
            )
        })?;
        // Any client may do that, and what others write before is overlooked.
        let marker = self.mend_marker()?;
        maintain::be_owner(self.repo, self.take_ownership, self.dry_run)
            .map_err(maintain_error(DOING))?;
        let writer = match self.dry_run {
            true => None,
            false => Some(Writer::new(self.repo, UPLOAD_THREADS).map_err(repo_error(DOING))?),
        };
        let mut run = Run {
            repo: self.repo,
            writer,
            progress: self.progress,
            mended: Vec::from_iter(marker),
            left: Vec::new(),
        };
        run.mend_index()?;
        let mut found = verify(self.repo, self.options, self.progress)?;
        let before = run.mended.len();
        run.mend_contents(&found.harm.wanted)?;
        run.mend_rest(&found)?;
        if run.writer.is_some() && run.mended.len() > before {
            found = verify(self.repo, self.options, self.progress)?;
        }
        Ok(Repaired {
            mended: run.mended,
            left: run.left,
            found,
        })
    }

    /// Puts the marker of the last epoch back: all clients overlook its index blobs otherwise.
    fn mend_marker(&self) -> Result<Option<Mended>, VerifyError> {
        let Some(epoch) = blobs::epoch_without_marker(self.repo)? else {
            return Ok(None);
        };
        if !self.dry_run {
            let put = self.repo.mark_epoch_begun(epoch);
            put.map_err(repo_error(DOING))?;
        }
        Ok(Some(Mended {
            what: MendedKind::EpochMarker,
            name: format!("{EPOCH_MARKER_PREFIX}{epoch}"),
            count: 1,
        }))
    }
}

/// A repair that is under way.
struct Run<'a> {
    repo: &'a Arc<Repository>,
    /// Writes; without one, nothing changes.
    writer: Option<Writer>,
    progress: &'a Progress,
    mended: Vec<Mended>,
    left: Vec<(String, String)>,
}

impl Run<'_> {
    fn note(&mut self, what: MendedKind, name: impl Into<String>, count: u64) {
        let name = name.into();
        self.mended.push(Mended { what, name, count });
    }

    fn flush(&self) -> Result<(), VerifyError> {
        match &self.writer {
            Some(writer) => writer.flush().map_err(repo_error(DOING)),
            None => Ok(()),
        }
    }

    /// Puts every record that is in no index any more into a new index blob, then does away with
    /// the index blobs that cannot be read.
    fn mend_index(&mut self) -> Result<(), VerifyError> {
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
        let manifests = self.put_lost_records_back()?;
        self.flush()?;
        let replaced = self.replace_indexes(damaged)?;
        for blob in replaced {
            self.note(MendedKind::IndexBlob, blob, 1);
        }
        self.repo.refresh().map_err(repo_error(DOING))?;
        self.list_again(manifests)
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
            let set = || set_of(&blob).to_owned();
            match BlobName::parse(&blob) {
                BlobName::IndexSingleEpoch { epoch } => {
                    sets.entry((epoch, epoch, set())).or_default().push(blob);
                }
                BlobName::IndexEpochRange { first, last } => {
                    sets.entry((first, last, set())).or_default().push(blob);
                }
                BlobName::IndexUncompacted { .. } => {
                    self.delete_damaged(&blob)?;
                    replaced.push(blob);
                }
                _ => self.left.push((
                    blob,
                    "this kind of index is not written by this program".to_owned(),
                )),
            }
        }
        for ((first, last, set), damaged) in sets {
            if self.replace_set(first, last, &set, &damaged)? {
                replaced.extend(damaged);
            }
        }
        Ok(replaced)
    }

    fn replace_set(
        &mut self,
        first: u64,
        last: u64,
        set: &str,
        damaged: &[String],
    ) -> Result<bool, VerifyError> {
        let active = self.repo.active_indexes().map_err(repo_error(DOING))?;
        let others: Vec<&String> = active
            .keys()
            .filter(|name| set_of(name) == set && !damaged.contains(name))
            .collect();
        // What was found stands in epochs that nobody compacts yet; it may stand in both.
        let is_recent =
            |name: &str| matches!(BlobName::parse(name), BlobName::IndexUncompacted { .. });
        let sound = active
            .iter()
            .filter(|(name, _)| is_recent(name) || others.contains(name))
            .map(|(name, bytes)| BlobListing {
                name: name.clone(),
                length: *bytes,
                modified: self.repo.clock().now(),
            });
        let sound: Vec<BlobListing> = sound.collect();
        if self.writer.is_none() {
            return Ok(true);
        }
        let made = self.repo.compact_epochs(first, last, &sound);
        if made.map_err(repo_error(DOING))?.is_none() {
            let reason = "nothing is known of what it held, and later indexes build on it";
            let left = damaged.iter().map(|it| (it.clone(), reason.to_owned()));
            self.left.extend(left);
            return Ok(false);
        }
        for blob in damaged {
            self.delete_damaged(blob)?;
        }
        for blob in others {
            self.repo.delete_blob(blob).map_err(repo_error(DOING))?;
        }
        Ok(true)
    }

    /// Deletes an index blob that cannot be read, after one more attempt to.
    fn delete_damaged(&self, blob: &str) -> Result<(), VerifyError> {
        if self.writer.is_none() {
            return Ok(());
        }
        let bytes = match self.repo.store().metadata(blob) {
            Err(error) if error.kind() == blob::BlobErrorKind::NotFound => return Ok(()),
            metadata => metadata.map_err(store_error(DOING))?.bytes,
        };
        match self.repo.check_index(blob, bytes) {
            Err(error) if error.kind() == RepoErrorKind::Damaged => {
                self.repo.delete_blob(blob).map_err(repo_error(DOING))
            }
            Err(error) => Err(repo_error(DOING)(error)),
            Ok(()) => Err(VerifyError::new(
                VerifyErrorKind::Repo(RepoErrorKind::Store(blob::BlobErrorKind::Unavailable)),
                format!("{DOING}: the store gave two answers about {blob}; nothing was deleted"),
            )),
        }
    }

    /// Lists manifests again that no index named, so far as nothing speaks against it: none as new
    /// is known under the same id or was deleted, and what a snapshot names is there. A later edition
    /// of one that is listed, a pin perhaps, takes its place.
    fn list_again(&mut self, records: Vec<ContentRecord>) -> Result<(), VerifyError> {
        if records.is_empty() {
            return Ok(());
        }
        self.progress
            .phase("looking at manifests that no index named");
        let known = self.repo.manifests().map_err(repo_error(DOING))?;
        let is_owned = known.maintenance().is_ok_and(|it| it.is_some());
        let packs = Packs::list(self.repo.store())?;
        let mut found: Vec<(ContentRecord, Vec<ManifestEntry>)> = Vec::new();
        for record in records {
            match self.entries_in(&record)? {
                Some(entries) => found.push((record, entries)),
                None => self.left.push((
                    record.pack_blob.to_string(),
                    format!("the manifests in content {} cannot be read", record.id),
                )),
            }
        }
        let all = found.iter().flat_map(|(_, entries)| entries.clone());
        let mut back = Vec::new();
        let mut refused = BTreeMap::new();
        let latest = kopia::manifest::merge(all);
        // Nobody can tell a deletion whose index is lost from one that failed.
        for (_, entries) in &found {
            let deletions = entries.iter().filter(|it| it.deleted);
            for entry in deletions.filter(|it| !latest.contains_key(&it.id)) {
                if known.get(&entry.id).is_some_and(|it| !is_known(&it, entry)) {
                    refused.insert(entry.id.clone(), DELETION_FOUND);
                }
            }
        }
        for (id, entry) in latest {
            let is_second_owner = is_owned && entry.manifest_type() == Some(MAINTENANCE_TYPE);
            let is_known = known.get(&id).is_some_and(|it| is_known(&it, &entry));
            if is_known || is_second_owner {
                continue;
            }
            if self.is_whole(&entry, &packs)? {
                back.push(entry);
            } else {
                refused.insert(id, NOT_WHOLE);
            }
        }
        let ids: Vec<String> = back.iter().map(|entry| entry.id.clone()).collect();
        if let Some(writer) = &self.writer {
            let records = take_over(writer, found, back, &refused)?;
            writer.index_again(records).map_err(repo_error(DOING))?;
        }
        self.flush()?;
        for id in ids {
            self.note(MendedKind::Manifest, id, 1);
        }
        let left = refused.into_iter();
        self.left.extend(left.map(|(id, why)| (id, why.to_owned())));
        Ok(())
    }

    fn entries_in(
        &self,
        record: &ContentRecord,
    ) -> Result<Option<Vec<ManifestEntry>>, VerifyError> {
        let plain = match self.repo.read_record(record) {
            Err(error) if error.kind().is_damage() => return Ok(None),
            plain => plain.map_err(repo_error(DOING))?,
        };
        Ok(ManifestContents::parse(&plain).ok().map(|it| it.entries))
    }

    fn is_whole(&self, entry: &ManifestEntry, packs: &Packs) -> Result<bool, VerifyError> {
        if entry.manifest_type() != Some(SNAPSHOT_TYPE) {
            return Ok(true);
        }
        let root = SnapshotManifest::parse(entry.data.get())
            .ok()
            .and_then(|manifest| manifest.root_entry);
        let Some(root) = root else { return Ok(false) };
        let none_bad = std::collections::HashMap::new();
        let mut walk = Walk::new(self.repo, packs, &none_bad, None);
        let mut is_whole = true;
        walk.tree(&root, false, &silent(self.progress), &mut |_, _, _| {
            is_whole = false;
        })?;
        Ok(is_whole)
    }

    /// Stores contents that cannot be read anew from whichever copy is sound.
    fn mend_contents(&mut self, wanted: &BTreeSet<ContentId>) -> Result<(), VerifyError> {
        if wanted.is_empty() {
            return Ok(());
        }
        self.progress
            .phase("looking for other copies of what is damaged");
        let mut copies = self.copies_in_packs(wanted)?;
        let mut restored: BTreeMap<String, u64> = BTreeMap::new();
        for id in wanted {
            self.progress.stop.check().map_err(stopped)?;
            let known = self.repo.records_of(id).map_err(repo_error(DOING))?;
            let from = match known.first() {
                Some(newest) => newest.pack_blob.to_string(),
                None => "no pack".to_owned(),
            };
            let mut tried = known;
            tried.extend(copies.remove(id).unwrap_or_default());
            for copy in &tried {
                if self.store_copy(copy)? {
                    *restored.entry(from).or_default() += 1;
                    break;
                }
            }
        }
        self.flush()?;
        for (pack, count) in restored {
            self.note(MendedKind::Contents, pack, count);
        }
        Ok(())
    }

    fn copies_in_packs(
        &self,
        wanted: &BTreeSet<ContentId>,
    ) -> Result<BTreeMap<ContentId, Vec<ContentRecord>>, VerifyError> {
        let mut copies: BTreeMap<ContentId, Vec<ContentRecord>> = BTreeMap::new();
        PackScan::new(self.repo, self.progress)?.each(&mut |pack, records| {
            for record in records.unwrap_or_default() {
                if *record.pack_blob == *pack && wanted.contains(&record.id) {
                    let known = copies.entry(record.id).or_default();
                    if known.len() < COPIES_MAX {
                        known.push(record);
                    }
                }
            }
            Ok(())
        })?;
        Ok(copies)
    }

    fn store_copy(&self, copy: &ContentRecord) -> Result<bool, VerifyError> {
        let Some(writer) = &self.writer else {
            return match self.repo.read_record(copy) {
                Ok(_) => Ok(true),
                Err(error) if error.kind().is_damage() => Ok(false),
                Err(error) => Err(repo_error(DOING)(error)),
            };
        };
        match writer.store_copy(copy) {
            Err(error) if error.kind().is_damage() => Ok(false),
            stored => stored.map_err(repo_error(DOING)),
        }
    }

    /// Mends what no point needs: the schedule, and packs that could not be searched next time.
    fn mend_rest(&mut self, found: &Verification) -> Result<(), VerifyError> {
        for damage in &found.blobs {
            match damage.role {
                BlobRole::Schedule => {
                    self.begin_schedule()?;
                    self.note(MendedKind::Schedule, MAINTENANCE, 1);
                }
                BlobRole::PackIndex => {
                    let moved = self.move_out_of(&damage.blob)?;
                    if moved > 0 {
                        self.note(MendedKind::PackIndex, damage.blob.clone(), moved);
                    }
                }
                BlobRole::Index
                | BlobRole::EpochMarker
                | BlobRole::Session
                | BlobRole::Log
                | BlobRole::Unindexed => {}
            }
        }
        self.flush()
    }

    /// Stores everything alive in a pack anew, so far as it is sound; returns how many contents.
    fn move_out_of(&self, pack: &str) -> Result<u64, VerifyError> {
        let mut records = Vec::new();
        let collected = self.repo.for_each_content(None, &mut |record| {
            if !record.deleted && *record.pack_blob == *pack {
                records.push(record);
            }
            Ok(())
        });
        collected.map_err(repo_error(DOING))?;
        records.sort_by_key(|record| record.pack_offset);
        let mut moved = 0;
        for record in &records {
            moved += u64::from(self.store_copy(record)?);
        }
        Ok(moved)
    }

    fn begin_schedule(&self) -> Result<(), VerifyError> {
        if self.writer.is_none() {
            return Ok(());
        }
        let keeper = ScheduleKeeper::new(self.repo).map_err(repo_error(DOING))?;
        let schedule = maintain::schedule_anew(self.repo.clock().now());
        let written = keeper.write(&schedule);
        written.map(drop).map_err(repo_error(DOING))
    }
}

fn index_again(writer: Option<&Writer>, batch: &mut Vec<ContentRecord>) -> Result<(), VerifyError> {
    let records = std::mem::take(batch);
    match writer {
        Some(writer) => writer.index_again(records).map_err(repo_error(DOING)),
        None => Ok(()),
    }
}

/// Says whether what is known is at least as new as an entry of the same id.
fn is_known(known: &ManifestEntry, entry: &ManifestEntry) -> bool {
    known.modified >= entry.modified
}

/// Writes manifests that come `back`, unless a content that was `found` holds nothing else: that one
/// is indexed as it was. Returns the records to be indexed: those, and, as in a compaction of
/// manifests, tombstones of the others. What holds something that was refused is left alone.
fn take_over(
    writer: &Writer,
    found: Vec<(ContentRecord, Vec<ManifestEntry>)>,
    mut back: Vec<ManifestEntry>,
    refused: &BTreeMap<String, &str>,
) -> Result<Vec<ContentRecord>, VerifyError> {
    let mut records = Vec::new();
    let mut others = Vec::new();
    for (record, entries) in found {
        if entries.iter().all(|entry| back.contains(entry)) {
            back.retain(|entry| !entries.contains(entry));
            records.push(record);
        } else if !entries.iter().any(|entry| refused.contains_key(&entry.id)) {
            others.push(record);
        }
    }
    if !back.is_empty() {
        writer.write_manifests(back).map_err(repo_error(DOING))?;
    }
    let now = writer.repository().clock().now().as_second();
    records.extend(others.into_iter().map(|record| ContentRecord {
        deleted: true,
        timestamp_seconds: now.max(record.timestamp_seconds + 1),
        ..record
    }));
    Ok(records)
}

/// Returns the id of the set that a compacted index blob belongs to.
fn set_of(blob: &str) -> &str {
    blob.split('-').nth(1).unwrap_or(blob)
}

fn silent(progress: &Progress) -> Progress {
    Progress {
        stop: progress.stop.clone(),
        ..Progress::silent()
    }
}
