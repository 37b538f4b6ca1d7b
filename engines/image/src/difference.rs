//! Where two stored images of a disk differ: found by the ids of segments and chunks, with no data
//! read.

use std::sync::Arc;

use disk::ByteRange;
use kopia::object_id::ObjectId;
use repo::Repository;
use time_and_chance::StopSignal;
use vhdx::canonical::Layout;

use crate::error::{ImageError, ImageErrorKind, stopped};
use crate::segments::{Segments, read_chunks, read_segments};
use crate::slot::SLOT_BYTES;

/// A disk's image.
#[derive(Debug, Clone, Copy)]
pub struct StoredImage {
    /// Its object.
    pub object: ObjectId,
    /// The disk's length.
    pub virtual_bytes: u64,
    /// 512 or 4096.
    pub logical_sector_bytes: u32,
    /// 512 or 4096.
    pub physical_sector_bytes: u32,
    /// The length its chunks were cut to.
    pub chunk_bytes: u64,
}

/// How much of an image differs from another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImageDifference {
    /// How many chunks of the later image are others; the chunks of what only one of them has
    /// count, too.
    pub chunks: u64,
    /// How many bytes of the disk that is.
    pub bytes: u64,
}

/// Hands every range of the disk in which `after` differs from `before` to `each`, in order and
/// merged as far as they touch: whole chunks, or whole segments if the two were cut differently.
/// What one disk is longer than the other differs.
///
/// # Errors
/// `Damaged` if one of them is no image of ours, or not all there.
pub fn differing_ranges(
    repo: &Arc<Repository>,
    before: &StoredImage,
    after: &StoredImage,
    stop: &StopSignal,
    each: &mut dyn FnMut(ByteRange),
) -> Result<ImageDifference, ImageError> {
    let mut merger = Merger {
        chunk_bytes: after.chunk_bytes,
        disk_bytes: before.virtual_bytes.min(after.virtual_bytes),
        pending: None,
        total: ImageDifference::default(),
        each,
    };
    if before.object != after.object {
        let (old, new) = (before.segments(repo)?, after.segments(repo)?);
        let shared = old.len().min(new.len());
        for slot in (0..shared).filter(|&slot| old.get(slot) != new.get(slot)) {
            stop.check().map_err(stopped)?;
            let start = slot as u64 * SLOT_BYTES;
            if before.chunk_bytes != after.chunk_bytes {
                merger.add(start, SLOT_BYTES);
                continue;
            }
            let old = read_chunks(repo, &old.get(slot), before.chunk_bytes)?;
            let new = read_chunks(repo, &new.get(slot), after.chunk_bytes)?;
            for (number, _) in (0..).zip(old.iter().zip(&new)).filter(|(_, (a, b))| a != b) {
                merger.add(start + number * after.chunk_bytes, after.chunk_bytes);
            }
        }
    }
    let shared_bytes = merger.disk_bytes;
    merger.disk_bytes = before.virtual_bytes.max(after.virtual_bytes);
    merger.add(shared_bytes, merger.disk_bytes - shared_bytes);
    Ok(merger.finish())
}

impl StoredImage {
    fn segments(&self, repo: &Arc<Repository>) -> Result<Segments, ImageError> {
        let layout = Layout::new(
            self.virtual_bytes,
            self.logical_sector_bytes,
            self.physical_sector_bytes,
        )
        .map_err(|error| {
            ImageError::new(ImageErrorKind::Damaged, "lay out the stored disk").caused_by(error)
        })?;
        read_segments(repo, &self.object, &layout)
    }
}

/// Puts ranges together that touch, and cuts them where the disk ends.
struct Merger<'e> {
    chunk_bytes: u64,
    disk_bytes: u64,
    pending: Option<ByteRange>,
    total: ImageDifference,
    each: &'e mut dyn FnMut(ByteRange),
}

impl Merger<'_> {
    fn add(&mut self, start: u64, bytes: u64) {
        let end = start.saturating_add(bytes).min(self.disk_bytes);
        let Some(range) = ByteRange::new(start, end) else {
            return;
        };
        self.total.bytes += range.bytes();
        self.total.chunks += range.bytes().div_ceil(self.chunk_bytes.max(1));
        self.pending = match self.pending {
            Some(pending) if pending.end() == range.start() => {
                ByteRange::new(pending.start(), range.end())
            }
            Some(pending) => {
                (self.each)(pending);
                Some(range)
            }
            None => Some(range),
        };
    }

    fn finish(self) -> ImageDifference {
        if let Some(pending) = self.pending {
            (self.each)(pending);
        }
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one_and_end_where_the_disk_ends() {
        let mut heard = Vec::new();
        let mut each = |range: ByteRange| heard.push((range.start(), range.end()));
        let mut merger = Merger {
            chunk_bytes: 10,
            disk_bytes: 65,
            pending: None,
            total: ImageDifference::default(),
            each: &mut each,
        };
        for start in [0, 10, 30, 60, 70] {
            merger.add(start, 10);
        }
        let total = merger.finish();
        assert_eq!(heard, [(0, 20), (30, 40), (60, 65)]);
        assert_eq!((total.bytes, total.chunks), (35, 4));
    }
}
