//! How a disk is cut: into slots, and these into chunks.

use disk::ByteRange;

/// A slot is 32 MiB of the virtual disk: one block of the canonical VHDX, one segment, one list.
pub const SLOT_BYTES: u64 = 32 << 20;

/// Images are cut into chunks of this length; `docs/decisions/chunk-size.md` says why.
pub const CHUNK_BYTES: u64 = 256 << 10;

/// Returns the range of the virtual disk that slot `number` covers; the last one may reach past
/// the disk's end.
pub fn slot_range(number: u64) -> ByteRange {
    ByteRange::at(number * SLOT_BYTES, SLOT_BYTES)
        .expect("a slot is not empty, and 64 TiB are far below the limit")
}
