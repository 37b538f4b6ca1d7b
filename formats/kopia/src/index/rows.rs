//! Rows of an index file one by one, for files too large to lie in memory whole.
//!
//! A row names its pack by number or place; the caller, who has the file, finds the name.

use std::sync::Arc;

use super::reader::{IndexHeader, STRUCTURE};
use super::v1::be_u32;
use super::{v1, v2};
use crate::content_id::ContentId;
use crate::decode_error::DecodeError;
use crate::record::ContentRecord;

/// Where in an index file a pack's name is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamePlace {
    /// Where it begins.
    pub offset: u32,
    /// How long it is.
    pub bytes: u8,
}

impl NamePlace {
    /// How many bytes an entry of a pack table has.
    pub const ENTRY_BYTES: usize = v2::PACK_BYTES;

    /// Returns the place that an entry of a pack table, of [`Self::ENTRY_BYTES`], tells.
    pub fn parse(entry: &[u8]) -> Self {
        Self {
            offset: be_u32(&entry[1..Self::ENTRY_BYTES]),
            bytes: entry[0],
        }
    }
}

/// How a row tells its pack.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum PackRef {
    /// By its number in the pack table (version 2).
    Number(u32),
    /// By the place of its name (version 1).
    Place(NamePlace),
}

/// A content record whose pack is not named yet.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are those of a content record, but for the pack"
)]
pub struct UnnamedRecord {
    pub id: ContentId,
    pub pack: PackRef,
    pub pack_offset: u32,
    pub packed_bytes: u32,
    pub original_bytes: u32,
    pub timestamp_seconds: i64,
    pub deleted: bool,
    pub compression_header_id: u32,
    pub format_version: u8,
    pub encryption_key_id: u8,
}

impl UnnamedRecord {
    /// Returns the record with the name of its pack.
    pub fn named(self, pack_blob: Arc<str>) -> ContentRecord {
        ContentRecord {
            id: self.id,
            pack_blob,
            pack_offset: self.pack_offset,
            packed_bytes: self.packed_bytes,
            original_bytes: self.original_bytes,
            timestamp_seconds: self.timestamp_seconds,
            deleted: self.deleted,
            compression_header_id: self.compression_header_id,
            format_version: self.format_version,
            encryption_key_id: self.encryption_key_id,
        }
    }
}

/// Decodes the rows of one index file.
#[derive(Clone, Debug)]
pub struct RowDecoder {
    header: IndexHeader,
    formats: Vec<v2::Format>,
    content_overhead_bytes: u32,
}

impl RowDecoder {
    /// Returns a decoder for the file with this header and these bytes of its format table;
    /// `content_overhead_bytes` as in [`IndexReader::parse`](super::IndexReader::parse).
    pub fn new(header: IndexHeader, format_table: &[u8], content_overhead_bytes: u32) -> Self {
        Self {
            header,
            formats: v2::read_formats(format_table),
            content_overhead_bytes,
        }
    }

    /// Returns the header.
    pub fn header(&self) -> &IndexHeader {
        &self.header
    }

    /// Returns what a row, of the header's `row_bytes`, says.
    pub fn decode(&self, row: &[u8]) -> Result<UnnamedRecord, DecodeError> {
        if row.len() != self.header.row_bytes() {
            return Err(DecodeError::malformed(STRUCTURE, "a row is cut short"));
        }
        let (key, entry) = row.split_at(self.header.key_bytes());
        let id = ContentId::from_key_bytes(key)?;
        match self.header.version() {
            1 => v1::decode(id, entry, self.content_overhead_bytes),
            _ => v2::decode(
                id,
                entry,
                self.header.pack_count(),
                &self.formats,
                self.header.base_timestamp(),
            ),
        }
    }
}
