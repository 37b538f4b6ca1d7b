//! What a new disk is to be.

use uuid::Uuid;

use crate::header::MIB;
use crate::metadata::Metadata;

/// A block table gets no longer than this by [`suggested_block_size_bytes`].
const SUGGESTED_BLOCKS_MAX: u64 = 1 << 20;

/// What a new disk shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateOptions {
    /// Whole logical sectors, at most 64 TiB.
    pub virtual_size_bytes: u64,
    /// A power of two from 1 to 256 MiB.
    pub block_size_bytes: u32,
    /// 512 or 4096.
    pub logical_sector_bytes: u32,
    /// 512 or 4096.
    pub physical_sector_bytes: u32,
    /// The disk's own identity.
    pub virtual_disk_id: Uuid,
    /// Any new one.
    pub file_write_guid: Uuid,
    /// Any new one.
    pub data_write_guid: Uuid,
}

impl CreateOptions {
    pub(crate) fn metadata(&self) -> Metadata {
        Metadata {
            virtual_size_bytes: self.virtual_size_bytes,
            block_size_bytes: self.block_size_bytes,
            logical_sector_bytes: self.logical_sector_bytes,
            physical_sector_bytes: self.physical_sector_bytes,
            virtual_disk_id: self.virtual_disk_id,
            leave_blocks_allocated: false,
            parent: None,
            file_write_guid: self.file_write_guid,
            data_write_guid: self.data_write_guid,
        }
    }
}

/// Returns the smallest block size of at least 2 MiB that keeps the block table around 8 MiB.
pub fn suggested_block_size_bytes(virtual_size_bytes: u64) -> u32 {
    (1..=8)
        .map(|shift| (MIB as u32) << shift)
        .find(|block| virtual_size_bytes.div_ceil(u64::from(*block)) <= SUGGESTED_BLOCKS_MAX)
        .unwrap_or(256 << 20)
}
