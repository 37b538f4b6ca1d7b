//! What maintenance needs from inside a repository (Kopia spec 8).
//!
//! Steps only, each safe by itself and at any moment beside other clients. When each may be taken,
//! and who may, is decided by whoever calls: the `maintain` engine.

mod epochs;
mod moves;
mod schedule;

use std::fs::{self, File};
use std::sync::Arc;

use blob::BlobMetadata;
use kopia::blob_name::BlobName;
use kopia::maintenance::{MAINTENANCE_TYPE, MaintenanceParameters};
use kopia::manifest::ManifestEntry;
use time_and_chance::Timestamp;

use crate::error::{RepoError, RepoErrorKind, local_error, store_error};
use crate::index::index_blob::open_blob;
use crate::{Manifests, Repository, Writer};

pub use epochs::Compaction;
pub use moves::Moved;
pub use schedule::ScheduleKeeper;

/// Held by the one maintenance that runs from this cache folder.
#[derive(Debug)]
pub struct MaintenanceLock {
    _file: File,
}

impl Manifests {
    /// Returns who maintains the repository and how, or `None` if nobody has said so yet.
    pub fn maintenance(&self) -> Result<Option<MaintenanceParameters>, RepoError> {
        let latest = kopia::manifest::latest(self.find(MAINTENANCE_TYPE, &[]));
        let parse = |entry: ManifestEntry| {
            MaintenanceParameters::parse(entry.data.get()).map_err(|error| {
                RepoError::new(
                    RepoErrorKind::Damaged,
                    format!("read the maintenance parameters in manifest {}", entry.id),
                )
                .caused_by(error)
            })
        };
        latest.map(parse).transpose()
    }
}

impl Writer {
    /// Stores who maintains the repository and how, in place of what was said before.
    pub fn set_maintenance(&self, parameters: &MaintenanceParameters) -> Result<(), RepoError> {
        let manifests = self.repository().manifests()?;
        let now = self.repository().clock().now();
        let mut entries: Vec<ManifestEntry> = manifests
            .find(MAINTENANCE_TYPE, &[])
            .map(|entry| ManifestEntry::tombstone(&entry, now))
            .collect();
        entries.push(self.new_manifest(MaintenanceParameters::labels(), parameters.encode()));
        self.write_manifests(entries)?;
        self.flush()
    }
}

impl Repository {
    /// Takes the lock that keeps two maintenances of this machine apart; `None` if it is held.
    pub fn lock_maintenance(&self) -> Result<Option<MaintenanceLock>, RepoError> {
        let folder = self.index_cache.folder();
        let path = folder.join("maintenance.lock");
        let doing = || local_error(format!("lock {}", path.display()));
        fs::create_dir_all(folder).map_err(doing())?;
        let file = File::create(&path).map_err(doing())?;
        match file.try_lock() {
            Ok(()) => Ok(Some(MaintenanceLock { _file: file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(doing()(error)),
        }
    }

    /// Returns the folder for temporary files of work on this repository.
    pub fn temporary_folder(&self) -> &std::path::Path {
        self.index_cache.folder()
    }

    /// Returns when a session last said that it is alive: by the marker itself or, where that is
    /// later or the marker cannot be read, by the store's time of it. `None` if it is gone.
    pub fn session_alive_at(&self, marker: &BlobMetadata) -> Result<Option<Timestamp>, RepoError> {
        let sealed = match self.store.get(&marker.name) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == blob::BlobErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(store_error(format!("read session marker {}", marker.name))(
                    error,
                ));
            }
        };
        let said = open_blob(&self.opener, &self.hasher, &marker.name, &sealed)
            .ok()
            .and_then(|json| kopia::session::SessionMarker::parse(&json).ok())
            .map(|session| session.checkpoint_time);
        Ok(Some(
            said.map_or(marker.modified, |said| said.max(marker.modified)),
        ))
    }

    /// Lets tombstones up to this Unix second be forgotten by every client, and deleted contents
    /// with them (Kopia spec 5.5). Never moves back.
    pub fn advance_watermark(&self, seconds: i64) -> Result<bool, RepoError> {
        self.check_may_write()?;
        let listed = self
            .store
            .list_all(kopia::blob_name::WATERMARK_PREFIX)
            .map_err(store_error("list the repository's watermarks"))?;
        let known = listed
            .iter()
            .filter_map(|blob| match BlobName::parse(&blob.name) {
                BlobName::DeletionWatermark { seconds } => Some(seconds),
                _ => None,
            });
        if known.max().is_some_and(|known| known >= seconds) || seconds <= 0 {
            return Ok(false);
        }
        let name = format!("{}{seconds}", kopia::blob_name::WATERMARK_PREFIX);
        self.put_blob(&name, b"deletion-watermark")?;
        self.refresh()?;
        Ok(true)
    }

    /// Returns the watermark as this client sees it now.
    pub fn watermark_seconds(&self) -> i64 {
        self.view().watermark_seconds
    }

    /// Deletes a blob that maintenance may delete.
    pub fn delete_blob(&self, name: &str) -> Result<(), RepoError> {
        self.check_may_write()?;
        self.store
            .delete(name)
            .map_err(store_error(format!("delete blob {name}")))
    }

    pub(crate) fn put_blob(&self, name: &str, bytes: &[u8]) -> Result<(), RepoError> {
        self.store
            .put(name, &[bytes], &self.put_options(name))
            .map_err(store_error(format!("write blob {name}")))
    }
}

/// Returns the identity of a client as owners are named.
pub fn owner_name(repo: &Arc<Repository>) -> String {
    let identity = repo.identity();
    format!("{}@{}", identity.username, identity.hostname)
}
