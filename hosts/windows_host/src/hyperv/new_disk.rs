//! A disk that a restore makes (Hyper-V spec 10.1, step 2).

use std::path::Path;

use disk::{BlockWrite, DiskError};
use hyperv::{HypervError, HypervErrorKind as Kind, NewDisk};

use super::errors::{disk_error, file_error, virtual_disk_error};
use super::sectors::Sectors;
use crate::virtdisk::{Access, NewVirtualDisk, VirtualDiskError, VirtualDisks};

/// Win32: a file of that name is there already.
const FILE_EXISTS: [u32; 4] = [80, 183, 0x8007_0050, 0x8007_00B7];

/// A new disk, open for writing.
#[derive(Debug)]
pub(super) struct NewDiskWriter {
    sectors: Sectors,
}

impl NewDiskWriter {
    /// Makes a dynamic VHDX, and its folder if need be.
    ///
    /// # Errors
    /// `Invalid` if a file is there already.
    pub(super) fn create(
        virtual_disks: &dyn VirtualDisks,
        path: &Path,
        disk: &NewDisk,
    ) -> Result<Self, HypervError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| file_error("make", folder, error))?;
        }
        let new = NewVirtualDisk {
            virtual_bytes: disk.geometry.virtual_bytes,
            block_bytes: disk.block_bytes,
            logical_sector_bytes: disk.geometry.logical_sector_bytes,
            physical_sector_bytes: disk.geometry.physical_sector_bytes,
            virtual_disk_id: disk.virtual_disk_id,
        };
        virtual_disks.create(path, &new).map_err(create_error)?;
        let file = virtual_disks
            .open(path, Access::Write)
            .map_err(virtual_disk_error)?;
        let geometry = disk.geometry;
        Ok(Self {
            sectors: Sectors::new(file, geometry.virtual_bytes, geometry.logical_sector_bytes),
        })
    }
}

fn create_error(error: VirtualDiskError) -> HypervError {
    if !FILE_EXISTS.contains(&error.code) {
        return virtual_disk_error(error);
    }
    let doing = format!("make {}: a file is there already", error.path.display());
    HypervError::new(Kind::Invalid, doing).with_code(hyperv::codes::FILE_EXISTS)
}

impl BlockWrite for NewDiskWriter {
    fn size_bytes(&self) -> u64 {
        self.sectors.size_bytes()
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.sectors.write_at(offset, data)
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.sectors.file().flush().map_err(disk_error)
    }
}
