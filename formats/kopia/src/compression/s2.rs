//! The framing of S2 streams, and of the Snappy streams they descend from, around S2 blocks.
//!
//! ```text
//! chunk = type (1 byte) ‖ length (3 bytes, little-endian) ‖ body
//! body of a data chunk = masked CRC-32C of the plain bytes (4, little-endian) ‖ block or plain bytes
//! ```

use crc_fast::CrcAlgorithm;

use super::error::StreamTrouble;

const CHUNK_COMPRESSED: u8 = 0x00;
const CHUNK_PLAIN: u8 = 0x01;
const CHUNK_SKIPPABLE_FIRST: u8 = 0x80;
const CHUNK_SKIPPABLE_LAST: u8 = 0xfe;
const CHUNK_STREAM_ID: u8 = 0xff;

const STREAM_ID_S2: &[u8; 6] = b"S2sTwO";
const STREAM_ID_SNAPPY: &[u8; 6] = b"sNaPpY";

/// The longest block that an S2 stream may have.
const BLOCK_BYTES_MAX: usize = 4 << 20;
/// The blocks that we write, as long as those of Kopia's encoder.
const BLOCK_BYTES: usize = 1 << 20;
const CHUNK_HEADER_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 4;

pub(super) fn decode(stream: &[u8], limit: usize) -> Result<Vec<u8>, StreamTrouble> {
    let mut plain = Vec::new();
    let mut rest = stream;
    let mut identified = false;
    while !rest.is_empty() {
        let (kind, body, behind) = split_chunk(rest).ok_or_else(ends_early)?;
        rest = behind;
        if !identified && kind != CHUNK_STREAM_ID {
            return Err(StreamTrouble::damaged("it has no stream identifier"));
        }
        match kind {
            CHUNK_STREAM_ID if body == STREAM_ID_S2 || body == STREAM_ID_SNAPPY => {
                identified = true;
            }
            CHUNK_COMPRESSED => append_block(body, limit, &mut plain)?,
            CHUNK_PLAIN => append_plain(body, limit, &mut plain)?,
            CHUNK_SKIPPABLE_FIRST..=CHUNK_SKIPPABLE_LAST => {}
            _ => {
                return Err(StreamTrouble::Damaged(format!(
                    "it has a chunk of type {kind:#04x}"
                )));
            }
        }
    }
    Ok(plain)
}

/// How hard the encoder tries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effort {
    Default,
    Better,
}

/// Appends a whole stream.
pub(super) fn encode(data: &[u8], effort: Effort, out: &mut Vec<u8>) {
    append_chunk(CHUNK_STREAM_ID, &[], STREAM_ID_S2, out);
    for block in data.chunks(BLOCK_BYTES) {
        let checksum = masked_crc(block).to_le_bytes();
        let compressed = match effort {
            Effort::Default => minlz::s2::encode(block),
            Effort::Better => minlz::s2::encode_better(block),
        };
        if compressed.len() < block.len() {
            append_chunk(CHUNK_COMPRESSED, &checksum, &compressed, out);
        } else {
            append_chunk(CHUNK_PLAIN, &checksum, block, out);
        }
    }
}

fn append_chunk(kind: u8, checksum: &[u8], body: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(checksum.len() + body.len())
        .expect("a block has a mebibyte at most")
        .to_le_bytes();
    out.push(kind);
    out.extend_from_slice(&length[..3]);
    out.extend_from_slice(checksum);
    out.extend_from_slice(body);
}

/// Returns the type and body of the first chunk, and what follows it.
fn split_chunk(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let ([kind, length @ ..], rest) = bytes.split_first_chunk::<CHUNK_HEADER_BYTES>()?;
    let [low, middle, high] = *length;
    let length = usize::try_from(u32::from_le_bytes([low, middle, high, 0])).ok()?;
    let (body, behind) = rest.split_at_checked(length)?;
    Some((*kind, body, behind))
}

fn append_block(body: &[u8], limit: usize, plain: &mut Vec<u8>) -> Result<(), StreamTrouble> {
    let (checksum, block) = body
        .split_first_chunk::<CHECKSUM_BYTES>()
        .ok_or_else(ends_early)?;
    let (bytes, _) = minlz::s2::decode_len(block).map_err(StreamTrouble::damaged)?;
    let start = plain.len();
    check_room(bytes, start, limit)?;
    plain.resize(start + bytes, 0);
    let decoded = &mut plain[start..];
    minlz::s2::decode_into(decoded, block).map_err(StreamTrouble::damaged)?;
    check_crc(decoded, *checksum)
}

fn append_plain(body: &[u8], limit: usize, plain: &mut Vec<u8>) -> Result<(), StreamTrouble> {
    let (checksum, bytes) = body
        .split_first_chunk::<CHECKSUM_BYTES>()
        .ok_or_else(ends_early)?;
    check_room(bytes.len(), plain.len(), limit)?;
    check_crc(bytes, *checksum)?;
    plain.extend_from_slice(bytes);
    Ok(())
}

fn check_room(bytes: usize, held: usize, limit: usize) -> Result<(), StreamTrouble> {
    if bytes > BLOCK_BYTES_MAX {
        return Err(StreamTrouble::damaged("a block is longer than 4 MiB"));
    }
    if bytes > limit - held {
        return Err(StreamTrouble::TooLong);
    }
    Ok(())
}

fn check_crc(plain: &[u8], expected: [u8; CHECKSUM_BYTES]) -> Result<(), StreamTrouble> {
    if masked_crc(plain) != u32::from_le_bytes(expected) {
        return Err(StreamTrouble::damaged("a block's checksum is wrong"));
    }
    Ok(())
}

/// CRC-32C, turned and shifted so that checksums of data with checksums in it stay useful.
fn masked_crc(bytes: &[u8]) -> u32 {
    let crc = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes);
    let crc = u32::try_from(crc).expect("a CRC-32 has 32 bits");
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn ends_early() -> StreamTrouble {
    StreamTrouble::damaged("it ends early")
}
