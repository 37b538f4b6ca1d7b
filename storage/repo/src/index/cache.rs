//! The local copy of the index: one table per index blob, and one that merges many.
//!
//! Each index blob is fetched once, checked, and kept as a sorted table in the cache folder.
//! When there are more than a few, they are merged into one, so a look-up asks few files. A
//! merged table is used only while *all* blobs it was made from are still active: a record that
//! maintenance dropped since must not come back.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blob::{BlobErrorKind, BlobStore};
use kopia::blob_name::blob_crypto_iv;
use kopia::cipher::ContentCipher;
use kopia::epoch::{ActiveSource, EpochState};
use kopia::hash::ContentHasher;
use kopia::index::IndexReader;
use kopia::legacy_index::{CompactionLog, active_index_blobs};
use time_and_chance::{Clock, StopSignal};

use super::table::{Table, TableWriter, new_table_file};
use super::view::{IndexView, ViewTable, merge};
use crate::error::{RepoError, RepoErrorKind, local_error, stopped, store_error};

/// More tables than this are merged into one.
const TABLES_MAX: usize = 12;
/// How often a listing that goes stale while it is used is made again (Kopia spec 5.5).
const ATTEMPTS_MAX: u32 = 10;

/// Keeps the local copy of a repository's index.
#[derive(Debug)]
pub(crate) struct IndexCache {
    folder: PathBuf,
    hasher: ContentHasher,
    cipher: ContentCipher,
    epochs_enabled: bool,
}

/// What the store lists: the blobs whose tables make the view.
struct Active {
    blobs: Vec<String>,
    watermark_seconds: i64,
}

impl IndexCache {
    /// Opens or makes the cache in `folder`.
    pub(crate) fn new(
        folder: PathBuf,
        hasher: ContentHasher,
        cipher: ContentCipher,
        epochs_enabled: bool,
    ) -> Result<Self, RepoError> {
        fs::create_dir_all(&folder).map_err(local_error(format!(
            "create the cache folder {}",
            folder.display()
        )))?;
        Ok(Self {
            folder,
            hasher,
            cipher,
            epochs_enabled,
        })
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
            match self.try_refresh(store, previous) {
                Err(error)
                    if error.kind() == RepoErrorKind::Store(BlobErrorKind::NotFound)
                        && attempt < ATTEMPTS_MAX =>
                {
                    // Maintenance compacted an index blob between listing and fetching it.
                    attempt += 1;
                    let pause = std::time::Duration::from_millis(50 << attempt);
                    clock.sleep(pause, stop).map_err(stopped)?;
                }
                other => return other,
            }
        }
    }

    fn try_refresh(
        &self,
        store: &dyn BlobStore,
        previous: &IndexView,
    ) -> Result<IndexView, RepoError> {
        let active = if self.epochs_enabled {
            list_epochs(store)?
        } else {
            self.list_legacy(store)?
        };
        let wanted: BTreeSet<&str> = active.blobs.iter().map(String::as_str).collect();
        let mut tables: Vec<ViewTable> = previous
            .tables
            .iter()
            .filter(|view| view.blobs.iter().all(|blob| wanted.contains(blob.as_str())))
            .cloned()
            .collect();
        if tables.is_empty() {
            tables.extend(self.open_merged(&wanted));
        }
        let held: BTreeSet<String> = tables
            .iter()
            .flat_map(|view| view.blobs.iter().cloned())
            .collect();
        for blob in active.blobs.iter().filter(|blob| !held.contains(*blob)) {
            tables.push(self.table_of(store, blob)?);
        }
        let mut view = IndexView {
            tables,
            watermark_seconds: active.watermark_seconds,
        };
        if view.tables.len() > TABLES_MAX {
            view.tables = vec![self.merge_all(&view, &wanted)?];
        }
        self.forget_all_but(&wanted);
        Ok(view)
    }

    /// Returns the table of one index blob that this process has just written.
    pub(crate) fn adopt(&self, blob: &str, payload: &[u8]) -> Result<ViewTable, RepoError> {
        self.write_table(blob, payload)
    }

    fn table_of(&self, store: &dyn BlobStore, blob: &str) -> Result<ViewTable, RepoError> {
        if let Ok(file) = File::open(self.path_of(blob))
            && let Ok(table) = Table::open(file)
        {
            return Ok(ViewTable {
                table: Arc::new(table),
                blobs: Arc::from([blob.to_owned()]),
            });
        }
        let payload = self.fetch(store, blob)?;
        self.write_table(blob, &payload)
    }

    fn write_table(&self, blob: &str, payload: &[u8]) -> Result<ViewTable, RepoError> {
        let damaged = |error: &dyn std::fmt::Display| {
            RepoError::new(
                RepoErrorKind::Damaged,
                format!("read index blob {blob}: {error}"),
            )
        };
        let index = IndexReader::parse(payload, ContentCipher::OVERHEAD_BYTES as u32)
            .map_err(|error| damaged(&error))?;
        let temporary = new_table_file(&self.folder)?;
        let key_bytes = self.hasher.algorithm().output_bytes() + 1;
        let file = temporary
            .reopen()
            .map_err(local_error("open a new index table in the cache"))?;
        let mut writer = TableWriter::new(file, key_bytes)?;
        let mut previous = None;
        for record in index.iter() {
            let record = record.map_err(|error| damaged(&error))?;
            if previous.is_some_and(|previous| previous >= record.id) {
                return Err(damaged(&"its entries are out of order"));
            }
            previous = Some(record.id);
            writer.push(&record)?;
        }
        let table = writer.finish()?;
        persist(temporary, &self.path_of(blob))?;
        Ok(ViewTable {
            table: Arc::new(table),
            blobs: Arc::from([blob.to_owned()]),
        })
    }

    /// Fetches an index blob and opens its seal; the name must be the payload's hash.
    fn fetch(&self, store: &dyn BlobStore, blob: &str) -> Result<Vec<u8>, RepoError> {
        let sealed = store
            .get(blob)
            .map_err(store_error(format!("read index blob {blob}")))?;
        open_blob(&self.cipher, &self.hasher, blob, sealed)
    }

    fn list_legacy(&self, store: &dyn BlobStore) -> Result<Active, RepoError> {
        let list = |prefix: &str| {
            store
                .list_all(prefix)
                .map_err(store_error("list the repository's index blobs"))
        };
        let names = |blobs: Vec<blob::BlobMetadata>| {
            blobs.into_iter().map(|blob| blob.name).collect::<Vec<_>>()
        };
        let indexes = names(list("n")?);
        let mut logs = Vec::new();
        for log in names(list("m")?) {
            let parsed = CompactionLog::parse(&self.fetch(store, &log)?).map_err(|error| {
                RepoError::new(RepoErrorKind::Damaged, format!("read compaction log {log}"))
                    .caused_by(error)
            })?;
            logs.push(parsed);
        }
        let blobs = active_index_blobs(&indexes, &logs);
        Ok(Active {
            blobs,
            watermark_seconds: 0,
        })
    }

    fn merge_all(&self, view: &IndexView, wanted: &BTreeSet<&str>) -> Result<ViewTable, RepoError> {
        let temporary = new_table_file(&self.folder)?;
        let file = temporary
            .reopen()
            .map_err(local_error("open a new index table in the cache"))?;
        let mut writer = TableWriter::new(file, self.hasher.algorithm().output_bytes() + 1)?;
        let cursors = view
            .tables
            .iter()
            .map(|view| view.table.cursor(&[]))
            .collect();
        merge(cursors, &mut |record| writer.push(&record).map(|()| true))?;
        let table = writer.finish()?;
        let list: Vec<String> = wanted.iter().map(|blob| (*blob).to_owned()).collect();
        let names = self.folder.join("merged.blobs");
        // The list goes first and away again: a merged table must never be read with another's list.
        let _ = fs::remove_file(&names);
        persist(temporary, &self.folder.join("merged.table"))?;
        fs::write(&names, list.join("\n"))
            .map_err(local_error(format!("write {}", names.display())))?;
        Ok(ViewTable {
            table: Arc::new(table),
            blobs: Arc::from(list),
        })
    }

    fn open_merged(&self, wanted: &BTreeSet<&str>) -> Option<ViewTable> {
        let names = fs::read_to_string(self.folder.join("merged.blobs")).ok()?;
        let blobs: Vec<String> = names.lines().map(str::to_owned).collect();
        if blobs.is_empty() || !blobs.iter().all(|blob| wanted.contains(blob.as_str())) {
            return None;
        }
        let table = Table::open(File::open(self.folder.join("merged.table")).ok()?).ok()?;
        Some(ViewTable {
            table: Arc::new(table),
            blobs: Arc::from(blobs),
        })
    }

    /// Deletes tables of blobs that are no longer active; open ones live on until closed.
    fn forget_all_but(&self, wanted: &BTreeSet<&str>) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let stale = name
                .to_str()
                .and_then(|name| name.strip_suffix(".index"))
                .is_some_and(|blob| !wanted.contains(blob));
            if stale {
                // The cache may be cleaned by several processes at once; whoever loses is fine.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn path_of(&self, blob: &str) -> PathBuf {
        self.folder.join(format!("{blob}.index"))
    }
}

/// Opens the seal of a blob that is named after its payload's hash (Kopia spec 3.2).
pub(crate) fn open_blob(
    cipher: &ContentCipher,
    hasher: &ContentHasher,
    blob: &str,
    mut sealed: Vec<u8>,
) -> Result<Vec<u8>, RepoError> {
    let damaged =
        |what: &str| RepoError::new(RepoErrorKind::Damaged, format!("read blob {blob}: {what}"));
    let iv = blob_crypto_iv(blob).ok_or_else(|| damaged("its name holds no hash"))?;
    let payload = cipher
        .open_in_place(&iv, &mut sealed)
        .map_err(|_| damaged("it was altered, cut, or belongs to another repository"))?;
    if hasher.hash(payload).iv() != iv {
        return Err(damaged("its content does not match its name"));
    }
    Ok(payload.to_vec())
}

fn persist(temporary: tempfile::NamedTempFile, path: &Path) -> Result<(), RepoError> {
    temporary
        .persist(path)
        .map(drop)
        .map_err(|error| local_error(format!("rename a file to {}", path.display()))(error.error))
}

fn list_epochs(store: &dyn BlobStore) -> Result<Active, RepoError> {
    let doing = "list the repository's index blobs";
    let mut names = Vec::new();
    for prefix in ["xe", "xw", "xs", "xr"] {
        names.extend(
            store
                .list_all(prefix)
                .map_err(store_error(doing))?
                .into_iter()
                .map(|blob| blob.name),
        );
    }
    let state = EpochState::from_listing(&names)
        .map_err(|error| RepoError::new(RepoErrorKind::Damaged, doing).caused_by(error))?;
    let mut blobs = Vec::new();
    for source in state.plan_active() {
        match source {
            ActiveSource::Blobs(names) => blobs.extend(names),
            ActiveSource::ListUncompacted(epoch) => {
                let prefix = format!("xn{epoch}_");
                let listed = store.list_all(&prefix).map_err(store_error(doing))?;
                blobs.extend(listed.into_iter().map(|blob| blob.name));
            }
        }
    }
    Ok(Active {
        blobs,
        watermark_seconds: state.watermark_seconds,
    })
}
