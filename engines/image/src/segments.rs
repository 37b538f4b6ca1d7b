//! The segments of a stored image, and chunks within one.

use std::sync::Arc;

use kopia::content_id::{ContentId, prefix};
use kopia::hash::HashOutput;
use kopia::indirect::IndirectEntry;
use kopia::object_id::ObjectId;
use repo::Repository;
use vhdx::canonical::Layout;

use crate::error::{ImageError, ImageErrorKind, repo_error};
use crate::slot::SLOT_BYTES;

/// A stored image's segments, slot by slot.
///
/// A segment is a list of chunks in one content: its hash is all that has to be kept. A disk of
/// 64 TiB has two million, which take 32 MiB.
#[derive(Debug, Clone)]
pub struct Segments {
    hash_bytes: usize,
    hashes: Vec<u8>,
}

impl Segments {
    /// Returns `count` times the same segment.
    pub(crate) fn filled(segment: &ObjectId, count: usize) -> Self {
        let hash = segment.content.hash().as_bytes();
        Self {
            hash_bytes: hash.len(),
            hashes: hash.repeat(count),
        }
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.hashes.len() / self.hash_bytes
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Returns the segment of a slot.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn get(&self, slot: usize) -> ObjectId {
        let hash = &self.hashes[slot * self.hash_bytes..][..self.hash_bytes];
        segment_of(HashOutput::new(hash).expect("the hash was taken from an object id"))
    }

    /// Puts a segment, which must be one of a single list, into a slot.
    pub(crate) fn set(&mut self, slot: usize, segment: &ObjectId) {
        let hash = segment.content.hash();
        debug_assert_eq!(*segment, segment_of(*hash));
        self.hashes[slot * self.hash_bytes..][..self.hash_bytes].copy_from_slice(hash.as_bytes());
    }

    /// Returns all of them, slot by slot.
    pub fn iter(&self) -> impl Iterator<Item = ObjectId> {
        (0..self.len()).map(|slot| self.get(slot))
    }
}

fn segment_of(hash: HashOutput) -> ObjectId {
    ObjectId {
        indirection: 1,
        compressed: false,
        content: ContentId::new(Some(prefix::INDIRECT), hash),
    }
}

/// Reads which segments a stored image of this layout consists of.
///
/// # Errors
/// `Damaged` if the object does not have the canonical layout: it is not an image of ours.
pub fn read_segments(
    repo: &Arc<Repository>,
    object: &ObjectId,
    layout: &Layout,
) -> Result<Segments, ImageError> {
    let foreign = || {
        ImageError::new(
            ImageErrorKind::Damaged,
            format!("use image {object} as a base: it is not laid out as ours are"),
        )
    };
    let list = object.list_of().ok_or_else(foreign)?;
    let slot_count = layout.slot_count();
    let mut segments = Segments {
        hash_bytes: repo.content_id(None, &[]).hash().as_bytes().len(),
        hashes: Vec::new(),
    };
    let hashes_bytes = slot_count as usize * segments.hash_bytes;
    segments.hashes.reserve_exact(hashes_bytes);
    let mut sound = true;
    repo.for_each_part(&list, &mut |entry| {
        if entry.start < layout.front_bytes() {
            return;
        }
        let number = segments.len() as u64;
        let hash = entry.object.content.hash();
        sound &= number < slot_count
            && entry.start == layout.front_bytes() + number * SLOT_BYTES
            && entry.bytes == SLOT_BYTES
            && hash.as_bytes().len() == segments.hash_bytes
            && entry.object == segment_of(*hash);
        if sound {
            segments.hashes.extend_from_slice(hash.as_bytes());
        }
    })
    .map_err(repo_error("read the base's list of segments"))?;
    if !sound || segments.hashes.len() != hashes_bytes {
        return Err(foreign());
    }
    Ok(segments)
}

/// Reads the chunks of a segment; all must be plain contents of `chunk_bytes`.
pub(crate) fn read_chunks(
    repo: &Arc<Repository>,
    segment: &ObjectId,
    chunk_bytes: u64,
) -> Result<Vec<ContentId>, ImageError> {
    let foreign = || {
        ImageError::new(
            ImageErrorKind::Damaged,
            format!("read segment {segment}: its chunks are not of {chunk_bytes} bytes each"),
        )
    };
    let list = segment.list_of().ok_or_else(foreign)?;
    let entries = repo
        .read_list(&list)
        .map_err(repo_error("read a segment's list of chunks"))?;
    let sound = entries.len() as u64 == SLOT_BYTES / chunk_bytes
        && entries.iter().all(|entry| {
            entry.bytes == chunk_bytes && entry.object.indirection == 0 && !entry.object.compressed
        });
    if !sound {
        return Err(foreign());
    }
    Ok(entries.iter().map(|entry| entry.object.content).collect())
}

/// Returns the list entries of chunks of equal size.
pub(crate) fn chunk_entries(
    chunks: &[ContentId],
    chunk_bytes: u64,
) -> impl Iterator<Item = IndirectEntry> + '_ {
    chunks
        .iter()
        .zip(0u64..)
        .map(move |(id, number)| IndirectEntry {
            start: number * chunk_bytes,
            bytes: chunk_bytes,
            object: ObjectId::direct(*id),
        })
}
