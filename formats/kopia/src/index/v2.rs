//! Index version 2: entries that number packs and formats in tables (Kopia spec 5.2).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::header::{
    FORMAT_BYTES, IndexHeader, PACK_BYTES, STRUCTURE, V2_HEADER_BYTES as HEADER_BYTES, be_u32,
};
use super::unnamed_record::{NamePlace, PackRef, UnnamedRecord, pack_name};
use super::{IndexError, PackNames, fit_u32, unrepresentable};
use crate::content_id::ContentId;
use crate::decode_error::DecodeError;
use crate::record::ContentRecord;

const DELETED: u32 = 1 << 31;
const PACK_OFFSET_END: u32 = 1 << 30;
const LENGTH_END: u32 = 1 << 28;
const SHORT_LENGTH_END: u32 = 1 << 24;
const PACKS_MAX: usize = 1 << 24;
const SHORT_PACKS_MAX: usize = 1 << 16;
const FORMATS_MAX: usize = 255;

#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Format {
    compression_header_id: u32,
    format_version: u8,
    encryption_key_id: u8,
}

impl Format {
    fn of(record: &ContentRecord) -> Self {
        Self {
            compression_header_id: record.compression_header_id,
            format_version: record.format_version,
            encryption_key_id: record.encryption_key_id,
        }
    }
}

pub(super) fn write(records: &[ContentRecord], key_bytes: usize) -> Result<Vec<u8>, IndexError> {
    let count = u32::try_from(records.len()).map_err(|_| IndexError::TooMany("records"))?;
    let packs = PackNames::of(records)?;
    if packs.names.len() > PACKS_MAX {
        return Err(IndexError::TooMany("packs"));
    }
    let (format_numbers, formats) = number_formats(records)?;
    let mut long_lengths = false;
    for record in records {
        check(record)?;
        long_lengths |= record.original_bytes.max(record.packed_bytes) >= SHORT_LENGTH_END;
    }
    let entry_bytes = entry_bytes(formats.len(), packs.names.len(), long_lengths);

    let names_at = (key_bytes + entry_bytes)
        .checked_mul(records.len())
        .and_then(|entries| entries.checked_add(HEADER_BYTES))
        .and_then(|at| {
            at.checked_add(packs.names.len() * PACK_BYTES + formats.len() * FORMAT_BYTES)
        })
        .ok_or(IndexError::TooMany("records"))?;
    let names_bytes: usize = packs.names.iter().map(|name| name.len()).sum();
    fit_u32(names_at + names_bytes)?;

    let mut out = Vec::with_capacity(names_at + names_bytes);
    out.extend([2, key_bytes as u8, 0, entry_bytes as u8]);
    out.extend(count.to_be_bytes());
    out.extend(fit_u32(packs.names.len())?.to_be_bytes());
    out.push(formats.len() as u8);
    out.extend([0; 4]);
    for record in records {
        let (key, _) = record.id.key_bytes();
        out.extend(&key[..key_bytes]);
        let entry = encode(
            record,
            packs.number(record) as u32,
            format_numbers[&Format::of(record)],
        );
        out.extend(&entry[..entry_bytes]);
    }
    let mut name_at = names_at;
    for name in &packs.names {
        out.push(name.len() as u8);
        out.extend(fit_u32(name_at)?.to_be_bytes());
        name_at += name.len();
    }
    for format in &formats {
        out.extend(format.compression_header_id.to_be_bytes());
        out.extend([format.format_version, format.encryption_key_id]);
    }
    for name in &packs.names {
        out.extend(name.as_bytes());
    }
    Ok(out)
}

/// Numbers the distinct formats in the order of their first use.
fn number_formats(
    records: &[ContentRecord],
) -> Result<(HashMap<Format, u8>, Vec<Format>), IndexError> {
    let mut numbers = HashMap::new();
    let mut formats = Vec::new();
    for record in records {
        let format = Format::of(record);
        if let Entry::Vacant(unnumbered) = numbers.entry(format) {
            if formats.len() == FORMATS_MAX {
                return Err(IndexError::TooMany("formats"));
            }
            unnumbered.insert(formats.len() as u8);
            formats.push(format);
        }
    }
    Ok((numbers, formats))
}

fn entry_bytes(formats: usize, packs: usize, long_lengths: bool) -> usize {
    if long_lengths {
        19
    } else if packs > SHORT_PACKS_MAX {
        18
    } else if formats > 1 {
        17
    } else {
        16
    }
}

fn check(record: &ContentRecord) -> Result<(), IndexError> {
    let fits = [
        ("timestamp", u32::try_from(record.timestamp_seconds).is_ok()),
        ("pack offset", record.pack_offset < PACK_OFFSET_END),
        ("original length", record.original_bytes < LENGTH_END),
        ("packed length", record.packed_bytes < LENGTH_END),
    ];
    match fits.iter().find(|(_, fits)| !fits) {
        Some((field, _)) => Err(unrepresentable(record, field)),
        None => Ok(()),
    }
}

/// Returns the longest form of an entry; shorter ones are its beginning. The record was checked.
fn encode(record: &ContentRecord, pack: u32, format: u8) -> [u8; 19] {
    let mut entry = [0; 19];
    let deleted = if record.deleted { DELETED } else { 0 };
    let original = record.original_bytes.to_be_bytes();
    let packed = record.packed_bytes.to_be_bytes();
    let pack = pack.to_be_bytes();
    entry[0..4].copy_from_slice(&(record.timestamp_seconds as u32).to_be_bytes());
    entry[4..8].copy_from_slice(&(record.pack_offset | deleted).to_be_bytes());
    entry[8..11].copy_from_slice(&original[1..]);
    entry[11..14].copy_from_slice(&packed[1..]);
    entry[14..16].copy_from_slice(&pack[2..]);
    entry[16] = format;
    entry[17] = pack[1];
    entry[18] = original[0] << 4 | packed[0];
    entry
}

/// The tables that entries refer to.
pub(super) struct Tables {
    pub(super) packs: Vec<Arc<str>>,
    pub(super) formats: Vec<Format>,
}

/// Reads the tables. The header has been checked against the length of the data.
pub(super) fn read_tables(data: &[u8], header: &IndexHeader) -> Result<Tables, DecodeError> {
    let mut known: HashMap<NamePlace, Arc<str>> = HashMap::new();
    let mut total_bytes = 0;
    let mut packs = Vec::with_capacity(header.pack_count());
    for entry in data[header.pack_table()].chunks_exact(PACK_BYTES) {
        let place = NamePlace::parse(entry);
        let name = match known.get(&place) {
            Some(name) => name.clone(),
            None => pack_name(data, place, &mut total_bytes)?,
        };
        known.insert(place, name.clone());
        packs.push(name);
    }
    let formats = read_formats(&data[header.format_table()]);
    Ok(Tables { packs, formats })
}

pub(super) fn read_formats(table: &[u8]) -> Vec<Format> {
    table
        .chunks_exact(FORMAT_BYTES)
        .map(|format| Format {
            compression_header_id: be_u32(&format[..4]),
            format_version: format[4],
            encryption_key_id: format[5],
        })
        .collect()
}

pub(super) fn decode(
    id: ContentId,
    entry: &[u8],
    pack_count: usize,
    formats: &[Format],
    base_timestamp: u32,
) -> Result<UnnamedRecord, DecodeError> {
    let byte = |at: usize| u32::from(entry.get(at).copied().unwrap_or(0));
    let place = be_u32(&entry[4..8]);
    let pack = be_u32(&entry[14..16]) | byte(17) << 16;
    let format = byte(16);
    if pack as usize >= pack_count {
        return Err(DecodeError::malformed(
            STRUCTURE,
            format!("{id} is in pack {pack}, which is not listed"),
        ));
    }
    let format = formats.get(format as usize).ok_or_else(|| {
        DecodeError::malformed(
            STRUCTURE,
            format!("{id} has format {format}, which is not listed"),
        )
    })?;
    Ok(UnnamedRecord {
        id,
        pack: PackRef::Number(pack),
        pack_offset: place & !DELETED,
        packed_bytes: be_u32(&entry[11..14]) | (byte(18) & 15) << 24,
        original_bytes: be_u32(&entry[8..11]) | (byte(18) >> 4) << 24,
        timestamp_seconds: i64::from(be_u32(&entry[..4])) + i64::from(base_timestamp),
        deleted: place & DELETED != 0,
        compression_header_id: format.compression_header_id,
        format_version: format.format_version,
        encryption_key_id: format.encryption_key_id,
    })
}
