//! zstd: one or several frames, with or without their content's length, no dictionary.

use zstd::bulk::{Compressor, Decompressor};

use super::bounded::read_within;
use super::error::StreamTrouble;

/// The inputs for which a trial is worth its cost.
const TRIAL_INPUT_BYTES_MIN: usize = 256 << 10;
const TRIAL_PIECES: usize = 16;
const TRIAL_PIECE_BYTES: usize = 2 << 10;
/// A trial that saves less than this part of its sample promises nothing for the whole.
const TRIAL_SAVING_DIVISOR: usize = 64;

/// Decodes frames that hold this many bytes, straight into their place.
pub(super) fn decode_known(stream: &[u8], bytes: usize) -> Result<Vec<u8>, StreamTrouble> {
    let mut plain = Vec::new();
    plain
        .try_reserve_exact(bytes)
        .map_err(|_| StreamTrouble::OutOfMemory(bytes))?;
    Decompressor::new()
        .and_then(|mut decompressor| decompressor.decompress_to_buffer(stream, &mut plain))
        .map_err(StreamTrouble::damaged)?;
    Ok(plain)
}

/// Decodes frames that hold at most this many bytes.
pub(super) fn decode(stream: &[u8], limit: usize) -> Result<Vec<u8>, StreamTrouble> {
    let mut plain = Vec::new();
    let decoder =
        zstd::stream::read::Decoder::with_buffer(stream).map_err(StreamTrouble::damaged)?;
    read_within(decoder, limit, &mut plain)?;
    Ok(plain)
}

/// Returns whether a large input is probably not worth compressing: 16 pieces of 2 KiB, evenly
/// spread over it, hardly shrink when compressed together.
///
/// This costs a fraction of compressing the input, which matters for encrypted and already
/// compressed data: hashing and sealing them is not much slower than finding that they do not
/// shrink. It may be wrong for data that repeats itself only over long distances, or that is
/// compressible in few, short places; such data is then stored as it is.
pub(super) fn looks_incompressible(
    compressor: &mut Compressor<'_>,
    data: &[u8],
    scratch: &mut Vec<u8>,
) -> std::io::Result<bool> {
    if data.len() < TRIAL_INPUT_BYTES_MIN {
        return Ok(false);
    }
    let mut sample = Vec::with_capacity(TRIAL_PIECES * TRIAL_PIECE_BYTES);
    for stretch in data.chunks_exact(data.len() / TRIAL_PIECES) {
        sample.extend_from_slice(&stretch[..TRIAL_PIECE_BYTES]);
    }
    encode(compressor, &sample, scratch)?;
    Ok(scratch.len() > sample.len() - sample.len() / TRIAL_SAVING_DIVISOR)
}

/// Replaces what `out` holds by one frame.
pub(super) fn encode(
    compressor: &mut Compressor<'_>,
    data: &[u8],
    out: &mut Vec<u8>,
) -> std::io::Result<()> {
    out.clear();
    out.reserve(zstd::zstd_safe::compress_bound(data.len()));
    compressor.compress_to_buffer(data, out)?;
    Ok(())
}
