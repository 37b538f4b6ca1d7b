//! A virtual disk file opened and, for its content, attached; undone in order when dropped.
//!
//! Unsafe code is run by: `a_frozen_disk_says_and_holds_the_same`, `a_host_that_does_not_know_the_flag_shows_a_drive`, `calls_gain_neither_handles_nor_memory_on_disks`.

#![expect(unsafe_code, reason = "virtdisk takes raw pointers")]

use std::path::Path;

use windows::Win32::Foundation::{
    ERROR_INVALID_PARAMETER, ERROR_NOT_SUPPORTED, ERROR_SUCCESS, GENERIC_READ, HANDLE,
};
use windows::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_NO_BUFFERING, FILE_FLAG_OVERLAPPED, FILE_SHARE_READ, FILE_SHARE_WRITE,
    OPEN_EXISTING,
};
use windows::Win32::Storage::Vhd::{
    ATTACH_VIRTUAL_DISK_FLAG, ATTACH_VIRTUAL_DISK_FLAG_NO_DRIVE_LETTER,
    ATTACH_VIRTUAL_DISK_FLAG_NO_LOCAL_HOST, ATTACH_VIRTUAL_DISK_FLAG_READ_ONLY, AttachVirtualDisk,
    DETACH_VIRTUAL_DISK_FLAG_NONE, DetachVirtualDisk, GetVirtualDiskPhysicalPath,
    OPEN_VIRTUAL_DISK_FLAG_NONE, OPEN_VIRTUAL_DISK_PARAMETERS, OPEN_VIRTUAL_DISK_PARAMETERS_0,
    OPEN_VIRTUAL_DISK_PARAMETERS_0_1, OPEN_VIRTUAL_DISK_VERSION_2, OpenVirtualDisk,
    VIRTUAL_DISK_ACCESS_NONE, VIRTUAL_STORAGE_TYPE,
};
use windows::core::{GUID, HSTRING, PCWSTR, PWSTR};

use super::failure::{code_of, error, failed};
use super::handle::OwnedHandle;
use crate::calls;
use crate::virtdisk::{Access, VirtualDiskError};

/// How long the name of a physical drive may be, in UTF-16 units.
const DRIVE_NAME_UNITS: usize = 260;

/// An open virtual disk file.
#[derive(Debug)]
pub(super) struct Attachment {
    /// Dropped last but one: reads and writes go through it where the host has to show a drive.
    drive: Option<OwnedHandle>,
    attached: bool,
    disk: OwnedHandle,
}

impl Attachment {
    /// Opens a file and attaches it if its content is wanted.
    pub(super) fn open(path: &Path, access: Access, owner: GUID) -> Result<Self, VirtualDiskError> {
        let mut attachment = Self {
            drive: None,
            attached: false,
            disk: open_disk(path, access, owner)?,
        };
        match access {
            Access::Information => {}
            Access::Read => attachment.attach_for_reading(path)?,
            Access::Write => {
                attachment.attach(path, ATTACH_VIRTUAL_DISK_FLAG_NO_LOCAL_HOST)?;
            }
        }
        Ok(attachment)
    }

    /// Returns virtdisk's own handle.
    pub(super) fn disk(&self) -> HANDLE {
        self.disk.raw()
    }

    /// Returns the handle that content is read from and written to.
    pub(super) fn content(&self) -> HANDLE {
        self.drive.as_ref().unwrap_or(&self.disk).raw()
    }

    /// Returns whether the host shows no drive for it.
    pub(super) fn is_unseen(&self) -> bool {
        self.drive.is_none()
    }

    /// Attaches without a local host, which shows the disk to nobody but this handle; where the
    /// host does not know how, as a drive without letters (Hyper-V spec 8, RH-14).
    fn attach_for_reading(&mut self, path: &Path) -> Result<(), VirtualDiskError> {
        let read_only = ATTACH_VIRTUAL_DISK_FLAG_READ_ONLY;
        let unseen = self.attach(path, read_only | ATTACH_VIRTUAL_DISK_FLAG_NO_LOCAL_HOST);
        let refused = [ERROR_INVALID_PARAMETER.0, ERROR_NOT_SUPPORTED.0];
        match unseen {
            Err(error) if refused.contains(&error.code) => {
                self.attach(path, read_only | ATTACH_VIRTUAL_DISK_FLAG_NO_DRIVE_LETTER)?;
                self.drive = Some(self.open_drive(path)?);
                Ok(())
            }
            other => other,
        }
    }

    fn attach(
        &mut self,
        path: &Path,
        flags: ATTACH_VIRTUAL_DISK_FLAG,
    ) -> Result<(), VirtualDiskError> {
        calls::count("virtdisk.attach");
        // SAFETY: the handle is open for as long as `self` lives; the pointers are null, which
        // means defaults; without OVERLAPPED the call is done when it returns.
        let code = unsafe { AttachVirtualDisk(self.disk.raw(), None, flags, 0, None, None) };
        failed("attach", path, code)?;
        self.attached = true;
        Ok(())
    }

    fn open_drive(&self, path: &Path) -> Result<OwnedHandle, VirtualDiskError> {
        let mut name = vec![0u16; DRIVE_NAME_UNITS];
        let mut name_bytes = (name.len() * size_of::<u16>()) as u32;
        calls::count("virtdisk.physical_path");
        // SAFETY: the buffer is ours, lives through the call and is as long as `name_bytes` says.
        let code = unsafe {
            GetVirtualDiskPhysicalPath(self.disk.raw(), &mut name_bytes, PWSTR(name.as_mut_ptr()))
        };
        failed("find the drive of", path, code)?;
        // Whatever was written, it ends inside the buffer.
        name.push(0);
        calls::count("virtdisk.open_drive");
        // SAFETY: the name is a string of ours that ends with 0; the other pointers are null.
        let drive = unsafe {
            CreateFileW(
                PCWSTR(name.as_ptr()),
                GENERIC_READ.0,
                FILE_SHARE_READ | FILE_SHARE_WRITE,
                None,
                OPEN_EXISTING,
                FILE_FLAG_OVERLAPPED | FILE_FLAG_NO_BUFFERING,
                None,
            )
        };
        drive
            .map(OwnedHandle::new)
            .map_err(|cause| error("open the drive of", path, code_of(&cause)))
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        drop(self.drive.take());
        if self.attached {
            calls::count("virtdisk.detach");
            // SAFETY: the handle is open until after this and what it attached is still attached.
            let code =
                unsafe { DetachVirtualDisk(self.disk.raw(), DETACH_VIRTUAL_DISK_FLAG_NONE, 0) };
            // Closing the handle detaches as well; this only makes it happen at a known moment.
            debug_assert_eq!(code, ERROR_SUCCESS);
        }
    }
}

fn open_disk(path: &Path, access: Access, owner: GUID) -> Result<OwnedHandle, VirtualDiskError> {
    let name = HSTRING::from(path.as_os_str());
    let parameters = OPEN_VIRTUAL_DISK_PARAMETERS {
        Version: OPEN_VIRTUAL_DISK_VERSION_2,
        Anonymous: OPEN_VIRTUAL_DISK_PARAMETERS_0 {
            Version2: OPEN_VIRTUAL_DISK_PARAMETERS_0_1 {
                GetInfoOnly: (access == Access::Information).into(),
                ReadOnly: (access != Access::Write).into(),
                ResiliencyGuid: owner,
            },
        },
    };
    // All zeros: virtdisk looks itself what kind of file it is.
    let any_type = VIRTUAL_STORAGE_TYPE::default();
    let mut handle = HANDLE::default();
    calls::count("virtdisk.open");
    // SAFETY: every pointer is to a value of ours that lives through the call; the parameters
    // carry the version whose member they fill.
    let code = unsafe {
        OpenVirtualDisk(
            &any_type,
            &name,
            VIRTUAL_DISK_ACCESS_NONE,
            OPEN_VIRTUAL_DISK_FLAG_NONE,
            Some(&parameters),
            &mut handle,
        )
    };
    failed("open", path, code)?;
    Ok(OwnedHandle::new(handle))
}
