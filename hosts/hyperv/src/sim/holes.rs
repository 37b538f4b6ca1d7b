//! Holes in files: what systems do differently.

use std::fs::File;
use std::io;

use disk::ByteRange;

/// Returns the first range from `from` on that may hold something other than zeros.
pub(super) fn next_data(file: &File, from: u64, end: u64) -> io::Result<Option<ByteRange>> {
    if from >= end {
        return Ok(None);
    }
    system::next_data(file, from, end)
}

#[cfg(unix)]
mod system {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;

    use super::{ByteRange, File, io};

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
}

#[cfg(not(unix))]
mod system {
    use super::{ByteRange, File, io};

    pub(super) fn next_data(_: &File, from: u64, end: u64) -> io::Result<Option<ByteRange>> {
        Ok(ByteRange::new(from, end))
    }
}
