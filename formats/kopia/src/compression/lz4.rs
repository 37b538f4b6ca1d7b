//! LZ4 frames: only read, since Kopia no longer has LZ4.

use lz4_flex::frame::FrameDecoder;

use super::bounded::read_within;
use super::error::StreamTrouble;

const MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
const FLAG_BLOCK_CHECKSUMS: u8 = 1 << 4;
const FLAG_CONTENT_BYTES: u8 = 1 << 3;
const FLAG_CONTENT_CHECKSUM: u8 = 1 << 2;
const FLAG_DICTIONARY: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
/// The bit of a block's length that says it is not compressed.
const BLOCK_IS_PLAIN: u32 = 1 << 31;

pub(super) fn decode(stream: &[u8], limit: usize) -> Result<Vec<u8>, StreamTrouble> {
    let mut plain = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let frame_bytes = whole_frame_bytes(rest)
            .ok_or_else(|| StreamTrouble::damaged("a frame is not whole"))?;
        let (frame, behind) = rest.split_at(frame_bytes);
        // A decoder for each frame: one that meets a second frame keeps buffers sized for the first.
        read_within(FrameDecoder::new(frame), limit, &mut plain)?;
        rest = behind;
    }
    Ok(plain)
}

/// Returns how long the frame is that the bytes begin with, if all of it is there.
///
/// The decoder takes data that ends between two blocks for the end of the frame. So we look for
/// the real end ourselves.
fn whole_frame_bytes(bytes: &[u8]) -> Option<usize> {
    let (magic, behind_magic) = bytes.split_first_chunk()?;
    if *magic != MAGIC {
        return None;
    }
    let flags = *behind_magic.first()?;
    let mut header_bytes = MAGIC.len() + 3;
    if flags & FLAG_CONTENT_BYTES != 0 {
        header_bytes += 8;
    }
    if flags & FLAG_DICTIONARY != 0 {
        header_bytes += 4;
    }
    let mut rest = bytes.get(header_bytes..)?;
    loop {
        let (length, block) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length);
        if length == 0 {
            rest = block;
            break;
        }
        let mut block_bytes = usize::try_from(length & !BLOCK_IS_PLAIN).ok()?;
        if flags & FLAG_BLOCK_CHECKSUMS != 0 {
            block_bytes = block_bytes.checked_add(CHECKSUM_BYTES)?;
        }
        rest = block.get(block_bytes..)?;
    }
    if flags & FLAG_CONTENT_CHECKSUM != 0 {
        rest = rest.get(CHECKSUM_BYTES..)?;
    }
    Some(bytes.len() - rest.len())
}
