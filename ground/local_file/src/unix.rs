//! Positioned transfers, handles past the page cache, and room ahead, on Unix.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::Room;

pub(crate) fn read_exact_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<()> {
    file.read_exact_at(buf, offset)
}

pub(crate) fn write_all_at(file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
    file.write_all_at(data, offset)
}

/// Returns the path: people write it as the system does.
pub(crate) fn as_written(path: PathBuf) -> PathBuf {
    path
}

/// Renames: a file that is open may be replaced.
pub(crate) fn rename_over(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

/// Makes sure that a folder's names survive a crash.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Opens `path`, which must be `file`, once more and past the page cache; `None` where the file
/// system has no such thing.
#[cfg(target_os = "linux")]
pub(crate) fn open_direct(file: &File, path: &Path, write: bool) -> Option<File> {
    use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};

    let direct = File::options()
        .read(true)
        .write(write)
        .custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed())
        .open(path)
        .ok()?;
    let (is, shall) = (direct.metadata().ok()?, file.metadata().ok()?);
    ((is.dev(), is.ino()) == (shall.dev(), shall.ino())).then_some(direct)
}

/// Elsewhere the page cache serves well enough.
#[cfg(not(target_os = "linux"))]
pub(crate) fn open_direct(_: &File, _: &Path, _: bool) -> Option<File> {
    None
}

/// Makes room for `bytes` at once, so that the file is not made longer step by step.
///
/// # Errors
/// `StorageFull` if there is none; where room cannot be made ahead, nothing is done.
pub(crate) fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        let error = io::Error::from(error);
        if matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            return Err(error);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, bytes);
    Ok(())
}

pub(crate) fn room(path: &Path) -> io::Result<Room> {
    let found = rustix::fs::statvfs(path)?;
    Ok(Room {
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
    })
}
