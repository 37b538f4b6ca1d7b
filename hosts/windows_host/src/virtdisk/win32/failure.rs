//! Codes of Win32 calls as errors.

use std::path::Path;

use windows::Win32::Foundation::{ERROR_SUCCESS, WIN32_ERROR};
use windows::core::Error;

use crate::virtdisk::VirtualDiskError;

/// Returns the error of a call that returned `code`, if that is one.
pub(super) fn failed(
    doing: &'static str,
    path: &Path,
    code: WIN32_ERROR,
) -> Result<(), VirtualDiskError> {
    match code {
        ERROR_SUCCESS => Ok(()),
        WIN32_ERROR(code) => Err(error(doing, path, code)),
    }
}

/// Returns an error with a code of Win32 or of VHDMP.
pub(super) fn error(doing: &'static str, path: &Path, code: u32) -> VirtualDiskError {
    VirtualDiskError {
        doing,
        path: path.to_path_buf(),
        code,
    }
}

/// Returns the Win32 code of an error that a call left behind.
pub(super) fn code_of(error: &Error) -> u32 {
    let code = error.code().0.cast_unsigned();
    match code >> 16 {
        0x8007 => code & 0xFFFF,
        _ => code,
    }
}
