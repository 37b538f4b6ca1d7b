//! A repair that is under way: what it writes with, and what it has to tell.

use std::sync::Arc;

use blob::BlobErrorKind;
use progress::Progress;
use repo::{RepoError, RepoErrorKind, Repository, Writer};

use super::mended::{Mended, MendedKind};
use crate::error::{VerifyError, repo_error};

pub(super) const DOING: &str = "repair the repository";

/// A repair that is under way.
pub(super) struct Run<'a> {
    pub(super) repo: &'a Arc<Repository>,
    /// Writes; without one, nothing changes.
    pub(super) writer: Option<Writer>,
    pub(super) progress: &'a Progress,
    pub(super) mended: Vec<Mended>,
    pub(super) left: Vec<(String, String)>,
    /// Of those, blobs that keys with more rights can delete or overwrite.
    pub(super) needs_other_keys: Vec<String>,
    /// So many contents are searched for at a time.
    pub(super) searched_max: usize,
}

impl Run<'_> {
    pub(super) fn note(&mut self, what: MendedKind, name: impl Into<String>, count: u64) {
        let name = name.into();
        self.mended.push(Mended { what, name, count });
    }

    pub(super) fn flush(&self) -> Result<(), VerifyError> {
        match &self.writer {
            Some(writer) => writer.flush().map_err(repo_error(DOING)),
            None => Ok(()),
        }
    }
}

/// Says whether the store refuses: these keys may not do that, or an object lock keeps the blob.
pub(super) fn is_refused(error: &RepoError) -> bool {
    error.kind() == RepoErrorKind::Store(BlobErrorKind::Denied)
}
