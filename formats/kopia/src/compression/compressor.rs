//! Compressing contents.

use std::fmt;
use std::io;

use super::error::{CompressionError, Reason};
use super::s2::Effort;
use super::{CompressionAlgorithm, HEADER_BYTES, deflate, s2, zstd_frames};

/// Compresses with one algorithm. Keep one per thread: it holds memory worth reusing.
pub struct Compressor {
    algorithm: CompressionAlgorithm,
    /// The zstd context, made when it is first needed.
    zstd: Option<zstd::bulk::Compressor<'static>>,
    /// The stream of the last call.
    stream: Vec<u8>,
}

impl Compressor {
    /// Returns a compressor for this algorithm.
    pub fn new(algorithm: CompressionAlgorithm) -> Self {
        Self {
            algorithm,
            zstd: None,
            stream: Vec::new(),
        }
    }

    /// Returns which algorithm it compresses with.
    pub fn algorithm(&self) -> CompressionAlgorithm {
        self.algorithm
    }

    /// Appends header ID and compressed stream and returns true; or leaves `out` as it is and
    /// returns false if that would not be shorter than the data, which is then to be stored as it
    /// is, under the ID 0.
    ///
    /// `zstd-fastest` first compresses a sample of data of 256 KiB or more, and also returns false
    /// if that hardly shrinks, so that encrypted or compressed data costs little.
    pub fn compress(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<bool, CompressionError> {
        if !self.algorithm.is_writable() {
            return Err(Reason::NotWritable(self.algorithm.name()).into());
        }
        let worth_it = self
            .fill_stream(data)
            .map_err(|source| Reason::Compressor {
                name: self.algorithm.name(),
                source,
            })?;
        if !worth_it || HEADER_BYTES + self.stream.len() >= data.len() {
            return Ok(false);
        }
        out.reserve(HEADER_BYTES + self.stream.len());
        out.extend_from_slice(&self.algorithm.header_id().to_be_bytes());
        out.extend_from_slice(&self.stream);
        Ok(true)
    }

    /// Puts the compressed data into `stream`, or returns false if that looks futile.
    fn fill_stream(&mut self, data: &[u8]) -> io::Result<bool> {
        use CompressionAlgorithm as A;
        self.stream.clear();
        let stream = &mut self.stream;
        match self.algorithm {
            A::ZstdFastest => {
                let zstd = zstd_context(&mut self.zstd, 1)?;
                if zstd_frames::looks_incompressible(zstd, data, stream)? {
                    return Ok(false);
                }
                zstd_frames::encode(zstd, data, stream)?;
            }
            A::Zstd => zstd_frames::encode(zstd_context(&mut self.zstd, 3)?, data, stream)?,
            A::ZstdBetterCompression => {
                zstd_frames::encode(zstd_context(&mut self.zstd, 6)?, data, stream)?;
            }
            A::ZstdBestCompression => {
                zstd_frames::encode(zstd_context(&mut self.zstd, 11)?, data, stream)?;
            }
            A::S2Default | A::S2Parallel4 | A::S2Parallel8 => {
                s2::encode(data, Effort::Default, stream);
            }
            A::S2Better => s2::encode(data, Effort::Better, stream),
            A::Gzip | A::Pgzip => deflate::encode_gzip(data, 6, stream)?,
            A::GzipBestSpeed | A::PgzipBestSpeed => deflate::encode_gzip(data, 1, stream)?,
            A::GzipBestCompression | A::PgzipBestCompression => {
                deflate::encode_gzip(data, 9, stream)?;
            }
            A::DeflateDefault => deflate::encode_raw(data, 6, stream)?,
            A::DeflateBestSpeed => deflate::encode_raw(data, 1, stream)?,
            A::DeflateBestCompression => deflate::encode_raw(data, 9, stream)?,
            A::Lz4 => return Ok(false),
        }
        Ok(true)
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

fn zstd_context<'a>(
    kept: &'a mut Option<zstd::bulk::Compressor<'static>>,
    level: i32,
) -> io::Result<&'a mut zstd::bulk::Compressor<'static>> {
    match kept {
        Some(context) => Ok(context),
        None => Ok(kept.insert(zstd::bulk::Compressor::new(level)?)),
    }
}
