//! What can go wrong with a disk.

use fault::Fault;

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

/// A disk operation that failed.
pub type DiskError = Fault<DiskErrorKind>;

/// Returns the error for a range beyond the end of a disk.
pub fn out_of_range(offset: u64, bytes: u64, disk_bytes: u64) -> DiskError {
    DiskError::new(
        DiskErrorKind::OutOfRange,
        format!("reach {bytes} bytes at {offset} of a disk of {disk_bytes} bytes"),
    )
}
