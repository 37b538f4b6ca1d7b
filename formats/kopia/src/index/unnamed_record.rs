//! What a row of an index file says before its pack is named, and names of packs.

use std::sync::Arc;

use super::header::{PACK_BYTES, STRUCTURE, be_u32};
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
    pub const ENTRY_BYTES: usize = PACK_BYTES;

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

/// Returns a pack name, counting its bytes: names that overlap one another could otherwise
/// make a small file expand to a multiple of its size.
pub(super) fn pack_name(
    data: &[u8],
    place: NamePlace,
    total_bytes: &mut usize,
) -> Result<Arc<str>, DecodeError> {
    let start = place.offset as usize;
    let name = start
        .checked_add(usize::from(place.bytes))
        .and_then(|end| data.get(start..end))
        .ok_or_else(|| DecodeError::malformed(STRUCTURE, "pack name outside of the file"))?;
    *total_bytes += name.len();
    if *total_bytes > data.len() {
        return Err(DecodeError::malformed(STRUCTURE, "pack names overlap"));
    }
    pack_name_text(name).map(Into::into)
}

/// Returns a pack name as text; none is empty.
pub fn pack_name_text(name: &[u8]) -> Result<&str, DecodeError> {
    match std::str::from_utf8(name) {
        Ok(name) if !name.is_empty() => Ok(name),
        _ => Err(DecodeError::malformed(STRUCTURE, "pack name is not text")),
    }
}
