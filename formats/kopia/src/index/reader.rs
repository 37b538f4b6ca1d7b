//! Reading index files of either version.

use std::sync::Arc;

use super::header::{IndexHeader, STRUCTURE};
use super::unnamed_record::PackRef;
use super::{v1, v2};
use crate::content_id::ContentId;
use crate::decode_error::DecodeError;
use crate::record::ContentRecord;

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
        let tables = if header.version() == 1 {
            let entries = rows.chunks_exact(header.row_bytes());
            let names = v1::read_names(data, entries, header.key_bytes())?;
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
        self.header.count()
    }

    /// Says whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.header.count() == 0
    }

    /// Returns the record at this place in key order.
    pub fn get(&self, i: usize) -> Result<ContentRecord, DecodeError> {
        if i >= self.len() {
            let reason = format!("record {i} of {}", self.len());
            return Err(DecodeError::malformed(STRUCTURE, reason));
        }
        let (key, entry) = self.row(i).split_at(self.header.key_bytes());
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
                    self.header.base_timestamp(),
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
        if key_bytes != self.header.key_bytes() {
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
        let key = |i: usize| &self.row(i)[..self.header.key_bytes()];
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
