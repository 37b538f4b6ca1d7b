//! Deleting a blob, where the store may not let it go.
//!
//! A locked one stays until its lock ends, and a later run finds it again. Anywhere else a store
//! that refuses says that these keys may not delete, which maintenance cannot do without.

use std::sync::Arc;

use blob::BlobErrorKind;
use repo::{RepoErrorKind, Repository};

use crate::error::{MaintainError, MaintainErrorKind, repo_error};

const DENIED: RepoErrorKind = RepoErrorKind::Store(BlobErrorKind::Denied);

/// Deletes a blob; returns whether it is gone, which with a dry run it would be.
pub(crate) fn remove(
    repo: &Arc<Repository>,
    name: &str,
    dry_run: bool,
    doing: &'static str,
) -> Result<bool, MaintainError> {
    if dry_run {
        return Ok(true);
    }
    match repo.delete_blob(name) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == DENIED && repo.blob_config().locks_blobs() => Ok(false),
        Err(error) if error.kind() == DENIED => Err(MaintainError::new(
            MaintainErrorKind::Repo(DENIED),
            format!(
                "{doing}: these keys may not delete; maintenance needs others that may (s3:DeleteObject)"
            ),
        )
        .caused_by(error)),
        Err(error) => Err(repo_error(doing)(error)),
    }
}
