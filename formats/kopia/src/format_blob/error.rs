//! What can be wrong with a format blob, or with our opening the repository it describes.

use thiserror::Error;

use crate::key::UniqueIdTooShort;

/// What to do about a [`FormatError`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FormatErrorKind {
    /// Ask for the password again.
    WrongPassword,
    /// The blob's bytes are not what any program wrote: fetch it again or repair it.
    Damaged,
    /// The repository is sound, but we must keep our hands off it, or off writing to it.
    Unsupported,
    /// Another client is upgrading the repository: wait and open it again.
    UpgradeInProgress,
}

/// Why a repository's format cannot be read, or must not be used.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct FormatError(#[from] Reason);

impl FormatError {
    /// Returns what to do about it.
    pub fn kind(&self) -> FormatErrorKind {
        match self.0 {
            Reason::WrongPassword => FormatErrorKind::WrongPassword,
            Reason::Json { .. }
            | Reason::UniqueId(_)
            | Reason::SealedTooShort { .. }
            | Reason::NoMasterKey => FormatErrorKind::Damaged,
            Reason::UpgradeInProgress { .. } => FormatErrorKind::UpgradeInProgress,
            Reason::UnknownName { .. }
            | Reason::OutOfRange { .. }
            | Reason::SecretTooLong { .. }
            | Reason::RequiredFeature { .. }
            | Reason::EpochParameters(_)
            | Reason::NotWritable(_) => FormatErrorKind::Unsupported,
        }
    }

    pub(super) fn json(document: &'static str, source: serde_json::Error) -> Self {
        Self(Reason::Json { document, source })
    }
}

impl From<UniqueIdTooShort> for FormatError {
    fn from(error: UniqueIdTooShort) -> Self {
        Self(Reason::UniqueId(error))
    }
}

#[derive(Debug, Error)]
pub(super) enum Reason {
    #[error("the repository password is wrong")]
    WrongPassword,
    #[error("{document} is damaged")]
    Json {
        document: &'static str,
        source: serde_json::Error,
    },
    #[error(transparent)]
    UniqueId(UniqueIdTooShort),
    #[error("a sealed part of the format is damaged: {bytes} bytes are too few")]
    SealedTooShort { bytes: usize },
    #[error("the repository's format is damaged: it has no master key")]
    NoMasterKey,
    #[error("the repository uses the {what} {name:?}, which this program does not know")]
    UnknownName { what: &'static str, name: String },
    #[error("the repository has {what} {value}, which this program does not support")]
    OutOfRange { what: &'static str, value: u64 },
    #[error("the repository's hash secret of {bytes} bytes is longer than {hash} takes")]
    SecretTooLong { hash: &'static str, bytes: usize },
    #[error("the repository requires a feature this program does not have: {description}")]
    RequiredFeature { description: String },
    #[error("the repository is being upgraded by {owner}{message}")]
    UpgradeInProgress { owner: String, message: String },
    #[error("the repository's epoch parameters are invalid: {0}")]
    EpochParameters(&'static str),
    #[error("the repository can be read but not written: {0}")]
    NotWritable(&'static str),
}
