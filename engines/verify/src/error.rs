//! What can go wrong with a verification, and what is damage instead.

use blob::BlobErrorKind;
use fault::Fault;
use maintain::{MaintainError, MaintainErrorKind};
use point::{PointError, PointErrorKind};
use progress::Stopped;
use repo::{RepoError, RepoErrorKind};

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyErrorKind {
    /// The repository or its store failed, so nothing can be said.
    Repo(RepoErrorKind),
    /// Another client owns the repository's maintenance, and only the owner mends.
    NotOwner,
    /// This machine maintains or mends the repository already.
    Locked,
    /// The work was told to stop.
    Stopped,
}

/// A verification that could not be carried out.
pub type VerifyError = Fault<VerifyErrorKind>;

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

pub(crate) fn maintain_error(doing: &str) -> impl FnOnce(MaintainError) -> VerifyError + '_ {
    move |error| {
        let kind = match error.kind() {
            MaintainErrorKind::NotOwner => VerifyErrorKind::NotOwner,
            MaintainErrorKind::Locked => VerifyErrorKind::Locked,
            MaintainErrorKind::ClockSkew => VerifyErrorKind::Repo(RepoErrorKind::ClockSkew),
            MaintainErrorKind::Repo(kind) => VerifyErrorKind::Repo(kind),
            MaintainErrorKind::Stopped => VerifyErrorKind::Stopped,
        };
        VerifyError::new(kind, doing).caused_by(error)
    }
}

pub(crate) fn store_error(doing: &str) -> impl FnOnce(blob::BlobError) -> VerifyError + '_ {
    move |error| {
        let kind = match error.kind() {
            BlobErrorKind::Stopped => VerifyErrorKind::Stopped,
            kind => VerifyErrorKind::Repo(RepoErrorKind::Store(kind)),
        };
        VerifyError::new(kind, doing).caused_by(error)
    }
}
