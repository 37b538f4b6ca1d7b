//! The ports: what a disk must offer to be backed up or restored to.

use std::fmt;

use uuid::Uuid;

use crate::{ByteRange, DiskError, RangeSet};

/// Size and sectors of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// The disk's length as its guest sees it.
    pub virtual_bytes: u64,
    /// 512 or 4096.
    pub logical_sector_bytes: u32,
    /// 512 or 4096, not less than the logical sector.
    pub physical_sector_bytes: u32,
}

/// Something that is read like a disk.
///
/// Implementers promise: a read fills the whole buffer or fails; what cannot be read is an
/// error, never zeros; reads from several threads at once are fine.
pub trait BlockRead: Send + Sync {
    /// Returns the length in bytes; it never changes.
    fn size_bytes(&self) -> u64;

    /// Reads `buf.len()` bytes at `offset`.
    ///
    /// # Errors
    /// `OutOfRange` past the end, `Unreadable` or `Damaged` otherwise.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError>;

    /// Returns the first range at or after `from` that may hold something other than zeros,
    /// or `None` if there is none up to the end.
    ///
    /// Ranges that are not returned read as zeros. Finding them costs no reading of content;
    /// a disk that cannot tell returns everything.
    fn next_allocated(&self, from: u64) -> Result<Option<ByteRange>, DiskError> {
        Ok(ByteRange::new(from, self.size_bytes()))
    }
}

/// Something that is written like a disk.
///
/// Implementers promise: what was never written reads as zeros; writes from several threads
/// to different ranges are fine; after `flush` returned, all is durable.
pub trait BlockWrite: Send + Sync {
    /// Returns the length in bytes.
    fn size_bytes(&self) -> u64;

    /// Writes all of `data` at `offset`.
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DiskError>;

    /// Makes everything written so far durable.
    fn flush(&self) -> Result<(), DiskError>;
}

/// Names an instant in a disk's change tracking; opaque text, compared exactly
/// (Hyper-V spec 5.1).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ChangeId(String);

impl ChangeId {
    /// Takes the host's text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the host's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why change tracking could not answer; the disk is then read in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownReason {
    /// The host's code, such as 0xC03A0029, if it gave one.
    pub code: Option<u32>,
    /// What happened, for the operator.
    pub text: String,
}

/// The answer to "what changed since?". "Nothing" and "I cannot tell" are different values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// Everything written since the base lies inside these ranges of the virtual disk.
    Ranges(RangeSet),
    /// The disk cannot tell.
    Unknown(UnknownReason),
}

/// A frozen disk that can be backed up.
///
/// Implementers promise: content does not change while it is open; `changes_since` covers every
/// write between the base and this frozen instant; dropping it closes every handle, so that
/// the checkpoint can be converted or destroyed.
pub trait DiskSource: BlockRead {
    /// Returns size and sectors.
    fn geometry(&self) -> Geometry;

    /// Returns the disk's own identity, stable along its chain (Hyper-V spec 7.1, version 14).
    fn virtual_disk_id(&self) -> Uuid;

    /// Returns the id that names this frozen instant, or `None` if the disk is not tracked.
    fn change_id(&self) -> Result<Option<ChangeId>, DiskError>;

    /// Tells what was written between `base` and this frozen instant.
    fn changes_since(&self, base: &ChangeId) -> Changes;
}
