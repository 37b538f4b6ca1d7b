//! virtdisk.dll as a model: virtual disk files of the simulated host, opened by their paths.
//!
//! | Behaviour | Spec | Confidence |
//! |---|---|---|
//! | two read-only opens coexist; a writable one beside a read-only one is 32 | 7.1 | high |
//! | content of what a running VM writes to cannot be opened: 32; information can | 7.1, 8 | low |
//! | a read-only open works beneath a running VM | 8 | high |
//! | while it is open, its checkpoint cannot be converted or destroyed (0x80070020) | 4, 8, RH-19 | medium |
//! | a sparse file cannot be attached: 0xC03A001A | 7.4 | high |
//! | offset and length are multiples of the sector, else 87 | 8 | high |
//! | a read past the end is 38 | 8 | low |
//! | queries answer in part, in any order; codes of a lost base | 7.1, 7.4 | high |
//! | on a frozen disk the newest id is the sealed one and nothing is newer | 7.1, RH-1 | low |
//! | a new disk's folder must be there (3), its file must not (80) | 10.1 | high |

mod code;
mod file;

use std::path::Path;

use disk::Geometry;
use hyperv::NewDisk;
use hyperv::sim::{SimAccess, SimHost};
use windows_host::virtdisk::{
    Access, NewVirtualDisk, VirtualDiskError, VirtualDiskFile, VirtualDisks,
};

use crate::Manners;

pub use file::FakeVirtualDiskFile;

/// virtdisk.dll of a simulated host.
#[derive(Debug, Clone)]
pub struct FakeVirtualDisks {
    host: SimHost,
    manners: Manners,
}

impl FakeVirtualDisks {
    /// Returns the virtdisk.dll of `host`.
    pub fn new(host: SimHost, manners: Manners) -> Self {
        Self { host, manners }
    }

    /// Returns what it does where only a real host could tell.
    pub fn manners(&self) -> &Manners {
        &self.manners
    }

    /// Opens a file as the trait does, for whoever wants to know where it holds something.
    ///
    /// # Errors
    /// As [`VirtualDisks::open`].
    pub fn open_file(
        &self,
        path: &Path,
        access: Access,
    ) -> Result<FakeVirtualDiskFile, VirtualDiskError> {
        let wanted = match access {
            Access::Information if !self.manners.information_is_like_reading => {
                SimAccess::Information
            }
            Access::Information | Access::Read => SimAccess::Read,
            Access::Write => SimAccess::Write,
        };
        let opened = self.host.open_virtual_disk(path, wanted);
        let disk = opened.map_err(|error| code::host_error("open", path, &error))?;
        Ok(FakeVirtualDiskFile::new(path, disk, self.manners.clone()))
    }
}

impl VirtualDisks for FakeVirtualDisks {
    fn open(
        &self,
        path: &Path,
        access: Access,
    ) -> Result<Box<dyn VirtualDiskFile>, VirtualDiskError> {
        Ok(Box::new(self.open_file(path, access)?))
    }

    fn create(&self, path: &Path, disk: &NewVirtualDisk) -> Result<(), VirtualDiskError> {
        let new = NewDisk {
            geometry: Geometry {
                virtual_bytes: disk.virtual_bytes,
                logical_sector_bytes: disk.logical_sector_bytes,
                physical_sector_bytes: disk.physical_sector_bytes,
            },
            block_bytes: disk.block_bytes,
            virtual_disk_id: disk.virtual_disk_id,
        };
        let made = self.host.create_virtual_disk(path, &new);
        made.map_err(|error| code::host_error("make", path, &error))
    }
}
