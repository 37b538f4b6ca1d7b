//! What can go wrong with a restore.

use std::error::Error;
use std::io;
use std::path::Path;

use ::disk::{DiskError, DiskErrorKind};
use blob::BlobErrorKind;
use fault::Fault;
use hyperv::{HypervError, HypervErrorKind};
use image::{ImageError, ImageErrorKind};
use point::{PointError, PointErrorKind};
use repo::{RepoError, RepoErrorKind};
use time_and_chance::Stopped;
use vhdx::VhdxError;

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreErrorKind {
    /// Something is there already, and overwriting was not asked for or is not possible.
    Exists,
    /// What was asked for is not in the point.
    NotFound,
    /// What the repository holds makes no sense, or is not all there.
    Damaged,
    /// The repository failed.
    Repo(RepoErrorKind),
    /// The host failed or refused.
    Host(HypervErrorKind),
    /// A disk of the host could not be written.
    Disk(DiskErrorKind),
    /// There is too little room where the restore goes to.
    TargetFull,
    /// A restore cannot go there: another place helps.
    TargetUnsuited,
    /// This program does not do that.
    Unsupported,
    /// A local file failed.
    Local,
    /// The work was told to stop.
    Stopped,
}

/// A restore that failed.
pub type RestoreError = Fault<RestoreErrorKind>;

/// Returns what a failure to read from the repository means for a restore: something missing
/// below a point that is listed is damage.
fn repo_kind(kind: RepoErrorKind) -> RestoreErrorKind {
    match kind {
        RepoErrorKind::Stopped => RestoreErrorKind::Stopped,
        RepoErrorKind::Damaged
        | RepoErrorKind::NotFound
        | RepoErrorKind::Invalid
        | RepoErrorKind::Store(BlobErrorKind::NotFound) => RestoreErrorKind::Damaged,
        kind => RestoreErrorKind::Repo(kind),
    }
}

pub(crate) fn repo_error(doing: impl Into<String>) -> impl FnOnce(RepoError) -> RestoreError {
    move |error| RestoreError::new(repo_kind(error.kind()), doing).caused_by(error)
}

pub(crate) fn point_error(doing: impl Into<String>) -> impl FnOnce(PointError) -> RestoreError {
    move |error| {
        let kind = match error.kind() {
            PointErrorKind::Repo(kind) => repo_kind(kind),
            PointErrorKind::NotFound | PointErrorKind::Ambiguous => RestoreErrorKind::NotFound,
            PointErrorKind::Damaged => RestoreErrorKind::Damaged,
        };
        RestoreError::new(kind, doing).caused_by(error)
    }
}

pub(crate) fn image_error(doing: impl Into<String>) -> impl FnOnce(ImageError) -> RestoreError {
    move |error| {
        let kind = match error.kind() {
            ImageErrorKind::Stopped => RestoreErrorKind::Stopped,
            ImageErrorKind::Repo(kind) => repo_kind(kind),
            ImageErrorKind::Local => RestoreErrorKind::Local,
            ImageErrorKind::Unsupported => RestoreErrorKind::Unsupported,
            ImageErrorKind::Damaged | ImageErrorKind::TrackingWrong | ImageErrorKind::Disk(_) => {
                repo_beneath(&error).map_or(RestoreErrorKind::Damaged, repo_kind)
            }
        };
        RestoreError::new(kind, doing).caused_by(error)
    }
}

/// Returns the error of reading a stored disk. Between it and the repository lies the VHDX
/// reader, which knows files only.
pub(crate) fn stored_disk_error(
    doing: impl Into<String>,
) -> impl FnOnce(DiskError) -> RestoreError {
    move |error| {
        let kind = repo_beneath(&error).map_or(RestoreErrorKind::Damaged, repo_kind);
        RestoreError::new(kind, doing).caused_by(error)
    }
}

/// Finds the repository's error in a chain of causes.
fn repo_beneath(error: &(dyn Error + 'static)) -> Option<RepoErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(repo) = error.downcast_ref::<RepoError>() {
            return Some(repo.kind());
        }
        // An I/O error shows the cause of what it carries, not that itself.
        let carried = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        cause = match carried {
            Some(carried) => Some(carried),
            None => error.source(),
        };
    }
    None
}

pub(crate) fn host_error(doing: impl Into<String>) -> impl FnOnce(HypervError) -> RestoreError {
    move |error| {
        let kind = match error.kind() {
            HypervErrorKind::Stopped => RestoreErrorKind::Stopped,
            HypervErrorKind::Full => RestoreErrorKind::TargetFull,
            kind => RestoreErrorKind::Host(kind),
        };
        RestoreError::new(kind, doing).caused_by(error)
    }
}

pub(crate) fn host_disk_error(doing: impl Into<String>) -> impl FnOnce(DiskError) -> RestoreError {
    move |error| {
        let kind = match error.kind() {
            DiskErrorKind::Full => RestoreErrorKind::TargetFull,
            kind => RestoreErrorKind::Disk(kind),
        };
        RestoreError::new(kind, doing).caused_by(error)
    }
}

/// Returns the error of doing something with the local file at `path`.
pub(crate) fn file_error<'a>(
    verb: &'a str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> RestoreError + 'a {
    move |error| {
        let (kind, hint) = local_kind(error.kind());
        RestoreError::new(kind, format!("{verb} {}{hint}", path.display())).caused_by(error)
    }
}

/// Returns the error of writing a VHDX file at `path`.
pub(crate) fn vhdx_error<'a>(
    verb: &'a str,
    path: &'a Path,
) -> impl FnOnce(VhdxError) -> RestoreError + 'a {
    move |error| {
        let io = error
            .source()
            .and_then(|source| source.downcast_ref::<io::Error>())
            .map(io::Error::kind);
        let (kind, hint) = io.map_or((RestoreErrorKind::Unsupported, ""), local_kind);
        RestoreError::new(kind, format!("{verb} {}{hint}", path.display())).caused_by(error)
    }
}

fn local_kind(kind: io::ErrorKind) -> (RestoreErrorKind, &'static str) {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (RestoreErrorKind::TargetFull, " for lack of room")
        }
        io::ErrorKind::FileTooLarge => (
            RestoreErrorKind::TargetUnsuited,
            " because its file system does not hold files this large (FAT32 ends at 4 GiB); choose another, such as NTFS, ReFS, ext4 or XFS",
        ),
        io::ErrorKind::AlreadyExists => (RestoreErrorKind::Exists, ""),
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::InvalidFilename => (RestoreErrorKind::TargetUnsuited, ""),
        _ => (RestoreErrorKind::Local, ""),
    }
}

pub(crate) fn stopped(_: Stopped) -> RestoreError {
    RestoreError::new(RestoreErrorKind::Stopped, "go on: stopped on request")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repositorys_kind_is_found_below_the_vhdx_reader() {
        let store = RepoErrorKind::Store(BlobErrorKind::Unavailable);
        for (kind, expected) in [
            (store, RestoreErrorKind::Repo(store)),
            (RepoErrorKind::NotFound, RestoreErrorKind::Damaged),
            (
                RepoErrorKind::Store(BlobErrorKind::NotFound),
                RestoreErrorKind::Damaged,
            ),
            (RepoErrorKind::Stopped, RestoreErrorKind::Stopped),
        ] {
            let beneath = io::Error::other(RepoError::new(kind, "read pack p"));
            let error = DiskError::new(DiskErrorKind::Unreadable, "read")
                .caused_by(VhdxError::new(vhdx::VhdxErrorKind::Io, "read").caused_by(beneath));
            assert_eq!(stored_disk_error("restore")(error).kind(), expected);
        }
        let error = DiskError::new(DiskErrorKind::Damaged, "find the data");
        assert_eq!(
            stored_disk_error("restore")(error).kind(),
            RestoreErrorKind::Damaged
        );
    }

    #[test]
    fn a_file_system_that_ends_at_4_gib_is_named() {
        let error = VhdxError::new(vhdx::VhdxErrorKind::Io, "write")
            .caused_by(io::Error::from(io::ErrorKind::FileTooLarge));
        let error = vhdx_error("write", Path::new("/mnt/disk.vhdx"))(error);
        assert_eq!(error.kind(), RestoreErrorKind::TargetUnsuited);
        assert!(error.to_string().contains("FAT32"), "{error}");
        let error = file_error("write", Path::new("a"))(io::ErrorKind::StorageFull.into());
        assert_eq!(error.kind(), RestoreErrorKind::TargetFull);
    }
}
