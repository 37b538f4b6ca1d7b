//! Writes a table row by row; memory holds its fences.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use super::table::{BLOCK_ROWS, HEADER_BYTES, Layout, TAG_BYTES, Table, fields};
use crate::error::{RepoError, RepoErrorKind, local_error};

/// Names of new files begin and end like this; one that lies about for long has no owner any more.
pub(crate) const NEW_FILE: (&str, &str) = ("table-", ".tmp");

const DOING: &str = "write an index table to the cache";

/// Hands every pack name, by number, to what it is given.
pub(crate) type PackNames<'a> =
    &'a dyn Fn(&mut dyn FnMut(&[u8]) -> Result<(), RepoError>) -> Result<(), RepoError>;

/// Writes a table row by row, in order of keys.
#[derive(Debug)]
pub(crate) struct TableWriter {
    out: BufWriter<NamedTempFile>,
    tags: BufWriter<File>,
    fences: Vec<u8>,
    key_bytes: usize,
    rows: u64,
}

impl TableWriter {
    /// Begins a table in `folder` for keys of `key_bytes` bytes.
    pub(crate) fn create(folder: &Path, key_bytes: usize) -> Result<Self, RepoError> {
        let mut out = BufWriter::with_capacity(1 << 20, new_file(folder)?);
        out.write_all(&[0; HEADER_BYTES as usize])
            .map_err(local_error(DOING))?;
        let tags = tempfile::tempfile_in(folder).map_err(local_error(DOING))?;
        Ok(Self {
            out,
            tags: BufWriter::with_capacity(64 << 10, tags),
            fences: Vec::new(),
            key_bytes,
            rows: 0,
        })
    }

    /// Adds the row with the next higher key.
    pub(crate) fn push(
        &mut self,
        key: &[u8],
        fields: &[u8; fields::BYTES],
    ) -> Result<(), RepoError> {
        debug_assert_eq!(key.len(), self.key_bytes);
        if self.rows.is_multiple_of(BLOCK_ROWS) {
            self.fences.extend_from_slice(key);
        }
        self.rows += 1;
        self.out
            .write_all(key)
            .and_then(|()| self.out.write_all(fields))
            .and_then(|()| self.tags.write_all(&key[key.len() - TAG_BYTES..]))
            .map_err(local_error(DOING))
    }

    /// Ends the table, made from `blobs`, puts it in place under `path` and opens it.
    ///
    /// `names` is asked for the pack names twice: they may be more than memory should hold.
    pub(crate) fn finish(
        mut self,
        path: &Path,
        blobs: &[String],
        names: PackNames<'_>,
    ) -> Result<Table, RepoError> {
        self.append_tags_and_fences().map_err(local_error(DOING))?;
        let (mut packs, mut names_bytes) = (0u64, 0u64);
        self.write(&names_bytes.to_le_bytes())?;
        names(&mut |name| {
            packs += 1;
            names_bytes += name.len() as u64;
            self.write(&names_bytes.to_le_bytes())
        })?;
        names(&mut |name| self.write(name))?;
        if packs > u64::from(u32::MAX) {
            return Err(RepoError::new(
                RepoErrorKind::Local,
                format!("{DOING}: it names more packs than a table can number"),
            ));
        }
        let blobs_text = blobs.join("\n");
        self.write(blobs_text.as_bytes())?;
        let layout = Layout {
            key_bytes: self.key_bytes as u64,
            rows: self.rows,
            packs,
            names_bytes,
            blobs_bytes: blobs_text.len() as u64,
        };
        let file = self.end(&layout).map_err(local_error(DOING))?;
        put_in_place(file, path, blobs)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), RepoError> {
        self.out.write_all(bytes).map_err(local_error(DOING))
    }

    fn append_tags_and_fences(&mut self) -> io::Result<()> {
        self.tags.flush()?;
        let tags = self.tags.get_mut();
        tags.seek(SeekFrom::Start(0))?;
        io::copy(tags, &mut self.out)?;
        self.out.write_all(&self.fences)
    }

    fn end(self, layout: &Layout) -> io::Result<NamedTempFile> {
        let mut file = self
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&layout.encode())?;
        // After a power failure a file must not stand under its name with zeros in it.
        file.as_file().sync_data()?;
        Ok(file)
    }
}

/// Renames a finished table to `path` and opens it.
fn put_in_place(file: NamedTempFile, path: &Path, blobs: &[String]) -> Result<Table, RepoError> {
    match file.persist(path) {
        Ok(file) => Table::open(file),
        // Where an open file cannot be replaced, another process has put the same one there.
        Err(error) => match open_table(path) {
            Some(table) if table.blobs() == blobs => Ok(table),
            _ => Err(local_error(format!("rename a file to {}", path.display()))(
                error.error,
            )),
        },
    }
}

/// Returns the table under `path` if there is one and it is whole.
pub(crate) fn open_table(path: &Path) -> Option<Table> {
    Table::open(File::open(path).ok()?).ok()
}

/// Returns a new, empty file in `folder`, under a temporary name.
fn new_file(folder: &Path) -> Result<NamedTempFile, RepoError> {
    tempfile::Builder::new()
        .prefix(NEW_FILE.0)
        .suffix(NEW_FILE.1)
        .tempfile_in(folder)
        .map_err(local_error(format!(
            "create a file in the cache folder {}",
            folder.display()
        )))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kopia::content_id::ContentId;
    use kopia::hash::HashOutput;
    use kopia::index::{PackRef, UnnamedRecord};
    use kopia::record::ContentRecord;

    use super::*;

    fn record(number: u32) -> UnnamedRecord {
        let mut hash = [0; 16];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        // Tags of neighbours are often equal, so that look-ups have to read the key.
        hash[15] = (number % 3) as u8;
        UnnamedRecord {
            id: ContentId::new(None, HashOutput::new(&hash).unwrap()),
            pack: PackRef::Number(number / 80),
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

    fn named(number: u32) -> ContentRecord {
        record(number).named(format!("p{:032x}-s1", number / 80).into())
    }

    fn table(folder: &Path, numbers: impl Iterator<Item = u32>) -> Arc<Table> {
        let mut writer = TableWriter::create(folder, 17).unwrap();
        let mut packs = 0;
        for number in numbers {
            let record = record(number);
            let (key, key_bytes) = record.id.key_bytes();
            packs = number / 80 + 1;
            writer
                .push(&key[..key_bytes], &fields::encode(&record, number / 80))
                .unwrap();
        }
        let names = |each: &mut dyn FnMut(&[u8]) -> Result<(), RepoError>| {
            (0..packs).try_for_each(|pack| each(format!("p{pack:032x}-s1").as_bytes()))
        };
        let path = folder.join("b.index");
        Arc::new(writer.finish(&path, &["b".to_owned()], &names).unwrap())
    }

    #[test]
    fn every_record_is_found_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let table = table(folder.path(), (0..1000).map(|number| number * 2));
        assert_eq!(table.blobs(), ["b"]);
        for number in 0..2000 {
            let found = table.find(&record(number).id).unwrap();
            assert_eq!(found, (number % 2 == 0).then(|| named(number)));
        }
    }

    #[test]
    fn a_cursor_starts_where_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let table = table(folder.path(), 0..5000);
        for first in [0, 300, 4999] {
            let mut cursor = table.cursor(&record(first).id.key_bytes().0[..17]);
            let mut seen = first;
            while cursor.step().unwrap() {
                assert_eq!(table.decode(cursor.row()).unwrap(), named(seen));
                seen += 1;
            }
            assert_eq!(seen, 5000);
        }
    }

    #[test]
    fn a_table_that_is_cut_or_grew_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        table(folder.path(), 0..300);
        let path = folder.path().join("b.index");
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 10, HEADER_BYTES as usize, 5_000, 14_500, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(open_table(&path).is_none(), "cut at {length}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(open_table(&path).is_some());
        std::fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
        assert!(open_table(&path).is_none());
    }
}
