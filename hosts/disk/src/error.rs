//! What can go wrong with a disk.

use std::error::Error;
use std::fmt;

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskErrorKind {
    /// The range lies outside the disk: a fault of the caller or of a size that changed.
    OutOfRange,
    /// The disk could not be read or written there. Never to be replaced by zeros.
    Unreadable,
    /// The file or its chain is damaged.
    Damaged,
    /// The host refuses: wrong state, in use, not supported.
    Refused,
    /// There is no room left on the volume that holds the disk.
    Full,
}

/// A disk operation that failed; reads after "failed to …".
#[derive(Debug)]
pub struct DiskError {
    kind: DiskErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl DiskError {
    /// Returns an error of `kind` that says `message`.
    pub fn new(kind: DiskErrorKind, message: impl Into<String>) -> Self {
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

    /// Returns the error for a range beyond the end of the disk.
    pub fn out_of_range(offset: u64, bytes: u64, disk_bytes: u64) -> Self {
        Self::new(
            DiskErrorKind::OutOfRange,
            format!("reach {bytes} bytes at {offset} of a disk of {disk_bytes} bytes"),
        )
    }

    /// Returns what a caller can act on.
    pub fn kind(&self) -> DiskErrorKind {
        self.kind
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for DiskError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
