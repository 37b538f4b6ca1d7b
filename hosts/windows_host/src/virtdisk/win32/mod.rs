//! virtdisk.dll itself: the trait's calls one to one, and what their handles need.
//!
//! ```text
//! Access        OpenVirtualDisk (v2, access 0)   AttachVirtualDisk
//! Information   GetInfoOnly, ReadOnly            never
//! Read          ReadOnly                         READ_ONLY | NO_LOCAL_HOST; else READ_ONLY | NO_DRIVE_LETTER
//! Write                                          NO_LOCAL_HOST; else NO_DRIVE_LETTER, and its drive offline
//! ```
//!
//! An attachment never outlives its handle, so a process that dies leaves nothing attached
//! (Hyper-V spec 8). It decides nothing: codes go to the caller as they are.
//!
//! Unsafe code is run by: `a_disk_is_made_and_written_like_the_models`, `calls_gain_neither_handles_nor_memory_on_disks`.

mod attachment;
mod disk_file;
mod drive;
mod failure;
mod handle;
mod information;
mod privilege;
mod transfer;

use std::path::Path;

use time_and_chance::Chance;
use windows::Win32::Storage::Vhd::{
    CREATE_VIRTUAL_DISK_FLAG_NONE, CREATE_VIRTUAL_DISK_PARAMETERS,
    CREATE_VIRTUAL_DISK_PARAMETERS_0, CREATE_VIRTUAL_DISK_PARAMETERS_0_1,
    CREATE_VIRTUAL_DISK_VERSION_2, CreateVirtualDisk, VIRTUAL_DISK_ACCESS_NONE,
    VIRTUAL_STORAGE_TYPE, VIRTUAL_STORAGE_TYPE_DEVICE_VHDX, VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT,
};
use windows::core::{GUID, HSTRING};

use super::{Access, NewVirtualDisk, VirtualDiskError, VirtualDiskFile, VirtualDisks};
use crate::calls;
use attachment::Attachment;
use disk_file::Win32DiskFile;
use failure::failed;
use handle::OwnedHandle;

/// virtdisk.dll of this machine.
#[derive(Debug)]
pub struct Win32VirtualDisks {
    chance: Chance,
}

impl Win32VirtualDisks {
    /// Takes the right to attach disks into use. An account that lacks it learns so from the
    /// code of the first attachment.
    pub fn new(chance: Chance) -> Self {
        privilege::enable_manage_volume();
        Self { chance }
    }
}

impl VirtualDisks for Win32VirtualDisks {
    fn open(
        &self,
        path: &Path,
        access: Access,
    ) -> Result<Box<dyn VirtualDiskFile>, VirtualDiskError> {
        // Two opens of ours are never taken for one owner's.
        let owner = GUID::from_u128(self.chance.uuid().as_u128());
        let attachment = Attachment::open(path, access, owner)?;
        Ok(Box::new(Win32DiskFile::new(path, attachment)))
    }

    #[expect(unsafe_code, reason = "virtdisk takes raw pointers")]
    fn create(&self, path: &Path, disk: &NewVirtualDisk) -> Result<(), VirtualDiskError> {
        let storage_type = VIRTUAL_STORAGE_TYPE {
            DeviceId: VIRTUAL_STORAGE_TYPE_DEVICE_VHDX,
            VendorId: VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT,
        };
        let parameters = CREATE_VIRTUAL_DISK_PARAMETERS {
            Version: CREATE_VIRTUAL_DISK_VERSION_2,
            Anonymous: CREATE_VIRTUAL_DISK_PARAMETERS_0 {
                Version2: CREATE_VIRTUAL_DISK_PARAMETERS_0_1 {
                    UniqueId: GUID::from_u128(disk.virtual_disk_id.as_u128()),
                    MaximumSize: disk.virtual_bytes,
                    BlockSizeInBytes: disk.block_bytes.unwrap_or_default(),
                    SectorSizeInBytes: disk.logical_sector_bytes,
                    PhysicalSectorSizeInBytes: disk.physical_sector_bytes,
                    ..Default::default()
                },
            },
        };
        let name = HSTRING::from(path.as_os_str());
        let mut handle = Default::default();
        calls::count("virtdisk.create");
        // SAFETY: every pointer is to a value of ours that lives through the call; the parameters
        // carry the version whose member they fill, and its paths are null. Without OVERLAPPED
        // the call is done when it returns.
        let code = unsafe {
            CreateVirtualDisk(
                &storage_type,
                &name,
                VIRTUAL_DISK_ACCESS_NONE,
                None,
                CREATE_VIRTUAL_DISK_FLAG_NONE,
                0,
                &parameters,
                None,
                &mut handle,
            )
        };
        failed("make", path, code)?;
        drop(OwnedHandle::new(handle));
        Ok(())
    }
}
