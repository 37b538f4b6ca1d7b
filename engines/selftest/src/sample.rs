//! Pieces of a frozen disk, spread over all of it, known again by their hashes.

use std::hash::{DefaultHasher, Hasher as _};

use backup::vm::CheckpointWatch;
use disk::{ByteRange, DiskSource, RangeSet};
use hyperv::{HypervError, HypervErrorKind};

/// What is read at once.
const PIECE_BYTES: u64 = 1 << 20;
/// What is hashed and compared.
const EXTENT_BYTES: u64 = 64 << 10;

/// What was read of a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Each extent with its hash, in order.
    pub extents: Vec<(u64, u64)>,
    /// How many bytes were read.
    pub bytes: u64,
    /// Extents that the disk called unallocated.
    pub holes: u64,
    /// The first of them that does not read as zeros.
    pub full_hole: Option<u64>,
}

impl Sample {
    /// Reads at most `bytes_max` of a disk: every piece if it is small, else every so many.
    pub(crate) fn of(
        disk: &dyn DiskSource,
        bytes_max: u64,
        watch: &CheckpointWatch<'_>,
    ) -> Result<Self, HypervError> {
        let size = disk.size_bytes();
        let every = size.div_ceil(bytes_max.max(PIECE_BYTES)).max(1);
        let mut sample = Self::default();
        let mut buf = vec![0; PIECE_BYTES as usize];
        let pieces = size.div_ceil(PIECE_BYTES);
        for piece in (0..pieces).step_by(usize::try_from(every).unwrap_or(usize::MAX)) {
            watch.look();
            watch.stop().check().map_err(|_| {
                HypervError::new(HypervErrorKind::Stopped, "read a disk: stopped on request")
            })?;
            let offset = piece * PIECE_BYTES;
            let len = PIECE_BYTES.min(size - offset);
            let buf = &mut buf[..len as usize];
            disk.read_at(offset, buf).map_err(unreadable)?;
            sample.bytes += len;
            for (index, extent) in buf.chunks(EXTENT_BYTES as usize).enumerate() {
                let at = offset + index as u64 * EXTENT_BYTES;
                sample.take(disk, at, extent)?;
            }
        }
        Ok(sample)
    }

    fn take(&mut self, disk: &dyn DiskSource, at: u64, bytes: &[u8]) -> Result<(), HypervError> {
        let end = at + bytes.len() as u64;
        let next = disk.next_allocated(at).map_err(unreadable)?;
        if next.is_none_or(|range| range.start() >= end) {
            self.holes += 1;
            if bytes.iter().any(|&byte| byte != 0) {
                self.full_hole = self.full_hole.or(Some(at));
            }
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        self.extents.push((at, hasher.finish()));
        Ok(())
    }

    /// Returns where a later sample of the same disk differs.
    pub(crate) fn differences(&self, later: &Self) -> Vec<ByteRange> {
        let pairs = self.extents.iter().zip(&later.extents);
        pairs
            .filter(|(one, other)| one.0 == other.0 && one.1 != other.1)
            .filter_map(|(one, _)| ByteRange::at(one.0, EXTENT_BYTES))
            .collect()
    }
}

fn unreadable(error: disk::DiskError) -> HypervError {
    HypervError::new(HypervErrorKind::Failed, "read a frozen disk").caused_by(error)
}

/// Returns the first difference that ranges do not touch.
pub(crate) fn missed(differences: &[ByteRange], ranges: &RangeSet) -> Option<ByteRange> {
    let mut differences = differences.iter();
    differences.find(|range| !ranges.touches(**range)).copied()
}

/// Returns the largest power of two that all ranges are aligned to; none without ranges.
pub(crate) fn granularity(ranges: &RangeSet, size: u64) -> Option<u64> {
    let ends = ranges.iter().flat_map(|range| [range.start(), range.end()]);
    let ends = ends.filter(|&end| end != 0 && end != size);
    let aligned = ends.map(|end| 1u64 << end.trailing_zeros());
    aligned.min()
}
