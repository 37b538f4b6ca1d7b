//! What can end a maintenance.

use blob::BlobErrorKind;
use fault::Fault;
use progress::Stopped;
use repo::{RepoError, RepoErrorKind};

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaintainErrorKind {
    /// Another client owns the repository's maintenance, or nobody does.
    NotOwner,
    /// This machine maintains the repository already.
    Locked,
    /// This machine's clock and the store's differ too much.
    ClockSkew,
    /// The repository failed.
    Repo(RepoErrorKind),
    /// The work was told to stop.
    Stopped,
}

/// A maintenance that could not be carried out.
pub type MaintainError = Fault<MaintainErrorKind>;

/// Says whether an error means that something is damaged, rather than that nobody can tell.
pub(crate) fn is_damage(kind: MaintainErrorKind) -> bool {
    matches!(
        kind,
        MaintainErrorKind::Repo(
            RepoErrorKind::Damaged
                | RepoErrorKind::NotFound
                | RepoErrorKind::Store(BlobErrorKind::NotFound | BlobErrorKind::Invalid)
        )
    )
}

pub(crate) fn repo_error(doing: &str) -> impl FnOnce(RepoError) -> MaintainError + '_ {
    move |error| {
        let kind = match error.kind() {
            RepoErrorKind::Stopped => MaintainErrorKind::Stopped,
            RepoErrorKind::ClockSkew => MaintainErrorKind::ClockSkew,
            kind => MaintainErrorKind::Repo(kind),
        };
        MaintainError::new(kind, doing).caused_by(error)
    }
}

pub(crate) fn store_error(doing: &str) -> impl FnOnce(blob::BlobError) -> MaintainError + '_ {
    move |error| {
        let kind = match error.kind() {
            BlobErrorKind::Stopped => MaintainErrorKind::Stopped,
            kind => MaintainErrorKind::Repo(RepoErrorKind::Store(kind)),
        };
        MaintainError::new(kind, doing).caused_by(error)
    }
}

pub(crate) fn local_error(doing: &str) -> impl FnOnce(std::io::Error) -> MaintainError + '_ {
    move |error| {
        MaintainError::new(MaintainErrorKind::Repo(RepoErrorKind::Local), doing).caused_by(error)
    }
}

pub(crate) fn stopped(_: Stopped) -> MaintainError {
    MaintainError::new(MaintainErrorKind::Stopped, "go on: stopped on request")
}
