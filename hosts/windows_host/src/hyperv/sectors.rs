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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use hyperv::query_loop::PartialAnswer;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::virtdisk::{ChangeTracking, Container, Subtype, VirtualDiskError, VirtualDiskSize};

    const SECTOR: u64 = 8;
    const BYTES: usize = 80;

    /// A file that takes whole sectors only, as virtdisk does.
    #[derive(Debug)]
    struct Strict {
        bytes: Mutex<Vec<u8>>,
    }

    fn error(code: u32) -> VirtualDiskError {
        VirtualDiskError {
            doing: "reach",
            path: PathBuf::from("strict"),
            code,
        }
    }

    impl Strict {
        fn range(offset: u64, bytes: usize) -> Result<std::ops::Range<usize>, VirtualDiskError> {
            let whole = offset.is_multiple_of(SECTOR) && (bytes as u64).is_multiple_of(SECTOR);
            let start = offset as usize;
            match whole && bytes > 0 && start + bytes <= BYTES {
                true => Ok(start..start + bytes),
                false => Err(error(87)),
            }
        }
    }

    impl VirtualDiskFile for Strict {
        fn size(&self) -> Result<VirtualDiskSize, VirtualDiskError> {
            Err(error(50))
        }
        fn physical_sector_bytes(&self) -> Result<u32, VirtualDiskError> {
            Err(error(50))
        }
        fn container(&self) -> Result<Container, VirtualDiskError> {
            Err(error(50))
        }
        fn subtype(&self) -> Result<Subtype, VirtualDiskError> {
            Err(error(50))
        }
        fn parent(&self) -> Result<Option<PathBuf>, VirtualDiskError> {
            Err(error(50))
        }
        fn virtual_disk_id(&self) -> Result<Uuid, VirtualDiskError> {
            Err(error(50))
        }
        fn change_tracking(&self) -> Result<ChangeTracking, VirtualDiskError> {
            Err(error(50))
        }
        fn is_unseen(&self) -> bool {
            true
        }
        fn query_changes(
            &self,
            _: &str,
            _: u64,
            _: u64,
        ) -> Result<PartialAnswer, VirtualDiskError> {
            Err(error(50))
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), VirtualDiskError> {
            let range = Self::range(offset, buf.len())?;
            buf.copy_from_slice(&self.bytes.lock().unwrap()[range]);
            Ok(())
        }
        fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), VirtualDiskError> {
            let range = Self::range(offset, data.len())?;
            self.bytes.lock().unwrap()[range].copy_from_slice(data);
            Ok(())
        }
        fn flush(&self) -> Result<(), VirtualDiskError> {
            Ok(())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn any_range_is_read_and_written_over_whole_sectors(
            writes in proptest::collection::vec((0usize..BYTES, 0usize..40, any::<u8>()), 0..8),
            read in (0usize..=BYTES, 0usize..=BYTES),
        ) {
            let mut model: Vec<u8> = (0..BYTES as u8).collect();
            let strict = Strict { bytes: Mutex::new(model.clone()) };
            let sectors = Sectors::new(Box::new(strict), BYTES as u64, SECTOR as u32);
            for (start, bytes, filling) in writes {
                let data = vec![filling; bytes];
                let fits = start + bytes <= BYTES;
                prop_assert_eq!(sectors.write_at(start as u64, &data).is_ok(), fits);
                if fits {
                    model[start..start + bytes].copy_from_slice(&data);
                }
            }
            let (start, end) = (read.0.min(read.1), read.0.max(read.1));
            let mut found = vec![0; end - start];
            sectors.read_at(start as u64, &mut found).unwrap();
            prop_assert_eq!(&found, &model[start..end]);
        }
    }
}
