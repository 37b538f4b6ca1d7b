//! What can go wrong between a disk and a repository.

use disk::{DiskError, DiskErrorKind};
use fault::Fault;
use repo::{RepoError, RepoErrorKind};
use time_and_chance::Stopped;

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageErrorKind {
    /// The disk could not be read or written.
    Disk(DiskErrorKind),
    /// The repository failed.
    Repo(RepoErrorKind),
    /// A chunk outside the changed ranges differs from the base: tracking missed a write.
    TrackingWrong,
    /// The stored image is not one of ours, or makes no sense.
    Damaged,
    /// The image cannot be made: the disk is too large or of an odd shape.
    Unsupported,
    /// A local temporary file failed.
    Local,
    /// The work was told to stop.
    Stopped,
}

/// An image operation that failed.
pub type ImageError = Fault<ImageErrorKind>;

pub(crate) fn disk_error(doing: &str) -> impl FnOnce(DiskError) -> ImageError + '_ {
    move |error| ImageError::new(ImageErrorKind::Disk(error.kind()), doing).caused_by(error)
}

pub(crate) fn repo_error(doing: &str) -> impl FnOnce(RepoError) -> ImageError + '_ {
    move |error| {
        let kind = match error.kind() {
            RepoErrorKind::Stopped => ImageErrorKind::Stopped,
            kind => ImageErrorKind::Repo(kind),
        };
        ImageError::new(kind, doing).caused_by(error)
    }
}

pub(crate) fn local_error(doing: &str) -> impl FnOnce(std::io::Error) -> ImageError + '_ {
    move |error| ImageError::new(ImageErrorKind::Local, doing).caused_by(error)
}

pub(crate) fn stopped(_: Stopped) -> ImageError {
    ImageError::new(ImageErrorKind::Stopped, "go on: stopped on request")
}
