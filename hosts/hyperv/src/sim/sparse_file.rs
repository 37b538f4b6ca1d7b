//! Plain files with holes: raw disks, and copies that keep the holes.

use std::fs::File;
use std::path::Path;

use disk::{BlockRead, ByteRange, DiskError, DiskErrorKind};

use local_file::{AlignedBuffer, UncachedFile};

use super::holes;
use super::io_error::io_error;
use crate::HypervError;

const PIECE_BYTES: usize = 4 << 20;
const HOLE_BYTES: usize = 4096;

/// A raw file read like a disk.
#[derive(Debug)]
pub(super) struct RawFile {
    file: UncachedFile,
    size_bytes: u64,
}

impl RawFile {
    /// Opens a file for reading.
    pub(super) fn open(path: &Path) -> Result<Self, HypervError> {
        let file = File::open(path).map_err(|error| io_error("open", path, error))?;
        let metadata = file
            .metadata()
            .map_err(|error| io_error("open", path, error))?;
        Ok(Self {
            size_bytes: metadata.len(),
            file: UncachedFile::for_reading(file, path),
        })
    }
}

impl BlockRead for RawFile {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.file.read_exact_at(offset, buf).map_err(|error| {
            DiskError::new(DiskErrorKind::Unreadable, format!("read at {offset}")).caused_by(error)
        })
    }

    fn next_allocated(&self, from: u64) -> Result<Option<ByteRange>, DiskError> {
        holes::next_data(self.file.file(), from, self.size_bytes).map_err(|error| {
            DiskError::new(
                DiskErrorKind::Unreadable,
                format!("find data behind {from}"),
            )
            .caused_by(error)
        })
    }
}

/// Writes `bytes` at `offset` of a file that is zero there, leaving out whole pages of zeros.
pub(super) fn write_non_zero(
    file: &UncachedFile,
    offset: u64,
    bytes: &[u8],
) -> std::io::Result<()> {
    let mut run: Option<usize> = None;
    for start in (0..bytes.len()).step_by(HOLE_BYTES) {
        let page = &bytes[start..bytes.len().min(start + HOLE_BYTES)];
        let zero = page.iter().all(|&byte| byte == 0);
        match (zero, run) {
            (false, None) => run = Some(start),
            (true, Some(first)) => {
                file.write_all_at(offset + first as u64, &bytes[first..start])?;
                run = None;
            }
            _ => {}
        }
    }
    match run {
        Some(first) => file.write_all_at(offset + first as u64, &bytes[first..]),
        None => Ok(()),
    }
}

/// Copies a file, keeping its holes.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), HypervError> {
    let source = RawFile::open(from)?;
    let target = File::create_new(to).map_err(|error| io_error("make", to, error))?;
    target
        .set_len(source.size_bytes)
        .map_err(|error| io_error("size", to, error))?;
    let target = UncachedFile::for_writing(target, to);
    let mut buf = AlignedBuffer::new(PIECE_BYTES);
    let mut at = 0;
    while let Some(range) = holes::next_data(source.file.file(), at, source.size_bytes)
        .map_err(|error| io_error("read", from, error))?
    {
        at = range.start();
        while at < range.end() {
            let buf = &mut buf[..(range.end() - at).min(PIECE_BYTES as u64) as usize];
            source
                .file
                .read_exact_at(at, buf)
                .map_err(|error| io_error("read", from, error))?;
            write_non_zero(&target, at, buf).map_err(|error| io_error("write", to, error))?;
            at += buf.len() as u64;
        }
    }
    Ok(())
}
