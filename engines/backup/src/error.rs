//! What can go wrong with a backup.

use fault::Fault;
use hyperv::{HypervError, HypervErrorKind};
use image::{ImageError, ImageErrorKind};
use point::{PointError, PointErrorKind};
use repo::{RepoError, RepoErrorKind};
use time_and_chance::Stopped;

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupErrorKind {
    /// The host failed or refused.
    Host(HypervErrorKind),
    /// The repository failed.
    Repo(RepoErrorKind),
    /// The disk or its stored image failed.
    Image(ImageErrorKind),
    /// The consistency that was required could not be had.
    Consistency,
    /// Another run, or another product, works on the VM.
    Locked,
    /// A volume of the host has too little room.
    Space,
    /// The checkpoint was held too long.
    TooLong,
    /// The VM cannot be backed up from the host.
    Unsupported,
    /// What was to be backed up cannot be read.
    Source,
    /// The state folder cannot be used.
    State,
    /// The work was told to stop.
    Stopped,
    /// A test ended the run as a power failure would.
    Killed,
}

/// A backup that failed.
pub type BackupError = Fault<BackupErrorKind>;

pub(crate) fn host_error(doing: &str) -> impl FnOnce(HypervError) -> BackupError + '_ {
    move |error| {
        let kind = match error.kind() {
            HypervErrorKind::Stopped => BackupErrorKind::Stopped,
            kind => BackupErrorKind::Host(kind),
        };
        BackupError::new(kind, doing).caused_by(error)
    }
}

pub(crate) fn repo_error(doing: &str) -> impl FnOnce(RepoError) -> BackupError + '_ {
    move |error| {
        let kind = match error.kind() {
            RepoErrorKind::Stopped => BackupErrorKind::Stopped,
            kind => BackupErrorKind::Repo(kind),
        };
        BackupError::new(kind, doing).caused_by(error)
    }
}

pub(crate) fn image_error(doing: String) -> impl FnOnce(ImageError) -> BackupError {
    move |error| {
        let kind = match error.kind() {
            ImageErrorKind::Stopped => BackupErrorKind::Stopped,
            kind => BackupErrorKind::Image(kind),
        };
        BackupError::new(kind, doing).caused_by(error)
    }
}

pub(crate) fn point_error(doing: &str) -> impl FnOnce(PointError) -> BackupError + '_ {
    move |error| {
        let kind = match error.kind() {
            PointErrorKind::Repo(kind) => BackupErrorKind::Repo(kind),
            _ => BackupErrorKind::Repo(RepoErrorKind::Damaged),
        };
        BackupError::new(kind, doing).caused_by(error)
    }
}

pub(crate) fn stopped(_: Stopped) -> BackupError {
    BackupError::new(BackupErrorKind::Stopped, "go on: stopped on request")
}
