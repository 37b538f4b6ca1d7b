//! A frozen disk: read through virtdisk, asked what changed (Hyper-V spec 7 and 8).

use std::path::Path;

use disk::{
    BlockRead, ByteRange, ChangeId, Changes, DiskError, DiskSource, Geometry, UnknownReason,
};
use hyperv::query_loop::{QueryError, query_loop};
use hyperv::{HypervError, codes};
use uuid::Uuid;

use super::allocation::Allocation;
use super::chains;
use super::errors::virtual_disk_error;
use super::open_disks::OpenDisk;
use super::sectors::Sectors;
use crate::virtdisk::{Access, VirtualDisks};

/// An open frozen disk. All its handles are closed before it is counted off as open.
#[derive(Debug)]
pub(super) struct FrozenDiskSource {
    sectors: Sectors,
    allocation: Allocation,
    geometry: Geometry,
    virtual_disk_id: Uuid,
    _open: OpenDisk,
}

impl FrozenDiskSource {
    /// Opens a frozen file with everything beneath it.
    pub(super) fn open(
        virtual_disks: &dyn VirtualDisks,
        path: &Path,
        block_tables_tell_allocation: bool,
        open: OpenDisk,
    ) -> Result<Self, HypervError> {
        let file = virtual_disks
            .open(path, Access::Read)
            .map_err(virtual_disk_error)?;
        let geometry = chains::geometry(&*file).map_err(virtual_disk_error)?;
        let virtual_disk_id = file.virtual_disk_id().map_err(virtual_disk_error)?;
        let files = match block_tables_tell_allocation {
            true => chains::files(virtual_disks, path, &*file).ok(),
            false => None,
        };
        let allocation = match files {
            Some(files) => Allocation::of(&files, geometry, virtual_disk_id),
            None => Allocation::everything(geometry.virtual_bytes),
        };
        Ok(Self {
            sectors: Sectors::new(file, geometry.virtual_bytes, geometry.logical_sector_bytes),
            allocation,
            geometry,
            virtual_disk_id,
            _open: open,
        })
    }
}

impl BlockRead for FrozenDiskSource {
    fn size_bytes(&self) -> u64 {
        self.sectors.size_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.sectors.read_at(offset, buf)
    }

    fn next_allocated(&self, from: u64) -> Result<Option<ByteRange>, DiskError> {
        Ok(self.allocation.next(from))
    }
}

impl DiskSource for FrozenDiskSource {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn virtual_disk_id(&self) -> Uuid {
        self.virtual_disk_id
    }

    /// Tracking that cannot be asked is tracking that cannot be used: it makes the next backup
    /// of the disk a full one and never fails this one (spec 7.4).
    fn change_id(&self) -> Result<Option<ChangeId>, DiskError> {
        let tracking = self.sectors.file().change_tracking().ok();
        let usable = tracking.filter(|known| known.enabled && !known.most_recent_id.is_empty());
        Ok(usable.map(|known| ChangeId::new(known.most_recent_id)))
    }

    fn changes_since(&self, base: &ChangeId) -> Changes {
        let file = self.sectors.file();
        let answered = query_loop(self.size_bytes(), |offset, bytes| {
            file.query_changes(base.as_str(), offset, bytes)
        });
        match answered {
            Ok(ranges) => Changes::Ranges(ranges),
            Err(QueryError::Host(error)) => Changes::Unknown(UnknownReason {
                code: Some(error.code),
                text: codes::tracking_text(error.code).to_owned(),
            }),
            Err(error @ QueryError::NoProgress { .. }) => Changes::Unknown(UnknownReason {
                code: None,
                text: error.to_string(),
            }),
        }
    }
}
