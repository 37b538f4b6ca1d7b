//! One sorted table of content records in a local file, searched without loading it.
//!
//! ```text
//! header    magic, format, key bytes, record count, pack count, places of what follows
//! records   sorted by key; fixed size: key, then the fields of a content record
//! fences    the key of every 128th record, loaded when the table is opened
//! packs     offset of each name (u64), then the names
//! ```
//!
//! The file is private to this client, may be deleted at any time, and is always a copy of what
//! index blobs say. Memory holds one key in 128: 7 MB for 50 million contents.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use kopia::content_id::ContentId;
use kopia::record::ContentRecord;

use crate::error::{RepoError, RepoErrorKind, local_error};
use crate::local_file::read_exact_at;

const MAGIC: &[u8; 8] = b"e3tabl01";
const HEADER_BYTES: u64 = 64;
const FENCE_EVERY: u64 = 128;
/// Timestamp 8, pack number 4, offset 4, packed 4, original 4, compression 4, version 1, key 1, deleted 1.
const FIELDS_BYTES: usize = 31;
const KEY_BYTES_MAX: usize = 33;

/// A table opened for searching.
#[derive(Debug)]
pub(crate) struct Table {
    file: File,
    key_bytes: usize,
    records: u64,
    packs: u32,
    packs_at: u64,
    fences: Vec<u8>,
}

impl Table {
    /// Opens the table in `file`.
    pub(crate) fn open(file: File) -> Result<Self, RepoError> {
        let mut header = [0; HEADER_BYTES as usize];
        read_exact_at(&file, &mut header, 0)
            .map_err(local_error("read the header of a cached index table"))?;
        let damaged = || {
            RepoError::new(
                RepoErrorKind::Local,
                "read a cached index table: it is damaged; delete the cache folder",
            )
        };
        let word = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"));
        let (key_bytes, records, packs, fences_at, packs_at) =
            (word(8), word(16), word(24), word(32), word(40));
        let fence_count = records.div_ceil(FENCE_EVERY);
        let record_bytes = key_bytes.saturating_add(FIELDS_BYTES as u64);
        let sound = &header[..8] == MAGIC
            && (2..=KEY_BYTES_MAX as u64).contains(&key_bytes)
            && packs <= u64::from(u32::MAX)
            && records
                .checked_mul(record_bytes)
                .and_then(|bytes| bytes.checked_add(HEADER_BYTES))
                == Some(fences_at)
            && fences_at.checked_add(fence_count * key_bytes) == Some(packs_at);
        if !sound {
            return Err(damaged());
        }
        let length = file
            .metadata()
            .map_err(local_error("measure a cached index table"))?
            .len();
        if packs_at > length {
            return Err(damaged());
        }
        let mut fences = vec![0; (fence_count * key_bytes) as usize];
        read_exact_at(&file, &mut fences, fences_at)
            .map_err(local_error("read a cached index table"))?;
        Ok(Self {
            file,
            key_bytes: key_bytes as usize,
            records,
            packs: packs as u32,
            packs_at,
            fences,
        })
    }

    /// Returns the record of `id`, if the table has one.
    pub(crate) fn find(&self, id: &ContentId) -> Result<Option<ContentRecord>, RepoError> {
        let (key, key_bytes) = id.key_bytes();
        let key = &key[..key_bytes];
        if key.len() != self.key_bytes {
            return Ok(None);
        }
        let Some(block) = self.block_of(key) else {
            return Ok(None);
        };
        let bytes = self.read_block(block)?;
        let record_bytes = self.key_bytes + FIELDS_BYTES;
        let (mut low, mut high) = (0, bytes.len() / record_bytes);
        while low < high {
            let middle = low.midpoint(high);
            let record = &bytes[middle * record_bytes..][..record_bytes];
            match record[..self.key_bytes].cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.decode(record).map(Some),
            }
        }
        Ok(None)
    }

    /// Returns a cursor over all records whose key is not below `from`, in order of keys.
    pub(crate) fn cursor(self: &Arc<Self>, from: &[u8]) -> Cursor {
        let block = self.block_of(from).unwrap_or(0);
        Cursor {
            table: Arc::clone(self),
            next_block: block,
            bytes: Vec::new(),
            at: 0,
            from: from.to_vec(),
        }
    }

    /// Returns the last block whose first key is not above `key`.
    fn block_of(&self, key: &[u8]) -> Option<u64> {
        let count = self.fences.len() / self.key_bytes;
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low.midpoint(high);
            if &self.fences[middle * self.key_bytes..][..self.key_bytes] <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1).map(|block| block as u64)
    }

    fn read_block(&self, block: u64) -> Result<Vec<u8>, RepoError> {
        let record_bytes = (self.key_bytes + FIELDS_BYTES) as u64;
        let first = block * FENCE_EVERY;
        let count = FENCE_EVERY.min(self.records - first);
        let mut bytes = vec![0; (count * record_bytes) as usize];
        read_exact_at(&self.file, &mut bytes, HEADER_BYTES + first * record_bytes)
            .map_err(local_error("read a cached index table"))?;
        Ok(bytes)
    }

    fn decode(&self, record: &[u8]) -> Result<ContentRecord, RepoError> {
        let (key, fields) = record.split_at(self.key_bytes);
        let damaged = || {
            RepoError::new(
                RepoErrorKind::Local,
                "read a cached index table: it is damaged; delete the cache folder",
            )
        };
        let word = |at: usize| u32::from_le_bytes(fields[at..at + 4].try_into().expect("4 bytes"));
        Ok(ContentRecord {
            id: ContentId::from_key_bytes(key).map_err(|_| damaged())?,
            timestamp_seconds: i64::from_le_bytes(fields[..8].try_into().expect("8 bytes")),
            pack_blob: self.pack_name(word(8))?,
            pack_offset: word(12),
            packed_bytes: word(16),
            original_bytes: word(20),
            compression_header_id: word(24),
            format_version: fields[28],
            encryption_key_id: fields[29],
            deleted: fields[30] != 0,
        })
    }

    fn pack_name(&self, number: u32) -> Result<Arc<str>, RepoError> {
        let damaged = || {
            RepoError::new(
                RepoErrorKind::Local,
                "read a cached index table: it is damaged; delete the cache folder",
            )
        };
        if number >= self.packs {
            return Err(damaged());
        }
        let mut ends = [0; 16];
        read_exact_at(&self.file, &mut ends, self.packs_at + u64::from(number) * 8)
            .map_err(local_error("read a cached index table"))?;
        let start = u64::from_le_bytes(ends[..8].try_into().expect("8 bytes"));
        let end = u64::from_le_bytes(ends[8..].try_into().expect("8 bytes"));
        let bytes = end
            .checked_sub(start)
            .filter(|bytes| *bytes <= 255)
            .ok_or_else(damaged)?;
        let mut name = vec![0; bytes as usize];
        read_exact_at(&self.file, &mut name, start)
            .map_err(local_error("read a cached index table"))?;
        String::from_utf8(name)
            .map(Arc::from)
            .map_err(|_| damaged())
    }
}

/// Walks a table in order of keys, a block at a time.
#[derive(Debug)]
pub(crate) struct Cursor {
    table: Arc<Table>,
    next_block: u64,
    bytes: Vec<u8>,
    at: usize,
    from: Vec<u8>,
}

impl Cursor {
    /// Returns the next record, or `None` behind the last.
    pub(crate) fn next(&mut self) -> Result<Option<ContentRecord>, RepoError> {
        let record_bytes = self.table.key_bytes + FIELDS_BYTES;
        loop {
            while self.at < self.bytes.len() {
                let record = &self.bytes[self.at..self.at + record_bytes];
                self.at += record_bytes;
                if record[..self.table.key_bytes] >= self.from[..] {
                    return self.table.decode(record).map(Some);
                }
            }
            if self.next_block * FENCE_EVERY >= self.table.records {
                return Ok(None);
            }
            self.bytes = self.table.read_block(self.next_block)?;
            self.next_block += 1;
            self.at = 0;
        }
    }
}

/// Writes a table record by record, in order of keys.
#[derive(Debug)]
pub(crate) struct TableWriter {
    out: BufWriter<File>,
    key_bytes: usize,
    records: u64,
    fences: Vec<u8>,
    packs: PackNames,
}

/// Numbers the pack names in order of first use and keeps them in a second file, so that memory
/// holds a number per pack and no names twice.
#[derive(Debug, Default)]
struct PackNames {
    numbers: std::collections::HashMap<Arc<str>, u32>,
    order: Vec<Arc<str>>,
}

impl PackNames {
    fn number(&mut self, name: &Arc<str>) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.order.len() as u32;
        self.numbers.insert(Arc::clone(name), number);
        self.order.push(Arc::clone(name));
        number
    }
}

impl TableWriter {
    /// Begins a table in `file` for keys of `key_bytes` bytes.
    pub(crate) fn new(file: File, key_bytes: usize) -> Result<Self, RepoError> {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        out.write_all(&[0; HEADER_BYTES as usize])
            .map_err(local_error("write an index table to the cache"))?;
        Ok(Self {
            out,
            key_bytes,
            records: 0,
            fences: Vec::new(),
            packs: PackNames::default(),
        })
    }

    /// Adds the record with the next higher key.
    pub(crate) fn push(&mut self, record: &ContentRecord) -> Result<(), RepoError> {
        let (key, key_bytes) = record.id.key_bytes();
        let key = &key[..key_bytes];
        if key.len() != self.key_bytes {
            return Err(RepoError::new(
                RepoErrorKind::Damaged,
                format!(
                    "cache index records: {} has an id of another length",
                    record.id
                ),
            ));
        }
        if self.records.is_multiple_of(FENCE_EVERY) {
            self.fences.extend_from_slice(key);
        }
        let mut fields = [0; FIELDS_BYTES];
        fields[..8].copy_from_slice(&record.timestamp_seconds.to_le_bytes());
        let pack = self.packs.number(&record.pack_blob);
        let words = [
            pack,
            record.pack_offset,
            record.packed_bytes,
            record.original_bytes,
            record.compression_header_id,
        ];
        for (place, word) in fields[8..28].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        fields[28] = record.format_version;
        fields[29] = record.encryption_key_id;
        fields[30] = u8::from(record.deleted);
        self.out
            .write_all(key)
            .and_then(|()| self.out.write_all(&fields))
            .map_err(local_error("write an index table to the cache"))?;
        self.records += 1;
        Ok(())
    }

    /// Finishes the table and opens it.
    pub(crate) fn finish(self) -> Result<Table, RepoError> {
        let doing = "write an index table to the cache";
        self.write_tail()
            .map_err(local_error(doing))
            .and_then(Table::open)
    }

    fn write_tail(mut self) -> std::io::Result<File> {
        let fences_at = HEADER_BYTES + self.records * (self.key_bytes + FIELDS_BYTES) as u64;
        self.out.write_all(&self.fences)?;
        let packs_at = fences_at + self.fences.len() as u64;
        let mut name_at = packs_at + (self.packs.order.len() as u64 + 1) * 8;
        for name in &self.packs.order {
            self.out.write_all(&name_at.to_le_bytes())?;
            name_at += name.len() as u64;
        }
        self.out.write_all(&name_at.to_le_bytes())?;
        for name in &self.packs.order {
            self.out.write_all(name.as_bytes())?;
        }
        let mut file = self
            .out
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(MAGIC)?;
        for word in [
            self.key_bytes as u64,
            self.records,
            self.packs.order.len() as u64,
            fences_at,
            packs_at,
        ] {
            file.write_all(&word.to_le_bytes())?;
        }
        Ok(file)
    }
}

/// Returns a new, empty file for a table in `folder`, under a temporary name.
pub(crate) fn new_table_file(folder: &Path) -> Result<tempfile::NamedTempFile, RepoError> {
    tempfile::Builder::new()
        .prefix("table-")
        .suffix(".tmp")
        .tempfile_in(folder)
        .map_err(local_error(format!(
            "create a file in the cache folder {}",
            folder.display()
        )))
}

#[cfg(test)]
mod tests {
    use kopia::hash::HashOutput;

    use super::*;

    fn record(number: u32) -> ContentRecord {
        let mut hash = [0; 16];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        ContentRecord {
            id: ContentId::new(None, HashOutput::new(&hash).unwrap()),
            pack_blob: Arc::from(format!("p{:032x}-s1", number / 80)),
            pack_offset: number,
            packed_bytes: 128,
            original_bytes: 100,
            timestamp_seconds: 1_700_000_000 + i64::from(number),
            deleted: number.is_multiple_of(7),
            compression_header_id: 0x1101,
            format_version: 3,
            encryption_key_id: 0,
        }
    }

    fn table(numbers: impl Iterator<Item = u32>) -> Arc<Table> {
        let mut writer = TableWriter::new(tempfile::tempfile().unwrap(), 17).unwrap();
        numbers.for_each(|number| writer.push(&record(number)).unwrap());
        Arc::new(writer.finish().unwrap())
    }

    #[test]
    fn every_record_is_found_and_no_other() {
        let table = table((0..1000).map(|number| number * 2));
        for number in 0..2000 {
            let found = table.find(&record(number).id).unwrap();
            assert_eq!(found, (number % 2 == 0).then(|| record(number)));
        }
    }

    #[test]
    fn a_cursor_starts_where_it_is_told() {
        let table = table(0..500);
        let mut cursor = table.cursor(&record(300).id.key_bytes().0[..17]);
        let mut seen = 0;
        while let Some(found) = cursor.next().unwrap() {
            assert_eq!(found, record(300 + seen));
            seen += 1;
        }
        assert_eq!(seen, 200);
    }

    #[test]
    fn a_truncated_table_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        let mut writer = TableWriter::new(file.try_clone().unwrap(), 17).unwrap();
        (0..300).for_each(|number| writer.push(&record(number)).unwrap());
        writer.finish().unwrap();
        let whole = file.metadata().unwrap().len();
        for cut in [0, 10, HEADER_BYTES, 5_000, 14_500] {
            assert!(cut < whole);
            let short = tempfile::tempfile().unwrap();
            let mut bytes = vec![0; cut as usize];
            read_exact_at(&file, &mut bytes, 0).unwrap();
            (&short).write_all(&bytes).unwrap();
            assert!(Table::open(short).is_err(), "cut at {cut}");
        }
    }
}
