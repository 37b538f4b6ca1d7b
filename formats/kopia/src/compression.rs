//! Compressing contents, and undoing every compression that Kopia ever wrote (Kopia spec 4.3).
//!
//! A compressed content is a header ID, four bytes, big-endian, and a stream. The ID selects the
//! decoder only: any encoder of the same family of streams may write it. Knows nothing of indexes,
//! which hold the header ID a second time.

mod bounded;
mod compressor;
mod decompress;
mod deflate;
mod error;
mod lz4;
mod s2;
mod zstd_frames;

pub use compressor::Compressor;
pub use decompress::decompress;
pub use error::{CompressionError, CompressionErrorKind};

/// How many bytes of header ID precede a compressed stream.
pub const HEADER_BYTES: usize = 4;

/// A compression that contents may be stored with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CompressionAlgorithm {
    /// `gzip`.
    Gzip,
    /// `gzip-best-speed`.
    GzipBestSpeed,
    /// `gzip-best-compression`.
    GzipBestCompression,
    /// `zstd`.
    Zstd,
    /// `zstd-fastest`, Kopia's default for metadata.
    ZstdFastest,
    /// `zstd-better-compression`.
    ZstdBetterCompression,
    /// `zstd-best-compression`, deprecated by Kopia.
    ZstdBestCompression,
    /// `s2-default`.
    S2Default,
    /// `s2-better`.
    S2Better,
    /// `s2-parallel-4`.
    S2Parallel4,
    /// `s2-parallel-8`.
    S2Parallel8,
    /// `pgzip`: gzip in several members.
    Pgzip,
    /// `pgzip-best-speed`.
    PgzipBestSpeed,
    /// `pgzip-best-compression`.
    PgzipBestCompression,
    /// `lz4`: removed from Kopia, so we read it but never write it.
    Lz4,
    /// `deflate-default`.
    DeflateDefault,
    /// `deflate-best-speed`.
    DeflateBestSpeed,
    /// `deflate-best-compression`.
    DeflateBestCompression,
}

impl CompressionAlgorithm {
    /// Every compression there is.
    pub const ALL: &[Self] = &[
        Self::Gzip,
        Self::GzipBestSpeed,
        Self::GzipBestCompression,
        Self::Zstd,
        Self::ZstdFastest,
        Self::ZstdBetterCompression,
        Self::ZstdBestCompression,
        Self::S2Default,
        Self::S2Better,
        Self::S2Parallel4,
        Self::S2Parallel8,
        Self::Pgzip,
        Self::PgzipBestSpeed,
        Self::PgzipBestCompression,
        Self::Lz4,
        Self::DeflateDefault,
        Self::DeflateBestSpeed,
        Self::DeflateBestCompression,
    ];

    /// Returns the name that policies use. Their `none` is no compression and no algorithm.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::GzipBestSpeed => "gzip-best-speed",
            Self::GzipBestCompression => "gzip-best-compression",
            Self::Zstd => "zstd",
            Self::ZstdFastest => "zstd-fastest",
            Self::ZstdBetterCompression => "zstd-better-compression",
            Self::ZstdBestCompression => "zstd-best-compression",
            Self::S2Default => "s2-default",
            Self::S2Better => "s2-better",
            Self::S2Parallel4 => "s2-parallel-4",
            Self::S2Parallel8 => "s2-parallel-8",
            Self::Pgzip => "pgzip",
            Self::PgzipBestSpeed => "pgzip-best-speed",
            Self::PgzipBestCompression => "pgzip-best-compression",
            Self::Lz4 => "lz4",
            Self::DeflateDefault => "deflate-default",
            Self::DeflateBestSpeed => "deflate-best-speed",
            Self::DeflateBestCompression => "deflate-best-compression",
        }
    }

    /// Returns the compression of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|a| a.name() == name)
    }

    /// Returns the ID that precedes its streams. 0 is nobody's: it means no compression.
    pub fn header_id(self) -> u32 {
        match self {
            Self::Gzip => 0x1000,
            Self::GzipBestSpeed => 0x1001,
            Self::GzipBestCompression => 0x1002,
            Self::Zstd => 0x1100,
            Self::ZstdFastest => 0x1101,
            Self::ZstdBetterCompression => 0x1102,
            Self::ZstdBestCompression => 0x1103,
            Self::S2Default => 0x1200,
            Self::S2Better => 0x1201,
            Self::S2Parallel4 => 0x1202,
            Self::S2Parallel8 => 0x1203,
            Self::Pgzip => 0x1300,
            Self::PgzipBestSpeed => 0x1301,
            Self::PgzipBestCompression => 0x1302,
            Self::Lz4 => 0x1400,
            Self::DeflateDefault => 0x1500,
            Self::DeflateBestSpeed => 0x1501,
            Self::DeflateBestCompression => 0x1502,
        }
    }

    /// Returns the compression whose streams this ID precedes.
    pub fn from_header_id(id: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|a| a.header_id() == id)
    }

    /// Returns whether new contents may be compressed so.
    pub fn is_writable(self) -> bool {
        self != Self::Lz4
    }
}

#[cfg(test)]
mod tests;
