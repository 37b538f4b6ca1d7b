//! What can go wrong with the volumes of a machine.

use fault::Fault;

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeErrorKind {
    /// No such volume, disk or shadow set here.
    NotFound,
    /// Somebody else freezes volumes, or they are too busy to be held still; it was tried again
    /// as often as makes sense, later it may work.
    Busy,
    /// A program that was to bring its files in order could not (VSS says "writer").
    WriterFailed,
    /// There is no room for what is overwritten while the volumes are frozen.
    Full,
    /// Rights are missing.
    Denied,
    /// This system cannot freeze this volume.
    Unsupported,
    /// What was asked for makes no sense.
    Invalid,
    /// What freezes volumes does not answer.
    Unavailable,
    /// It failed otherwise.
    Failed,
    /// The work was told to stop.
    Stopped,
}

/// An operation on volumes that failed; reads after "failed to …".
pub type VolumeError = Fault<VolumeErrorKind>;
