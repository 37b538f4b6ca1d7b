//! Packs of our own sessions that died before their index was written.
//!
//! A process that is killed leaves its session marker and full packs that no index names. Each
//! pack ends with an index of its own (Kopia spec 4.4), so the next writer of this machine can
//! take its contents over instead of storing them again.
//!
//! A session is dead if the lock file it kept in the cache folder is there and nobody holds it:
//! the operating system lets go of a lock when its holder dies.

use std::sync::Arc;

use blob::{BlobErrorKind, BlobMetadata};
use kopia::cipher::ContentCipher;
use kopia::index::{IndexReader, LOCAL_INDEX_SUFFIX_BYTES};
use kopia::pack::{POSTAMBLE_SEARCH_BYTES, Postamble};
use kopia::record::ContentRecord;
use kopia::session::{SessionId, SessionMarker};
use time_and_chance::SignedDuration;

use super::session::{Session, is_manifest};
use super::session_lock::SessionLock;
use crate::Repository;
use crate::error::{RepoError, store_error};
use crate::index::index_blob::open_blob;

/// No pack's local index is longer than this; whatever says so is damaged.
const LOCAL_INDEX_BYTES_MAX: u64 = 64 << 20;
/// Maintenance leaves the packs of a session alone for 96 hours (Kopia spec 4.8); younger ones
/// by a day are safe even from a run that began long ago.
const SESSION_AGE_MAX: SignedDuration = SignedDuration::from_hours(72);

/// Finds dead sessions of this identity on this machine and reads what their packs hold.
///
/// Old ones are left to maintenance: it may be deleting their packs at this moment. So are
/// contents that the repository has by now. The rest counts as written now, since maintenance
/// collects by age what no snapshot needs yet.
pub(super) fn find_dead_sessions(repo: &Repository) -> Result<Vec<Session>, RepoError> {
    let markers = repo
        .store
        .list_all("s")
        .map_err(store_error("look for sessions that died"))?;
    let mut dead = Vec::new();
    for marker in markers {
        let Some(id) = marker
            .name
            .split_once('-')
            .and_then(|(_, session)| SessionId::parse(session))
        else {
            continue;
        };
        let Some(lock) = SessionLock::of_the_dead(repo, &id) else {
            continue;
        };
        let age = repo.clock().now().duration_since(marker.modified);
        if age < SESSION_AGE_MAX && is_ours(repo, &marker.name)? {
            dead.push((id, marker.name, lock));
        }
    }
    if dead.is_empty() {
        return Ok(Vec::new());
    }
    let packs = packs_of(repo, &dead)?;
    let mut sessions = Vec::new();
    for ((id, marker, lock), packs) in dead.into_iter().zip(packs) {
        let mut records = Vec::new();
        let mut readable = Vec::new();
        for pack in packs {
            // A pack that is gone or cannot be read is left to maintenance, like any unreferenced one.
            if let Some(held) = local_index(repo, &pack.name, pack.bytes)? {
                readable.push(Arc::from(pack.name.as_str()));
                // A manifest counts once it is visible. This one never was, or was and may have been
                // deleted since: what nobody was told to be published must not appear by itself.
                let here = |record: &ContentRecord| *record.pack_blob == *pack.name;
                let data = held
                    .into_iter()
                    .filter(|record| here(record) && !is_manifest(record));
                for record in data {
                    records.extend(as_written_now(repo, record)?);
                }
            }
        }
        sessions.push(Session::of_the_dead(id, marker, readable, records, lock));
    }
    Ok(sessions)
}

/// Returns the packs of each of these sessions.
fn packs_of(
    repo: &Repository,
    sessions: &[(SessionId, String, SessionLock)],
) -> Result<Vec<Vec<BlobMetadata>>, RepoError> {
    let suffixes: Vec<String> = sessions.iter().map(|(id, ..)| format!("-{id}")).collect();
    let mut packs = vec![Vec::new(); sessions.len()];
    for prefix in ["p", "q"] {
        repo.store
            .list(prefix, &mut |blob| {
                if let Some(place) = suffixes.iter().position(|end| blob.name.ends_with(end)) {
                    packs[place].push(blob);
                }
                Ok(())
            })
            .map_err(store_error("list the packs of a session that died"))?;
    }
    Ok(packs)
}

/// Returns the record of a content that the repository lacks, or `None` if it has it.
fn as_written_now(
    repo: &Repository,
    record: ContentRecord,
) -> Result<Option<ContentRecord>, RepoError> {
    let now = repo.clock().now().as_second();
    let newest_seconds = match repo.view().newest(&record.id)? {
        Some(known) if !known.deleted => return Ok(None),
        Some(known) => now.max(known.timestamp_seconds + 1),
        None => now,
    };
    Ok(Some(ContentRecord {
        timestamp_seconds: newest_seconds.max(record.timestamp_seconds),
        ..record
    }))
}

fn is_ours(repo: &Repository, marker: &str) -> Result<bool, RepoError> {
    let sealed = match repo.store.get(marker) {
        Ok(sealed) => sealed,
        Err(error) if error.kind() == BlobErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(store_error(format!("read session marker {marker}"))(error)),
    };
    let Ok(json) = open_blob(&repo.opener, &repo.hasher, marker, &sealed) else {
        return Ok(false);
    };
    let identity = repo.identity();
    Ok(SessionMarker::parse(&json).is_ok_and(|marker| {
        marker.username == identity.username && marker.hostname == identity.hostname
    }))
}

/// Reads the index at the end of a pack, tombstones of contents in other packs included; `None` if
/// the pack has none that makes sense, or is gone.
pub(crate) fn local_index(
    repo: &Repository,
    pack: &str,
    pack_bytes: u64,
) -> Result<Option<Vec<ContentRecord>>, RepoError> {
    let read = |offset: u64, bytes: u64| match repo.store.get_range(pack, offset, bytes) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == BlobErrorKind::NotFound => Ok(None),
        Err(error) => Err(store_error(format!("read the end of pack {pack}"))(error)),
    };
    let tail_bytes = pack_bytes.min(POSTAMBLE_SEARCH_BYTES as u64);
    let Some(tail) = read(pack_bytes - tail_bytes, tail_bytes)? else {
        return Ok(None);
    };
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
    let Some(sealed) = read(postamble.local_index_offset, postamble.local_index_bytes)? else {
        return Ok(None);
    };
    let Ok(plain) = repo.opener.open(pack, &postamble.local_index_iv, &sealed) else {
        return Ok(None);
    };
    let Some(index_bytes) = plain.len().checked_sub(LOCAL_INDEX_SUFFIX_BYTES) else {
        return Ok(None);
    };
    let overhead = ContentCipher::OVERHEAD_BYTES as u32;
    let Ok(index) = IndexReader::parse(&plain[..index_bytes], overhead) else {
        return Ok(None);
    };
    Ok(index.iter().map(|record| record.ok()).collect())
}
