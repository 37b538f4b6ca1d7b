//! Why bytes could not be compressed or decompressed.

use thiserror::Error;

/// What to make of a [`CompressionError`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompressionErrorKind {
    /// The bytes are not what a compressor wrote, or not all of it.
    Damaged,
    /// The result is longer than was allowed.
    TooLong,
    /// There is no such compression, or none that we write.
    Unsupported,
    /// There is too little memory.
    OutOfMemory,
}

/// Why bytes could not be compressed or decompressed.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct CompressionError(#[from] Reason);

impl CompressionError {
    /// Returns what to make of it.
    pub fn kind(&self) -> CompressionErrorKind {
        match self.0 {
            Reason::Header { .. } | Reason::WrongLength { .. } | Reason::Stream { .. } => {
                CompressionErrorKind::Damaged
            }
            Reason::TooLong { .. } => CompressionErrorKind::TooLong,
            Reason::UnknownId(_) | Reason::NotWritable(_) => CompressionErrorKind::Unsupported,
            Reason::OutOfMemory { .. } | Reason::Compressor { .. } => {
                CompressionErrorKind::OutOfMemory
            }
        }
    }
}

#[derive(Debug, Error)]
pub(super) enum Reason {
    #[error("no compression has the ID {0:#06x}")]
    UnknownId(u32),
    #[error("compressed data is damaged: it does not begin with its ID {id:#06x} and a stream")]
    Header { id: u32 },
    #[error("compressed data is damaged: it holds {actual} bytes instead of {expected}")]
    WrongLength { expected: usize, actual: usize },
    #[error("compressed data holds more than {max_bytes} bytes")]
    TooLong { max_bytes: usize },
    #[error("{name} data is damaged: {problem}")]
    Stream { name: &'static str, problem: String },
    #[error("there is no memory for {bytes} bytes of decompressed data")]
    OutOfMemory { bytes: usize },
    #[error("{0} data can be read but is never written")]
    NotWritable(&'static str),
    #[error("the {name} compressor failed")]
    Compressor {
        name: &'static str,
        source: std::io::Error,
    },
}

/// What a codec found wrong with a stream; it does not know the stream's name.
#[derive(Debug)]
pub(super) enum StreamTrouble {
    /// The stream is not a stream of this codec, or not a whole one.
    Damaged(String),
    /// It holds more bytes than were asked for.
    TooLong,
    /// There is no memory for this many bytes.
    OutOfMemory(usize),
}

impl StreamTrouble {
    pub(super) fn damaged(problem: impl ToString) -> Self {
        Self::Damaged(problem.to_string())
    }
}
