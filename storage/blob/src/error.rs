//! What can go wrong with a blob store.

use fault::Fault;

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobErrorKind {
    /// There is no such blob (or, for a whole store, no such folder or bucket).
    NotFound,
    /// There is such a blob already (or, for a place that was to be new, something in it).
    AlreadyThere,
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

/// Returns the error of a blob that was to be new.
pub(crate) fn already_there(name: &str) -> BlobError {
    let message = format!("write blob {name}: there is one already");
    BlobError::new(BlobErrorKind::AlreadyThere, message)
}
