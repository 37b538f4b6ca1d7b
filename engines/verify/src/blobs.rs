//! Blobs that hold no content: index blobs, epoch markers, the maintenance schedule, session markers
//! and logs.

use std::sync::Arc;

use blob::BlobErrorKind;
use kopia::blob_name::{
    BlobName, EPOCH_MARKER_PREFIX, EPOCH_PREFIX, LOG_PREFIX, MAINTENANCE, SESSION_PREFIX,
};
use progress::Progress;
use repo::{RepoErrorKind, Repository, ScheduleKeeper};

use crate::error::{VerifyError, repo_error, stopped, store_error};
use crate::report::{BlobDamage, BlobRole, VerifyOptions};

const DOING: &str = "look at the repository's own blobs";

/// Looks at all of them. Index blobs are read from the store, whether they are in the cache or not;
/// logs only where all data is read.
pub(crate) fn look(
    repo: &Arc<Repository>,
    options: &VerifyOptions,
    progress: &Progress,
    found: &mut Vec<BlobDamage>,
) -> Result<(), VerifyError> {
    progress.phase("reading the index from the store");
    found.extend(damaged_indexes(repo, progress)?);
    if let Some(epoch) = epoch_without_marker(repo)? {
        found.push(BlobDamage {
            blob: format!("{EPOCH_MARKER_PREFIX}{epoch}"),
            role: BlobRole::EpochMarker,
            reason: format!(
                "it is gone, though epoch {epoch} has begun, and without it index blobs are not read"
            ),
        });
    }
    if let Some(reason) = schedule_objection(repo)? {
        found.push(BlobDamage {
            blob: MAINTENANCE.to_owned(),
            role: BlobRole::Schedule,
            reason,
        });
    }
    sealed(repo, SESSION_PREFIX, BlobRole::Session, progress, found)?;
    if options.data_percent >= 100.0 {
        sealed(repo, LOG_PREFIX, BlobRole::Log, progress, found)?;
    }
    Ok(())
}

/// Returns the index blobs that make no sense.
pub(crate) fn damaged_indexes(
    repo: &Arc<Repository>,
    progress: &Progress,
) -> Result<Vec<BlobDamage>, VerifyError> {
    let mut damaged = Vec::new();
    let active = repo.active_indexes().map_err(repo_error(DOING))?;
    for (blob, bytes) in active {
        progress.stop.check().map_err(stopped)?;
        match repo.check_index(&blob, bytes) {
            Ok(()) => {}
            // Compacted since, and deleted.
            Err(error) if error.kind() == RepoErrorKind::Store(BlobErrorKind::NotFound) => {}
            Err(error) if error.kind().is_damage() => damaged.push(BlobDamage {
                blob,
                role: BlobRole::Index,
                reason: error.to_string(),
            }),
            Err(error) => return Err(repo_error(DOING)(error)),
        }
    }
    Ok(damaged)
}

/// Returns the epoch that has begun by what the names of index blobs say, if its marker is so far
/// gone that clients do not read all of them (Kopia spec 5.5): they read up to one epoch beyond the
/// last marker, and an epoch is compacted when the second one after it has begun.
pub(crate) fn epoch_without_marker(repo: &Arc<Repository>) -> Result<Option<u64>, VerifyError> {
    let (mut marked, mut written, mut compacted) = (0, 0, None);
    repo.store()
        .list(EPOCH_PREFIX, &mut |blob| {
            match BlobName::parse(&blob.name) {
                BlobName::EpochMarker { epoch } => marked = marked.max(epoch),
                BlobName::IndexUncompacted { epoch, .. } => written = written.max(epoch),
                BlobName::IndexSingleEpoch { epoch: last }
                | BlobName::IndexEpochRange { last, .. } => compacted = compacted.max(Some(last)),
                _ => {}
            }
            Ok(())
        })
        .map_err(store_error(DOING))?;
    let settled = compacted.map_or(0, |last: u64| last.saturating_add(2));
    let is_lost = written > marked.saturating_add(1) || settled > marked;
    Ok(is_lost.then_some(written.max(settled)))
}

/// Says why the maintenance schedule makes no sense, if it does not.
fn schedule_objection(repo: &Arc<Repository>) -> Result<Option<String>, VerifyError> {
    let keeper = ScheduleKeeper::new(repo).map_err(repo_error(DOING))?;
    match keeper.read() {
        Ok(_) => Ok(None),
        Err(error) if error.kind() == RepoErrorKind::Damaged => Ok(Some(error.to_string())),
        Err(error) => Err(repo_error(DOING)(error)),
    }
}

fn sealed(
    repo: &Arc<Repository>,
    prefix: &str,
    role: BlobRole,
    progress: &Progress,
    found: &mut Vec<BlobDamage>,
) -> Result<(), VerifyError> {
    for blob in repo.store().list_all(prefix).map_err(store_error(DOING))? {
        progress.stop.check().map_err(stopped)?;
        let objection = repo.objection_to_sealed(&blob.name);
        if let Some(reason) = objection.map_err(repo_error(DOING))? {
            found.push(BlobDamage {
                blob: blob.name,
                role,
                reason,
            });
        }
    }
    Ok(())
}
