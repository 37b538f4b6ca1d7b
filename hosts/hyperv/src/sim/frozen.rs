//! Frozen disks as the port offers them: over the very files that virtdisk opens.

use std::convert::Infallible;

use disk::{
    BlockRead, ByteRange, ChangeId, Changes, DiskError, DiskSource, Geometry, UnknownReason,
};
use uuid::Uuid;

use super::session::Session;
use super::virtual_disk::{SimAccess, SimVirtualDisk};
use crate::query_loop::{QueryError, query_loop};
use crate::{CheckpointId, FrozenDisk, HypervError, HypervErrorKind, VmId};

/// An open frozen disk. The chain's files stay locked until it is dropped.
#[derive(Debug)]
pub(super) struct FrozenDiskSource {
    disk: SimVirtualDisk,
}

impl Session<'_> {
    /// Opens a frozen disk.
    pub(super) fn open_frozen_disk(
        &mut self,
        vm: VmId,
        checkpoint: CheckpointId,
        disk: &FrozenDisk,
    ) -> Result<FrozenDiskSource, HypervError> {
        let mut disks = self.checkpoint(vm, checkpoint)?.disks.iter();
        let file = disks
            .find(|frozen| self.path(frozen.frozen_file()) == disk.path)
            .map(|frozen| frozen.frozen_file().to_path_buf())
            .ok_or_else(|| {
                HypervError::new(
                    HypervErrorKind::NotFound,
                    format!("find {} in checkpoint {checkpoint}", disk.path.display()),
                )
            })?;
        Ok(FrozenDiskSource {
            disk: self.open_virtual_disk(&file, SimAccess::Read)?,
        })
    }
}

impl BlockRead for FrozenDiskSource {
    fn size_bytes(&self) -> u64 {
        self.disk.facts().geometry.virtual_bytes
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.disk.read_at(offset, buf)
    }

    fn next_allocated(&self, from: u64) -> Result<Option<ByteRange>, DiskError> {
        self.disk.next_allocated(from)
    }
}

impl DiskSource for FrozenDiskSource {
    fn geometry(&self) -> Geometry {
        self.disk.facts().geometry
    }

    fn virtual_disk_id(&self) -> Uuid {
        self.disk.facts().virtual_disk_id
    }

    fn change_id(&self) -> Result<Option<ChangeId>, DiskError> {
        let tracking = self.disk.tracking();
        Ok(tracking
            .enabled
            .then(|| ChangeId::new(tracking.most_recent_id.clone())))
    }

    fn changes_since(&self, base: &ChangeId) -> Changes {
        let answered = query_loop(self.size_bytes(), |offset, length| {
            self.disk.query_changes(base.as_str(), offset, length)
        });
        match answered {
            Ok(ranges) => Changes::Ranges(ranges),
            Err(QueryError::Host(reason)) => Changes::Unknown(reason),
            Err(QueryError::NoProgress { offset }) => Changes::Unknown(UnknownReason {
                code: None,
                text: QueryError::<Infallible>::NoProgress { offset }.to_string(),
            }),
        }
    }
}
