//! The local copy of the index: tables of single index blobs, and tables that merge many.
//!
//! Each index blob is fetched once, checked, and kept as a sorted table in the cache folder.
//! When there are too many small ones, some are merged into one, so a look-up asks few files. A
//! merged table is used only while *all* blobs it was made from are still active: a record that
//! maintenance dropped since must not come back.
//!
//! Several processes may use a folder at the same time: files appear whole under their names,
//! say themselves what they were made from, and may vanish at any time.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blob::{BlobErrorKind, BlobMetadata, BlobStore};
use kopia::epoch::{ActiveSource, EpochState};
use kopia::hash::ContentHasher;
use kopia::legacy_index::{CompactionLog, active_index_blobs};
use time_and_chance::{Clock, SignedDuration, StopSignal, Timestamp};

use super::index_blob::{self, IndexPayload, open_blob, write_table};
use super::merge::{SMALL_TABLES_MAX, tables_to_merge, write_merged};
use super::table::Table;
use super::table_writer::{NEW_FILE, open_table};
use super::view::IndexView;
use crate::error::{RepoError, RepoErrorKind, local_error, stopped, store_error};
use crate::opener::Opener;

/// So many small tables may be open before they are merged, on the way to fewer.
const OPEN_TABLES_MAX: usize = 64;
/// How often a listing that goes stale while it is used is made again (Kopia spec 5.5).
const ATTEMPTS_MAX: u32 = 10;
/// Whoever was told to stop still needs the index as it is now to clean up; so many blobs of others
/// are fetched nevertheless.
const BLOBS_AFTER_STOP_MAX: usize = 16;
/// … if they are no longer than this.
const BYTES_AFTER_STOP_MAX: u64 = 4 << 20;
/// A file that was begun this long ago belongs to a process that died.
const NEW_FILE_AGE_MAX: SignedDuration = SignedDuration::from_hours(48);
/// How the names of tables end.
const TABLE_SUFFIX: &str = ".index";
/// How the names of merged tables begin; no index blob is named like this.
const MERGED_PREFIX: &str = "merged-";

/// Keeps the local copy of a repository's index.
#[derive(Debug)]
pub(crate) struct IndexCache {
    folder: PathBuf,
    hasher: ContentHasher,
    opener: Opener,
    epochs_enabled: bool,
    on_damage: IndexDamage,
    /// Damaged index blobs that the latest view lacks, with the reason.
    left_out: Mutex<BTreeMap<String, String>>,
}

/// What an index blob that makes no sense leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IndexDamage {
    /// There is no view: what is not in it would be taken for missing.
    IsAnError,
    /// The view lacks what the blob held.
    IsLeftOut,
}

/// What the store lists: the blobs whose tables make the view, with their lengths.
struct Active {
    blobs: BTreeMap<String, u64>,
    watermark_seconds: i64,
}

impl IndexCache {
    /// Opens or makes the cache in `folder`.
    pub(crate) fn new(
        folder: PathBuf,
        hasher: ContentHasher,
        opener: Opener,
        epochs_enabled: bool,
        on_damage: IndexDamage,
    ) -> Result<Self, RepoError> {
        fs::create_dir_all(&folder).map_err(local_error(format!(
            "create the cache folder {}",
            folder.display()
        )))?;
        Ok(Self {
            folder,
            hasher,
            opener,
            epochs_enabled,
            on_damage,
            left_out: Mutex::default(),
        })
    }

    /// Returns the damaged index blobs that the latest view lacks, with the reason.
    pub(crate) fn left_out(&self) -> BTreeMap<String, String> {
        self.left_out
            .lock()
            .expect("no thread panics while it notes an index blob")
            .clone()
    }

    /// Returns the names and lengths of the index blobs that count now.
    pub(crate) fn active(&self, store: &dyn BlobStore) -> Result<BTreeMap<String, u64>, RepoError> {
        self.list_active(store).map(|active| active.blobs)
    }

    /// Fetches an index blob as if the cache did not have it and reads all of it; `Damaged` if it
    /// makes no sense.
    pub(crate) fn check(
        &self,
        store: &dyn BlobStore,
        blob: &str,
        sealed_bytes: u64,
    ) -> Result<(), RepoError> {
        let payload = IndexPayload::fetch(
            store,
            blob,
            sealed_bytes,
            &self.opener,
            &self.hasher,
            &self.folder,
        )?;
        index_blob::check(blob, &payload, self.key_bytes())
    }

    /// Returns the index blobs that do not count any more, or not yet, with their lengths.
    pub(crate) fn superseded(
        &self,
        store: &dyn BlobStore,
    ) -> Result<BTreeMap<String, u64>, RepoError> {
        let mut superseded = BTreeMap::new();
        // What is listed first and counts by now is left out by the second listing.
        for prefix in ["xn", "xs", "xr"] {
            let listed = store.list_all(prefix);
            let listed = listed.map_err(store_error("list superseded index blobs"))?;
            superseded.extend(listed.into_iter().map(|blob| (blob.name, blob.bytes)));
        }
        let active = self.active(store)?;
        superseded.retain(|blob, _| !active.contains_key(blob));
        Ok(superseded)
    }

    /// Returns the table of one index blob if the cache has it.
    pub(crate) fn cached(&self, blob: &str) -> Option<Arc<Table>> {
        open_table(&self.path_of(blob))
            .filter(|table| table.blobs() == [blob])
            .map(Arc::new)
    }

    /// Returns the folder that belongs to this repository.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the view of what is active in the store now, reusing what `previous` has open.
    pub(crate) fn refresh(
        &self,
        store: &dyn BlobStore,
        previous: &IndexView,
        clock: &dyn Clock,
        stop: &StopSignal,
    ) -> Result<IndexView, RepoError> {
        let mut attempt = 0;
        loop {
            match self.try_refresh(store, previous, stop) {
                Err(error)
                    if error.kind() == RepoErrorKind::Store(BlobErrorKind::NotFound)
                        && attempt < ATTEMPTS_MAX =>
                {
                    // Maintenance compacted an index blob between listing and fetching it.
                    attempt += 1;
                    let pause = Duration::from_millis(50 << attempt);
                    clock.sleep(pause, stop).map_err(stopped)?;
                }
                Ok(view) => {
                    self.forget_all_but(&view, clock.now());
                    return Ok(view);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn try_refresh(
        &self,
        store: &dyn BlobStore,
        previous: &IndexView,
        stop: &StopSignal,
    ) -> Result<IndexView, RepoError> {
        let active = self.list_active(store)?;
        let mut left_out = BTreeMap::new();
        let mut tables: Vec<Arc<Table>> = previous
            .tables
            .iter()
            .filter(|table| counts(table, &active))
            .cloned()
            .collect();
        if tables.is_empty() {
            tables = self.open_merged(&active);
        }
        let held: HashSet<String> = tables
            .iter()
            .flat_map(|table| table.blobs().iter().cloned())
            .collect();
        let missing: Vec<(&String, &u64)> = active
            .blobs
            .iter()
            .filter(|(blob, _)| !held.contains(*blob))
            .collect();
        let missing_bytes: u64 = missing.iter().map(|(_, sealed_bytes)| **sealed_bytes).sum();
        let is_little =
            missing.len() <= BLOBS_AFTER_STOP_MAX && missing_bytes <= BYTES_AFTER_STOP_MAX;
        for (blob, sealed_bytes) in missing {
            if !is_little {
                stop.check().map_err(stopped)?;
            }
            match self.table_of(store, blob, *sealed_bytes) {
                Err(error)
                    if error.kind() == RepoErrorKind::Damaged
                        && self.on_damage == IndexDamage::IsLeftOut =>
                {
                    left_out.insert(blob.clone(), error.to_string());
                }
                table => tables.push(Arc::new(table?)),
            }
            self.merge_if_more_than(OPEN_TABLES_MAX, &mut tables)?;
        }
        *self
            .left_out
            .lock()
            .expect("no thread panics while it notes an index blob") = left_out;
        self.merge_if_more_than(SMALL_TABLES_MAX, &mut tables)?;
        Ok(IndexView {
            tables,
            watermark_seconds: active.watermark_seconds,
        })
    }

    fn list_active(&self, store: &dyn BlobStore) -> Result<Active, RepoError> {
        match self.epochs_enabled {
            true => list_epochs(store),
            false => self.list_legacy(store),
        }
    }

    /// Returns tables that hold these index blobs, given by name and length, and nothing else.
    pub(crate) fn tables_of<'b>(
        &self,
        store: &dyn BlobStore,
        blobs: impl Iterator<Item = (&'b str, u64)>,
        stop: &StopSignal,
    ) -> Result<Vec<Arc<Table>>, RepoError> {
        let mut tables = Vec::new();
        for (blob, sealed_bytes) in blobs {
            stop.check().map_err(stopped)?;
            tables.push(Arc::new(self.table_of(store, blob, sealed_bytes)?));
            self.merge_if_more_than(OPEN_TABLES_MAX, &mut tables)?;
        }
        Ok(tables)
    }

    /// Returns `view` with one index blob more, which this process has just written.
    pub(crate) fn adopt(
        &self,
        view: &IndexView,
        blob: &str,
        payload: &[u8],
    ) -> Result<IndexView, RepoError> {
        let mut view = view.clone();
        if !view.holds(blob) {
            let payload = IndexPayload::Memory(payload.into());
            view.tables
                .push(Arc::new(self.write_table(blob, &payload)?));
            self.merge_if_more_than(OPEN_TABLES_MAX, &mut view.tables)?;
        }
        Ok(view)
    }

    fn table_of(
        &self,
        store: &dyn BlobStore,
        blob: &str,
        sealed_bytes: u64,
    ) -> Result<Table, RepoError> {
        if let Some(table) = open_table(&self.path_of(blob))
            && table.blobs() == [blob]
        {
            return Ok(table);
        }
        let payload = IndexPayload::fetch(
            store,
            blob,
            sealed_bytes,
            &self.opener,
            &self.hasher,
            &self.folder,
        )?;
        self.write_table(blob, &payload)
    }

    fn write_table(&self, blob: &str, payload: &IndexPayload<'_>) -> Result<Table, RepoError> {
        let path = self.path_of(blob);
        write_table(blob, payload, self.key_bytes(), &self.folder, &path)
    }

    fn key_bytes(&self) -> usize {
        self.hasher.algorithm().output_bytes() + 1
    }

    fn list_legacy(&self, store: &dyn BlobStore) -> Result<Active, RepoError> {
        let list = |prefix: &str| {
            store
                .list_all(prefix)
                .map_err(store_error("list the repository's index blobs"))
        };
        let indexes = list("n")?;
        let mut logs = Vec::new();
        for BlobMetadata { name: log, .. } in list("m")? {
            let sealed = store
                .get(&log)
                .map_err(store_error(format!("read compaction log {log}")))?;
            let payload = open_blob(&self.opener, &self.hasher, &log, &sealed)?;
            let parsed = CompactionLog::parse(&payload).map_err(|error| {
                RepoError::new(RepoErrorKind::Damaged, format!("read compaction log {log}"))
                    .caused_by(error)
            })?;
            logs.push(parsed);
        }
        let bytes = lengths(&indexes);
        let names: Vec<String> = indexes.iter().map(|blob| blob.name.clone()).collect();
        let active = active_index_blobs(&names, &logs);
        Ok(Active {
            blobs: active
                .into_iter()
                .map(|blob| (bytes[blob.as_str()], blob))
                .map(|(bytes, blob)| (blob, bytes))
                .collect(),
            watermark_seconds: 0,
        })
    }

    /// Merges small tables if there are more than this.
    fn merge_if_more_than(
        &self,
        small_tables_max: usize,
        tables: &mut Vec<Arc<Table>>,
    ) -> Result<(), RepoError> {
        let records: Vec<u64> = tables.iter().map(|table| table.records()).collect();
        if tables_to_merge(&records, small_tables_max).is_empty() {
            return Ok(());
        }
        // Once something is merged, it is done thoroughly.
        let places = tables_to_merge(&records, SMALL_TABLES_MAX);
        let chosen: Vec<Arc<Table>> = places
            .iter()
            .map(|place| Arc::clone(&tables[*place]))
            .collect();
        let path = self.path_of_merged(&chosen);
        let merged = write_merged(&chosen, self.key_bytes(), &self.folder, &path)?;
        let mut place = 0;
        tables.retain(|_| {
            place += 1;
            !places.contains(&(place - 1))
        });
        tables.push(Arc::new(merged));
        Ok(())
    }

    /// Opens merged tables that count, no two with a blob in common, the largest first.
    fn open_merged(&self, active: &Active) -> Vec<Arc<Table>> {
        let mut found: Vec<Table> = self
            .tables_in_folder()
            .into_iter()
            .filter(|(name, _)| name.starts_with(MERGED_PREFIX))
            .filter_map(|(_, path)| open_table(&path))
            .filter(|table| counts(table, active))
            .collect();
        found.sort_by_key(|table| std::cmp::Reverse(table.records()));
        let mut held: HashSet<String> = HashSet::new();
        let mut chosen = Vec::new();
        for table in found {
            if table.blobs().iter().all(|blob| !held.contains(blob)) {
                held.extend(table.blobs().iter().cloned());
                chosen.push(Arc::new(table));
            }
        }
        chosen
    }

    /// Deletes tables that `view` does not need, and files that a process which died left.
    ///
    /// Tables of single blobs stay while they count, merged or not: when one of many blobs is
    /// compacted away, the others need not be fetched again. Whoever has a file open keeps it.
    fn forget_all_but(&self, view: &IndexView, now: Timestamp) {
        let wanted: HashSet<String> = view
            .tables
            .iter()
            .flat_map(|table| table.blobs().iter().cloned())
            .collect();
        let merged: HashSet<PathBuf> = view
            .tables
            .iter()
            .map(|table| self.path_of_merged(std::slice::from_ref(table)))
            .collect();
        for (name, path) in self.tables_in_folder() {
            let needed = if name.starts_with(MERGED_PREFIX) {
                merged.contains(&path)
            } else {
                wanted.contains(name.trim_end_matches(TABLE_SUFFIX))
            };
            if !needed {
                // The cache may be cleaned by several processes at once; whoever loses is fine.
                let _ = fs::remove_file(path);
            }
        }
        for (_, path) in self.files(NEW_FILE.0, NEW_FILE.1) {
            let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
            let modified = modified.ok().and_then(|at| Timestamp::try_from(at).ok());
            if modified.is_some_and(|at| now.duration_since(at) > NEW_FILE_AGE_MAX) {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn tables_in_folder(&self) -> Vec<(String, PathBuf)> {
        self.files("", TABLE_SUFFIX)
    }

    /// Returns name and path of every file whose name begins and ends like this.
    fn files(&self, prefix: &str, suffix: &str) -> Vec<(String, PathBuf)> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
            .filter(|(name, _)| name.starts_with(prefix) && name.ends_with(suffix))
            .collect()
    }

    fn path_of(&self, blob: &str) -> PathBuf {
        self.folder.join(format!("{blob}{TABLE_SUFFIX}"))
    }

    /// Returns where the table that merges these belongs: whoever merges the same blobs writes
    /// the same file.
    fn path_of_merged(&self, tables: &[Arc<Table>]) -> PathBuf {
        let mut blobs: Vec<&str> = tables
            .iter()
            .flat_map(|table| table.blobs())
            .map(String::as_str)
            .collect();
        blobs.sort_unstable();
        let hash = self.hasher.hash(blobs.join("\n").as_bytes()).to_hex();
        self.folder
            .join(format!("{MERGED_PREFIX}{hash}{TABLE_SUFFIX}"))
    }
}

/// Says whether all blobs that a table was made from are active.
fn counts(table: &Table, active: &Active) -> bool {
    let blobs = table.blobs();
    blobs.iter().all(|blob| active.blobs.contains_key(blob))
}

fn lengths(blobs: &[BlobMetadata]) -> BTreeMap<&str, u64> {
    blobs
        .iter()
        .map(|blob| (blob.name.as_str(), blob.bytes))
        .collect()
}

fn list_epochs(store: &dyn BlobStore) -> Result<Active, RepoError> {
    let doing = "list the repository's index blobs";
    let mut listed = Vec::new();
    for prefix in ["xe", "xw", "xs", "xr"] {
        listed.extend(store.list_all(prefix).map_err(store_error(doing))?);
    }
    let state = EpochState::from_listing(listed.iter().map(|blob| &blob.name))
        .map_err(|error| RepoError::new(RepoErrorKind::Damaged, doing).caused_by(error))?;
    let bytes = lengths(&listed);
    let mut blobs = BTreeMap::new();
    for source in state.plan_active() {
        match source {
            ActiveSource::Blobs(names) => {
                blobs.extend(
                    names
                        .into_iter()
                        .map(|name| (bytes[name.as_str()], name))
                        .map(|(bytes, name)| (name, bytes)),
                );
            }
            ActiveSource::ListUncompacted(epoch) => {
                let prefix = format!("xn{epoch}_");
                let uncompacted = store.list_all(&prefix).map_err(store_error(doing))?;
                blobs.extend(uncompacted.into_iter().map(|blob| (blob.name, blob.bytes)));
            }
        }
    }
    Ok(Active {
        blobs,
        watermark_seconds: state.watermark_seconds,
    })
}

#[cfg(test)]
mod tests;
