//! Index version 1: fixed entries that point at pack names (Kopia spec 5.1).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::header::{
    STRUCTURE, V1_ENTRY_BYTES as ENTRY_BYTES, V1_HEADER_BYTES as HEADER_BYTES, be_u32,
};
use super::unnamed_record::{NamePlace, PackRef, UnnamedRecord, pack_name};
use super::{CONTENT_OVERHEAD_BYTES, IndexError, PackNames, fit_u32, unrepresentable};
use crate::content_id::ContentId;
use crate::decode_error::DecodeError;
use crate::record::ContentRecord;

const DELETED: u32 = 1 << 31;
const TIMESTAMP_MAX: i64 = (1 << 48) - 1;

pub(super) fn write(records: &[ContentRecord], key_bytes: usize) -> Result<Vec<u8>, IndexError> {
    let count = u32::try_from(records.len()).map_err(|_| IndexError::TooMany("records"))?;
    let packs = PackNames::of(records)?;
    let mut name_offsets = Vec::with_capacity(packs.names.len());
    let mut offset = records
        .len()
        .checked_mul(key_bytes + ENTRY_BYTES)
        .and_then(|entries| entries.checked_add(HEADER_BYTES))
        .ok_or(IndexError::TooMany("records"))?;
    for name in &packs.names {
        name_offsets.push(fit_u32(offset)?);
        offset += name.len();
    }
    let mut out = Vec::with_capacity(offset);
    out.extend([1, key_bytes as u8, 0, ENTRY_BYTES as u8]);
    out.extend(count.to_be_bytes());
    for record in records {
        check(record)?;
        let (key, _) = record.id.key_bytes();
        out.extend(&key[..key_bytes]);
        out.extend(&record.timestamp_seconds.to_be_bytes()[2..]);
        out.push(record.format_version);
        out.push(record.pack_blob.len() as u8);
        out.extend(name_offsets[packs.number(record)].to_be_bytes());
        let deleted = if record.deleted { DELETED } else { 0 };
        out.extend((record.pack_offset | deleted).to_be_bytes());
        out.extend(record.packed_bytes.to_be_bytes());
    }
    for name in &packs.names {
        out.extend(name.as_bytes());
    }
    Ok(out)
}

fn check(record: &ContentRecord) -> Result<(), IndexError> {
    let fits = [
        (
            "timestamp",
            (0..=TIMESTAMP_MAX).contains(&record.timestamp_seconds),
        ),
        ("pack offset", record.pack_offset < DELETED),
        ("compression", record.compression_header_id == 0),
        ("encryption key", record.encryption_key_id == 0),
        (
            "original length",
            record.original_bytes.checked_add(CONTENT_OVERHEAD_BYTES) == Some(record.packed_bytes),
        ),
    ];
    match fits.iter().find(|(_, fits)| !fits) {
        Some((field, _)) => Err(unrepresentable(record, field)),
        None => Ok(()),
    }
}

/// The pack names of one file by their offset and length, each held once.
pub(super) type Names = HashMap<NamePlace, Arc<str>>;

/// Collects the pack names of all entries, checking that each lies within the file.
pub(super) fn read_names<'a>(
    data: &[u8],
    entries: impl Iterator<Item = &'a [u8]>,
    key_bytes: usize,
) -> Result<Names, DecodeError> {
    let mut names = Names::new();
    let mut total_bytes = 0;
    for entry in entries {
        let place = name_place(&entry[key_bytes..]);
        if let Entry::Vacant(unknown) = names.entry(place) {
            unknown.insert(pack_name(data, place, &mut total_bytes)?);
        }
    }
    Ok(names)
}

fn name_place(entry: &[u8]) -> NamePlace {
    NamePlace {
        offset: be_u32(&entry[8..12]),
        bytes: entry[7],
    }
}

pub(super) fn decode(
    id: ContentId,
    entry: &[u8],
    content_overhead_bytes: u32,
) -> Result<UnnamedRecord, DecodeError> {
    let mut timestamp = [0; 8];
    timestamp[2..].copy_from_slice(&entry[..6]);
    let place = be_u32(&entry[12..16]);
    let packed_bytes = be_u32(&entry[16..20]);
    let original_bytes = packed_bytes
        .checked_sub(content_overhead_bytes)
        .ok_or_else(|| {
            DecodeError::malformed(STRUCTURE, format!("{id} is packed in {packed_bytes} bytes"))
        })?;
    Ok(UnnamedRecord {
        id,
        pack: PackRef::Place(name_place(entry)),
        pack_offset: place & !DELETED,
        packed_bytes,
        original_bytes,
        timestamp_seconds: i64::from_be_bytes(timestamp),
        deleted: place & DELETED != 0,
        compression_header_id: 0,
        format_version: entry[6],
        encryption_key_id: 0,
    })
}
