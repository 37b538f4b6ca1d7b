//! Positioned transfers on Windows, where files are read and written through the system's cache.

use std::fs::File;
use std::io;
use std::os::windows::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::Room;

/// So often is it tried to take the place of a file that others have open for a moment: far longer
/// than they need, far shorter than anyone waits who really may not.
const RENAME_TRIES_MAX: u32 = 1000;

pub(crate) fn read_exact_at(file: &File, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        match file.seek_read(buf, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buf = &mut buf[read..];
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(crate) fn write_all_at(file: &File, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match file.seek_write(data, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                data = &data[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns a path without `\\?\` where it means the same. Long ones are given that again by the
/// standard library when they are used.
pub(crate) fn as_written(path: PathBuf) -> PathBuf {
    let Some(verbatim) = path.to_str().and_then(|text| text.strip_prefix(r"\\?\")) else {
        return path;
    };
    // Anywhere but behind `\\?\` Windows drops dots and spaces at the ends of names.
    let is_read_otherwise = |name: &str| name.ends_with(['.', ' ']);
    if verbatim.split('\\').any(is_read_otherwise) {
        return path;
    }
    if let Some(share) = verbatim.strip_prefix(r"UNC\") {
        return format!(r"\\{share}").into();
    }
    match verbatim.as_bytes() {
        [_, b':', b'\\', ..] => verbatim.into(),
        // A volume without a letter has no other form.
        _ => path,
    }
}

/// Renames, and waits for others who have the file open for a moment.
pub(crate) fn rename_over(from: &Path, to: &Path) -> io::Result<()> {
    for _ in 0..RENAME_TRIES_MAX {
        match std::fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                std::thread::yield_now();
            }
            other => return other,
        }
    }
    std::fs::rename(from, to)
}

/// NTFS journals the rename itself; folders cannot be flushed without a special handle.
pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

pub(crate) fn open_direct(_: &File, _: &Path, _: bool) -> Option<File> {
    None
}

pub(crate) fn reserve(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}

pub(crate) fn room(path: &Path) -> io::Result<Room> {
    let found = fs4::statvfs(path)?;
    Ok(Room {
        free_bytes: found.available_space(),
        // Counted in clusters by 32 bits, which the largest volumes exceed.
        total_bytes: found.total_space().max(found.free_space()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_people_do_where_that_means_the_same() {
        for (verbatim, written) in [
            (r"\\?\C:\a\b", r"C:\a\b"),
            (r"\\?\C:\", r"C:\"),
            (r"\\?\UNC\server\share\a", r"\\server\share\a"),
            (r"\\?\Volume{0f}\a", r"\\?\Volume{0f}\a"),
            (r"\\?\C:\dots.\a", r"\\?\C:\dots.\a"),
            (r"D:\a", r"D:\a"),
        ] {
            assert_eq!(as_written(verbatim.into()), Path::new(written));
        }
    }
}
