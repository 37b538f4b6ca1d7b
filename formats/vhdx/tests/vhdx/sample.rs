//! Disks and contents that tests share. Everything comes from seeds.

use uuid::Uuid;
use vhdx::memory::MemoryFile;
use vhdx::{Chain, CreateOptions, ReadAt};

pub const MIB: u64 = 1 << 20;

/// A small generator; good enough to tell places apart.
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

pub fn guid(number: u128) -> Uuid {
    Uuid::from_u128(0x1000_0000_0000_4000_8000_0000_0000_0000 + number)
}

pub fn options(virtual_size_bytes: u64, block_mib: u64, sector: u32) -> CreateOptions {
    CreateOptions {
        virtual_size_bytes,
        block_size_bytes: (block_mib * MIB) as u32,
        logical_sector_bytes: sector,
        physical_sector_bytes: 4096,
        virtual_disk_id: guid(1),
        file_write_guid: guid(2),
        data_write_guid: guid(3),
    }
}

/// Returns everything a guest sees.
pub fn content<F: ReadAt>(chain: &Chain<F>) -> Vec<u8> {
    let mut bytes = vec![0xee; chain.size_bytes() as usize];
    chain.read_at(0, &mut bytes).unwrap();
    bytes
}

pub fn content_of(files: &[MemoryFile]) -> Vec<u8> {
    content(&Chain::open(files.to_vec()).unwrap())
}

/// Compares long contents without printing them.
#[track_caller]
pub fn assert_same(left: &[u8], right: &[u8]) {
    assert_eq!(left.len(), right.len(), "lengths differ");
    let first = left
        .iter()
        .zip(right)
        .position(|(left, right)| left != right);
    assert_eq!(first, None, "contents differ from this offset on");
}
