//! The canonical VHDX: one disk content, one sequence of bytes. Restore points hold it.
//!
//! Blocks of 32 MiB. The length of the front depends on virtual size and logical sector size
//! alone; block *i* lies at `front_bytes + 32 MiB · i`, present or not. Never differencing, no
//! sector bitmaps; absent blocks are zero blocks without a place. Nothing here is random.

use uuid::Uuid;

use crate::bat::{ENTRY_BYTES, PayloadState};
use crate::error::Result;
use crate::frame::{BAT_OFFSET, Frame};
use crate::metadata::Metadata;

/// The length of a block, and of a slot of the payload.
pub const SLOT_BYTES: u64 = 32 << 20;

/// Where everything lies in the canonical file of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    metadata: Metadata,
    front_bytes: u64,
}

impl Layout {
    /// Returns the layout for a disk.
    ///
    /// # Errors
    /// `OutOfRange` if no VHDX file can hold such a disk.
    pub fn new(
        virtual_size_bytes: u64,
        logical_sector_bytes: u32,
        physical_sector_bytes: u32,
    ) -> Result<Self> {
        let metadata = Metadata {
            virtual_size_bytes,
            block_size_bytes: SLOT_BYTES as u32,
            logical_sector_bytes,
            physical_sector_bytes,
            virtual_disk_id: Uuid::nil(),
            leave_blocks_allocated: false,
            parent: None,
            file_write_guid: Uuid::nil(),
            data_write_guid: Uuid::nil(),
        };
        let front_bytes = Frame::new(metadata.clone())?.payload_offset();
        Ok(Self {
            metadata,
            front_bytes,
        })
    }

    /// Returns the length of everything before the payload, whole MiB.
    pub fn front_bytes(&self) -> u64 {
        self.front_bytes
    }

    /// Returns the length of the whole file; its last slot is padded with zeros.
    pub fn file_bytes(&self) -> u64 {
        self.front_bytes + self.slot_count() * SLOT_BYTES
    }

    /// Returns how many slots the payload has.
    pub fn slot_count(&self) -> u64 {
        self.metadata.geometry().block_count()
    }

    /// Returns where in the file a slot begins.
    pub fn slot_offset(&self, slot: u64) -> u64 {
        self.front_bytes + slot * SLOT_BYTES
    }

    /// Returns everything before the payload. `present` says of each slot whether it holds
    /// anything but zeros.
    pub fn front(
        &self,
        virtual_disk_id: Uuid,
        file_write_guid: Uuid,
        data_write_guid: Uuid,
        present: impl Fn(u64) -> bool,
    ) -> Vec<u8> {
        let metadata = Metadata {
            virtual_disk_id,
            file_write_guid,
            data_write_guid,
            ..self.metadata.clone()
        };
        let geometry = metadata.geometry();
        let frame = Frame::new(metadata).expect("the layout was checked when it was made");
        let mut front = vec![0; self.front_bytes as usize];
        let mut put = |offset: u64, bytes: &[u8]| {
            front[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
        };
        for (offset, bytes) in frame.parts() {
            put(offset, &bytes);
        }
        for slot in 0..self.slot_count() {
            let state = match present(slot) {
                true => PayloadState::FullyPresent {
                    offset: self.slot_offset(slot),
                },
                false => PayloadState::Zero,
            };
            let offset = BAT_OFFSET + geometry.payload_index(slot) * ENTRY_BYTES;
            put(offset, &state.encode().to_le_bytes());
        }
        front
    }
}
