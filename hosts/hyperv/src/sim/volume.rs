//! Holes in files, and free space: what systems do differently.

use std::fs::File;
use std::io;
use std::path::Path;

use disk::ByteRange;

/// Room on a volume.
pub(super) struct Space {
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// Returns the first range from `from` on that may hold something other than zeros.
pub(super) fn next_data(file: &File, from: u64, end: u64) -> io::Result<Option<ByteRange>> {
    if from >= end {
        return Ok(None);
    }
    system::next_data(file, from, end)
}

/// Returns the room on the volume that holds `path`.
pub(super) fn volume_space(path: &Path) -> io::Result<Space> {
    system::volume_space(path)
}

#[cfg(unix)]
mod system {
    use rustix::fs::{SeekFrom, seek, statvfs};
    use rustix::io::Errno;

    use super::{ByteRange, File, Path, Space, io};

    pub(super) fn next_data(file: &File, from: u64, end: u64) -> io::Result<Option<ByteRange>> {
        let start = match seek(file, SeekFrom::Data(from)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            // A file system that knows no holes has none.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(ByteRange::new(from, end)),
            Err(error) => return Err(error.into()),
        };
        let stop = seek(file, SeekFrom::Hole(start))?;
        Ok(ByteRange::new(start, stop.min(end)))
    }

    pub(super) fn volume_space(path: &Path) -> io::Result<Space> {
        let facts = statvfs(path)?;
        Ok(Space {
            free_bytes: facts.f_bavail.saturating_mul(facts.f_frsize),
            total_bytes: facts.f_blocks.saturating_mul(facts.f_frsize),
        })
    }
}

#[cfg(not(unix))]
mod system {
    use super::{ByteRange, File, Path, Space, io};

    pub(super) fn next_data(_: &File, from: u64, end: u64) -> io::Result<Option<ByteRange>> {
        Ok(ByteRange::new(from, end))
    }

    pub(super) fn volume_space(_: &Path) -> io::Result<Space> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
