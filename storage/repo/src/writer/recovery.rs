//! Packs of our own sessions that died before their index was written.
//!
//! A process that is killed leaves its session marker and full packs that no index names. Each
//! pack ends with an index of its own (Kopia spec 4.4), so the next writer of this machine can
//! take its contents over instead of storing them again.
//!
//! A session is dead if the lock file it kept in the cache folder is there and nobody holds it:
//! the operating system lets go of a lock when its holder dies.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blob::BlobErrorKind;
use kopia::cipher::ContentCipher;
use kopia::index::{IndexReader, LOCAL_INDEX_SUFFIX_BYTES};
use kopia::pack::{POSTAMBLE_SEARCH_BYTES, Postamble};
use kopia::record::ContentRecord;
use kopia::session::{SessionId, SessionMarker};

use crate::Repository;
use crate::error::{RepoError, local_error, store_error};
use crate::index::cache::open_blob;

/// No pack's local index is longer than this; whatever says so is damaged.
const LOCAL_INDEX_BYTES_MAX: u64 = 64 << 20;

/// Held while a session is alive; the file goes away when the session ends well.
#[derive(Debug)]
pub(super) struct SessionLock {
    path: PathBuf,
    _file: File,
}

impl SessionLock {
    /// Takes the lock of a session that begins.
    pub(super) fn take(repo: &Repository, session: &SessionId) -> Result<Self, RepoError> {
        let path = lock_path(repo, session);
        let doing = || local_error(format!("lock {}", path.display()));
        fs::create_dir_all(path.parent().expect("a lock lies in a folder")).map_err(doing())?;
        let file = File::create(&path).map_err(doing())?;
        file.try_lock()
            .map_err(|error| doing()(io::Error::other(error)))?;
        Ok(Self { path, _file: file })
    }

    /// Notes that the session ended well.
    pub(super) fn end(self) {
        // One that stays is found dead later, and its session has no marker any more.
        let _ = fs::remove_file(&self.path);
    }
}

/// A dead session of ours: what its packs hold, and its markers.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// Records of contents that no index names.
    pub(super) records: Vec<ContentRecord>,
    /// Markers and lock files to be removed once the records are in an index.
    pub(super) markers: Vec<String>,
    locks: Vec<PathBuf>,
}

impl Recovered {
    /// Removes what the dead sessions left, now that their contents are indexed.
    pub(super) fn forget_sessions(&self, repo: &Repository) -> Result<(), RepoError> {
        for marker in &self.markers {
            repo.store
                .delete(marker)
                .map_err(store_error("delete the marker of a dead session"))?;
        }
        for lock in &self.locks {
            // Nobody minds one that stays.
            let _ = fs::remove_file(lock);
        }
        Ok(())
    }
}

/// Finds dead sessions of this identity on this machine and reads what their packs hold.
pub(super) fn find_dead_sessions(repo: &Repository) -> Result<Recovered, RepoError> {
    let mut recovered = Recovered::default();
    let mut dead = Vec::new();
    let markers = repo
        .store
        .list_all("s")
        .map_err(store_error("look for sessions that died"))?;
    for marker in markers {
        let Some(session) = marker
            .name
            .split_once('-')
            .and_then(|(_, session)| SessionId::parse(session))
        else {
            continue;
        };
        let lock = lock_path(repo, &session);
        if !is_dead(&lock) || !is_ours(repo, &marker.name)? {
            continue;
        }
        recovered.markers.push(marker.name);
        recovered.locks.push(lock);
        dead.push(format!("-{session}"));
    }
    if dead.is_empty() {
        return Ok(recovered);
    }
    for prefix in ["p", "q"] {
        let mut packs = Vec::new();
        repo.store
            .list(prefix, &mut |blob| {
                if dead.iter().any(|session| blob.name.ends_with(session)) {
                    packs.push(blob);
                }
                Ok(())
            })
            .map_err(store_error("list the packs of a session that died"))?;
        for pack in packs {
            // A pack that cannot be read is left to maintenance, like any unreferenced one.
            let Some(records) = local_index(repo, &pack.name, pack.bytes)? else {
                continue;
            };
            for record in records {
                if repo
                    .find(&record.id)?
                    .is_none_or(|known| record.supersedes(&known))
                {
                    recovered.records.push(record);
                }
            }
        }
    }
    Ok(recovered)
}

fn lock_path(repo: &Repository, session: &SessionId) -> PathBuf {
    repo.index_cache
        .folder()
        .join("sessions")
        .join(format!("{session}.lock"))
}

/// Returns whether the lock is there and nobody holds it.
fn is_dead(lock: &Path) -> bool {
    File::open(lock).is_ok_and(|file| file.try_lock().is_ok())
}

fn is_ours(repo: &Repository, marker: &str) -> Result<bool, RepoError> {
    let sealed = match repo.store.get(marker) {
        Ok(sealed) => sealed,
        Err(error) if error.kind() == BlobErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(store_error(format!("read session marker {marker}"))(error)),
    };
    let Ok(json) = open_blob(&repo.cipher, &repo.hasher, marker, sealed) else {
        return Ok(false);
    };
    let identity = repo.identity();
    Ok(SessionMarker::parse(&json).is_ok_and(|marker| {
        marker.username == identity.username && marker.hostname == identity.hostname
    }))
}

/// Reads the index at the end of a pack; `None` if the pack has none that makes sense.
fn local_index(
    repo: &Repository,
    pack: &str,
    pack_bytes: u64,
) -> Result<Option<Vec<ContentRecord>>, RepoError> {
    let read = |offset: u64, bytes: u64| {
        repo.store
            .get_range(pack, offset, bytes)
            .map_err(store_error(format!("read the end of pack {pack}")))
    };
    let tail_bytes = pack_bytes.min(POSTAMBLE_SEARCH_BYTES as u64);
    let tail = read(pack_bytes - tail_bytes, tail_bytes)?;
    let Some(postamble) = Postamble::find(&tail) else {
        return Ok(None);
    };
    let end = postamble
        .local_index_offset
        .checked_add(postamble.local_index_bytes);
    if postamble.local_index_bytes > LOCAL_INDEX_BYTES_MAX || end.is_none_or(|end| end > pack_bytes)
    {
        return Ok(None);
    }
    let sealed = read(postamble.local_index_offset, postamble.local_index_bytes)?;
    let Ok(plain) = repo.cipher.open(&postamble.local_index_iv, &sealed) else {
        return Ok(None);
    };
    let Some(index_bytes) = plain.len().checked_sub(LOCAL_INDEX_SUFFIX_BYTES) else {
        return Ok(None);
    };
    let overhead = ContentCipher::OVERHEAD_BYTES as u32;
    let Ok(index) = IndexReader::parse(&plain[..index_bytes], overhead) else {
        return Ok(None);
    };
    let name: Arc<str> = Arc::from(pack);
    Ok(index
        .iter()
        .map(|record| record.ok().filter(|record| record.pack_blob == name))
        .collect())
}
