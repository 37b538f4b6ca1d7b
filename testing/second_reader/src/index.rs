//! Index files, versions 1 and 2 (Kopia spec 5.1, 5.2): parsing, and every rule their writers must keep.

use std::collections::HashSet;

use crate::blob_name::to_hex;
use crate::compression;
use crate::crypto::SEAL_OVERHEAD_BYTES;

/// Where one content lies, as an index says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentRecord {
    /// The content ID.
    pub id: String,
    /// The pack blob it lies in.
    pub pack: String,
    /// Where it begins in the pack.
    pub pack_offset: u32,
    /// Its length in the pack.
    pub packed_length: u32,
    /// Its length uncompressed.
    pub original_length: u32,
    /// Unix time in seconds, by the writer's clock.
    pub timestamp_s: u64,
    /// Whether this is a tombstone.
    pub deleted: bool,
    /// The compression header ID; 0 is none.
    pub compression: u32,
    /// The repository's format version at the time of writing.
    pub format_version: u8,
    /// The encryption key ID, always 0.
    pub encryption_key_id: u8,
}

impl ContentRecord {
    /// Whether this record wins over another of the same content (Kopia spec 4.6).
    pub(crate) fn wins_over(&self, other: &ContentRecord) -> bool {
        self.rank() > other.rank()
    }

    /// Records of one content are ordered by this.
    pub(crate) fn rank(&self) -> (u64, bool, &str) {
        (self.timestamp_s, !self.deleted, &self.pack)
    }
}

/// One parsed index file.
pub(crate) struct IndexFile {
    pub(crate) version: u8,
    pub(crate) records: Vec<ContentRecord>,
    /// How many bytes follow the last section.
    pub(crate) suffix_bytes: usize,
    pub(crate) violations: Vec<String>,
}

impl IndexFile {
    /// Parses an index file of a repository with hashes of `hash_bytes`; `ecc` tells that sealing adds more than 28 bytes.
    pub(crate) fn parse(file: &[u8], hash_bytes: usize, ecc: bool) -> Result<IndexFile, String> {
        let mut index = match file.first() {
            Some(1) => parse_v1(file)?,
            Some(2) => parse_v2(file)?,
            _ => return Err("index has an unknown version".to_owned()),
        };
        let (version, violations) = (index.version, &mut index.violations);
        if index.records.is_empty() {
            violations.push("index is empty".to_owned());
        }
        for record in &index.records {
            let mut wrong =
                |what: &str| violations.push(format!("index record of {} {what}", record.id));
            if record.id.len() / 2 != hash_bytes {
                wrong("has a key of a wrong length");
            }
            if record.encryption_key_id != 0 {
                wrong("has an encryption key ID");
            }
            if record.compression != 0 && !compression::is_known(record.compression) {
                wrong("has an unknown compression");
            }
            if !(1..=3).contains(&record.format_version) {
                wrong("has an unknown format version");
            }
            if version == 2 && record.pack_offset >= 1 << 30 {
                wrong("has a pack offset of 2^30 or more");
            }
            let plain = u64::from(record.original_length) + SEAL_OVERHEAD_BYTES;
            if !ecc && record.compression == 0 && u64::from(record.packed_length) != plain {
                wrong("has lengths that do not fit");
            }
            if record
                .id
                .starts_with(|first: char| first.is_ascii_alphabetic() && first > 'f')
                != record.pack.starts_with('q')
            {
                wrong("names a pack of the wrong class");
            }
        }
        Ok(index)
    }
}

fn parse_v1(file: &[u8]) -> Result<IndexFile, String> {
    let mut violations = Vec::new();
    let key_bytes = usize::from(byte_at(file, 1)?);
    let entry_bytes = number(file, 2, 2)? as usize;
    let count = number(file, 4, 4)? as usize;
    if entry_bytes != 20 {
        return Err(format!("index v1 has entries of {entry_bytes} bytes"));
    }
    let names_start = count
        .checked_mul(key_bytes + 20)
        .and_then(|bytes| bytes.checked_add(8))
        .filter(|&end| end <= file.len())
        .ok_or("index v1 is cut off")?;
    let mut names = Names {
        next: names_start,
        seen: Vec::new(),
    };
    let mut records = Vec::new();
    let mut keys = KeyOrder::default();
    for at in 0..count {
        let start = 8 + at * (key_bytes + 20);
        let key = slice(file, start, key_bytes)?;
        let entry = start + key_bytes;
        let deleted_and_offset = number(file, entry + 12, 4)?;
        let packed_length = number(file, entry + 16, 4)?;
        let name_at = number(file, entry + 8, 4)? as usize;
        let name_bytes = usize::from(byte_at(file, entry + 7)?);
        names.use_name(name_at, name_bytes, &mut violations);
        let id = keys.next(key, &mut violations)?;
        records.push(ContentRecord {
            pack: text(slice(file, name_at, name_bytes)?)?,
            pack_offset: deleted_and_offset as u32 & 0x7fff_ffff,
            packed_length: packed_length as u32,
            original_length: packed_length
                .checked_sub(SEAL_OVERHEAD_BYTES)
                .ok_or_else(|| format!("index record of {id} is shorter than its sealing"))?
                as u32,
            timestamp_s: number(file, entry, 6)?,
            deleted: deleted_and_offset >> 31 == 1,
            compression: 0,
            format_version: byte_at(file, entry + 6)?,
            encryption_key_id: 0,
            id,
        });
    }
    let suffix_bytes = names.finish(file, &mut violations)?;
    Ok(IndexFile {
        version: 1,
        records,
        suffix_bytes,
        violations,
    })
}

fn parse_v2(file: &[u8]) -> Result<IndexFile, String> {
    let mut violations = Vec::new();
    let key_bytes = usize::from(byte_at(file, 1)?);
    let entry_bytes = number(file, 2, 2)? as usize;
    let count = number(file, 4, 4)? as usize;
    let pack_count = number(file, 8, 4)? as usize;
    let format_count = usize::from(byte_at(file, 12)?);
    let base_timestamp_s = number(file, 13, 4)?;
    if key_bytes < 2 || !(16..=19).contains(&entry_bytes) || pack_count > 1 << 24 {
        return Err("index v2 has a header out of range".to_owned());
    }
    if base_timestamp_s != 0 {
        violations.push("index v2 has a base timestamp".to_owned());
    }
    let packs_start = count
        .checked_mul(key_bytes + entry_bytes)
        .and_then(|bytes| bytes.checked_add(17))
        .filter(|&end| end <= file.len())
        .ok_or("index v2 is cut off")?;
    let formats_start = packs_start + pack_count * 5;
    let names_start = formats_start + format_count * 6;
    let mut names = Names {
        next: names_start,
        seen: Vec::new(),
    };
    let mut packs = Vec::new();
    for at in 0..pack_count {
        let name_bytes = usize::from(byte_at(file, packs_start + at * 5)?);
        let name_at = number(file, packs_start + at * 5 + 1, 4)? as usize;
        names.use_name(name_at, name_bytes, &mut violations);
        packs.push(text(slice(file, name_at, name_bytes)?)?);
    }
    let mut formats = Vec::new();
    for at in 0..format_count {
        let start = formats_start + at * 6;
        formats.push((
            number(file, start, 4)? as u32,
            byte_at(file, start + 4)?,
            byte_at(file, start + 5)?,
        ));
    }
    if packs.iter().collect::<HashSet<_>>().len() != packs.len() {
        violations.push("index v2 names a pack twice".to_owned());
    }
    if formats.iter().collect::<HashSet<_>>().len() != formats.len() {
        violations.push("index v2 has a format twice".to_owned());
    }
    let mut records = Vec::new();
    let mut keys = KeyOrder::default();
    let (mut packs_used, mut formats_used, mut long) = (0, 0, false);
    for at in 0..count {
        let start = 17 + at * (key_bytes + entry_bytes);
        let key = slice(file, start, key_bytes)?;
        let mut entry = slice(file, start + key_bytes, entry_bytes)?.to_vec();
        entry.resize(19, 0);
        let deleted_and_offset = number(&entry, 4, 4)?;
        let pack = (number(&entry, 14, 2)? | u64::from(entry[17]) << 16) as usize;
        let format = usize::from(entry[16]);
        if pack > packs_used || format > formats_used {
            violations.push("index v2 does not number packs or formats by first use".to_owned());
        }
        packs_used = packs_used.max(pack + 1);
        formats_used = formats_used.max(format + 1);
        long |= entry[18] != 0;
        let &(compression, format_version, encryption_key_id) = formats
            .get(format)
            .ok_or("index v2 record has a format out of range")?;
        records.push(ContentRecord {
            id: keys.next(key, &mut violations)?,
            pack: packs
                .get(pack)
                .ok_or("index v2 record has a pack out of range")?
                .clone(),
            pack_offset: deleted_and_offset as u32 & 0x7fff_ffff,
            packed_length: number(&entry, 11, 3)? as u32 | u32::from(entry[18] & 0xf) << 24,
            original_length: number(&entry, 8, 3)? as u32 | u32::from(entry[18] >> 4) << 24,
            timestamp_s: base_timestamp_s + number(&entry, 0, 4)?,
            deleted: deleted_and_offset >> 31 == 1,
            compression,
            format_version,
            encryption_key_id,
        });
    }
    if packs_used != pack_count || formats_used != format_count {
        violations.push("index v2 has packs or formats that no record uses".to_owned());
    }
    let entry_bytes_needed = match () {
        () if long => 19,
        () if pack_count > 65_536 => 18,
        () if format_count > 1 => 17,
        () => 16,
    };
    if entry_bytes != entry_bytes_needed {
        violations.push(format!(
            "index v2 has entries of {entry_bytes} bytes instead of {entry_bytes_needed}"
        ));
    }
    let suffix_bytes = names.finish(file, &mut violations)?;
    Ok(IndexFile {
        version: 2,
        records,
        suffix_bytes,
        violations,
    })
}

/// Checks that keys ascend, and turns them into content IDs.
#[derive(Default)]
struct KeyOrder {
    last: Option<Vec<u8>>,
}

impl KeyOrder {
    fn next(&mut self, key: &[u8], violations: &mut Vec<String>) -> Result<String, String> {
        let id = match key.split_first() {
            Some((0, hash)) => to_hex(hash),
            Some((prefix @ b'g'..=b'z', hash)) => {
                format!("{}{}", char::from(*prefix), to_hex(hash))
            }
            _ => return Err("index has a key with a wrong prefix".to_owned()),
        };
        if self.last.as_deref().is_some_and(|last| last >= key) {
            violations.push(format!(
                "index key of {id} is not greater than the one before"
            ));
        }
        self.last = Some(key.to_vec());
        Ok(id)
    }
}

/// Checks that pack names lie back to back, each once, in order of first use.
struct Names {
    next: usize,
    seen: Vec<(usize, usize)>,
}

impl Names {
    fn use_name(&mut self, at: usize, bytes: usize, violations: &mut Vec<String>) {
        if at == self.next {
            self.next += bytes;
            self.seen.push((at, bytes));
        } else if !self.seen.contains(&(at, bytes)) {
            violations.push("index has pack names that are not back to back".to_owned());
        }
    }

    fn finish(&self, file: &[u8], violations: &mut Vec<String>) -> Result<usize, String> {
        let mut names = HashSet::new();
        for &(at, bytes) in &self.seen {
            if !names.insert(slice(file, at, bytes)?) {
                violations.push("index has a pack name twice".to_owned());
            }
        }
        file.len()
            .checked_sub(self.next)
            .ok_or_else(|| "index is cut off".to_owned())
    }
}

fn slice(file: &[u8], at: usize, bytes: usize) -> Result<&[u8], String> {
    at.checked_add(bytes)
        .and_then(|end| file.get(at..end))
        .ok_or_else(|| "index is cut off".to_owned())
}

fn byte_at(file: &[u8], at: usize) -> Result<u8, String> {
    Ok(slice(file, at, 1)?[0])
}

/// A big-endian number.
fn number(file: &[u8], at: usize, bytes: usize) -> Result<u64, String> {
    Ok(slice(file, at, bytes)?
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

fn text(bytes: &[u8]) -> Result<String, String> {
    match std::str::from_utf8(bytes) {
        Ok(name) if name.is_ascii() && !name.is_empty() => Ok(name.to_owned()),
        _ => Err("index has a pack name that is none".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob_name::from_hex;

    const TWO_RECORDS: &str = "02110013000000020000000202000000000000112233445566778899aabbccddeeff6553f1000000002000006400008000000000006bffffffffffffffffffffffffffffffff6553f101800000410000020000010001010021260000006f26000000950000000003000000110103007031313131313131313131313131313131313131313131313131313131313131312d736162637132323232323232323232323232323232323232323232323232323232323232322d73616263";

    #[test]
    fn the_specifications_vector_is_read() {
        let index = IndexFile::parse(&from_hex(TWO_RECORDS).unwrap(), 16, false).unwrap();
        assert!(index.violations.is_empty(), "{:?}", index.violations);
        assert_eq!(index.suffix_bytes, 0);
        let [first, second] = &index.records[..] else {
            panic!("two records")
        };
        assert_eq!(
            (
                first.original_length,
                first.packed_length,
                first.timestamp_s
            ),
            (100, 128, 1_700_000_000)
        );
        assert_eq!(
            (second.original_length, second.packed_length),
            (0x200_0002, 0x100_0001)
        );
        assert_eq!(
            (second.deleted, second.compression, second.pack_offset),
            (true, 0x1101, 65)
        );
        assert_eq!(second.id, format!("k{}", "f".repeat(32)));
    }

    #[test]
    fn every_changed_or_lost_byte_of_the_tables_is_refused_or_noted_or_seen() {
        let file = from_hex(TWO_RECORDS).unwrap();
        let good = IndexFile::parse(&file, 16, false).unwrap();
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 0x40;
            if let Ok(index) = IndexFile::parse(&changed, 16, false) {
                assert!(
                    index.violations != good.violations || index.records != good.records,
                    "byte {at}"
                );
            }
            assert!(
                IndexFile::parse(&file[..at], 16, false).is_err(),
                "cut at {at}"
            );
        }
    }
}
