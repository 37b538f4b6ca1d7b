//! An open virtual disk file of the model.

use std::path::{Path, PathBuf};

use disk::ByteRange;
use hyperv::query_loop::PartialAnswer;
use hyperv::sim::SimVirtualDisk;
use uuid::Uuid;
use windows_host::virtdisk::{
    ChangeTracking, Container, Subtype, VirtualDiskError, VirtualDiskFile, VirtualDiskSize,
};

use super::code;
use crate::Manners;
use crate::manners::OWN_ID_END;

/// A virtual disk file of the simulated host, open.
#[derive(Debug)]
pub struct FakeVirtualDiskFile {
    path: PathBuf,
    disk: SimVirtualDisk,
    manners: Manners,
}

impl FakeVirtualDiskFile {
    pub(super) fn new(path: &Path, disk: SimVirtualDisk, manners: Manners) -> Self {
        Self {
            path: path.to_path_buf(),
            disk,
            manners,
        }
    }

    /// Returns the first range at or after `from` that may hold something other than zeros.
    ///
    /// # Errors
    /// As reading.
    pub fn next_allocated(&self, from: u64) -> Result<Option<ByteRange>, VirtualDiskError> {
        self.disk
            .next_allocated(from)
            .map_err(|error| code::disk_error("read", &self.path, &error))
    }

    /// Checks that a transfer is one of whole sectors (Hyper-V spec 8; high).
    fn check_aligned(
        &self,
        doing: &'static str,
        offset: u64,
        bytes: usize,
    ) -> Result<(), VirtualDiskError> {
        let sector = u64::from(self.disk.facts().geometry.logical_sector_bytes);
        if offset.is_multiple_of(sector) && (bytes as u64).is_multiple_of(sector) {
            return Ok(());
        }
        Err(code::failed(doing, &self.path, code::INVALID_PARAMETER))
    }
}

impl VirtualDiskFile for FakeVirtualDiskFile {
    fn size(&self) -> Result<VirtualDiskSize, VirtualDiskError> {
        let facts = self.disk.facts();
        Ok(VirtualDiskSize {
            virtual_bytes: facts.geometry.virtual_bytes,
            block_bytes: facts.block_bytes,
            sector_bytes: facts.geometry.logical_sector_bytes,
        })
    }

    fn physical_sector_bytes(&self) -> Result<u32, VirtualDiskError> {
        Ok(self.disk.facts().geometry.physical_sector_bytes)
    }

    fn container(&self) -> Result<Container, VirtualDiskError> {
        Ok(Container::Vhdx)
    }

    fn subtype(&self) -> Result<Subtype, VirtualDiskError> {
        let facts = self.disk.facts();
        Ok(match (&facts.parent, facts.fixed) {
            (Some(_), _) => Subtype::Differencing,
            (None, true) => Subtype::Fixed,
            (None, false) => Subtype::Dynamic,
        })
    }

    fn parent(&self) -> Result<Option<PathBuf>, VirtualDiskError> {
        Ok(self.disk.facts().parent.clone())
    }

    fn virtual_disk_id(&self) -> Result<Uuid, VirtualDiskError> {
        Ok(self.disk.facts().virtual_disk_id)
    }

    fn change_tracking(&self) -> Result<ChangeTracking, VirtualDiskError> {
        let tracking = self.disk.tracking();
        Ok(ChangeTracking {
            enabled: tracking.enabled,
            newer_changes: tracking.newer_changes
                || (tracking.enabled && self.manners.newer_changes_on_frozen_disks),
            most_recent_id: tracking.most_recent_id.clone(),
        })
    }

    fn is_unseen(&self) -> bool {
        self.manners.no_local_host_refused.is_none()
    }

    fn query_changes(
        &self,
        id: &str,
        offset: u64,
        bytes: u64,
    ) -> Result<PartialAnswer, VirtualDiskError> {
        let end = self.disk.facts().geometry.virtual_bytes;
        if bytes == 0 || offset.checked_add(bytes).is_none_or(|asked| asked > end) {
            let doing = "get changed ranges of";
            return Err(code::failed(doing, &self.path, code::INVALID_PARAMETER));
        }
        let id = match self.manners.points_have_ids_of_their_own {
            true => id.strip_suffix(OWN_ID_END).unwrap_or(id),
            false => id,
        };
        self.disk
            .query_changes(id, offset, bytes)
            .map_err(|reason| code::query_error(&self.path, reason.code))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), VirtualDiskError> {
        self.check_aligned("read", offset, buf.len())?;
        self.disk
            .read_at(offset, buf)
            .map_err(|error| code::disk_error("read", &self.path, &error))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), VirtualDiskError> {
        self.check_aligned("write", offset, data.len())?;
        self.disk
            .write_at(offset, data)
            .map_err(|error| code::disk_error("write", &self.path, &error))
    }

    fn flush(&self) -> Result<(), VirtualDiskError> {
        self.disk
            .flush()
            .map_err(|error| code::disk_error("flush", &self.path, &error))
    }
}
