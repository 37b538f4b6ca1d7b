//! Index files: sorted tables from content IDs to places in packs.
//!
//! Kopia spec 5.1 to 5.3. Knows the plain bytes of one index file; not how it is sealed or named,
//! nor which index blobs are active (see `epoch` and `legacy_index`).

mod header;
mod reader;
mod rows;
mod unnamed_record;
mod v1;
mod v2;

use std::collections::HashMap;

use crate::content_id::ContentId;
use crate::record::ContentRecord;

pub use header::IndexHeader;
pub use reader::{IndexReader, Records};
pub use rows::RowDecoder;
pub use unnamed_record::{NamePlace, PackRef, UnnamedRecord, pack_name_text};

/// What sealing adds to a content. Version 1 of the index stores only packed lengths.
pub const CONTENT_OVERHEAD_BYTES: u32 = 28;

/// How many records one index file holds at most; more are spread over shards.
pub const SHARD_RECORDS_MAX: usize = 16_000_000;

/// How many random bytes follow an index file before it is sealed as a pack's local index.
pub const LOCAL_INDEX_SUFFIX_BYTES: usize = 32;

const PACK_NAME_BYTES_MAX: usize = 255;

/// Why records cannot be written as an index file. All are faults of the caller.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IndexError {
    /// There are no records; an empty index must not be written.
    #[error("write index: no records")]
    Empty,
    /// Two records are not in strictly ascending order, or have IDs of different lengths.
    #[error("write index: {later} does not follow {earlier}")]
    Order {
        /// The record that was written before.
        earlier: ContentId,
        /// The record that may not follow it.
        later: ContentId,
    },
    /// A record has a value that this version of the index cannot hold.
    #[error("write index: {field} of {id} does not fit")]
    Unrepresentable {
        /// The record.
        id: ContentId,
        /// The value.
        field: &'static str,
    },
    /// There are more records, packs or formats than one file can count.
    #[error("write index: too many {0}")]
    TooMany(&'static str),
    /// There is no such version of the index.
    #[error("write index: unknown version {0}")]
    Version(u32),
}

/// What kind of fault an [`IndexError`] is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum IndexErrorKind {
    /// The records themselves are not fit to be written.
    InvalidRecords,
    /// The file would exceed the format; write several.
    TooLarge,
    /// The version is unknown.
    Unsupported,
}

impl IndexError {
    /// Returns what kind of fault it is.
    pub fn kind(&self) -> IndexErrorKind {
        match self {
            Self::Empty | Self::Order { .. } | Self::Unrepresentable { .. } => {
                IndexErrorKind::InvalidRecords
            }
            Self::TooMany(_) => IndexErrorKind::TooLarge,
            Self::Version(_) => IndexErrorKind::Unsupported,
        }
    }
}

/// Returns the index file, version 1 or 2, of these records, which must be sorted and unique by ID.
pub fn write_index(version: u32, records: &[ContentRecord]) -> Result<Vec<u8>, IndexError> {
    let first = records.first().ok_or(IndexError::Empty)?;
    let key_bytes = first.id.key_bytes().1;
    for pair in records.windows(2) {
        let [earlier, later] = pair else { continue };
        if earlier.id >= later.id || later.id.key_bytes().1 != key_bytes {
            return Err(IndexError::Order {
                earlier: earlier.id,
                later: later.id,
            });
        }
    }
    match version {
        1 => v1::write(records, key_bytes),
        2 => v2::write(records, key_bytes),
        other => Err(IndexError::Version(other)),
    }
}

/// Returns how many index files so many records are spread over.
pub fn shard_count(records: usize) -> u32 {
    u32::try_from(records.div_ceil(SHARD_RECORDS_MAX).max(1)).unwrap_or(u32::MAX)
}

/// Returns the shard that a content's record belongs to (FNV-1a-32 of the ID's text).
///
/// # Panics
/// If there are no shards.
pub fn shard_of(id: &ContentId, shards: u32) -> u32 {
    assert!(shards > 0, "records are spread over at least one shard");
    fnv1a_32(id.to_string().as_bytes()) % shards
}

fn fnv1a_32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash: u32, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// Pack names in the order of their first use.
struct PackNames<'a> {
    numbers: HashMap<&'a str, usize>,
    names: Vec<&'a str>,
}

impl<'a> PackNames<'a> {
    fn of(records: &'a [ContentRecord]) -> Result<Self, IndexError> {
        let mut packs = Self {
            numbers: HashMap::new(),
            names: Vec::new(),
        };
        for record in records {
            let name: &str = &record.pack_blob;
            if name.is_empty() || name.len() > PACK_NAME_BYTES_MAX {
                return Err(unrepresentable(record, "pack blob name"));
            }
            let next = packs.names.len();
            packs.numbers.entry(name).or_insert_with(|| {
                packs.names.push(name);
                next
            });
        }
        Ok(packs)
    }

    fn number(&self, record: &ContentRecord) -> usize {
        self.numbers[&*record.pack_blob]
    }
}

fn unrepresentable(record: &ContentRecord, field: &'static str) -> IndexError {
    IndexError::Unrepresentable {
        id: record.id,
        field,
    }
}

fn fit_u32(value: usize) -> Result<u32, IndexError> {
    u32::try_from(value).map_err(|_| IndexError::TooMany("bytes"))
}

#[cfg(test)]
mod tests;
