//! What can go wrong with a blob store.

use std::error::Error;
use std::fmt;

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobErrorKind {
    /// There is no such blob (or, for a whole store, no such folder or bucket).
    NotFound,
    /// The store refuses: credentials, rights, a wrong signature.
    Denied,
    /// The store does not answer or asks to slow down; trying again may help.
    Unavailable,
    /// There is no room left.
    Full,
    /// The store lacks what was asked for, such as object locks.
    Unsupported,
    /// The store's answer or layout makes no sense.
    Invalid,
    /// The work was told to stop.
    Stopped,
}

/// A blob operation that failed; reads after "failed to …".
#[derive(Debug)]
pub struct BlobError {
    kind: BlobErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl BlobError {
    /// Returns an error of `kind` that says `message`.
    pub fn new(kind: BlobErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Adds what lies underneath.
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns what a caller can act on.
    pub fn kind(&self) -> BlobErrorKind {
        self.kind
    }
}

impl fmt::Display for BlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for BlobError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
