//! What can go wrong with a VHDX file, and what a caller can do about it.

use std::io;

use fault::Fault;

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VhdxErrorKind {
    /// The file is something else: it does not begin as a VHDX file does.
    NotVhdx,
    /// The file is a VHDX file, but what it says cannot be true.
    Damaged,
    /// The file, or what was asked for, is beyond what this crate supports.
    Unsupported,
    /// Reading or writing the file failed; the cause says how.
    Io,
    /// A differencing disk and what was given as its parent do not belong together.
    ParentMismatch,
    /// An offset, a length or an option lies outside what is possible.
    OutOfRange,
}

/// An error of this crate.
pub type VhdxError = Fault<VhdxErrorKind>;

pub(crate) type Result<T> = std::result::Result<T, VhdxError>;

pub(crate) fn damaged(message: impl Into<String>) -> VhdxError {
    VhdxError::new(VhdxErrorKind::Damaged, message)
}

pub(crate) fn unsupported(message: impl Into<String>) -> VhdxError {
    VhdxError::new(VhdxErrorKind::Unsupported, message)
}

pub(crate) fn out_of_range(message: impl Into<String>) -> VhdxError {
    VhdxError::new(VhdxErrorKind::OutOfRange, message)
}

pub(crate) fn parent_mismatch(message: impl Into<String>) -> VhdxError {
    VhdxError::new(VhdxErrorKind::ParentMismatch, message)
}

/// Returns how an input or output error is passed on, with what was being done.
pub(crate) fn io_error(doing: &'static str) -> impl FnOnce(io::Error) -> VhdxError {
    move |cause| VhdxError::new(VhdxErrorKind::Io, doing).caused_by(cause)
}
