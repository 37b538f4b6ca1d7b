//! Devices that are read from their first to their last byte.
//!
//! Unsafe code is run by: `a_file_is_no_device`.

#![expect(unsafe_code, reason = "devices are asked by control codes")]

use std::fs::File;
use std::io;
use std::os::windows::io::AsRawHandle as _;

use windows::Win32::Foundation::HANDLE;
use windows::Win32::System::IO::DeviceIoControl;
use windows::Win32::System::Ioctl::{
    FSCTL_ALLOW_EXTENDED_DASD_IO, GET_LENGTH_INFORMATION, IOCTL_DISK_GET_LENGTH_INFO,
};

use crate::calls;

/// Lets a volume be read to its end, which lies behind that of its file system. What is no volume
/// of a file system refuses, and needs no such leave.
pub(crate) fn open_to_the_end(device: &File) {
    calls::count("raw_devices.allow_extended_io");
    let mut written = 0;
    // SAFETY: the handle is open; nothing is handed in or out, and the length that the call
    // always writes without an overlapped structure is ours.
    let _ = unsafe {
        DeviceIoControl(
            HANDLE(device.as_raw_handle()),
            FSCTL_ALLOW_EXTENDED_DASD_IO,
            None,
            0,
            None,
            0,
            Some(&mut written),
            None,
        )
    };
}

/// Returns how long a device is.
///
/// # Errors
/// If it is no device that has a length.
pub(crate) fn length(device: &File) -> io::Result<u64> {
    calls::count("raw_devices.length");
    let mut found = GET_LENGTH_INFORMATION::default();
    let mut written = 0;
    // SAFETY: the handle is open; the place is ours and as long as is said.
    unsafe {
        DeviceIoControl(
            HANDLE(device.as_raw_handle()),
            IOCTL_DISK_GET_LENGTH_INFO,
            None,
            0,
            Some((&raw mut found).cast()),
            size_of_val(&found) as u32,
            Some(&mut written),
            None,
        )
    }
    .map_err(|error| match error.code().0.cast_unsigned() {
        code @ 0x8007_0000..=0x8007_FFFF => {
            io::Error::from_raw_os_error((code & 0xFFFF).cast_signed())
        }
        _ => io::Error::other(error.message()),
    })?;
    u64::try_from(found.Length).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_no_device() {
        // What a real device answers, Wine cannot show.
        let program = std::env::current_exe().expect("we are a program");
        let file = File::open(program).expect("it can be read");
        open_to_the_end(&file);
        let error = length(&file).expect_err("a file has no length of a device");
        assert!(error.raw_os_error().is_some(), "{error}");
    }
}
