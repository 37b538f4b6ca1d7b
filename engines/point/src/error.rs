//! What can go wrong with restore points.

use fault::Fault;
use repo::{RepoError, RepoErrorKind};

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointErrorKind {
    /// No point has this id.
    NotFound,
    /// Several points have ids that begin so.
    Ambiguous,
    /// The snapshot is there but is no point of a VM, or makes no sense.
    Damaged,
    /// The repository failed.
    Repo(RepoErrorKind),
}

/// An operation on points that failed.
pub type PointError = Fault<PointErrorKind>;

pub(crate) fn repo_error(doing: impl Into<String>) -> impl FnOnce(RepoError) -> PointError {
    move |error| PointError::new(PointErrorKind::Repo(error.kind()), doing).caused_by(error)
}
