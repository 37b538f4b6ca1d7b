//! The sampled proof that change tracking missed nothing (DESIGN, promise 6).

use std::sync::Arc;

use disk::{ByteRange, DiskSource, RangeSet};
use kopia::content_id::ContentId;
use kopia::object_id::ObjectId;
use repo::Repository;
use time_and_chance::{Chance, StopSignal};

use crate::error::{ImageError, ImageErrorKind, disk_error, stopped};
use crate::segments::{Segments, read_chunks};
use crate::slot::{CHUNK_BYTES, SLOT_BYTES, slot_range};

/// At least this many chunks are compared, where there are as many.
const CHUNKS_MIN: u64 = 16;
/// One in this many unchanged chunks is compared.
const ONE_IN: u64 = 1000;
/// At most this much is read.
const BYTES_MAX: u64 = 4 << 30;
/// From one opened list up to this many chunks are drawn once many are wanted.
const CHUNKS_PER_LIST: u64 = 8;

/// Reads chunks that tracking calls unchanged and compares them with the base; half of them lie
/// beside changed ranges. Returns how many bytes were read.
///
/// # Errors
/// `TrackingWrong` if one differs.
pub(crate) fn compare_sample(
    repo: &Arc<Repository>,
    source: &dyn DiskSource,
    base: &Segments,
    changes: &RangeSet,
    zero_segment: ObjectId,
    chance: &Chance,
    stop: &StopSignal,
) -> Result<u64, ImageError> {
    let present: Vec<u32> = (0u32..)
        .zip(base.iter())
        .filter(|(_, segment)| *segment != zero_segment)
        .map(|(slot, _)| slot)
        .collect();
    if present.is_empty() {
        return Ok(0);
    }
    let chunks_per_slot = SLOT_BYTES / CHUNK_BYTES;
    let unchanged = (present.len() as u64 * chunks_per_slot)
        .saturating_sub(changes.total_bytes() / CHUNK_BYTES);
    let wanted = (unchanged / ONE_IN).clamp(CHUNKS_MIN, BYTES_MAX / CHUNK_BYTES);
    let edges: Vec<ByteRange> = changes.iter().collect();
    let zero_chunk = repo.content_id(None, &vec![0; CHUNK_BYTES as usize]);
    let per_list = if wanted > 8 * CHUNKS_MIN {
        CHUNKS_PER_LIST
    } else {
        1
    };

    let mut sample = Sample {
        repo,
        source,
        base,
        changes,
        zero_chunk,
        compared: std::collections::BTreeSet::new(),
        buffer: vec![0; CHUNK_BYTES as usize],
    };
    // Draws that hit a hole or a changed chunk are lost; a disk of little else must not loop.
    for draw in 0..wanted * 4 {
        stop.check().map_err(stopped)?;
        if sample.compared.len() as u64 >= wanted.min(unchanged) {
            break;
        }
        if draw % 2 == 0 && !edges.is_empty() {
            let edge = edges[chance.below(edges.len() as u64) as usize];
            let beside = if chance.below(2) == 0 {
                edge.start().checked_sub(CHUNK_BYTES)
            } else {
                Some(edge.end())
            };
            if let Some(offset) = beside {
                sample.compare_chunks(offset / SLOT_BYTES, &[offset % SLOT_BYTES / CHUNK_BYTES])?;
            }
        } else {
            let slot = u64::from(present[chance.below(present.len() as u64) as usize]);
            let chunks: Vec<u64> = (0..per_list)
                .map(|_| chance.below(chunks_per_slot))
                .collect();
            sample.compare_chunks(slot, &chunks)?;
        }
    }
    Ok(sample.compared.len() as u64 * CHUNK_BYTES)
}

struct Sample<'a> {
    repo: &'a Arc<Repository>,
    source: &'a dyn DiskSource,
    base: &'a Segments,
    changes: &'a RangeSet,
    zero_chunk: ContentId,
    compared: std::collections::BTreeSet<u64>,
    buffer: Vec<u8>,
}

impl Sample<'_> {
    fn compare_chunks(&mut self, slot: u64, chunks: &[u64]) -> Result<(), ImageError> {
        if slot >= self.base.len() as u64 {
            return Ok(());
        }
        let segment = self.base.get(slot as usize);
        let ids = read_chunks(self.repo, &segment, CHUNK_BYTES)?;
        for chunk in chunks {
            let offset = slot_range(slot).start() + chunk * CHUNK_BYTES;
            let range = ByteRange::at(offset, CHUNK_BYTES).expect("a chunk is not empty");
            let id = ids[*chunk as usize];
            let inside = range.end() <= self.source.size_bytes();
            if id == self.zero_chunk
                || !inside
                || self.changes.touches(range)
                || !self.compared.insert(offset)
            {
                continue;
            }
            self.source
                .read_at(offset, &mut self.buffer)
                .map_err(disk_error(
                    "read an unchanged part of the disk for comparison",
                ))?;
            if self.repo.content_id(None, &self.buffer) != id {
                return Err(ImageError::new(
                    ImageErrorKind::TrackingWrong,
                    format!(
                        "prove that change tracking missed nothing: the disk differs from its base at offset {offset}, which tracking calls unchanged"
                    ),
                ));
            }
        }
        Ok(())
    }
}
