//! The simulated host's errors as the Win32 codes that virtdisk and ReadFile return.

use std::path::Path;

use disk::{DiskError, DiskErrorKind};
use hyperv::{HypervError, HypervErrorKind, codes};
use windows_host::virtdisk::VirtualDiskError;

pub(super) const INVALID_PARAMETER: u32 = 87;

const FILE_NOT_FOUND: u32 = 2;
const ACCESS_DENIED: u32 = 5;
const CRC: u32 = 23;
const GEN_FAILURE: u32 = 31;
const SHARING_VIOLATION: u32 = 32;
const HANDLE_EOF: u32 = 38;
const NOT_SUPPORTED: u32 = 50;
const DISK_FULL: u32 = 112;
const BUSY: u32 = 170;

/// Returns what virtdisk says when the host says `error`.
pub(super) fn host_error(
    doing: &'static str,
    path: &Path,
    error: &HypervError,
) -> VirtualDiskError {
    failed(doing, path, host_code(error))
}

/// Returns what ReadFile or WriteFile say when the disk says `error`.
pub(super) fn disk_error(doing: &'static str, path: &Path, error: &DiskError) -> VirtualDiskError {
    let code = match error.kind() {
        DiskErrorKind::OutOfRange => HANDLE_EOF,
        DiskErrorKind::Unreadable => CRC,
        DiskErrorKind::Damaged => codes::VHD_CORRUPT,
        DiskErrorKind::Refused => ACCESS_DENIED,
        DiskErrorKind::Full => DISK_FULL,
    };
    failed(doing, path, code)
}

/// Returns what QueryChangesVirtualDisk says when the host gives `code`, or none.
pub(super) fn query_error(path: &Path, code: Option<u32>) -> VirtualDiskError {
    let code = code.and_then(win32).unwrap_or(GEN_FAILURE);
    failed("get changed ranges of", path, code)
}

/// Returns an error.
pub(super) fn failed(doing: &'static str, path: &Path, code: u32) -> VirtualDiskError {
    VirtualDiskError {
        doing,
        path: path.to_path_buf(),
        code,
    }
}

fn host_code(error: &HypervError) -> u32 {
    error
        .code()
        .and_then(win32)
        .unwrap_or_else(|| match error.kind() {
            HypervErrorKind::NotFound => FILE_NOT_FOUND,
            HypervErrorKind::Busy => BUSY,
            HypervErrorKind::InUse => SHARING_VIOLATION,
            HypervErrorKind::Full => DISK_FULL,
            HypervErrorKind::Denied => ACCESS_DENIED,
            HypervErrorKind::Unsupported => NOT_SUPPORTED,
            HypervErrorKind::Invalid => INVALID_PARAMETER,
            HypervErrorKind::GuestRefused
            | HypervErrorKind::OutcomeUnknown
            | HypervErrorKind::Unavailable
            | HypervErrorKind::Failed
            | HypervErrorKind::Stopped => GEN_FAILURE,
        })
}

/// Returns a code of the host as virtdisk gives it: Win32 codes bare, those of VHDMP whole.
fn win32(code: u32) -> Option<u32> {
    match code >> 16 {
        // Return codes of WMI methods mean nothing here.
        0 => None,
        0x8007 => Some(code & 0xFFFF),
        _ => Some(code),
    }
}
