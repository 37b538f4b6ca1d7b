//! One sorted table of content records in a local file, searched without loading it.
//!
//! ```text
//! header    magic, counts, and where the parts begin
//! rows      sorted by key; fixed size: key, then the fields of a content record
//! tags      the last two bytes of each row's key: a look-up reads those of one block first
//! fences    the key of every 128th row, loaded when the table is opened
//! ends      where each pack name ends, after a zero
//! names     the pack names, back to back
//! blobs     the names of the index blobs that the table was made from, a line each
//! ```
//!
//! The file is private to this client, may be deleted at any time, and is always a copy of what
//! index blobs say. Memory holds one key in 128: 7 MB for 50 million contents. A look-up of what
//! is not there reads 256 bytes; one of 512 such look-ups reads a row in vain.

use std::fs::File;
use std::sync::Arc;

use kopia::content_id::{ContentId, KEY_BYTES_MAX};
use kopia::record::ContentRecord;

use crate::error::{RepoError, RepoErrorKind, local_error};

pub(super) const MAGIC: &[u8; 8] = b"e3tabl02";
pub(super) const HEADER_BYTES: u64 = 128;
pub(super) const BLOCK_ROWS: u64 = 128;
pub(super) const TAG_BYTES: usize = 2;
/// A cursor reads this many blocks at once.
const CURSOR_BLOCKS: u64 = 16;
/// So many pack names are read at once.
const NAMES_AT_ONCE: u32 = 1024;
/// More index blobs than this are not named by any table.
const BLOBS_BYTES_MAX: u64 = 256 << 20;

/// A table opened for searching.
#[derive(Debug)]
pub(crate) struct Table {
    file: File,
    layout: Layout,
    fences: Vec<u8>,
    blobs: Vec<String>,
}

/// What a table's header says: counts, and where the parts begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) key_bytes: u64,
    pub(super) rows: u64,
    pub(super) packs: u64,
    pub(super) names_bytes: u64,
    pub(super) blobs_bytes: u64,
}

impl Layout {
    pub(super) fn row_bytes(&self) -> usize {
        self.key_bytes as usize + fields::BYTES
    }

    fn tags_at(&self) -> Option<u64> {
        let rows = self.rows.checked_mul(self.row_bytes() as u64)?;
        rows.checked_add(HEADER_BYTES)
    }

    fn fences_at(&self) -> Option<u64> {
        self.tags_at()?
            .checked_add(self.rows.checked_mul(TAG_BYTES as u64)?)
    }

    fn fences_bytes(&self) -> u64 {
        self.rows.div_ceil(BLOCK_ROWS) * self.key_bytes
    }

    fn ends_at(&self) -> Option<u64> {
        self.fences_at()?.checked_add(self.fences_bytes())
    }

    fn names_at(&self) -> Option<u64> {
        self.ends_at()?.checked_add((self.packs + 1) * 8)
    }

    fn blobs_at(&self) -> Option<u64> {
        self.names_at()?.checked_add(self.names_bytes)
    }

    fn file_bytes(&self) -> Option<u64> {
        self.blobs_at()?.checked_add(self.blobs_bytes)
    }

    pub(super) fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut header = [0; HEADER_BYTES as usize];
        header[..8].copy_from_slice(MAGIC);
        let words = [
            self.key_bytes,
            self.rows,
            self.packs,
            self.names_bytes,
            self.blobs_bytes,
        ];
        for (place, word) in header[8..].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        header
    }

    /// Returns the layout that a header tells, if it is that of a file of `file_bytes`.
    fn parse(header: &[u8; HEADER_BYTES as usize], file_bytes: u64) -> Option<Self> {
        let word = |number: usize| {
            let at = 8 + number * 8;
            u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"))
        };
        let layout = Self {
            key_bytes: word(0),
            rows: word(1),
            packs: word(2),
            names_bytes: word(3),
            blobs_bytes: word(4),
        };
        let sound = &header[..8] == MAGIC
            && (2..=KEY_BYTES_MAX as u64).contains(&layout.key_bytes)
            && layout.packs <= u64::from(u32::MAX)
            && layout.blobs_bytes <= BLOBS_BYTES_MAX
            && layout.file_bytes() == Some(file_bytes);
        sound.then_some(layout)
    }
}

/// The fields of a row, behind its key.
pub(super) mod fields {
    use super::{ContentId, ContentRecord, RepoError, damaged};
    use kopia::index::UnnamedRecord;
    use std::sync::Arc;

    /// Timestamp 8, pack number 4, offset 4, packed 4, original 4, compression 4, version 1, key 1, deleted 1.
    pub(in crate::index) const BYTES: usize = 31;

    pub(in crate::index) fn encode(record: &UnnamedRecord, pack: u32) -> [u8; BYTES] {
        let mut fields = [0; BYTES];
        fields[..8].copy_from_slice(&record.timestamp_seconds.to_le_bytes());
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
        fields
    }

    fn word(fields: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(fields[at..at + 4].try_into().expect("4 bytes"))
    }

    pub(in crate::index) fn pack_number(fields: &[u8]) -> u32 {
        word(fields, 8)
    }

    /// Puts another pack number in place.
    pub(in crate::index) fn renumber(fields: &mut [u8], pack: u32) {
        fields[8..12].copy_from_slice(&pack.to_le_bytes());
    }

    pub(super) fn decode(
        key: &[u8],
        fields: &[u8],
        pack_blob: Arc<str>,
    ) -> Result<ContentRecord, RepoError> {
        Ok(ContentRecord {
            id: ContentId::from_key_bytes(key).map_err(|_| damaged())?,
            timestamp_seconds: i64::from_le_bytes(fields[..8].try_into().expect("8 bytes")),
            pack_blob,
            pack_offset: word(fields, 12),
            packed_bytes: word(fields, 16),
            original_bytes: word(fields, 20),
            compression_header_id: word(fields, 24),
            format_version: fields[28],
            encryption_key_id: fields[29],
            deleted: fields[30] != 0,
        })
    }
}

fn damaged() -> RepoError {
    RepoError::new(
        RepoErrorKind::Local,
        "read a cached index table: it is damaged; delete the cache folder",
    )
}

impl Table {
    /// Opens the table in `file`.
    pub(crate) fn open(file: File) -> Result<Self, RepoError> {
        let reading = || local_error("read a cached index table");
        let file_bytes = file.metadata().map_err(reading())?.len();
        let mut header = [0; HEADER_BYTES as usize];
        local_file::read_exact_at(&file, 0, &mut header).map_err(reading())?;
        let layout = Layout::parse(&header, file_bytes).ok_or_else(damaged)?;
        let part = |at: Option<u64>, bytes: u64| {
            let mut part = vec![0; bytes as usize];
            local_file::read_exact_at(&file, at.ok_or_else(damaged)?, &mut part)
                .map_err(reading())?;
            Ok(part)
        };
        let fences = part(layout.fences_at(), layout.fences_bytes())?;
        let blobs = String::from_utf8(part(layout.blobs_at(), layout.blobs_bytes)?)
            .map_err(|_| damaged())?;
        let blobs = blobs.lines().map(str::to_owned).collect();
        Ok(Self {
            file,
            layout,
            fences,
            blobs,
        })
    }

    /// Returns how many records there are.
    pub(crate) fn records(&self) -> u64 {
        self.layout.rows
    }

    /// Returns the index blobs that the table was made from: it counts only while all of them do.
    pub(crate) fn blobs(&self) -> &[String] {
        &self.blobs
    }

    pub(super) fn key_bytes(&self) -> usize {
        self.layout.key_bytes as usize
    }

    pub(crate) fn packs(&self) -> u32 {
        self.layout.packs as u32
    }

    /// Returns the record of `id`, if the table has one.
    pub(crate) fn find(&self, id: &ContentId) -> Result<Option<ContentRecord>, RepoError> {
        let (key, key_bytes) = id.key_bytes();
        let key = &key[..key_bytes];
        if key.len() != self.key_bytes() {
            return Ok(None);
        }
        let Some(block) = self.block_of(key) else {
            return Ok(None);
        };
        let first = block * BLOCK_ROWS;
        let rows = BLOCK_ROWS.min(self.layout.rows - first) as usize;
        let mut tags = [0; BLOCK_ROWS as usize * TAG_BYTES];
        let tags = &mut tags[..rows * TAG_BYTES];
        self.read(tags, self.layout.tags_at(), first * TAG_BYTES as u64)?;
        let wanted = &key[key.len() - TAG_BYTES..];
        let mut row = [0; KEY_BYTES_MAX + fields::BYTES];
        let row = &mut row[..self.layout.row_bytes()];
        for (number, _) in (first..)
            .zip(tags.chunks_exact(TAG_BYTES))
            .filter(|(_, tag)| *tag == wanted)
        {
            self.read(row, Some(HEADER_BYTES), number * row.len() as u64)?;
            if &row[..key.len()] == key {
                return self.decode(row).map(Some);
            }
        }
        Ok(None)
    }

    /// Returns a cursor over all rows whose key is not below `from`, in order of keys.
    pub(crate) fn cursor(self: &Arc<Self>, from: &[u8]) -> Cursor {
        Cursor {
            table: Arc::clone(self),
            next_block: self.block_of(from).unwrap_or(0),
            bytes: Vec::new(),
            at: 0,
            from: from.to_vec(),
        }
    }

    /// Returns the last block whose first key is not above `key`.
    fn block_of(&self, key: &[u8]) -> Option<u64> {
        let count = self.fences.len() / self.key_bytes();
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low.midpoint(high);
            if &self.fences[middle * self.key_bytes()..][..self.key_bytes()] <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1).map(|block| block as u64)
    }

    /// Fills `bytes` from `offset` of the part that begins at `part`.
    fn read(&self, bytes: &mut [u8], part: Option<u64>, offset: u64) -> Result<(), RepoError> {
        let at = part
            .and_then(|part| part.checked_add(offset))
            .ok_or_else(damaged)?;
        local_file::read_exact_at(&self.file, at, bytes)
            .map_err(local_error("read a cached index table"))
    }

    /// Returns what a row says.
    pub(crate) fn decode(&self, row: &[u8]) -> Result<ContentRecord, RepoError> {
        let (key, fields) = row.split_at(self.key_bytes());
        let name = self.pack_name(fields::pack_number(fields))?;
        fields::decode(key, fields, name)
    }

    /// Returns what a row says, with `name` in place of its pack's, and that pack's number.
    pub(crate) fn decode_unnamed(
        &self,
        row: &[u8],
        name: &Arc<str>,
    ) -> Result<(ContentRecord, u32), RepoError> {
        let (key, fields) = row.split_at(self.key_bytes());
        let pack = fields::pack_number(fields);
        if pack >= self.packs() {
            return Err(damaged());
        }
        Ok((fields::decode(key, fields, Arc::clone(name))?, pack))
    }

    /// Returns the name of a pack.
    pub(crate) fn pack_name(&self, number: u32) -> Result<Arc<str>, RepoError> {
        let mut names = self.names_of(number, 1)?;
        let name = names.pop().ok_or_else(damaged)?;
        let name = String::from_utf8(name).map_err(|_| damaged())?;
        Ok(Arc::from(name))
    }

    /// Hands the names of all packs to `each`, in the order of their numbers.
    pub(crate) fn for_each_pack_name(
        &self,
        each: &mut dyn FnMut(&str) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        self.for_each_pack(&mut |name| each(str::from_utf8(name).map_err(|_| damaged())?))
    }

    /// Returns the names of `count` packs from number `first` on.
    fn names_of(&self, first: u32, count: u32) -> Result<Vec<Vec<u8>>, RepoError> {
        if u64::from(first) + u64::from(count) > self.layout.packs {
            return Err(damaged());
        }
        let mut ends = vec![0; (count as usize + 1) * 8];
        self.read(&mut ends, self.layout.ends_at(), u64::from(first) * 8)?;
        let ends: Vec<u64> = ends
            .chunks_exact(8)
            .map(|end| u64::from_le_bytes(end.try_into().expect("8 bytes")))
            .collect();
        let sound = ends.is_sorted_by(|a, b| a <= b && b - a <= 255)
            && ends[count as usize] <= self.layout.names_bytes;
        if !sound {
            return Err(damaged());
        }
        let mut names = vec![0; (ends[count as usize] - ends[0]) as usize];
        self.read(&mut names, self.layout.names_at(), ends[0])?;
        let place = |at: u64| (at - ends[0]) as usize;
        Ok(ends
            .windows(2)
            .map(|pair| names[place(pair[0])..place(pair[1])].to_vec())
            .collect())
    }

    /// Hands the name of every pack to `each`, by number.
    pub(super) fn for_each_pack(
        &self,
        each: &mut dyn FnMut(&[u8]) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        let mut first = 0;
        while first < self.packs() {
            let count = NAMES_AT_ONCE.min(self.packs() - first);
            for name in self.names_of(first, count)? {
                each(&name)?;
            }
            first += count;
        }
        Ok(())
    }
}

/// Walks a table in order of keys, some blocks at a time.
#[derive(Debug)]
pub(crate) struct Cursor {
    table: Arc<Table>,
    next_block: u64,
    bytes: Vec<u8>,
    at: usize,
    from: Vec<u8>,
}

impl Cursor {
    /// Returns the row that the last [`step`](Self::step) came to.
    pub(crate) fn row(&self) -> &[u8] {
        let row_bytes = self.table.layout.row_bytes();
        &self.bytes[self.at - row_bytes..self.at]
    }

    /// Goes to the next row; returns whether there is one.
    pub(crate) fn step(&mut self) -> Result<bool, RepoError> {
        let Layout { rows, .. } = self.table.layout;
        let row_bytes = self.table.layout.row_bytes();
        loop {
            while self.at < self.bytes.len() {
                self.at += row_bytes;
                if self.row()[..self.table.key_bytes()] >= self.from[..] {
                    return Ok(true);
                }
            }
            let first = self.next_block * BLOCK_ROWS;
            if first >= rows {
                return Ok(false);
            }
            let count = (CURSOR_BLOCKS * BLOCK_ROWS).min(rows - first);
            self.bytes.resize(count as usize * row_bytes, 0);
            self.at = 0;
            self.next_block += CURSOR_BLOCKS;
            let offset = first * row_bytes as u64;
            self.table
                .read(&mut self.bytes, Some(HEADER_BYTES), offset)?;
        }
    }
}
