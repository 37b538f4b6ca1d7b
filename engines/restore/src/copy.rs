//! Copies what a stored disk holds to wherever it goes, many pieces at once.
//!
//! Workers take pieces in order, so that the store is read from front to back; each waits for
//! its own request while others write. Memory is one buffer per worker.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use disk::{BlockRead, ByteRange, DiskError};
use local_file::AlignedBuffer;
use progress::{Progress, side_by_side};

use crate::error::{RestoreError, stopped, stored_disk_error};
use crate::zeros::non_zero_runs;

/// A worker reads at most this much at once. Pieces end at multiples of it, which are borders
/// of stored chunks and segments too.
pub(crate) const PIECE_BYTES: u64 = 4 << 20;

/// Writes bytes at an offset of the disk, from any thread.
pub(crate) type WritePiece<'a> = dyn Fn(u64, &[u8]) -> Result<(), RestoreError> + Sync + 'a;

/// A disk on its way.
pub(crate) struct DiskCopy<'a> {
    /// The stored disk.
    pub source: &'a dyn BlockRead,
    /// The disk's number, for the news.
    pub number: u32,
    /// How many pieces are on their way at once.
    pub workers: usize,
    /// Whom to tell, and who may stop it.
    pub progress: &'a Progress,
}

impl DiskCopy<'_> {
    /// Returns how many bytes the disk may hold at most that are not zeros.
    pub fn allocated_bytes(&self) -> Result<u64, RestoreError> {
        let mut pieces = Pieces::default();
        let mut bytes = 0;
        while let Some(range) = pieces
            .next_range(self.source)
            .map_err(stored_disk_error("find the stored disk's data"))?
        {
            bytes += range.bytes();
        }
        Ok(bytes)
    }

    /// Hands everything that is not zeros to `write`, from many threads and in no order; returns
    /// how many bytes that was. The first failure ends the copy, and so does a stop.
    pub fn run(&self, write: &WritePiece<'_>) -> Result<u64, RestoreError> {
        self.progress.stop.check().map_err(stopped)?;
        self.progress
            .disk_begins(self.number, self.allocated_bytes()?);
        let pieces = Mutex::new(Pieces::default());
        let written = AtomicU64::new(0);
        let step = |buffer: &mut AlignedBuffer| {
            self.progress.stop.check().map_err(stopped)?;
            let next = pieces
                .lock()
                .expect("no worker panics while it takes a piece")
                .next(self.source)
                .map_err(stored_disk_error("find the stored disk's data"))?;
            let Some(piece) = next else {
                return Ok(ControlFlow::Break(()));
            };
            let buffer = &mut buffer[..piece.bytes() as usize];
            self.source
                .read_at(piece.start(), buffer)
                .map_err(stored_disk_error(format!("read disk {}", self.number)))?;
            for run in non_zero_runs(piece.start(), buffer) {
                write(piece.start() + run.start as u64, &buffer[run.clone()])?;
                written.fetch_add(run.len() as u64, Ordering::Relaxed);
            }
            self.progress.disk_advances(self.number, piece.bytes(), 0);
            Ok(ControlFlow::Continue(()))
        };
        let begin = || AlignedBuffer::new(PIECE_BYTES as usize);
        side_by_side(self.workers, begin, step)?;
        self.progress.disk_ends(self.number);
        Ok(written.into_inner())
    }
}

/// Cuts what is allocated into pieces.
#[derive(Default)]
struct Pieces {
    from: u64,
    range: Option<ByteRange>,
    ended: bool,
}

impl Pieces {
    fn next_range(&mut self, source: &dyn BlockRead) -> Result<Option<ByteRange>, DiskError> {
        let size = source.size_bytes();
        if self.ended || self.from >= size {
            return Ok(None);
        }
        let range = source.next_allocated(self.from)?;
        let range = range
            .and_then(|range| ByteRange::new(range.start().max(self.from), range.end().min(size)));
        match range {
            Some(range) => self.from = range.end(),
            None => self.ended = true,
        }
        Ok(range)
    }

    fn next(&mut self, source: &dyn BlockRead) -> Result<Option<ByteRange>, DiskError> {
        let range = match self.range.take() {
            Some(range) => range,
            None => match self.next_range(source)? {
                Some(range) => range,
                None => return Ok(None),
            },
        };
        let border = (range.start() / PIECE_BYTES + 1) * PIECE_BYTES;
        let end = range.end().min(border);
        self.range = ByteRange::new(end, range.end());
        Ok(ByteRange::new(range.start(), end))
    }
}

#[cfg(test)]
mod tests {
    use disk::{BlockWrite, MemoryDisk};

    use super::*;
    use crate::RestoreErrorKind;

    #[test]
    fn pieces_cover_what_is_allocated_and_end_at_borders() {
        let disk = MemoryDisk::new(10 * PIECE_BYTES + 512);
        for offset in [PIECE_BYTES - 70_000, PIECE_BYTES, 10 * PIECE_BYTES] {
            disk.write_at(offset, &[1; 512]).unwrap();
        }
        let mut pieces = Pieces::default();
        let found: Vec<_> = std::iter::from_fn(|| pieces.next(&disk).unwrap())
            .map(|piece| (piece.start(), piece.end()))
            .collect();
        let page = 64 << 10;
        let expected = [
            (PIECE_BYTES - 2 * page, PIECE_BYTES - page),
            (PIECE_BYTES, PIECE_BYTES + page),
            (10 * PIECE_BYTES, 10 * PIECE_BYTES + 512),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_first_failure_ends_a_copy() {
        let disk = MemoryDisk::new(64 * PIECE_BYTES);
        for piece in 0..64 {
            disk.write_at(piece * PIECE_BYTES, &[1; 512]).unwrap();
        }
        let progress = Progress::silent();
        let copy = DiskCopy {
            source: &disk,
            number: 0,
            workers: 2,
            progress: &progress,
        };
        let writes = AtomicU64::new(0);
        let error = copy
            .run(&|_, _| {
                writes.fetch_add(1, Ordering::Relaxed);
                Err(RestoreError::new(RestoreErrorKind::TargetFull, "write"))
            })
            .unwrap_err();
        assert_eq!(error.kind(), RestoreErrorKind::TargetFull);
        assert!(writes.into_inner() <= 2, "each worker stops at its first");
    }
}
