//! A virtual disk file opened and, for its content, attached; undone in order when dropped.
//!
//! Unsafe code is run by: `a_frozen_disk_says_and_holds_the_same`, `a_host_that_does_not_know_the_flag_shows_a_drive`, `calls_gain_neither_handles_nor_memory_on_disks`.

#![expect(unsafe_code, reason = "virtdisk takes raw pointers")]

use std::path::Path;

use windows::Win32::Foundation::{
    ERROR_INVALID_PARAMETER, ERROR_NOT_SUPPORTED, ERROR_SUCCESS, HANDLE,
};
use windows::Win32::Storage::Vhd::{
    ATTACH_VIRTUAL_DISK_FLAG, ATTACH_VIRTUAL_DISK_FLAG_NO_DRIVE_LETTER,
    ATTACH_VIRTUAL_DISK_FLAG_NO_LOCAL_HOST, ATTACH_VIRTUAL_DISK_FLAG_NONE,
    ATTACH_VIRTUAL_DISK_FLAG_READ_ONLY, AttachVirtualDisk, DETACH_VIRTUAL_DISK_FLAG_NONE,
    DetachVirtualDisk, OPEN_VIRTUAL_DISK_FLAG_NONE, OPEN_VIRTUAL_DISK_PARAMETERS,
    OPEN_VIRTUAL_DISK_PARAMETERS_0, OPEN_VIRTUAL_DISK_PARAMETERS_0_1, OPEN_VIRTUAL_DISK_VERSION_2,
    OpenVirtualDisk, VIRTUAL_DISK_ACCESS_NONE, VIRTUAL_STORAGE_TYPE,
};
use windows::core::{GUID, HSTRING};

use super::drive;
use super::failure::failed;
use super::handle::OwnedHandle;
use crate::calls;
use crate::virtdisk::{Access, VirtualDiskError};

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
            Access::Read | Access::Write => attachment.attach_for(path, access)?,
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
    fn attach_for(&mut self, path: &Path, access: Access) -> Result<(), VirtualDiskError> {
        let wanted = match access {
            Access::Write => ATTACH_VIRTUAL_DISK_FLAG_NONE,
            Access::Information | Access::Read => ATTACH_VIRTUAL_DISK_FLAG_READ_ONLY,
        };
        let unseen = self.attach(path, wanted | ATTACH_VIRTUAL_DISK_FLAG_NO_LOCAL_HOST);
        let refused = [ERROR_INVALID_PARAMETER.0, ERROR_NOT_SUPPORTED.0];
        match unseen {
            Err(error) if refused.contains(&error.code) => {
                self.attach(path, wanted | ATTACH_VIRTUAL_DISK_FLAG_NO_DRIVE_LETTER)?;
                self.drive = Some(drive::open(self.disk.raw(), path, access)?);
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
