//! The segments of a stored image, and chunks within one.

use std::sync::Arc;

use kopia::content_id::ContentId;
use kopia::indirect::IndirectEntry;
use kopia::object_id::ObjectId;
use repo::Repository;
use vhdx::canonical::Layout;

use crate::error::{ImageError, ImageErrorKind, repo_error};
use crate::plan::SLOT_BYTES;

/// A stored image's segments, slot by slot.
#[derive(Debug, Clone)]
pub struct Segments {
    /// One segment per slot.
    pub slots: Vec<ObjectId>,
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
    let entries = repo
        .read_list(&list)
        .map_err(repo_error("read the base's list of segments"))?;
    let first = entries.partition_point(|entry| entry.start < layout.front_bytes());
    let slots = &entries[first..];
    let sound = slots.len() as u64 == layout.slot_count()
        && slots.iter().zip(0u64..).all(|(entry, number)| {
            entry.start == layout.front_bytes() + number * SLOT_BYTES
                && entry.bytes == SLOT_BYTES
                && entry.object.indirection == 1
        });
    if !sound {
        return Err(foreign());
    }
    Ok(Segments {
        slots: slots.iter().map(|entry| entry.object).collect(),
    })
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
