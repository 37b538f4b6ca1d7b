//! Objects of any length, read whole, in part, or only as a list of where their bytes lie.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use crate::compression::{CONTENT_BYTES_MAX, decompress};
use crate::object::{ListEntry, ObjectId, parse_list};
use crate::reader::SecondReader;

/// The most that [`SecondReader::read_object`] puts into memory.
const WHOLE_OBJECT_BYTES_MAX: u64 = 2 << 30;
const NESTING_MAX: usize = 16;

/// A piece of an object that is one content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Where it begins in the object.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
    /// The content that holds it.
    pub content_id: String,
}

/// Reads parts of one object without expanding the rest.
pub struct ObjectReader<'a> {
    reader: &'a SecondReader,
    root: ListEntry,
}

impl SecondReader {
    /// Reads a whole object; one of more than 2 GiB is refused.
    pub fn read_object(&self, object_id: &str) -> Result<Vec<u8>, String> {
        let object = self.object_reader(object_id)?;
        if object.length() > WHOLE_OBJECT_BYTES_MAX {
            return Err(format!("object {object_id} is too long to be read whole"));
        }
        object.read_range(0, object.length())
    }

    /// Prepares to read parts of an object.
    pub fn object_reader(&self, object_id: &str) -> Result<ObjectReader<'_>, String> {
        let length = self.object_length(object_id)?;
        Ok(ObjectReader {
            reader: self,
            root: ListEntry {
                start: 0,
                length,
                object: object_id.to_owned(),
            },
        })
    }

    /// Every content that an object consists of, those of its lists too: what keeps it alive.
    pub fn object_contents(&self, object_id: &str) -> Result<BTreeSet<String>, String> {
        let mut contents = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut pending = vec![object_id.to_owned()];
        while let Some(object) = pending.pop() {
            if !seen.insert(object.clone()) {
                continue;
            }
            match object.strip_prefix('I') {
                Some(list) => {
                    pending.push(list.to_owned());
                    let entries = self.object_list(&object, 0)?;
                    pending.extend(entries.iter().map(|entry| entry.object.clone()));
                }
                None => {
                    let id = ObjectId::parse(&object, self.format.hash.length_bytes)?;
                    contents.insert(id.content);
                }
            }
        }
        Ok(contents)
    }

    /// The object's length: of one content as the index says, of a list as its last entry says.
    pub(crate) fn object_length(&self, object_id: &str) -> Result<u64, String> {
        let id = ObjectId::parse(object_id, self.format.hash.length_bytes)?;
        if id.indirections > 0 {
            return Ok(self
                .object_list(object_id, 0)?
                .last()
                .map_or(0, ListEntry::end));
        }
        if id.zipped {
            return Ok(self.direct_object(&id)?.len() as u64);
        }
        let record = self
            .content_record(&id.content)
            .ok_or_else(|| format!("content {} is in no index", id.content))?;
        Ok(record.original_length.into())
    }

    /// The list of an indirect object.
    pub(crate) fn object_list(
        &self,
        object_id: &str,
        depth: usize,
    ) -> Result<Arc<Vec<ListEntry>>, String> {
        let lock = || self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = lock().get(object_id) {
            return Ok(list.clone());
        }
        let list = parse_list(&self.object_list_bytes(object_id, depth)?)
            .map_err(|error| format!("object {object_id}: {error}"))?;
        let list = Arc::new(list);
        lock().insert(object_id.to_owned(), list.clone());
        Ok(list)
    }

    /// The stored form of an indirect object's list.
    pub(crate) fn object_list_bytes(
        &self,
        object_id: &str,
        depth: usize,
    ) -> Result<Vec<u8>, String> {
        let list_object = object_id
            .strip_prefix('I')
            .ok_or_else(|| format!("object {object_id} is not indirect"))?;
        let length = self.object_length(list_object)?;
        let mut bytes = Vec::new();
        self.read_into(
            &ListEntry {
                start: 0,
                length,
                object: list_object.to_owned(),
            },
            0,
            length,
            depth + 1,
            &mut bytes,
        )?;
        Ok(bytes)
    }

    fn direct_object(&self, id: &ObjectId) -> Result<Arc<Vec<u8>>, String> {
        let content = self.read_content(&id.content)?;
        if !id.zipped {
            return Ok(content);
        }
        let (header, stream) = content
            .split_first_chunk::<4>()
            .ok_or_else(|| format!("object in content {} has no compression header", id.content))?;
        decompress(u32::from_be_bytes(*header), stream, CONTENT_BYTES_MAX)
            .map(Arc::new)
            .map_err(|error| format!("object in content {}: {error}", id.content))
    }

    /// Appends the bytes from..to of an object that must have exactly the entry's length.
    fn read_into(
        &self,
        entry: &ListEntry,
        from: u64,
        to: u64,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        if depth > NESTING_MAX {
            return Err("lists are nested too deeply".to_owned());
        }
        let id = ObjectId::parse(&entry.object, self.format.hash.length_bytes)?;
        let wrong_length = |length: u64| {
            format!(
                "object {} has {length} bytes, not {}",
                entry.object, entry.length
            )
        };
        if id.indirections == 0 {
            let plain = self.direct_object(&id)?;
            if plain.len() as u64 != entry.length {
                return Err(wrong_length(plain.len() as u64));
            }
            let range = plain
                .get(from as usize..to as usize)
                .ok_or_else(|| wrong_length(plain.len() as u64))?;
            out.extend_from_slice(range);
            return Ok(());
        }
        let list = self.object_list(&entry.object, depth)?;
        let length = list.last().map_or(0, ListEntry::end);
        if length != entry.length {
            return Err(wrong_length(length));
        }
        let first = list.partition_point(|child| child.end() <= from);
        for child in list.iter().skip(first).take_while(|child| child.start < to) {
            let child_from = from.saturating_sub(child.start);
            let child_to = to.min(child.end()) - child.start;
            self.read_into(child, child_from, child_to, depth + 1, out)?;
        }
        Ok(())
    }
}

impl<'a> ObjectReader<'a> {
    /// The object's length in bytes.
    pub fn length(&self) -> u64 {
        self.root.length
    }

    /// Reads a part of the object; it must lie within.
    pub fn read_range(&self, offset: u64, length: u64) -> Result<Vec<u8>, String> {
        let end = offset
            .checked_add(length)
            .filter(|&end| end <= self.root.length);
        let end = end
            .ok_or_else(|| format!("object {} ends before {offset}+{length}", self.root.object))?;
        let mut out = Vec::new();
        self.reader
            .read_into(&self.root, offset, end, 0, &mut out)?;
        Ok(out)
    }

    /// The contents that the object's bytes lie in, in order, found as the iterator goes.
    pub fn leaves(&self) -> impl Iterator<Item = Result<Leaf, String>> + 'a {
        self.leaves_from(0)
    }

    /// The same from the content that holds the byte at `offset`.
    pub fn leaves_from(&self, offset: u64) -> impl Iterator<Item = Result<Leaf, String>> + 'a {
        Leaves {
            reader: self.reader,
            offset,
            pending: vec![Pending::One(self.root.clone())],
        }
    }
}

/// What an iteration over leaves still has before it.
enum Pending {
    One(ListEntry),
    /// A list, the index of its next entry, and where its object begins.
    Rest(Arc<Vec<ListEntry>>, usize, u64),
}

struct Leaves<'a> {
    reader: &'a SecondReader,
    offset: u64,
    pending: Vec<Pending>,
}

impl Iterator for Leaves<'_> {
    type Item = Result<Leaf, String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.pending.pop()? {
                Pending::One(entry) => entry,
                Pending::Rest(list, at, start) => {
                    let Some(child) = list.get(at) else { continue };
                    let entry = ListEntry {
                        start: start.saturating_add(child.start),
                        ..child.clone()
                    };
                    self.pending.push(Pending::Rest(list, at + 1, start));
                    entry
                }
            };
            let expanded = self.expand(entry);
            match expanded {
                Ok(None) => {}
                Ok(Some(leaf)) => return Some(Ok(leaf)),
                Err(error) => {
                    self.pending.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Leaves<'_> {
    /// The entry as a leaf, or nothing if it was a list, which is then pending.
    fn expand(&mut self, entry: ListEntry) -> Result<Option<Leaf>, String> {
        let id = ObjectId::parse(&entry.object, self.reader.format.hash.length_bytes)?;
        if id.indirections == 0 {
            return Ok(Some(Leaf {
                start: entry.start,
                length: entry.length,
                content_id: id.content,
            }));
        }
        if self.pending.len() > NESTING_MAX {
            return Err("lists are nested too deeply".to_owned());
        }
        let list = self.reader.object_list(&entry.object, 0)?;
        let first =
            list.partition_point(|child| entry.start.saturating_add(child.end()) <= self.offset);
        self.pending.push(Pending::Rest(list, first, entry.start));
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const ZEROS: &str = "7593b6d23af397a2b19c7088ff537b91";
    const CHUNK_BYTES: u64 = 131_072;

    /// A repository of Kopia's with a content of zeros, and lists put beside it.
    fn reader_with(lists: &[(&str, Vec<ListEntry>)]) -> SecondReader {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../testdata/kopia/indirect-two-level/repo");
        let reader = SecondReader::open(&folder, "fixture-password").unwrap();
        for (id, list) in lists {
            reader
                .lists
                .lock()
                .unwrap()
                .insert((*id).to_owned(), Arc::new(list.clone()));
        }
        reader
    }

    fn repeat(object: &str, length: u64, count: u64) -> Vec<ListEntry> {
        (0..count)
            .map(|at| ListEntry {
                start: at * length,
                length,
                object: object.to_owned(),
            })
            .collect()
    }

    fn list_id(digit: &str) -> String {
        format!("Ix{}", digit.repeat(32))
    }

    #[test]
    fn a_thin_image_of_2_tib_is_read_in_part_and_listed_lazily() {
        let nested_bytes = 256 * CHUNK_BYTES;
        let (nested, image) = (list_id("1"), list_id("2"));
        let reader = reader_with(&[
            (&nested, repeat(ZEROS, CHUNK_BYTES, 256)),
            (&image, repeat(&nested, nested_bytes, 65_536)),
        ]);
        let object = reader.object_reader(&image).unwrap();
        assert_eq!(object.length(), 2 << 40);
        let across = object
            .read_range(1_000 * nested_bytes - 100, 300_000)
            .unwrap();
        assert!(across.len() == 300_000 && across.iter().all(|&byte| byte == 0));
        assert!(object.read_range(2 << 40, 0).unwrap().is_empty());
        assert!(object.read_range((2 << 40) - 1, 2).is_err());
        assert!(object.read_range(u64::MAX, 2).is_err());
        let leaf = |start| Leaf {
            start,
            length: CHUNK_BYTES,
            content_id: ZEROS.to_owned(),
        };
        let first: Vec<_> = object.leaves().take(257).map(Result::unwrap).collect();
        assert_eq!((&first[0], &first[256]), (&leaf(0), &leaf(nested_bytes)));
        let last: Vec<_> = object
            .leaves_from((2 << 40) - CHUNK_BYTES - 1)
            .map(Result::unwrap)
            .collect();
        assert_eq!(
            last,
            [
                leaf((2 << 40) - 2 * CHUNK_BYTES),
                leaf((2 << 40) - CHUNK_BYTES)
            ]
        );
        assert!(reader.read_object(&image).is_err());
    }

    #[test]
    fn entries_of_another_length_than_their_object_are_refused() {
        let (short, long, nested, around) =
            (list_id("1"), list_id("2"), list_id("3"), list_id("4"));
        let reader = reader_with(&[
            (&short, repeat(ZEROS, CHUNK_BYTES - 1, 2)),
            (&long, repeat(ZEROS, CHUNK_BYTES + 1, 2)),
            (&nested, repeat(ZEROS, CHUNK_BYTES, 2)),
            (&around, repeat(&nested, CHUNK_BYTES, 1)),
        ]);
        for id in [&short, &long, &around] {
            assert!(
                reader.object_reader(id).unwrap().read_range(0, 1).is_err(),
                "{id}"
            );
        }
        assert!(reader.read_object(&nested).is_ok());
    }

    #[test]
    fn lists_within_themselves_end() {
        let id = list_id("1");
        let reader = reader_with(&[(&id, repeat(&list_id("1"), 5, 1))]);
        assert!(reader.read_object(&id).is_err());
        assert!(
            reader
                .object_reader(&id)
                .unwrap()
                .leaves()
                .any(|leaf| leaf.is_err())
        );
    }
}
