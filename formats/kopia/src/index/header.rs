//! The header of an index file of either version, and how long the parts of a file are.

use std::ops::Range;

use crate::decode_error::DecodeError;

pub(super) const STRUCTURE: &str = "index";

pub(super) const V1_HEADER_BYTES: usize = 8;
pub(super) const V1_ENTRY_BYTES: usize = 20;
pub(super) const V2_HEADER_BYTES: usize = 17;
pub(super) const V2_ENTRY_BYTES_MIN: usize = 16;
/// An entry of the pack table.
pub(super) const PACK_BYTES: usize = 5;
/// An entry of the format table.
pub(super) const FORMAT_BYTES: usize = 6;

/// A key length that marks an empty index of version 1.
const EMPTY_KEY_BYTES: u8 = 255;

/// The header of an index file: how its sections lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexHeader {
    version: u8,
    key_bytes: usize,
    entry_bytes: usize,
    count: usize,
    pack_count: usize,
    format_count: usize,
    base_timestamp: u32,
}

impl IndexHeader {
    /// How many bytes of a file are enough to parse its header.
    pub const BYTES_MAX: usize = V2_HEADER_BYTES;

    /// Returns the header that a file of `file_bytes` begins with, checked to fit in it.
    pub fn parse(head: &[u8], file_bytes: usize) -> Result<Self, DecodeError> {
        let header = match head.first() {
            Some(1) => Self::parse_v1(head),
            Some(2) => Self::parse_v2(head),
            Some(version) => {
                let reason = format!("version {version}");
                return Err(DecodeError::unsupported(STRUCTURE, reason));
            }
            None => None,
        };
        let header =
            header.ok_or_else(|| DecodeError::malformed(STRUCTURE, "header is cut short"))?;
        header.check(file_bytes)?;
        Ok(header)
    }

    fn parse_v1(head: &[u8]) -> Option<Self> {
        let head = head.get(..V1_HEADER_BYTES)?;
        Some(Self {
            version: 1,
            key_bytes: usize::from(head[1]),
            entry_bytes: be_u32(&head[2..4]) as usize,
            count: be_u32(&head[4..8]) as usize,
            pack_count: 0,
            format_count: 0,
            base_timestamp: 0,
        })
    }

    fn parse_v2(head: &[u8]) -> Option<Self> {
        let head = head.get(..V2_HEADER_BYTES)?;
        Some(Self {
            version: 2,
            key_bytes: usize::from(head[1]),
            entry_bytes: be_u32(&head[2..4]) as usize,
            count: be_u32(&head[4..8]) as usize,
            pack_count: be_u32(&head[8..12]) as usize,
            format_count: usize::from(head[12]),
            base_timestamp: be_u32(&head[13..17]),
        })
    }

    fn check(&self, file_bytes: usize) -> Result<(), DecodeError> {
        let malformed = |reason: String| Err(DecodeError::malformed(STRUCTURE, reason));
        if self.is_empty_v1() {
            return Ok(());
        }
        let entry_bytes_min = if self.version == 1 {
            V1_ENTRY_BYTES
        } else {
            V2_ENTRY_BYTES_MIN
        };
        if self.key_bytes < 2 || self.entry_bytes < entry_bytes_min {
            return malformed(format!(
                "keys of {} and entries of {} bytes",
                self.key_bytes, self.entry_bytes
            ));
        }
        if self.version == 2 && self.key_bytes + self.entry_bytes > 256 {
            return malformed(format!("rows of {} bytes", self.row_bytes()));
        }
        // 64 bits hold this for any header: 2^32 rows of at most 2^17 bytes.
        let tables_end = self.header_bytes() as u64
            + self.count as u64 * self.row_bytes() as u64
            + self.pack_count as u64 * PACK_BYTES as u64
            + self.format_count as u64 * FORMAT_BYTES as u64;
        if tables_end > file_bytes as u64 {
            return malformed(format!("{tables_end} bytes announced, {file_bytes} there"));
        }
        Ok(())
    }

    fn is_empty_v1(&self) -> bool {
        self.version == 1 && self.key_bytes == usize::from(EMPTY_KEY_BYTES) && self.count == 0
    }

    /// Returns the version of the file, 1 or 2.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// Returns how many records there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns how many bytes each record takes, with its key.
    pub fn row_bytes(&self) -> usize {
        self.key_bytes + self.entry_bytes
    }

    /// Returns how many bytes each key takes.
    pub fn key_bytes(&self) -> usize {
        self.key_bytes
    }

    /// Returns how many packs the pack table lists; version 1 has none.
    pub fn pack_count(&self) -> usize {
        self.pack_count
    }

    /// Returns where in the file the rows lie.
    pub fn rows(&self) -> Range<usize> {
        self.header_bytes()..self.header_bytes() + self.count * self.row_bytes()
    }

    /// Returns where in the file the pack table lies, of which each entry is a
    /// [`NamePlace`](super::NamePlace); empty for version 1.
    pub fn pack_table(&self) -> Range<usize> {
        let start = self.rows().end;
        start..start + self.pack_count * PACK_BYTES
    }

    /// Returns where in the file the format table lies; empty for version 1.
    pub fn format_table(&self) -> Range<usize> {
        let start = self.pack_table().end;
        start..start + self.format_count * FORMAT_BYTES
    }

    pub(super) fn base_timestamp(&self) -> u32 {
        self.base_timestamp
    }

    fn header_bytes(&self) -> usize {
        if self.version == 1 {
            V1_HEADER_BYTES
        } else {
            V2_HEADER_BYTES
        }
    }
}

pub(super) fn be_u32(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    word[4 - bytes.len()..].copy_from_slice(bytes);
    u32::from_be_bytes(word)
}
