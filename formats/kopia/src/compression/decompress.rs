//! Undoing any compression, within bounds.

use super::error::{CompressionError, Reason, StreamTrouble};
use super::{CompressionAlgorithm, HEADER_BYTES, deflate, lz4, s2, zstd_frames};

/// Returns the plain bytes of a compressed content.
///
/// `header_id` is the compression that the index names; the payload must begin with the same ID.
/// `original_bytes` is the length that the result must have, or 0 if that is not known (what is
/// empty is never compressed). No result is longer than `max_bytes`, and no more memory is taken
/// than the result and the codec's window need.
pub fn decompress(
    header_id: u32,
    payload_with_header: &[u8],
    original_bytes: usize,
    max_bytes: usize,
) -> Result<Vec<u8>, CompressionError> {
    let algorithm =
        CompressionAlgorithm::from_header_id(header_id).ok_or(Reason::UnknownId(header_id))?;
    let stream = match payload_with_header.split_first_chunk::<HEADER_BYTES>() {
        Some((id, stream)) if u32::from_be_bytes(*id) == header_id && !stream.is_empty() => stream,
        _ => return Err(Reason::Header { id: header_id }.into()),
    };
    if original_bytes > max_bytes {
        return Err(Reason::TooLong { max_bytes }.into());
    }
    let expected = (original_bytes != 0).then_some(original_bytes);
    let limit = expected.unwrap_or(max_bytes);
    let plain = decode(algorithm, stream, expected, limit).map_err(|trouble| match trouble {
        StreamTrouble::Damaged(problem) => Reason::Stream {
            name: algorithm.name(),
            problem,
        },
        StreamTrouble::TooLong => Reason::TooLong { max_bytes: limit },
        StreamTrouble::OutOfMemory(bytes) => Reason::OutOfMemory { bytes },
    })?;
    match expected {
        Some(expected) if plain.len() != expected => Err(Reason::WrongLength {
            expected,
            actual: plain.len(),
        }
        .into()),
        _ => Ok(plain),
    }
}

fn decode(
    algorithm: CompressionAlgorithm,
    stream: &[u8],
    expected: Option<usize>,
    limit: usize,
) -> Result<Vec<u8>, StreamTrouble> {
    use CompressionAlgorithm as A;
    match algorithm {
        A::Gzip
        | A::GzipBestSpeed
        | A::GzipBestCompression
        | A::Pgzip
        | A::PgzipBestSpeed
        | A::PgzipBestCompression => deflate::decode_gzip(stream, limit),
        A::DeflateDefault | A::DeflateBestSpeed | A::DeflateBestCompression => {
            deflate::decode_raw(stream, limit)
        }
        A::Zstd | A::ZstdFastest | A::ZstdBetterCompression | A::ZstdBestCompression => {
            match expected {
                Some(bytes) => zstd_frames::decode_known(stream, bytes),
                None => zstd_frames::decode(stream, limit),
            }
        }
        A::S2Default | A::S2Better | A::S2Parallel4 | A::S2Parallel8 => s2::decode(stream, limit),
        A::Lz4 => lz4::decode(stream, limit),
    }
}
