//! What can go wrong with a verification, and what is damage instead.

use blob::BlobErrorKind;
use fault::Fault;
use point::{PointError, PointErrorKind};
use progress::Stopped;
use repo::{RepoError, RepoErrorKind};

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyErrorKind {
    /// The repository or its store failed, so nothing can be said.
    Repo(RepoErrorKind),
    /// The work was told to stop.
    Stopped,
}

/// A verification that could not be carried out.
pub type VerifyError = Fault<VerifyErrorKind>;

/// Says whether an error means that something is damaged, rather than that nobody can tell.
pub(crate) fn is_damage(kind: RepoErrorKind) -> bool {
    matches!(
        kind,
        RepoErrorKind::Damaged
            | RepoErrorKind::NotFound
            | RepoErrorKind::Store(BlobErrorKind::NotFound | BlobErrorKind::Invalid)
    )
}

pub(crate) fn repo_error(doing: &str) -> impl FnOnce(RepoError) -> VerifyError + '_ {
    move |error| {
        let kind = match error.kind() {
            RepoErrorKind::Stopped => VerifyErrorKind::Stopped,
            kind => VerifyErrorKind::Repo(kind),
        };
        VerifyError::new(kind, doing).caused_by(error)
    }
}

pub(crate) fn point_error(doing: &str) -> impl FnOnce(PointError) -> VerifyError + '_ {
    move |error| {
        let kind = match error.kind() {
            PointErrorKind::Repo(RepoErrorKind::Stopped) => VerifyErrorKind::Stopped,
            PointErrorKind::Repo(kind) => VerifyErrorKind::Repo(kind),
            _ => VerifyErrorKind::Repo(RepoErrorKind::Damaged),
        };
        VerifyError::new(kind, doing).caused_by(error)
    }
}

pub(crate) fn stopped(_: Stopped) -> VerifyError {
    VerifyError::new(VerifyErrorKind::Stopped, "go on: stopped on request")
}
