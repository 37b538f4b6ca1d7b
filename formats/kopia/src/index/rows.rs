//! Rows of an index file one by one, for files too large to lie in memory whole.
//!
//! A row names its pack by number or place; the caller, who has the file, finds the name.

use super::header::{IndexHeader, STRUCTURE};
use super::unnamed_record::UnnamedRecord;
use super::{v1, v2};
use crate::content_id::ContentId;
use crate::decode_error::DecodeError;

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
