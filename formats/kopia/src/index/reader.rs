//! Reading index files of either version.

use std::ops::Range;
use std::sync::Arc;

use super::rows::{NamePlace, PackRef};
use super::v1::be_u32;
use super::{v1, v2};
use crate::content_id::ContentId;
use crate::decode_error::DecodeError;
use crate::record::ContentRecord;

pub(super) const STRUCTURE: &str = "index";

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
    pub const BYTES_MAX: usize = v2::HEADER_BYTES;

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
        let head = head.get(..v1::HEADER_BYTES)?;
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
        let head = head.get(..v2::HEADER_BYTES)?;
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
            v1::ENTRY_BYTES
        } else {
            v2::ENTRY_BYTES_MIN
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
            + self.pack_count as u64 * v2::PACK_BYTES as u64
            + self.format_count as u64 * v2::FORMAT_BYTES as u64;
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
    /// [`NamePlace`]; empty for version 1.
    pub fn pack_table(&self) -> Range<usize> {
        let start = self.rows().end;
        start..start + self.pack_count * v2::PACK_BYTES
    }

    /// Returns where in the file the format table lies; empty for version 1.
    pub fn format_table(&self) -> Range<usize> {
        let start = self.pack_table().end;
        start..start + self.format_count * v2::FORMAT_BYTES
    }

    pub(super) fn base_timestamp(&self) -> u32 {
        self.base_timestamp
    }

    fn header_bytes(&self) -> usize {
        if self.version == 1 {
            v1::HEADER_BYTES
        } else {
            v2::HEADER_BYTES
        }
    }
}

enum Tables {
    V1(v1::Names, u32),
    V2(v2::Tables),
}

/// One index file, checked on opening: no record of it points outside of it.
pub struct IndexReader<'a> {
    header: IndexHeader,
    rows: &'a [u8],
    tables: Tables,
}

impl<'a> IndexReader<'a> {
    /// Opens an index file. `content_overhead_bytes` is what sealing adds to a content; version 1
    /// needs it to tell original lengths ([`super::CONTENT_OVERHEAD_BYTES`]). Bytes after the
    /// file are ignored.
    pub fn parse(data: &'a [u8], content_overhead_bytes: u32) -> Result<Self, DecodeError> {
        let header = IndexHeader::parse(data, data.len())?;
        let rows = &data[header.rows()];
        let tables = if header.version == 1 {
            let entries = rows.chunks_exact(header.row_bytes());
            let names = v1::read_names(data, entries, header.key_bytes)?;
            Tables::V1(names, content_overhead_bytes)
        } else {
            Tables::V2(v2::read_tables(data, &header)?)
        };
        Ok(Self {
            header,
            rows,
            tables,
        })
    }

    /// Returns the header.
    pub fn header(&self) -> &IndexHeader {
        &self.header
    }

    /// Returns how many records there are.
    pub fn len(&self) -> usize {
        self.header.count
    }

    /// Says whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.header.count == 0
    }

    /// Returns the record at this place in key order.
    pub fn get(&self, i: usize) -> Result<ContentRecord, DecodeError> {
        if i >= self.len() {
            let reason = format!("record {i} of {}", self.len());
            return Err(DecodeError::malformed(STRUCTURE, reason));
        }
        let (key, entry) = self.row(i).split_at(self.header.key_bytes);
        let id = ContentId::from_key_bytes(key)?;
        let (record, name) = match &self.tables {
            Tables::V1(names, overhead_bytes) => {
                let record = v1::decode(id, entry, *overhead_bytes)?;
                let name = match record.pack {
                    PackRef::Place(place) => names.get(&place),
                    PackRef::Number(_) => None,
                };
                (record, name)
            }
            Tables::V2(tables) => {
                let record = v2::decode(
                    id,
                    entry,
                    tables.packs.len(),
                    &tables.formats,
                    self.header.base_timestamp,
                )?;
                let name = match record.pack {
                    PackRef::Number(number) => tables.packs.get(number as usize),
                    PackRef::Place(_) => None,
                };
                (record, name)
            }
        };
        let name = name.expect("the names of all rows were checked when the file was parsed");
        Ok(record.named(Arc::clone(name)))
    }

    /// Returns all records in the order of the file, which is key order.
    pub fn iter(&self) -> Records<'_, 'a> {
        Records {
            reader: self,
            next: 0,
        }
    }

    /// Returns the record of a content, if it is here. Relies on the order of the file.
    pub fn find(&self, id: &ContentId) -> Result<Option<ContentRecord>, DecodeError> {
        let (key, key_bytes) = id.key_bytes();
        if key_bytes != self.header.key_bytes {
            return Ok(None);
        }
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.row(middle)[..key_bytes].cmp(&key[..key_bytes]) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return self.get(middle).map(Some),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// Checks that keys are strictly ascending, as [`Self::find`] relies on.
    pub fn validate_order(&self) -> Result<(), DecodeError> {
        let key = |i: usize| &self.row(i)[..self.header.key_bytes];
        match (1..self.len()).find(|&i| key(i - 1) >= key(i)) {
            Some(i) => Err(DecodeError::malformed(
                STRUCTURE,
                format!("record {i} is out of order"),
            )),
            None => Ok(()),
        }
    }

    fn row(&self, i: usize) -> &'a [u8] {
        let row_bytes = self.header.row_bytes();
        &self.rows[i * row_bytes..(i + 1) * row_bytes]
    }
}

/// The records of an index file, one after the other.
pub struct Records<'r, 'a> {
    reader: &'r IndexReader<'a>,
    next: usize,
}

impl Iterator for Records<'_, '_> {
    type Item = Result<ContentRecord, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.reader.len() {
            return None;
        }
        self.next += 1;
        Some(self.reader.get(self.next - 1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.reader.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Records<'_, '_> {}

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
