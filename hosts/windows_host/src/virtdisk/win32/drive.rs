//! The drive that the host shows of an attached disk (Hyper-V spec 8, way B), and how it is opened.
//!
//! ```text
//! reading   open for reading
//! writing   take offline and make writable ─► look whether it is ─► open for reading and writing
//! ```
//!
//! A drive is written only while it is offline. Of one that is online Windows reads the partition
//! table, mounts the file systems it finds, writes into them by itself, and refuses what others
//! write there (5). On a disk that is new it would begin with that in the middle of a restore, once
//! the table of the backed up disk is written. Of one that is offline there are no volumes.
//!
//! Unsafe code is run by: `a_host_that_does_not_know_the_flag_shows_a_drive`, `a_disk_is_written_as_a_drive_that_is_offline`, `a_drive_that_does_not_go_offline_is_not_written`, `attachments_as_drives_gain_neither_handles_nor_memory`.

#![expect(unsafe_code, reason = "drives are opened by name and set by codes")]

use std::path::Path;

use windows::Win32::Foundation::{
    ERROR_INVALID_DATA, ERROR_INVALID_STATE, GENERIC_READ, GENERIC_WRITE, HANDLE,
};
use windows::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_NO_BUFFERING, FILE_FLAG_OVERLAPPED, FILE_FLAGS_AND_ATTRIBUTES,
    FILE_SHARE_READ, FILE_SHARE_WRITE, OPEN_EXISTING,
};
use windows::Win32::Storage::Vhd::GetVirtualDiskPhysicalPath;
use windows::Win32::System::IO::DeviceIoControl;
use windows::Win32::System::Ioctl::{
    DISK_ATTRIBUTE_OFFLINE, DISK_ATTRIBUTE_READ_ONLY, GET_DISK_ATTRIBUTES,
    IOCTL_DISK_GET_DISK_ATTRIBUTES, IOCTL_DISK_SET_DISK_ATTRIBUTES, SET_DISK_ATTRIBUTES,
};
use windows::core::{PCWSTR, PWSTR};

use super::failure::{code_of, error, failed};
use super::handle::OwnedHandle;
use crate::calls;
use crate::virtdisk::{Access, VirtualDiskError};

/// How long the name of a drive may be, in UTF-16 units.
const NAME_UNITS: usize = 260;

const TAKING_OFFLINE: &str = "take offline the drive of";
const LOOKING: &str = "look at the drive of";

/// Opens the drive of an attached disk.
pub(super) fn open(
    disk: HANDLE,
    path: &Path,
    access: Access,
) -> Result<OwnedHandle, VirtualDiskError> {
    let name = name(disk, path)?;
    let (read, write) = (GENERIC_READ.0, GENERIC_READ.0 | GENERIC_WRITE.0);
    let content = FILE_FLAG_OVERLAPPED | FILE_FLAG_NO_BUFFERING;
    if access != Access::Write {
        return open_by_name(&name, path, read, content);
    }
    // Control codes end when they return on a handle that is not overlapped.
    let controlled = open_by_name(&name, path, write, FILE_FLAGS_AND_ATTRIBUTES::default())?;
    take_offline(&controlled, path)?;
    open_by_name(&name, path, write, content)
}

/// Returns the name of a drive, which ends with 0.
fn name(disk: HANDLE, path: &Path) -> Result<Vec<u16>, VirtualDiskError> {
    let mut name = vec![0u16; NAME_UNITS];
    let mut name_bytes = (name.len() * size_of::<u16>()) as u32;
    calls::count("virtdisk.physical_path");
    // SAFETY: the disk's handle is open; the buffer is ours, lives through the call and is as long
    // as `name_bytes` says.
    let code =
        unsafe { GetVirtualDiskPhysicalPath(disk, &mut name_bytes, PWSTR(name.as_mut_ptr())) };
    failed("find the drive of", path, code)?;
    // Whatever was written, it ends inside the buffer.
    name.push(0);
    Ok(name)
}

fn open_by_name(
    name: &[u16],
    path: &Path,
    rights: u32,
    flags: FILE_FLAGS_AND_ATTRIBUTES,
) -> Result<OwnedHandle, VirtualDiskError> {
    calls::count("virtdisk.open_drive");
    // SAFETY: the name is a string of ours that ends with 0; the other pointers are null.
    let drive = unsafe {
        CreateFileW(
            PCWSTR(name.as_ptr()),
            rights,
            FILE_SHARE_READ | FILE_SHARE_WRITE,
            None,
            OPEN_EXISTING,
            flags,
            None,
        )
    };
    drive
        .map(OwnedHandle::new)
        .map_err(|cause| error("open the drive of", path, code_of(&cause)))
}

/// Takes a drive offline and lets it be written, for as long as it is attached.
///
/// It may have come offline by itself, and read-only then, if that is what the host does with new
/// disks (its SAN policy). That it is offline is looked at: a setting without effect would let
/// Windows change what is restored.
fn take_offline(drive: &OwnedHandle, path: &Path) -> Result<(), VirtualDiskError> {
    let wanted = SET_DISK_ATTRIBUTES {
        Version: size_of::<SET_DISK_ATTRIBUTES>() as u32,
        // Nothing is remembered of it once it is detached.
        Persist: false,
        Attributes: DISK_ATTRIBUTE_OFFLINE,
        AttributesMask: DISK_ATTRIBUTE_OFFLINE | DISK_ATTRIBUTE_READ_ONLY,
        ..Default::default()
    };
    calls::count("virtdisk.set_attributes");
    let mut written = 0;
    // SAFETY: the handle is open and not overlapped; what is handed in is ours and as long as is
    // said, nothing is handed out, and the length that the call always writes is ours.
    let set = unsafe {
        DeviceIoControl(
            drive.raw(),
            IOCTL_DISK_SET_DISK_ATTRIBUTES,
            Some((&raw const wanted).cast()),
            size_of_val(&wanted) as u32,
            None,
            0,
            Some(&mut written),
            None,
        )
    };
    set.map_err(|cause| error(TAKING_OFFLINE, path, code_of(&cause)))?;
    match attributes(drive, path)? & (DISK_ATTRIBUTE_OFFLINE | DISK_ATTRIBUTE_READ_ONLY) {
        DISK_ATTRIBUTE_OFFLINE => Ok(()),
        _ => Err(error(TAKING_OFFLINE, path, ERROR_INVALID_STATE.0)),
    }
}

fn attributes(drive: &OwnedHandle, path: &Path) -> Result<u64, VirtualDiskError> {
    let mut found = GET_DISK_ATTRIBUTES::default();
    let mut written = 0;
    calls::count("virtdisk.get_attributes");
    // SAFETY: as for setting them; the place for the answer is ours and as long as is said.
    let asked = unsafe {
        DeviceIoControl(
            drive.raw(),
            IOCTL_DISK_GET_DISK_ATTRIBUTES,
            None,
            0,
            Some((&raw mut found).cast()),
            size_of_val(&found) as u32,
            Some(&mut written),
            None,
        )
    };
    asked.map_err(|cause| error(LOOKING, path, code_of(&cause)))?;
    if (written as usize) < size_of_val(&found) {
        return Err(error(LOOKING, path, ERROR_INVALID_DATA.0));
    }
    Ok(found.Attributes)
}
