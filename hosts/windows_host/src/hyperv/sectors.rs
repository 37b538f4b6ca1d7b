//! Reads and writes at any offset on files that take whole sectors only (Hyper-V spec 8).

use std::sync::{Mutex, PoisonError};

use disk::DiskError;
use disk::out_of_range;

use super::errors::disk_error;
use crate::virtdisk::VirtualDiskFile;

/// The longest single read or write.
const PIECE_BYTES: u64 = 4 << 20;

/// The sectors of an open virtual disk.
#[derive(Debug)]
pub(super) struct Sectors {
    file: Box<dyn VirtualDiskFile>,
    virtual_bytes: u64,
    sector_bytes: u64,
    /// Held while a part of a sector is put into the whole.
    partial: Mutex<()>,
}

/// A run of whole sectors, and the part of it that was asked for.
struct Piece {
    start: u64,
    end: u64,
    wanted_start: u64,
    wanted_end: u64,
}

impl Piece {
    fn is_whole(&self) -> bool {
        (self.start, self.end) == (self.wanted_start, self.wanted_end)
    }

    fn bytes(&self) -> usize {
        usize::try_from(self.end - self.start).expect("a piece is a few MiB")
    }

    /// Returns where the part stands within the run.
    fn inner(&self) -> std::ops::Range<usize> {
        let at = |offset| usize::try_from(offset - self.start).expect("a piece is a few MiB");
        at(self.wanted_start)..at(self.wanted_end)
    }
}

impl Sectors {
    pub(super) fn new(
        file: Box<dyn VirtualDiskFile>,
        virtual_bytes: u64,
        sector_bytes: u32,
    ) -> Self {
        Self {
            file,
            virtual_bytes,
            sector_bytes: u64::from(sector_bytes.max(1)),
            partial: Mutex::default(),
        }
    }

    pub(super) fn file(&self) -> &dyn VirtualDiskFile {
        &*self.file
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.virtual_bytes
    }

    /// Fills `buf` from `offset` on.
    pub(super) fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        let mut rest = buf;
        for piece in self.pieces(offset, rest.len())? {
            let wanted = piece.inner();
            let (part, behind) = rest.split_at_mut(wanted.len());
            if piece.is_whole() {
                self.file.read_at(piece.start, part).map_err(disk_error)?;
            } else {
                let mut whole = vec![0; piece.bytes()];
                self.file
                    .read_at(piece.start, &mut whole)
                    .map_err(disk_error)?;
                part.copy_from_slice(&whole[wanted]);
            }
            rest = behind;
        }
        Ok(())
    }

    /// Writes all of `data` from `offset` on.
    pub(super) fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        let mut rest = data;
        for piece in self.pieces(offset, rest.len())? {
            let wanted = piece.inner();
            let (part, behind) = rest.split_at(wanted.len());
            if piece.is_whole() {
                self.file.write_at(piece.start, part).map_err(disk_error)?;
            } else {
                let _alone = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
                let mut whole = vec![0; piece.bytes()];
                self.file
                    .read_at(piece.start, &mut whole)
                    .map_err(disk_error)?;
                whole[wanted].copy_from_slice(part);
                self.file
                    .write_at(piece.start, &whole)
                    .map_err(disk_error)?;
            }
            rest = behind;
        }
        Ok(())
    }

    /// Cuts a range into pieces: whole sectors are kept apart from parts of sectors, so that two
    /// writers of neighbouring ranges meet in single sectors only.
    fn pieces(&self, offset: u64, bytes: usize) -> Result<Vec<Piece>, DiskError> {
        let outside = || out_of_range(offset, bytes as u64, self.virtual_bytes);
        let end = offset.checked_add(bytes as u64).ok_or_else(outside)?;
        if end > self.virtual_bytes {
            return Err(outside());
        }
        let mut pieces = Vec::new();
        let mut at = offset;
        while at < end {
            let sector = at / self.sector_bytes * self.sector_bytes;
            let sector_end = (sector + self.sector_bytes).min(self.virtual_bytes);
            let whole_end = end / self.sector_bytes * self.sector_bytes;
            let piece = if at == sector && whole_end > at {
                let longest = PIECE_BYTES / self.sector_bytes * self.sector_bytes;
                let stop = whole_end.min(at + longest.max(self.sector_bytes));
                Piece {
                    start: at,
                    end: stop,
                    wanted_start: at,
                    wanted_end: stop,
                }
            } else {
                Piece {
                    start: sector,
                    end: sector_end,
                    wanted_start: at,
                    wanted_end: end.min(sector_end),
                }
            };
            at = piece.wanted_end;
            pieces.push(piece);
        }
        Ok(pieces)
    }
}
