//! Making a session visible: packs first, then its index, then its marker goes away.

use blob::BlobErrorKind;
use kopia::blob_name;
use kopia::record::ContentRecord;

use super::lost_packs;
use super::pack::index_bytes;
use super::session::{Session, put};
use crate::Repository;
use crate::error::{RepoError, RepoErrorKind, store_error};

/// How often the write is begun anew when epochs advance under it.
const ATTEMPTS_MAX: u32 = 5;

/// Writes the index blobs of a session whose packs are all stored (Kopia spec 4.5; 5.5, "write
/// algorithm"), and deletes its marker.
///
/// No index may name a pack that is gone: whoever loads the manifest in it, or deduplicates
/// against it, would be broken. Maintenance that heeds no margins may delete packs until their
/// index is there; so they are looked up behind it, and an index that came too late is taken
/// back. What was lost is then not there, and whoever wrote it finds that out as usual.
pub(super) fn publish_index(
    repo: &Repository,
    session: &mut Session,
    threads: usize,
) -> Result<(), RepoError> {
    for _ in 0..ATTEMPTS_MAX {
        if session.records.is_empty() {
            return delete_marker(repo, session);
        }
        let shards = encode_shards(repo, session)?;
        let written = match write_shards(repo, session, &shards) {
            Err(error) if error.kind() == RepoErrorKind::TooSlow => continue,
            other => other?,
        };
        let lost = lost_packs::find(repo, &session.packs, threads)?;
        if lost.is_empty() {
            for (name, payload) in written.iter().zip(&shards) {
                repo.add_to_view(name, payload)?;
            }
            return delete_marker(repo, session);
        }
        take_back(repo, &written)?;
        session.give_up(&lost);
    }
    Err(RepoError::new(
        RepoErrorKind::TooSlow,
        "write the index: the repository's epoch kept advancing, or packs kept vanishing, meanwhile; is this machine being suspended, or maintenance running without its safety margins?",
    ))
}

/// Deletes the marker. One that may not be deleted harms nobody: maintenance removes it when the
/// session counts as dead.
fn delete_marker(repo: &Repository, session: &Session) -> Result<(), RepoError> {
    match repo.store.delete(&session.marker) {
        Err(error) if error.kind() == BlobErrorKind::Denied => {
            repo.note_marker_stays();
            Ok(())
        }
        deleted => deleted.map_err(store_error("delete our session marker")),
    }
}

fn encode_shards(repo: &Repository, session: &Session) -> Result<Vec<Vec<u8>>, RepoError> {
    let mut records = session.records.clone();
    records.sort_by_key(|record| record.id);
    // A content written twice in one session keeps the record that wins everywhere else too.
    records.dedup_by(|later, kept| {
        let same = later.id == kept.id;
        if same && later.supersedes(kept) {
            std::mem::swap(later, kept);
        }
        same
    });
    let count = kopia::index::shard_count(records.len());
    if count <= 1 {
        return Ok(vec![index_bytes(repo, &records)?]);
    }
    let mut shards: Vec<Vec<ContentRecord>> = vec![Vec::new(); count as usize];
    for record in records {
        shards[kopia::index::shard_of(&record.id, count) as usize].push(record);
    }
    shards
        .iter()
        .filter(|shard| !shard.is_empty())
        .map(|shard| index_bytes(repo, shard))
        .collect()
}

/// Puts every shard into the current epoch; `TooSlow` if another epoch began meanwhile, with
/// nothing left behind.
fn write_shards(
    repo: &Repository,
    session: &Session,
    shards: &[Vec<u8>],
) -> Result<Vec<String>, RepoError> {
    let clock = repo.clock();
    let refresh_ns = repo.format().epoch_parameters.epoch_refresh_frequency_ns;
    let begun = clock.monotonic();
    let epoch = current_epoch(repo)?;
    let mut written = Vec::with_capacity(shards.len());
    for payload in shards {
        let hash = repo.hasher.hash(payload);
        let name = blob_name::uncompacted_index(epoch, &hash, &session.id, shards.len() as u32);
        let mut sealed = Vec::new();
        repo.cipher
            .seal_into(&hash.iv(), repo.chance().bytes(), payload, &mut sealed);
        let slow = (clock.monotonic() - begun).as_nanos() >= refresh_ns.max(0) as u128;
        if slow && current_epoch(repo)? != epoch {
            return withdraw(repo, &written);
        }
        put(repo, &name, &sealed)?;
        written.push(name);
    }
    // Compaction of our epoch may have begun only if two more epochs exist by now.
    if current_epoch(repo)? >= epoch + 2 {
        return withdraw(repo, &written);
    }
    Ok(written)
}

fn take_back(repo: &Repository, written: &[String]) -> Result<(), RepoError> {
    for name in written {
        repo.store
            .delete(name)
            .map_err(store_error(format!("take back index blob {name}")))?;
    }
    Ok(())
}

fn withdraw(repo: &Repository, written: &[String]) -> Result<Vec<String>, RepoError> {
    take_back(repo, written)?;
    Err(RepoError::new(
        RepoErrorKind::TooSlow,
        "write the index: its epoch ended meanwhile",
    ))
}

/// Returns the epoch to write to.
pub(crate) fn current_epoch(repo: &Repository) -> Result<u64, RepoError> {
    let markers = repo
        .store
        .list_all("xe")
        .map_err(store_error("list the repository's epochs"))?;
    let names: Vec<String> = markers.into_iter().map(|blob| blob.name).collect();
    let state = kopia::epoch::EpochState::from_listing(&names).map_err(|error| {
        RepoError::new(RepoErrorKind::Damaged, "list the repository's epochs").caused_by(error)
    })?;
    Ok(state.current)
}
