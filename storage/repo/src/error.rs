//! What can go wrong with a repository.

use blob::{BlobError, BlobErrorKind};
use fault::Fault;
use time_and_chance::Stopped;

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepoErrorKind {
    /// There is no repository at this place.
    NoRepository,
    /// There is one already, or the place is not empty.
    NotEmpty,
    /// The password does not open the repository.
    WrongPassword,
    /// The password opens one of the blobs that it seals and not the other.
    PasswordHalfChanged,
    /// The blob that holds the repository's format makes no sense, and there is no other.
    FormatDamaged,
    /// The repository uses something this program does not know or will not write.
    Unsupported,
    /// Another client is upgrading the repository.
    UpgradeInProgress,
    /// A content, object or manifest is not there.
    NotFound,
    /// A blob is there but makes no sense: truncated, altered or written wrongly.
    Damaged,
    /// The clock differs too much from the store's.
    ClockSkew,
    /// The write took so long that readers would not see it; repeating it helps.
    TooSlow,
    /// What was asked for makes no sense.
    Invalid,
    /// The cache folder or another local file cannot be used.
    Local,
    /// The store failed.
    Store(BlobErrorKind),
    /// The work was told to stop.
    Stopped,
}

impl RepoErrorKind {
    /// Returns whether what was asked for is no longer there: no index names it, or its pack is
    /// gone.
    pub fn is_gone(self) -> bool {
        matches!(self, Self::NotFound | Self::Store(BlobErrorKind::NotFound))
    }

    /// Returns whether what was asked for is gone, altered or cut, rather than out of reach.
    pub fn is_damage(self) -> bool {
        self.is_gone() || matches!(self, Self::Damaged | Self::Store(BlobErrorKind::Invalid))
    }
}

/// A repository operation that failed.
pub type RepoError = Fault<RepoErrorKind>;

/// Turns a store's error into one that says what was being done.
pub(crate) fn store_error(doing: impl Into<String>) -> impl FnOnce(BlobError) -> RepoError {
    move |error| {
        let kind = match error.kind() {
            BlobErrorKind::Stopped => RepoErrorKind::Stopped,
            kind => RepoErrorKind::Store(kind),
        };
        RepoError::new(kind, doing).caused_by(error)
    }
}

/// Turns a local file's error into one that says what was being done.
pub(crate) fn local_error(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> RepoError {
    move |error| RepoError::new(RepoErrorKind::Local, doing).caused_by(error)
}

/// Turns the news of a stop into an error.
pub(crate) fn stopped(_: Stopped) -> RepoError {
    RepoError::new(RepoErrorKind::Stopped, "go on: stopped on request")
}
