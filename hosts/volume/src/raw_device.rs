//! A disk, a volume or a file, read as bytes from first to last.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use disk::{BlockRead, DiskError, DiskErrorKind, out_of_range};

/// Systems read devices in whole sectors alone; no sector is longer.
const SECTOR_BYTES_MAX: u64 = 4096;
/// So much of what lies around a request is read at once at most.
const PIECE_BYTES: u64 = 4 << 20;

/// An open device, read by whole sectors whatever is asked for.
#[derive(Debug)]
pub struct RawDevice {
    path: PathBuf,
    file: File,
    size_bytes: u64,
}

impl RawDevice {
    /// Takes an open device of `size_bytes`; `path` is for messages.
    pub fn new(path: &Path, file: File, size_bytes: u64) -> Self {
        Self {
            path: path.to_path_buf(),
            file,
            size_bytes,
        }
    }

    /// Opens a plain file.
    ///
    /// # Errors
    /// What the system says.
    pub fn open_file(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size_bytes = file.metadata()?.len();
        Ok(Self::new(path, file, size_bytes))
    }

    /// Reads the sectors around a piece and takes the piece out of them.
    fn read_piece(&self, offset: u64, piece: &mut [u8]) -> io::Result<()> {
        let end = offset + piece.len() as u64;
        let start = offset - offset % SECTOR_BYTES_MAX;
        let whole_end = end.next_multiple_of(SECTOR_BYTES_MAX).min(self.size_bytes);
        if (start, whole_end) == (offset, end) {
            return local_file::read_exact_at(&self.file, offset, piece);
        }
        let mut sectors = vec![0; (whole_end - start) as usize];
        local_file::read_exact_at(&self.file, start, &mut sectors)?;
        let within = (offset - start) as usize;
        piece.copy_from_slice(&sectors[within..within + piece.len()]);
        Ok(())
    }
}

impl BlockRead for RawDevice {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        let bytes = buf.len() as u64;
        match offset.checked_add(bytes) {
            Some(end) if end <= self.size_bytes => {}
            _ => return Err(out_of_range(offset, bytes, self.size_bytes)),
        }
        let mut at = offset;
        for piece in buf.chunks_mut(PIECE_BYTES as usize) {
            self.read_piece(at, piece).map_err(|error| {
                let message = format!(
                    "read {} bytes at {at} of {}",
                    piece.len(),
                    self.path.display()
                );
                DiskError::new(DiskErrorKind::Unreadable, message).caused_by(error)
            })?;
            at += piece.len() as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_range_of_a_device_is_read_and_nothing_past_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device");
        // Sectors of 512: the last group of eight is not whole.
        let content: Vec<u8> = (0..512 * 21).map(|at| (at / 7 % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let device = RawDevice::open_file(&path).unwrap();
        assert_eq!(device.size_bytes(), content.len() as u64);
        for (offset, bytes) in [(0, 1), (511, 2), (4095, 4098), (10_000, 752), (0, 10_752)] {
            let mut found = vec![0; bytes];
            device.read_at(offset as u64, &mut found).unwrap();
            assert_eq!(found, content[offset..offset + bytes], "{offset} {bytes}");
        }
        for offset in [10_752, 10_700, u64::MAX] {
            let error = device.read_at(offset, &mut [0; 100]).unwrap_err();
            assert_eq!(error.kind(), DiskErrorKind::OutOfRange, "{offset}");
        }
    }
}
