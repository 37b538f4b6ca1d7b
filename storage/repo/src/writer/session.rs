//! A session: everything written between two flushes (Kopia spec 4.8).

use std::sync::Arc;

use kopia::blob_name;
use kopia::content_id::{ContentId, prefix};
use kopia::record::ContentRecord;
use kopia::session::{SessionId, SessionMarker};

use super::pack::OpenPack;
use super::session_lock::SessionLock;
use super::uploads::UploadGroup;
use crate::Repository;
use crate::error::{RepoError, RepoErrorKind, store_error};

/// The local clock may differ from the store's by this much (Kopia spec 5.7).
const SKEW_MAX_SECONDS: i64 = 5 * 60;

/// What was written since the last flush.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) marker: String,
    pub(super) data_pack: Option<OpenPack>,
    pub(super) metadata_pack: Option<OpenPack>,
    pub(super) packs: Vec<Arc<str>>,
    pub(super) records: Vec<ContentRecord>,
    pub(super) uploads: Arc<UploadGroup>,
    pub(super) begun: std::time::Duration,
    pub(super) content_bytes: u64,
    pub(super) lock: SessionLock,
}

impl Session {
    /// Begins a session: its marker stands in the store before its first pack does.
    ///
    /// # Errors
    /// `ClockSkew` if the store's time of the marker is more than five minutes from ours: ages
    /// of contents would be wrong, and maintenance deletes by age.
    pub(super) fn begin(repo: &Repository) -> Result<Self, RepoError> {
        repo.check_may_write()?;
        let clock = repo.clock();
        let now = clock.now();
        let id = SessionId::new(repo.chance().bytes(), now);
        // Before the marker: a session without a lock would look dead to nobody, and for ever alive.
        let lock = SessionLock::take(repo, &id)?;
        let identity = repo.identity();
        let marker = SessionMarker {
            id: id.clone(),
            start_time: now,
            checkpoint_time: now,
            username: identity.username.clone(),
            hostname: identity.hostname.clone(),
        };
        let json = marker.to_json();
        let hash = repo.hasher.hash(&json);
        let name = blob_name::session_marker(&hash, &id);
        let mut sealed = Vec::new();
        repo.cipher
            .seal_into(&hash.iv(), repo.chance().bytes(), &json, &mut sealed);
        put(repo, &name, &sealed)?;
        let stored = repo
            .store
            .metadata(&name)
            .map_err(store_error("read the time of our session marker"))?;
        let skew = stored.modified.as_second() - clock.now().as_second();
        if skew.abs() > SKEW_MAX_SECONDS {
            // Best effort: a marker left behind is harmless and goes away with maintenance.
            let _ = repo.store.delete(&name);
            lock.end();
            return Err(RepoError::new(
                RepoErrorKind::ClockSkew,
                format!(
                    "write to the repository: this machine's clock differs from the store's by {} seconds; set it right and try again",
                    skew.abs()
                ),
            ));
        }
        Ok(Self {
            id,
            marker: name,
            data_pack: None,
            metadata_pack: None,
            packs: Vec::new(),
            records: Vec::new(),
            uploads: Arc::default(),
            begun: clock.monotonic(),
            content_bytes: 0,
            lock,
        })
    }

    /// Returns a session of this machine that died, as far as its packs tell of it.
    pub(super) fn of_the_dead(
        id: SessionId,
        marker: String,
        packs: Vec<Arc<str>>,
        records: Vec<ContentRecord>,
        lock: SessionLock,
    ) -> Self {
        Self {
            id,
            marker,
            data_pack: None,
            metadata_pack: None,
            packs,
            records,
            uploads: Arc::default(),
            begun: std::time::Duration::ZERO,
            content_bytes: 0,
            lock,
        }
    }

    /// Forgets manifests, written and deleted alike; returns their contents' ids.
    pub(super) fn forget_manifests(&mut self) -> Vec<ContentId> {
        self.records
            .extract_if(.., |record| is_manifest(record))
            .map(|record| record.id)
            .collect()
    }

    /// Forgets what lay in packs that are gone. Tombstones go too: what replaces the deleted may
    /// have been in there.
    pub(super) fn give_up(&mut self, lost: &[Arc<str>]) {
        self.packs.retain(|pack| !lost.contains(pack));
        self.records
            .retain(|record| !record.deleted && !lost.contains(&record.pack_blob));
    }

    /// Returns the open pack for data or metadata, beginning one if there is none.
    pub(super) fn pack(&mut self, metadata: bool, repo: &Repository) -> &mut OpenPack {
        let place = if metadata {
            &mut self.metadata_pack
        } else {
            &mut self.data_pack
        };
        place.get_or_insert_with(|| {
            let random = repo.chance().bytes();
            let name = if metadata {
                blob_name::metadata_pack(random, &self.id)
            } else {
                blob_name::pack(random, &self.id)
            };
            let pack = OpenPack::new(name, repo);
            self.packs.push(Arc::clone(&pack.name));
            pack
        })
    }
}

/// Writes a small blob whole.
pub(super) fn put(repo: &Repository, name: &str, bytes: &[u8]) -> Result<(), RepoError> {
    repo.store
        .put(name, &[bytes], &repo.put_options(name))
        .map_err(store_error("write to the repository"))
}

/// Returns whether a record is of a content that holds manifests.
pub(super) fn is_manifest(record: &ContentRecord) -> bool {
    record.id.prefix() == Some(prefix::MANIFEST)
}
