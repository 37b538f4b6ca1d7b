//! What can go wrong with a self-test as a whole; a probe that fails is a finding instead.

use std::io;
use std::path::Path;

use backup::{BackupError, BackupErrorKind};
use fault::Fault;
use hyperv::{HypervError, HypervErrorKind};

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfTestErrorKind {
    /// The host refused, or went away.
    Host(HypervErrorKind),
    /// Another run works on the VM.
    Locked,
    /// The state folder cannot be used.
    State,
    /// The work was told to stop; what it did is undone, or the message says what is left.
    Stopped,
}

/// A self-test that could not be carried out.
pub type SelfTestError = Fault<SelfTestErrorKind>;

pub(crate) fn host_error(doing: &str) -> impl FnOnce(HypervError) -> SelfTestError + '_ {
    move |error| {
        let kind = match error.kind() {
            HypervErrorKind::Stopped => SelfTestErrorKind::Stopped,
            kind => SelfTestErrorKind::Host(kind),
        };
        SelfTestError::new(kind, doing).caused_by(error)
    }
}

/// A merge that hangs or takes very long is nothing that another checkpoint should add to.
pub(crate) fn not_merged(doing: &str) -> impl FnOnce(String) -> SelfTestError + '_ {
    move |why| {
        SelfTestError::new(
            SelfTestErrorKind::Host(HypervErrorKind::Busy),
            format!(
                "{doing}: the VM's disks wait to be merged, and each checkpoint would add a layer to them: {why}"
            ),
        )
    }
}

pub(crate) fn state_error<'a>(
    doing: &'a str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> SelfTestError + 'a {
    move |error| {
        let message = format!("{doing} {}", path.display());
        SelfTestError::new(SelfTestErrorKind::State, message).caused_by(error)
    }
}

pub(crate) fn backup_error(doing: &str) -> impl FnOnce(BackupError) -> SelfTestError + '_ {
    move |error| {
        let kind = match error.kind() {
            BackupErrorKind::Locked => SelfTestErrorKind::Locked,
            BackupErrorKind::Host(kind) => SelfTestErrorKind::Host(kind),
            BackupErrorKind::Space => SelfTestErrorKind::Host(HypervErrorKind::Full),
            BackupErrorKind::TooLong => SelfTestErrorKind::Host(HypervErrorKind::Failed),
            BackupErrorKind::Stopped => SelfTestErrorKind::Stopped,
            _ => SelfTestErrorKind::State,
        };
        SelfTestError::new(kind, doing).caused_by(error)
    }
}
