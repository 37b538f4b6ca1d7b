//! From an index blob to a table, without holding either in memory.
//!
//! ```text
//! store ─ pieces ─► opened ─► temporary file ─ authentic? ─► rows ─► table
//! ```
//!
//! Kopia writes up to 16 million records into one index blob (Kopia spec 5.3): more than half a
//! gigabyte.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use blob::BlobStore;
use kopia::blob_name::blob_crypto_iv;
use kopia::cipher::ContentCipher;
use kopia::hash::ContentHasher;
use kopia::index::{IndexHeader, NamePlace, PackRef, RowDecoder, pack_name_text};

use super::sealed_pieces::{PIECE_BYTES, SealedPieces, damaged};
use super::table::{Table, fields};
use super::table_writer::TableWriter;
use crate::error::{RepoError, RepoErrorKind, local_error, store_error};
use crate::opener::{ALTERED, Opener};

/// Rows are read in pieces of about this length.
const ROWS_BYTES: usize = 256 << 10;
/// Names of this many packs are looked at together.
const PACKS_AT_ONCE: usize = 1024;
/// … and read with one request if they lie within this.
const NAMES_SPAN_MAX: u64 = 1 << 20;

/// Takes the key and the fields of a row.
type TakesRow<'a> = &'a mut dyn FnMut(&[u8], &[u8; fields::BYTES]) -> Result<(), RepoError>;

/// What an index blob holds, opened and authentic.
#[derive(Debug)]
pub(crate) enum IndexPayload<'a> {
    /// In memory.
    Memory(Cow<'a, [u8]>),
    /// In a temporary file of this length.
    File(File, u64),
}

impl IndexPayload<'_> {
    /// Fetches an index blob of `stored_bytes` and opens its seal; its name must be the hash of
    /// what it holds.
    pub(crate) fn fetch(
        store: &dyn BlobStore,
        blob: &str,
        stored_bytes: u64,
        opener: &Opener,
        hasher: &ContentHasher,
        folder: &Path,
    ) -> Result<Self, RepoError> {
        if stored_bytes > PIECE_BYTES {
            return fetch_in_pieces(store, blob, stored_bytes, opener, hasher, folder);
        }
        let sealed = store
            .get(blob)
            .map_err(store_error(format!("read index blob {blob}")))?;
        open_blob(opener, hasher, blob, &sealed).map(|payload| Self::Memory(Cow::Owned(payload)))
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Memory(payload) => payload.len() as u64,
            Self::File(_, bytes) => *bytes,
        }
    }

    /// Reads `bytes` at `offset`; `None` past the end.
    fn read(&self, offset: u64, bytes: usize) -> Result<Option<Cow<'_, [u8]>>, RepoError> {
        match self {
            Self::Memory(payload) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let part = payload.get(start..).and_then(|rest| rest.get(..bytes));
                Ok(part.map(Cow::Borrowed))
            }
            Self::File(file, length) => {
                if offset
                    .checked_add(bytes as u64)
                    .is_none_or(|end| end > *length)
                {
                    return Ok(None);
                }
                let mut part = vec![0; bytes];
                local_file::read_exact_at(file, offset, &mut part)
                    .map_err(local_error("read an opened index blob in the cache"))?;
                Ok(Some(Cow::Owned(part)))
            }
        }
    }
}

fn fetch_in_pieces(
    store: &dyn BlobStore,
    blob: &str,
    stored_bytes: u64,
    opener: &Opener,
    hasher: &ContentHasher,
    folder: &Path,
) -> Result<IndexPayload<'static>, RepoError> {
    let damaged = |what: &str| damaged(blob, &what);
    let iv = blob_crypto_iv(blob).ok_or_else(|| damaged("its name holds no hash"))?;
    let mut pieces = SealedPieces::begin(store, blob, stored_bytes, opener)?;
    let mut seal = opener
        .cipher()
        .open_in_pieces(&iv, pieces.sealed_bytes())
        .map_err(|error| damaged(&error.to_string()))?;
    let mut hash = hasher.begin();
    let doing = "write an index blob to the cache";
    let mut file = tempfile::tempfile_in(folder).map_err(local_error(doing))?;
    let mut payload_bytes = 0;
    while let Some(mut piece) = pieces.next()? {
        let text = seal.push(&mut piece);
        hash.update(text);
        file.write_all(text).map_err(local_error(doing))?;
        payload_bytes += text.len() as u64;
    }
    seal.finish().map_err(|_| damaged(ALTERED))?;
    if hash.finish().iv() != iv {
        return Err(damaged("its content does not match its name"));
    }
    opener.note(blob, pieces.damaged_shards());
    Ok(IndexPayload::File(file, payload_bytes))
}

/// Opens the seal of a small blob that is named after its payload's hash (Kopia spec 3.2).
pub(crate) fn open_blob(
    opener: &Opener,
    hasher: &ContentHasher,
    blob: &str,
    sealed: &[u8],
) -> Result<Vec<u8>, RepoError> {
    let damaged =
        |what: &str| RepoError::new(RepoErrorKind::Damaged, format!("read blob {blob}: {what}"));
    let iv = blob_crypto_iv(blob).ok_or_else(|| damaged("its name holds no hash"))?;
    let payload = opener
        .open(blob, &iv, sealed)
        .map_err(|error| error.while_doing(&format!("read blob {blob}")))?;
    if hasher.hash(&payload).iv() != iv {
        return Err(damaged("its content does not match its name"));
    }
    Ok(payload)
}

/// Writes the table of one index blob under `path` in `folder`.
pub(crate) fn write_table(
    blob: &str,
    payload: &IndexPayload<'_>,
    key_bytes: usize,
    folder: &Path,
    path: &Path,
) -> Result<Table, RepoError> {
    let index = IndexBlob::parse(blob, payload)?;
    let mut writer = TableWriter::create(folder, key_bytes)?;
    let places = index.each_row(key_bytes, &mut |key, fields| writer.push(key, fields))?;
    writer.finish(path, &[blob.to_owned()], &|each| match &places {
        Some(places) => index.names_at(places, each),
        None => index.names_of_pack_table(each),
    })
}

/// Reads an index blob from its first row to its last pack name, as if a table were made of it;
/// `Damaged` if none could be.
pub(crate) fn check(
    blob: &str,
    payload: &IndexPayload<'_>,
    key_bytes: usize,
) -> Result<(), RepoError> {
    let index = IndexBlob::parse(blob, payload)?;
    match index.each_row(key_bytes, &mut |_, _| Ok(()))? {
        Some(places) => index.names_at(&places, &mut |_| Ok(())),
        None => index.names_of_pack_table(&mut |_| Ok(())),
    }
}

/// An index file whose sections are known.
struct IndexBlob<'a> {
    blob: &'a str,
    payload: &'a IndexPayload<'a>,
    decoder: RowDecoder,
}

impl<'a> IndexBlob<'a> {
    fn parse(blob: &'a str, payload: &'a IndexPayload<'a>) -> Result<Self, RepoError> {
        let bytes = payload.bytes();
        let head_bytes = bytes.min(IndexHeader::BYTES_MAX as u64) as usize;
        let head = payload.read(0, head_bytes)?.unwrap_or_default();
        let file_bytes = usize::try_from(bytes).map_err(|error| damaged(blob, &error))?;
        let header =
            IndexHeader::parse(&head, file_bytes).map_err(|error| damaged(blob, &error))?;
        let formats = header.format_table();
        let formats = payload
            .read(formats.start as u64, formats.len())?
            .unwrap_or_default();
        Ok(Self {
            decoder: RowDecoder::new(header, &formats, ContentCipher::OVERHEAD_BYTES as u32),
            blob,
            payload,
        })
    }

    fn damaged(&self, what: &dyn Display) -> RepoError {
        damaged(self.blob, what)
    }

    fn section(&self, offset: usize, bytes: usize) -> Result<Cow<'_, [u8]>, RepoError> {
        self.payload
            .read(offset as u64, bytes)?
            .ok_or_else(|| self.damaged(&"it names a pack outside of itself"))
    }

    /// Hands key and fields of every row to `each`. Returns the places of pack names by number,
    /// where it is not the file's own pack table that numbers them (version 1).
    fn each_row(
        &self,
        key_bytes: usize,
        each: TakesRow<'_>,
    ) -> Result<Option<Vec<NamePlace>>, RepoError> {
        let header = self.decoder.header();
        if header.count() > 0 && header.key_bytes() != key_bytes {
            return Err(self.damaged(&"its ids have another length than the repository's"));
        }
        let mut numbers: HashMap<NamePlace, u32> = HashMap::new();
        let mut places = Vec::new();
        let mut previous: Vec<u8> = Vec::new();
        let rows = header.rows();
        let row_bytes = header.row_bytes();
        let step = ROWS_BYTES.div_ceil(row_bytes) * row_bytes;
        for start in rows.clone().step_by(step) {
            let piece = self.section(start, step.min(rows.end - start))?;
            for row in piece.chunks_exact(row_bytes) {
                let record = self
                    .decoder
                    .decode(row)
                    .map_err(|error| self.damaged(&error))?;
                let key = &row[..key_bytes];
                if &previous[..] >= key && !previous.is_empty() {
                    return Err(self.damaged(&"its entries are out of order"));
                }
                previous.clear();
                previous.extend_from_slice(key);
                let pack = match record.pack {
                    PackRef::Number(number) => number,
                    PackRef::Place(place) => *numbers.entry(place).or_insert_with(|| {
                        places.push(place);
                        places.len() as u32 - 1
                    }),
                };
                each(key, &fields::encode(&record, pack))?;
            }
        }
        Ok((header.version() == 1).then_some(places))
    }

    fn names_of_pack_table(
        &self,
        each: &mut dyn FnMut(&[u8]) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        let table = self.decoder.header().pack_table();
        let step = PACKS_AT_ONCE * NamePlace::ENTRY_BYTES;
        let mut names_bytes = 0;
        for start in table.clone().step_by(step) {
            let entries = self.section(start, step.min(table.end - start))?;
            let places: Vec<NamePlace> = entries
                .chunks_exact(NamePlace::ENTRY_BYTES)
                .map(NamePlace::parse)
                .collect();
            names_bytes += places
                .iter()
                .map(|place| u64::from(place.bytes))
                .sum::<u64>();
            // Names that overlap would let a small file expand to a multiple of its size.
            if names_bytes > self.payload.bytes() {
                return Err(self.damaged(&"its pack names overlap"));
            }
            self.names_at(&places, each)?;
        }
        Ok(())
    }

    fn names_at(
        &self,
        places: &[NamePlace],
        each: &mut dyn FnMut(&[u8]) -> Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        let end = |place: &NamePlace| u64::from(place.offset) + u64::from(place.bytes);
        for group in places.chunks(PACKS_AT_ONCE) {
            let first = group.iter().map(|place| u64::from(place.offset)).min();
            let last = group.iter().map(end).max();
            let (Some(first), Some(last)) = (first, last) else {
                continue;
            };
            // Kopia writes names back to back, so that one read brings them all.
            let span = if last - first <= NAMES_SPAN_MAX {
                Some(self.section(first as usize, (last - first) as usize)?)
            } else {
                None
            };
            for place in group {
                let bytes = usize::from(place.bytes);
                let name = match &span {
                    Some(span) => {
                        let start = (u64::from(place.offset) - first) as usize;
                        Cow::Borrowed(&span[start..start + bytes])
                    }
                    None => self.section(place.offset as usize, bytes)?,
                };
                pack_name_text(&name).map_err(|error| self.damaged(&error))?;
                each(&name)?;
            }
        }
        Ok(())
    }
}
