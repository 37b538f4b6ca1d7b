//! Failures: every boundary's kinds become an exit status, a word for programs and a hint.

use std::process::ExitCode;

use backup::{BackupError, BackupErrorKind};
use blob::{BlobError, BlobErrorKind};
use hyperv::{HypervError, HypervErrorKind};
use image::{ImageError, ImageErrorKind};
use maintain::{MaintainError, MaintainErrorKind};
use point::{PointError, PointErrorKind};
use repo::{RepoError, RepoErrorKind};
use restore::{RestoreError, RestoreErrorKind};
use secrets::{SecretError, SecretErrorKind};
use selftest::{SelfTestError, SelfTestErrorKind};
use serde_json::{Value, json};
use verify::{VerifyError, VerifyErrorKind};
use volume::{VolumeError, VolumeErrorKind};

use crate::{stderr, stdout};

/// The exit status of a failure without one of its own.
pub const FAILED: u8 = 1;
/// The exit status of wrong usage.
pub const WRONG_USAGE: u8 = 2;
/// The exit status of work that was done in part.
pub const DONE_IN_PART: u8 = 3;
/// The exit status of a wrong password.
const WRONG_PASSWORD: u8 = 4;
/// The exit status of a repository or point that is not there.
const NOT_FOUND: u8 = 5;
/// The exit status of work that was cancelled.
pub const CANCELLED: u8 = 130;

macro_rules! kinds {
    ($($name:ident = $word:literal, $status:expr, $hint:literal;)*) => {
        /// What went wrong, as far as a caller can act on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum FailureKind {
            $(
                #[doc = $word]
                $name,
            )*
        }

        impl FailureKind {
            /// Returns the word for it in documents.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// Returns the exit status.
            pub fn status(self) -> u8 {
                match self {
                    $(Self::$name => $status,)*
                }
            }

            /// Returns what to do next; empty if there is nothing to say.
            fn hint(self) -> &'static str {
                match self {
                    $(Self::$name => $hint,)*
                }
            }
        }
    };
}

kinds! {
    WrongUsage = "wrong_usage", WRONG_USAGE, "see --help of the command";
    WrongPassword = "wrong_password", WRONG_PASSWORD, "give the repository's own password with --password-file or E3_REPO_PASSWORD; without it nothing in the repository can be read";
    Remembered = "remembered", FAILED, "`repo remember` keeps the password anew, `repo forget` takes it away; --password-file and E3_REPO_PASSWORD come before it";
    PasswordHalfChanged = "password_half_changed", FAILED, "`repo password` with the password before and the new one finishes the change; if none was made, bring the altered blob back from a copy";
    FormatDamaged = "format_damaged", FAILED, "it exists once, and nothing opens without it: bring it back from a copy of the store";
    RepositoryNotFound = "repository_not_found", NOT_FOUND, "check --repo; `repo create` makes a new repository";
    PointNotFound = "point_not_found", NOT_FOUND, "`points list` shows what the repository holds";
    NotInPoint = "not_in_point", NOT_FOUND, "`points show` tells what the point holds";
    Cancelled = "cancelled", CANCELLED, "what was stored stays and serves the next run";
    NotEmpty = "not_empty", FAILED, "choose an empty place, or use the repository that is there";
    VolumeNotFound = "volume_not_found", FAILED, "`host volumes` shows the volumes of this machine";
    WriterFailed = "writer_failed", FAILED, "`vssadmin list writers` shows how writers do; restart the service of the one that failed, or leave it out";
    VmNotFound = "vm_not_found", FAILED, "`host list` shows the VMs of the host";
    SourceUnreadable = "source_unreadable", FAILED, "check the path and the rights of whoever runs this";
    Exists = "exists", FAILED, "nothing that was there was touched; choose another place, or see --help for what replaces it";
    TargetUnsuited = "target_unsuited", FAILED, "choose another place to restore to";
    Pinned = "pinned", FAILED, "`points pin ID --remove` takes the pins away";
    NotOwner = "not_owner", FAILED, "let the owner do it, or take the maintenance over with --take-ownership";
    Locked = "locked", FAILED, "wait until the other run or product is done, then try again";
    Busy = "busy", FAILED, "try again when the other operation is over";
    NoSpace = "no_space", FAILED, "make room, or move to a larger place";
    TooLong = "too_long", FAILED, "run again: it goes on from what is stored; or allow more time with --checkpoint-hours";
    ConsistencyNotObtained = "consistency_not_obtained", FAILED, "look at the guest's integration services and VSS writers, or back up with --consistency application, which falls back and says so";
    Denied = "denied", FAILED, "check the credentials and rights";
    Unavailable = "unavailable", FAILED, "check the network and the server, then try again";
    ClockSkew = "clock_skew", FAILED, "set this machine's clock right";
    Damaged = "damaged", FAILED, "`repo verify --data 100` shows everything that is damaged, and with --repair mends what can be mended";
    DamageFound = "damaged", FAILED, "what is not named can be restored; `repo verify --repair --data 100` mends what can be had from elsewhere; for the rest, look in a copy of the store";
        Unsupported = "unsupported", FAILED, "";
    AlreadyInstalled = "already_installed", FAILED, "`service status` says how it is; `service uninstall` removes it, an older agent's too";
    NotInstalled = "not_installed", FAILED, "`service install` installs it";
    NotElevated = "not_elevated", FAILED, "run it as root, by sudo for example; on Windows from a prompt that was opened as administrator";
    Service = "service", FAILED, "`service status` says how it is; why, the journal says (`journalctl -u e3-backup-agent`), or on Windows the event log and agent.log";
    State = "state", FAILED, "check the state and cache folders (--state-dir, --cache-dir)";
    Host = "host", FAILED, "see the host's own log; `host clean` removes what a failed run left";
    Failed = "failed", FAILED, "";
}

/// Why a command could not be carried out.
#[derive(Debug)]
pub struct Failure {
    kind: FailureKind,
    message: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    /// Returns a failure; `message` reads by itself.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Returns the failure of a command line that makes no sense.
    pub fn wrong_usage(message: impl Into<String>) -> Self {
        Self::new(FailureKind::WrongUsage, message)
    }

    /// Returns the kind.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// Says more about it.
    pub fn saying(mut self, more: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(more);
        self
    }

    /// Returns the failure as it stands in documents.
    pub fn document(&self) -> Value {
        json!({ "message": self.message, "kind": self.kind.as_str(), "hint": self.kind.hint() })
    }

    /// Tells the failure, in a document too if asked for, and returns the exit status.
    pub fn show(&self, json: bool) -> ExitCode {
        self.tell();
        if json {
            self.show_json();
        }
        ExitCode::from(self.kind.status())
    }

    /// Tells the failure on stderr.
    pub fn tell(&self) {
        stderr::say(&format!("error: {}", self.message));
        self.tell_hint();
    }

    /// Tells the failure of a part of the work, which has a name, on stderr.
    pub fn tell_of(&self, part: &str) {
        stderr::say(&format!("error: {part}: {}", self.message));
        self.tell_hint();
    }

    fn tell_hint(&self) {
        if !self.kind.hint().is_empty() {
            stderr::say(&format!("hint: {}", self.kind.hint()));
        }
    }

    /// Writes the failure's document to stdout.
    pub fn show_json(&self) {
        stdout::show_document(&json!({ "error": self.document() }));
    }

    fn of(kind: FailureKind, error: &dyn std::fmt::Display) -> Self {
        Self::new(kind, format!("failed to {error}"))
    }
}

fn of_blob(kind: BlobErrorKind) -> FailureKind {
    match kind {
        BlobErrorKind::NotFound => FailureKind::RepositoryNotFound,
        BlobErrorKind::AlreadyThere => FailureKind::NotEmpty,
        BlobErrorKind::Denied => FailureKind::Denied,
        BlobErrorKind::Unavailable => FailureKind::Unavailable,
        BlobErrorKind::Full => FailureKind::NoSpace,
        BlobErrorKind::Unsupported => FailureKind::Unsupported,
        BlobErrorKind::Invalid => FailureKind::Failed,
        BlobErrorKind::Stopped => FailureKind::Cancelled,
    }
}

fn of_repo(kind: RepoErrorKind) -> FailureKind {
    match kind {
        RepoErrorKind::NoRepository => FailureKind::RepositoryNotFound,
        RepoErrorKind::NotEmpty => FailureKind::NotEmpty,
        RepoErrorKind::WrongPassword => FailureKind::WrongPassword,
        RepoErrorKind::PasswordHalfChanged => FailureKind::PasswordHalfChanged,
        RepoErrorKind::FormatDamaged => FailureKind::FormatDamaged,
        RepoErrorKind::Unsupported => FailureKind::Unsupported,
        RepoErrorKind::UpgradeInProgress => FailureKind::Busy,
        RepoErrorKind::NotFound | RepoErrorKind::Damaged => FailureKind::Damaged,
        RepoErrorKind::ClockSkew => FailureKind::ClockSkew,
        RepoErrorKind::TooSlow => FailureKind::Unavailable,
        RepoErrorKind::Invalid => FailureKind::Failed,
        RepoErrorKind::Local => FailureKind::State,
        // A repository that was opened and lacks a blob is damaged, not absent.
        RepoErrorKind::Store(BlobErrorKind::NotFound) => FailureKind::Damaged,
        RepoErrorKind::Store(kind) => of_blob(kind),
        RepoErrorKind::Stopped => FailureKind::Cancelled,
    }
}

fn of_host(kind: HypervErrorKind) -> FailureKind {
    match kind {
        HypervErrorKind::Busy | HypervErrorKind::InUse => FailureKind::Busy,
        HypervErrorKind::GuestRefused => FailureKind::ConsistencyNotObtained,
        HypervErrorKind::Full => FailureKind::NoSpace,
        HypervErrorKind::Denied => FailureKind::Denied,
        HypervErrorKind::Unsupported => FailureKind::Unsupported,
        HypervErrorKind::Unavailable => FailureKind::Unavailable,
        HypervErrorKind::Stopped => FailureKind::Cancelled,
        HypervErrorKind::NotFound
        | HypervErrorKind::OutcomeUnknown
        | HypervErrorKind::Invalid
        | HypervErrorKind::Failed => FailureKind::Host,
    }
}

impl From<VolumeError> for Failure {
    fn from(error: VolumeError) -> Self {
        let kind = match error.kind() {
            VolumeErrorKind::NotFound => FailureKind::VolumeNotFound,
            VolumeErrorKind::Busy => FailureKind::Busy,
            VolumeErrorKind::WriterFailed => FailureKind::WriterFailed,
            VolumeErrorKind::Full => FailureKind::NoSpace,
            VolumeErrorKind::Denied => FailureKind::Denied,
            VolumeErrorKind::Unsupported => FailureKind::Unsupported,
            VolumeErrorKind::Invalid => FailureKind::WrongUsage,
            VolumeErrorKind::Unavailable => FailureKind::Unavailable,
            VolumeErrorKind::Failed => FailureKind::Failed,
            VolumeErrorKind::Stopped => FailureKind::Cancelled,
        };
        Self::of(kind, &error)
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        Self::of(of_blob(error.kind()), &error)
    }
}

impl From<RepoError> for Failure {
    fn from(error: RepoError) -> Self {
        Self::of(of_repo(error.kind()), &error)
    }
}

impl From<HypervError> for Failure {
    fn from(error: HypervError) -> Self {
        Self::of(of_host(error.kind()), &error)
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Self {
        let kind = match error.kind() {
            SecretErrorKind::Exposed | SecretErrorKind::Unreadable => FailureKind::Remembered,
            SecretErrorKind::Unwritable => FailureKind::State,
        };
        Self::of(kind, &error)
    }
}

impl From<PointError> for Failure {
    fn from(error: PointError) -> Self {
        let kind = match error.kind() {
            PointErrorKind::NotFound => FailureKind::PointNotFound,
            PointErrorKind::Ambiguous => FailureKind::WrongUsage,
            PointErrorKind::Damaged => FailureKind::Damaged,
            PointErrorKind::Repo(kind) => of_repo(kind),
        };
        Self::of(kind, &error)
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        let kind = match error.kind() {
            ImageErrorKind::Repo(kind) => of_repo(kind),
            ImageErrorKind::Damaged => FailureKind::Damaged,
            ImageErrorKind::Unsupported => FailureKind::Unsupported,
            ImageErrorKind::Local => FailureKind::State,
            ImageErrorKind::Stopped => FailureKind::Cancelled,
            ImageErrorKind::Disk(_) | ImageErrorKind::TrackingWrong => FailureKind::Failed,
        };
        Self::of(kind, &error)
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        let kind = match error.kind() {
            VerifyErrorKind::NotOwner => FailureKind::NotOwner,
            VerifyErrorKind::Locked => FailureKind::Locked,
            VerifyErrorKind::Repo(kind) => of_repo(kind),
            VerifyErrorKind::Stopped => FailureKind::Cancelled,
        };
        Self::of(kind, &error)
    }
}

impl From<MaintainError> for Failure {
    fn from(error: MaintainError) -> Self {
        let kind = match error.kind() {
            MaintainErrorKind::NotOwner => FailureKind::NotOwner,
            MaintainErrorKind::Locked => FailureKind::Locked,
            MaintainErrorKind::ClockSkew => FailureKind::ClockSkew,
            MaintainErrorKind::Repo(kind) => of_repo(kind),
            MaintainErrorKind::Stopped => FailureKind::Cancelled,
        };
        Self::of(kind, &error)
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        let kind = match error.kind() {
            RestoreErrorKind::Exists => FailureKind::Exists,
            RestoreErrorKind::NotFound => FailureKind::NotInPoint,
            RestoreErrorKind::Damaged => FailureKind::Damaged,
            RestoreErrorKind::Repo(kind) => of_repo(kind),
            RestoreErrorKind::Host(kind) => of_host(kind),
            RestoreErrorKind::TargetFull => FailureKind::NoSpace,
            RestoreErrorKind::TargetUnsuited => FailureKind::TargetUnsuited,
            RestoreErrorKind::Unsupported => FailureKind::Unsupported,
            RestoreErrorKind::Stopped => FailureKind::Cancelled,
            RestoreErrorKind::Disk(_) | RestoreErrorKind::Local => FailureKind::Failed,
        };
        Self::of(kind, &error)
    }
}

impl From<&BackupError> for Failure {
    fn from(error: &BackupError) -> Self {
        let kind = match error.kind() {
            BackupErrorKind::Host(kind) => of_host(kind),
            BackupErrorKind::Repo(kind) => of_repo(kind),
            BackupErrorKind::Consistency => FailureKind::ConsistencyNotObtained,
            BackupErrorKind::Locked => FailureKind::Locked,
            BackupErrorKind::Space => FailureKind::NoSpace,
            BackupErrorKind::TooLong => FailureKind::TooLong,
            BackupErrorKind::Unsupported => FailureKind::Unsupported,
            BackupErrorKind::State => FailureKind::State,
            BackupErrorKind::Stopped => FailureKind::Cancelled,
            BackupErrorKind::Source => FailureKind::SourceUnreadable,
            BackupErrorKind::Image(_) | BackupErrorKind::Killed => FailureKind::Failed,
        };
        Self::of(kind, error)
    }
}

impl From<SelfTestError> for Failure {
    fn from(error: SelfTestError) -> Self {
        let kind = match error.kind() {
            SelfTestErrorKind::Host(kind) => of_host(kind),
            SelfTestErrorKind::Locked => FailureKind::Locked,
            SelfTestErrorKind::State => FailureKind::State,
            SelfTestErrorKind::Stopped => FailureKind::Cancelled,
        };
        Self::of(kind, &error)
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        Self::from(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_become_the_exit_status_that_is_promised() {
        let repo = |kind| Failure::from(RepoError::new(kind, "x")).kind().status();
        assert_eq!(repo(RepoErrorKind::WrongPassword), 4);
        assert_eq!(repo(RepoErrorKind::NoRepository), 5);
        assert_eq!(repo(RepoErrorKind::Stopped), 130);
        assert_eq!(repo(RepoErrorKind::Damaged), 1);
        let point = |kind| Failure::from(PointError::new(kind, "x")).kind().status();
        assert_eq!(point(PointErrorKind::NotFound), 5);
        assert_eq!(point(PointErrorKind::Ambiguous), 2);
        let backup = |kind| Failure::from(BackupError::new(kind, "x")).kind().status();
        assert_eq!(backup(BackupErrorKind::Stopped), 130);
        assert_eq!(backup(BackupErrorKind::Locked), 1);
    }
}
