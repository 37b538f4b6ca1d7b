//! The DEFLATE family: gzip, gzip in several members as pgzip writes it, and raw DEFLATE.

use std::io::{self, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::{DeflateEncoder, GzEncoder};
use flate2::{Compression, Decompress, FlushDecompress, Status};

use super::bounded::read_within;
use super::error::StreamTrouble;

const FIRST_OUTPUT_BYTES: usize = 64 << 10;

pub(super) fn decode_gzip(stream: &[u8], limit: usize) -> Result<Vec<u8>, StreamTrouble> {
    let mut plain = Vec::new();
    read_within(MultiGzDecoder::new(stream), limit, &mut plain)?;
    Ok(plain)
}

/// Decodes raw DEFLATE. It has no checksum, so a stream must at least end, and end with the data:
/// a reader that stops at the end of the data would take a cut stream for a whole one.
pub(super) fn decode_raw(stream: &[u8], limit: usize) -> Result<Vec<u8>, StreamTrouble> {
    let mut inflate = Decompress::new(false);
    let mut plain = Vec::new();
    let mut rest = stream;
    loop {
        if plain.len() == plain.capacity() {
            // One byte more than allowed shows that there is more.
            let room = (limit - plain.len()).saturating_add(1);
            plain.reserve_exact(room.min(plain.len().max(FIRST_OUTPUT_BYTES)));
        }
        let consumed_before = inflate.total_in();
        let plain_before = plain.len();
        let status = inflate
            .decompress_vec(rest, &mut plain, FlushDecompress::None)
            .map_err(StreamTrouble::damaged)?;
        let consumed = usize::try_from(inflate.total_in() - consumed_before)
            .expect("no more is consumed than was in memory");
        rest = &rest[consumed..];
        if plain.len() > limit {
            return Err(StreamTrouble::TooLong);
        }
        if status == Status::StreamEnd {
            break;
        }
        if consumed == 0 && plain.len() == plain_before {
            return Err(StreamTrouble::damaged("it ends early"));
        }
    }
    if !rest.is_empty() {
        return Err(StreamTrouble::damaged("something follows its end"));
    }
    Ok(plain)
}

pub(super) fn encode_gzip(data: &[u8], level: u32, out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = GzEncoder::new(out, Compression::new(level));
    encoder.write_all(data)?;
    encoder.finish()?;
    Ok(())
}

pub(super) fn encode_raw(data: &[u8], level: u32, out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = DeflateEncoder::new(out, Compression::new(level));
    encoder.write_all(data)?;
    encoder.finish()?;
    Ok(())
}
