//! Objects: streams of any length made of contents (Kopia spec 6).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use kopia::compression;
use kopia::content_id::{ContentId, prefix};
use kopia::indirect::{IndirectEntry, ListError, ListParser, ListWriter};
use kopia::object_id::ObjectId;

use crate::error::{RepoError, RepoErrorKind};
use crate::{Encoder, Repository, Writer};

/// Lists may name lists; more floors than this are a loop or an attack.
const DEPTH_MAX: u32 = 8;
/// A list object is never longer than this: 64 TiB in 32 MiB segments make 150 MiB.
const LIST_BYTES_MAX: u64 = 512 << 20;
/// Lists are read in pieces of this length.
const LIST_PIECE_BYTES: u64 = 1 << 20;
/// So many lists below a list are kept: many threads that read on side by side are in few.
const CHILDREN_MAX: usize = 8;
/// Pieces of a list are cut after this many entries, so that unchanged runs deduplicate.
const LIST_PIECE_ENTRIES: usize = 4096;

/// Reads an object at any offset.
#[derive(Debug)]
pub struct ObjectReader {
    repo: Arc<Repository>,
    root: Root,
    bytes: u64,
    /// The children read last; lists are mostly read from front to back.
    children: Mutex<VecDeque<(ObjectId, Arc<Child>)>>,
    /// The content read last, for readers that take less than a content at a time.
    last: Mutex<Option<(ContentId, Arc<Vec<u8>>)>>,
}

/// A child that is opened once, by whoever needs it first, while others go on with theirs.
type Child = Mutex<Option<Arc<ObjectReader>>>;

#[derive(Debug)]
enum Root {
    Content(ContentId),
    /// An object whose content is compressed in itself, kept whole (Kopia spec 6.1, `Z`).
    Whole(Vec<u8>),
    List(Vec<IndirectEntry>),
}

impl Repository {
    /// Opens an object for reading; lists are read, data is not.
    pub fn open_object(self: &Arc<Self>, id: &ObjectId) -> Result<ObjectReader, RepoError> {
        self.open_object_within(id, DEPTH_MAX)
    }

    fn open_object_within(
        self: &Arc<Self>,
        id: &ObjectId,
        depth: u32,
    ) -> Result<ObjectReader, RepoError> {
        let damaged = |what: &str| {
            RepoError::new(RepoErrorKind::Damaged, format!("read object {id}: {what}"))
        };
        let (root, bytes) = match id.list_of() {
            Some(list) => {
                let depth = depth
                    .checked_sub(1)
                    .ok_or_else(|| damaged("its lists nest too deeply"))?;
                let entries = self.read_list_within(&list, depth)?;
                let last = entries.last().ok_or_else(|| damaged("its list is empty"))?;
                let bytes = last
                    .start
                    .checked_add(last.bytes)
                    .ok_or_else(|| damaged("its list is too long"))?;
                (Root::List(entries), bytes)
            }
            None if id.compressed => {
                let stored = self.read_content(&id.content)?;
                let header = stored
                    .first_chunk::<4>()
                    .ok_or_else(|| damaged("it is shorter than its compression header"))?;
                let header_id = u32::from_be_bytes(*header);
                let plain = compression::decompress(header_id, &stored, 0, LIST_BYTES_MAX as usize)
                    .map_err(|error| damaged(&error.to_string()))?;
                let bytes = plain.len() as u64;
                (Root::Whole(plain), bytes)
            }
            None => {
                let record = self.find_or_refresh(&id.content)?;
                (Root::Content(id.content), u64::from(record.original_bytes))
            }
        };
        Ok(ObjectReader {
            repo: Arc::clone(self),
            root,
            bytes,
            children: Mutex::default(),
            last: Mutex::default(),
        })
    }

    fn find_or_refresh(&self, id: &ContentId) -> Result<kopia::record::ContentRecord, RepoError> {
        if let Some(record) = self.find(id)? {
            return Ok(record);
        }
        self.refresh()?;
        self.find(id)?.ok_or_else(|| {
            RepoError::new(
                RepoErrorKind::NotFound,
                format!("find content {id}: the repository does not have it"),
            )
        })
    }

    /// Reads the entries of the list object `list`, which is what an id with one `I` more names.
    pub fn read_list(self: &Arc<Self>, list: &ObjectId) -> Result<Vec<IndirectEntry>, RepoError> {
        self.read_list_within(list, DEPTH_MAX)
    }

    /// Hands every entry of the list object `list` to `each`; memory holds a piece of the list.
    pub fn for_each_part(
        self: &Arc<Self>,
        list: &ObjectId,
        each: &mut dyn FnMut(IndirectEntry),
    ) -> Result<(), RepoError> {
        self.for_each_part_within(list, DEPTH_MAX, each)
    }

    fn read_list_within(
        self: &Arc<Self>,
        list: &ObjectId,
        depth: u32,
    ) -> Result<Vec<IndirectEntry>, RepoError> {
        let mut entries = Vec::new();
        self.for_each_part_within(list, depth, &mut |entry| entries.push(entry))?;
        Ok(entries)
    }

    fn for_each_part_within(
        self: &Arc<Self>,
        list: &ObjectId,
        depth: u32,
        each: &mut dyn FnMut(IndirectEntry),
    ) -> Result<(), RepoError> {
        let damaged = |error| {
            RepoError::new(RepoErrorKind::Damaged, format!("read list {list}")).caused_by(error)
        };
        let object = self.open_object_within(list, depth)?;
        if object.len() > LIST_BYTES_MAX {
            return Err(RepoError::new(
                RepoErrorKind::Damaged,
                format!(
                    "read list {list}: it has {} bytes where at most {LIST_BYTES_MAX} make sense",
                    object.len()
                ),
            ));
        }
        let mut parser = ListParser::new();
        let mut piece = vec![0; LIST_PIECE_BYTES.min(object.len()) as usize];
        let mut offset = 0;
        while offset < object.len() {
            let bytes = LIST_PIECE_BYTES.min(object.len() - offset);
            let piece = &mut piece[..bytes as usize];
            object.read_at(offset, piece)?;
            parser.push(piece, &mut *each).map_err(damaged)?;
            offset += bytes;
        }
        parser.finish().map(drop).map_err(damaged)
    }

    /// Reads a whole object of at most `bytes_max` bytes.
    pub fn read_object(
        self: &Arc<Self>,
        id: &ObjectId,
        bytes_max: u64,
    ) -> Result<Vec<u8>, RepoError> {
        self.open_object(id)?.read_all(bytes_max)
    }
}

impl ObjectReader {
    /// Returns the object's length.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Returns whether the object has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Returns the entries of the object's list, or `None` if it is a single content.
    pub fn entries(&self) -> Option<&[IndirectEntry]> {
        match &self.root {
            Root::List(entries) => Some(entries),
            Root::Content(_) | Root::Whole(_) => None,
        }
    }

    /// Reads the whole object.
    ///
    /// # Errors
    /// `Damaged` if it is longer than `bytes_max`.
    pub fn read_all(&self, bytes_max: u64) -> Result<Vec<u8>, RepoError> {
        if self.bytes > bytes_max {
            return Err(RepoError::new(
                RepoErrorKind::Damaged,
                format!(
                    "read an object of {} bytes where at most {bytes_max} make sense",
                    self.bytes
                ),
            ));
        }
        let mut bytes = vec![0; self.bytes as usize];
        self.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    /// `Invalid` past the end; what the repository says otherwise.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), RepoError> {
        let end = offset
            .checked_add(buf.len() as u64)
            .filter(|end| *end <= self.bytes)
            .ok_or_else(|| {
                RepoError::new(
                    RepoErrorKind::Invalid,
                    format!(
                        "read {} bytes at {offset} of an object of {} bytes",
                        buf.len(),
                        self.bytes
                    ),
                )
            })?;
        if buf.is_empty() {
            return Ok(());
        }
        match &self.root {
            Root::Whole(bytes) => {
                buf.copy_from_slice(&bytes[offset as usize..end as usize]);
                Ok(())
            }
            Root::Content(id) => {
                let content = self.content(id)?;
                let part = content.get(offset as usize..end as usize).ok_or_else(|| {
                    RepoError::new(
                        RepoErrorKind::Damaged,
                        format!("read content {id}: it is shorter than its record says"),
                    )
                })?;
                buf.copy_from_slice(part);
                Ok(())
            }
            Root::List(entries) => self.read_entries(entries, offset, buf),
        }
    }

    fn read_entries(
        &self,
        entries: &[IndirectEntry],
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(), RepoError> {
        let end = offset + buf.len() as u64;
        let first = entries.partition_point(|entry| entry.start + entry.bytes <= offset);
        let touched: Vec<&IndirectEntry> = entries[first..]
            .iter()
            .take_while(|entry| entry.start < end)
            .collect();
        let plain: Vec<&IndirectEntry> = touched
            .iter()
            .copied()
            .filter(|entry| is_plain(&entry.object))
            .collect();
        // A content that is needed in part only is likely to be asked for again.
        if let ([only], 1) = (&plain[..], touched.len())
            && only.bytes > buf.len() as u64
        {
            let content = self.content(&only.object.content)?;
            return copy_part(only, &content, offset, buf);
        }
        let (zeros, plain): (Vec<&IndirectEntry>, Vec<&IndirectEntry>) = plain
            .into_iter()
            .partition(|entry| self.repo.is_zeros(&entry.object.content, entry.bytes));
        for entry in zeros {
            let (from, to) = (
                entry.start.max(offset),
                (entry.start + entry.bytes).min(end),
            );
            buf[(from - offset) as usize..(to - offset) as usize].fill(0);
        }
        let ids: Vec<ContentId> = plain.iter().map(|entry| entry.object.content).collect();
        self.repo.read_contents(&ids, &mut |place, content| {
            copy_part(plain[place], &content, offset, buf)
        })?;
        for entry in touched.into_iter().filter(|entry| !is_plain(&entry.object)) {
            let child = self.child(entry)?;
            let (from, to) = (
                entry.start.max(offset),
                (entry.start + entry.bytes).min(end),
            );
            child.read_at(
                from - entry.start,
                &mut buf[(from - offset) as usize..(to - offset) as usize],
            )?;
        }
        Ok(())
    }

    fn child(&self, entry: &IndirectEntry) -> Result<Arc<Self>, RepoError> {
        let place = self.child_place(&entry.object);
        let mut place = place
            .lock()
            .expect("no thread panics while it opens a child");
        if let Some(child) = &*place {
            return Ok(Arc::clone(child));
        }
        let child = Arc::new(self.repo.open_object(&entry.object)?);
        if child.len() != entry.bytes {
            return Err(RepoError::new(
                RepoErrorKind::Damaged,
                format!(
                    "read object {}: it has {} bytes where its list says {}",
                    entry.object,
                    child.len(),
                    entry.bytes
                ),
            ));
        }
        *place = Some(Arc::clone(&child));
        Ok(child)
    }

    /// Returns the place of a child, which takes that of the one not asked for for longest.
    fn child_place(&self, object: &ObjectId) -> Arc<Child> {
        let mut children = self
            .children
            .lock()
            .expect("no thread panics while it holds the children");
        let found = children.iter().position(|(id, _)| id == object);
        let place = match found.and_then(|found| children.remove(found)) {
            Some((_, place)) => place,
            None => Arc::default(),
        };
        children.push_back((*object, Arc::clone(&place)));
        if children.len() > CHILDREN_MAX {
            children.pop_front();
        }
        place
    }

    fn content(&self, id: &ContentId) -> Result<Arc<Vec<u8>>, RepoError> {
        if let Some((last, content)) = &*self
            .last
            .lock()
            .expect("no thread panics while it holds the last content")
            && last == id
        {
            return Ok(Arc::clone(content));
        }
        let content = Arc::new(self.repo.read_content(id)?);
        *self
            .last
            .lock()
            .expect("no thread panics while it holds the last content") =
            Some((*id, Arc::clone(&content)));
        Ok(content)
    }
}

fn is_plain(object: &ObjectId) -> bool {
    object.indirection == 0 && !object.compressed
}

/// Copies what `buf` (which begins at `offset` of the object) wants of an entry's content.
fn copy_part(
    entry: &IndirectEntry,
    content: &[u8],
    offset: u64,
    buf: &mut [u8],
) -> Result<(), RepoError> {
    if content.len() as u64 != entry.bytes {
        return Err(RepoError::new(
            RepoErrorKind::Damaged,
            format!(
                "read content {}: it has {} bytes where its list says {}",
                entry.object,
                content.len(),
                entry.bytes
            ),
        ));
    }
    let end = offset + buf.len() as u64;
    let (from, to) = (
        entry.start.max(offset),
        (entry.start + entry.bytes).min(end),
    );
    buf[(from - offset) as usize..(to - offset) as usize]
        .copy_from_slice(&content[(from - entry.start) as usize..(to - entry.start) as usize]);
    Ok(())
}

impl Writer {
    /// Writes an object whose contents have the given prefix: one content if it fits into
    /// `piece_bytes`, else a list of pieces of that length.
    pub fn write_object(
        &self,
        encoder: &mut Encoder,
        prefix: Option<u8>,
        bytes: &[u8],
        piece_bytes: usize,
    ) -> Result<ObjectId, RepoError> {
        if bytes.len() <= piece_bytes {
            return Ok(ObjectId::direct(
                self.write_content(encoder, prefix, bytes)?.id,
            ));
        }
        let mut entries = Vec::with_capacity(bytes.len().div_ceil(piece_bytes));
        let mut start = 0;
        for piece in bytes.chunks(piece_bytes) {
            let object = ObjectId::direct(self.write_content(encoder, prefix, piece)?.id);
            entries.push(IndirectEntry {
                start,
                bytes: piece.len() as u64,
                object,
            });
            start += piece.len() as u64;
        }
        Ok(self
            .write_list(&mut Encoder::metadata(), entries.into_iter())?
            .object)
    }

    /// Writes a list and returns the object it describes.
    ///
    /// A long list is itself cut into pieces at entries, so that unchanged runs deduplicate and
    /// memory holds one piece.
    ///
    /// # Errors
    /// `Invalid` if there are no entries.
    pub fn write_list(
        &self,
        encoder: &mut Encoder,
        entries: impl Iterator<Item = IndirectEntry>,
    ) -> Result<WrittenList, RepoError> {
        let mut entries = entries.peekable();
        let mut text = Vec::new();
        let mut list = Some(ListWriter::begin(&mut text));
        let mut pieces: Vec<IndirectEntry> = Vec::new();
        let mut packed_bytes = 0;
        let mut start = 0;
        while entries.peek().is_some() {
            for entry in entries.by_ref().take(LIST_PIECE_ENTRIES) {
                let list = list.as_mut().expect("the list ends behind its last entry");
                list.entry(&mut text, &entry).map_err(list_error)?;
            }
            if entries.peek().is_none()
                && let Some(list) = list.take()
            {
                list.end(&mut text).map_err(list_error)?;
            }
            let text = std::mem::take(&mut text);
            let written = self.write_content(encoder, Some(prefix::INDIRECT), &text)?;
            packed_bytes += written.packed_bytes;
            pieces.push(IndirectEntry {
                start,
                bytes: text.len() as u64,
                object: ObjectId::direct(written.id),
            });
            start += text.len() as u64;
        }
        match &pieces[..] {
            [] => Err(RepoError::new(
                RepoErrorKind::Invalid,
                "write a list without entries",
            )),
            [only] => Ok(WrittenList {
                object: listed_by(only.object)?,
                pieces: Vec::new(),
                packed_bytes,
            }),
            _ => {
                let ids: Vec<ContentId> = pieces.iter().map(|piece| piece.object.content).collect();
                let outer = Box::new(pieces.into_iter()) as Box<dyn Iterator<Item = IndirectEntry>>;
                let outer = self.write_list(encoder, outer)?;
                Ok(WrittenList {
                    object: listed_by(outer.object)?,
                    pieces: ids.into_iter().chain(outer.pieces).collect(),
                    packed_bytes: packed_bytes + outer.packed_bytes,
                })
            }
        }
    }
}

pub(crate) fn list_error(error: ListError) -> RepoError {
    RepoError::new(RepoErrorKind::Invalid, "write a list").caused_by(error)
}

pub(crate) fn listed_by(list: ObjectId) -> Result<ObjectId, RepoError> {
    ObjectId::listed_by(list).ok_or_else(|| {
        RepoError::new(
            RepoErrorKind::Invalid,
            "write a list: lists nest too deeply",
        )
    })
}

/// A list that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenList {
    /// The object whose parts the list names.
    pub object: ObjectId,
    /// The contents that hold the list, where it took several; `object` names another.
    pub pieces: Vec<ContentId>,
    /// What the list takes in packs if it was new.
    pub packed_bytes: u32,
}
