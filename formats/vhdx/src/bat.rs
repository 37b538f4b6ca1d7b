//! The block allocation table's arithmetic and its entries. Does not know where the table lies.

use crate::error::{Result, damaged};
use crate::header::MIB;

/// Sectors whose bits fill one sector bitmap block.
const CHUNK_SECTORS: u64 = 1 << 23;

/// A sector bitmap block is as long as this in the file.
pub(crate) const BITMAP_BYTES: u64 = MIB;

pub(crate) const ENTRY_BYTES: u64 = 8;

const VIRTUAL_SIZE_MAX: u64 = 64 << 40;
const BLOCK_SIZE_MIN: u32 = 1 << 20;
const BLOCK_SIZE_MAX: u32 = 256 << 20;

/// What the table's shape depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub virtual_size_bytes: u64,
    pub block_size_bytes: u32,
    pub logical_sector_bytes: u32,
}

impl Geometry {
    /// Says what is impossible, if anything is.
    pub fn check(&self) -> std::result::Result<(), String> {
        let block = self.block_size_bytes;
        if !matches!(self.logical_sector_bytes, 512 | 4096) {
            let sector = self.logical_sector_bytes;
            return Err(format!(
                "accept logical sectors of {sector} bytes: 512 and 4096 are possible"
            ));
        }
        if !block.is_power_of_two() || !(BLOCK_SIZE_MIN..=BLOCK_SIZE_MAX).contains(&block) {
            return Err(format!(
                "accept blocks of {block} bytes: powers of two from 1 to 256 MiB are possible"
            ));
        }
        let size = self.virtual_size_bytes;
        let whole = size.is_multiple_of(self.logical_sector_bytes.into());
        if size == 0 || size > VIRTUAL_SIZE_MAX || !whole {
            return Err(format!(
                "accept a virtual disk of {size} bytes: whole sectors up to 64 TiB are possible"
            ));
        }
        Ok(())
    }

    pub fn block_bytes(&self) -> u64 {
        self.block_size_bytes.into()
    }

    /// Returns how many payload blocks share one sector bitmap block.
    pub fn chunk_ratio(&self) -> u64 {
        CHUNK_SECTORS * u64::from(self.logical_sector_bytes) / self.block_bytes()
    }

    pub fn block_count(&self) -> u64 {
        self.virtual_size_bytes.div_ceil(self.block_bytes())
    }

    /// Returns how much of a block lies inside the virtual disk; only the last may lie so in part.
    pub fn used_bytes(&self, block: u64) -> u64 {
        self.block_bytes()
            .min(self.virtual_size_bytes - block * self.block_bytes())
    }

    /// Returns the table index of a payload block.
    pub fn payload_index(&self, block: u64) -> u64 {
        block + block / self.chunk_ratio()
    }

    /// Returns the table index of the sector bitmap block that a payload block's bits lie in.
    pub fn bitmap_index(&self, block: u64) -> u64 {
        let ratio = self.chunk_ratio();
        block / ratio * (ratio + 1) + ratio
    }

    /// Returns what the entry at a table index stands for; `None` for entries behind the last
    /// block, which mean nothing.
    pub fn slot(&self, index: u64) -> Option<Slot> {
        let ratio = self.chunk_ratio();
        let within = index % (ratio + 1);
        if within == ratio {
            return Some(Slot::Bitmap);
        }
        let block = index / (ratio + 1) * ratio + within;
        (block < self.block_count()).then_some(Slot::Payload(block))
    }

    pub fn entry_count(&self, has_parent: bool) -> u64 {
        let blocks = self.block_count();
        match has_parent {
            true => blocks.div_ceil(self.chunk_ratio()) * (self.chunk_ratio() + 1),
            false => self.payload_index(blocks - 1) + 1,
        }
    }

    /// Returns how long the table's region must be, in whole MiB.
    pub fn table_bytes(&self, has_parent: bool) -> u64 {
        (self.entry_count(has_parent) * ENTRY_BYTES).next_multiple_of(MIB)
    }

    /// Returns where a block's bits begin in its bitmap block, in bytes, and how many bytes they take.
    pub fn bitmap_place(&self, block: u64) -> (u64, u64) {
        let bytes = self.block_bytes() / u64::from(self.logical_sector_bytes) / 8;
        (block % self.chunk_ratio() * bytes, bytes)
    }
}

/// What a table entry stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Payload(u64),
    Bitmap,
}

/// The state of a payload block, with its place in the file if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PayloadState {
    /// Not in this file: the parent's, or zeros if there is none.
    NotPresent,
    /// Reads as zeros, whatever the parent holds (undefined, zero, unmapped).
    Zero,
    FullyPresent {
        offset: u64,
    },
    /// The sector bitmap says which sectors are here; the others are the parent's.
    PartiallyPresent {
        offset: u64,
    },
}

const STATE_MASK: u64 = 0b111;
const RESERVED_MASK: u64 = 0xf_fff8;
const OFFSET_MASK: u64 = !0xf_ffff;

const NOT_PRESENT: u64 = 0;
const UNDEFINED: u64 = 1;
const ZERO: u64 = 2;
const UNMAPPED: u64 = 3;
const FULLY_PRESENT: u64 = 6;
const PARTIALLY_PRESENT: u64 = 7;

impl PayloadState {
    pub fn decode(entry: u64, has_parent: bool) -> Result<Self> {
        let offset = entry & OFFSET_MASK;
        if entry & RESERVED_MASK != 0 {
            return Err(damaged("read the block table: reserved bits are set"));
        }
        match entry & STATE_MASK {
            NOT_PRESENT => Ok(Self::NotPresent),
            UNDEFINED | ZERO | UNMAPPED => Ok(Self::Zero),
            FULLY_PRESENT => Ok(Self::FullyPresent { offset }),
            PARTIALLY_PRESENT if has_parent => Ok(Self::PartiallyPresent { offset }),
            PARTIALLY_PRESENT => Err(damaged(
                "read the block table: a block is partly present, but there is no parent",
            )),
            state => Err(damaged(format!(
                "read the block table: {state} is no state of a block"
            ))),
        }
    }

    pub fn encode(self) -> u64 {
        match self {
            Self::NotPresent => NOT_PRESENT,
            Self::Zero => ZERO,
            Self::FullyPresent { offset } => offset | FULLY_PRESENT,
            Self::PartiallyPresent { offset } => offset | PARTIALLY_PRESENT,
        }
    }
}

/// Returns the place of a sector bitmap block, if it has one.
pub(crate) fn decode_bitmap(entry: u64) -> Result<Option<u64>> {
    match (entry & RESERVED_MASK, entry & STATE_MASK) {
        (0, NOT_PRESENT) => Ok(None),
        (0, FULLY_PRESENT) => Ok(Some(entry & OFFSET_MASK)),
        _ => Err(damaged(
            "read the block table: a sector bitmap's entry is impossible",
        )),
    }
}

pub(crate) fn encode_bitmap(offset: u64) -> u64 {
    offset | FULLY_PRESENT
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIB: u64 = 1 << 40;

    #[test]
    fn bitmap_entries_stand_behind_each_chunk_of_blocks() {
        let geometry = Geometry {
            virtual_size_bytes: 64 * TIB,
            block_size_bytes: 32 << 20,
            logical_sector_bytes: 512,
        };
        assert_eq!(geometry.chunk_ratio(), 128);
        assert_eq!(geometry.block_count(), 2 << 20);
        assert_eq!(geometry.payload_index(127), 127);
        assert_eq!(geometry.bitmap_index(127), 128);
        assert_eq!(geometry.payload_index(128), 129);
        assert_eq!(geometry.slot(128), Some(Slot::Bitmap));
        assert_eq!(geometry.slot(129), Some(Slot::Payload(128)));
        assert_eq!(geometry.entry_count(false), (2 << 20) + (2 << 20) / 128 - 1);
        assert_eq!(geometry.entry_count(true), (2 << 20) + (2 << 20) / 128);
    }

    #[test]
    fn a_block_of_any_size_has_its_bits_in_one_bitmap() {
        for sector in [512, 4096] {
            for shift in 20..=28 {
                let geometry = Geometry {
                    virtual_size_bytes: TIB,
                    block_size_bytes: 1 << shift,
                    logical_sector_bytes: sector,
                };
                geometry.check().unwrap();
                let (_, bytes) = geometry.bitmap_place(0);
                assert_eq!(bytes * geometry.chunk_ratio(), BITMAP_BYTES);
                let last = geometry.chunk_ratio() - 1;
                assert_eq!(geometry.bitmap_place(last).0 + bytes, BITMAP_BYTES);
            }
        }
    }
}
