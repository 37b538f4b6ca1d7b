//! What can go wrong with a blob store.

use fault::Fault;

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

/// A blob operation that failed.
pub type BlobError = Fault<BlobErrorKind>;
