//! Failed file operations, told with the codes that Windows would give.

use std::io;
use std::path::Path;

use crate::{HypervError, HypervErrorKind, codes};

/// Returns the error for a file operation that failed, with the code Windows would give.
pub(super) fn io_error(verb: &str, path: &Path, error: io::Error) -> HypervError {
    let (kind, code) = match error.kind() {
        io::ErrorKind::NotFound => (HypervErrorKind::Failed, Some(codes::FILE_NOT_FOUND)),
        io::ErrorKind::PermissionDenied => (HypervErrorKind::Denied, Some(codes::ACCESS_DENIED)),
        io::ErrorKind::StorageFull => (HypervErrorKind::Full, Some(codes::DISK_FULL)),
        io::ErrorKind::AlreadyExists => (HypervErrorKind::Invalid, Some(codes::FILE_EXISTS)),
        _ => (HypervErrorKind::Failed, None),
    };
    let fault = HypervError::new(kind, format!("{verb} {}", path.display())).caused_by(error);
    match code {
        Some(code) => fault.with_code(code),
        None => fault,
    }
}
