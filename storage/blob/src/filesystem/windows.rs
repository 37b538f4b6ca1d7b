//! What differs between systems, for Windows: modes, positioned reads, syncing folders, room.
//!
//! Rights come from the folder that the repository lies in. A folder cannot be synced; NTFS
//! journals renames itself.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::windows::fs::FileExt as _;
use std::path::Path;

use crate::Space;

/// Creates a file; one that exists is an error.
pub fn create_new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Creates a folder.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().create(path)
}

/// Fills `buffer` from `offset` on.
pub fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let (mut offset, mut rest) = (offset, buffer);
    while !rest.is_empty() {
        let read = match file.seek_read(rest, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        offset += read as u64;
        rest = &mut rest[read..];
    }
    Ok(())
}

/// Does nothing: see the module's head.
pub fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Returns `None`: the call that tells is unsafe code, which lives elsewhere.
pub fn space(_path: &Path) -> io::Result<Option<Space>> {
    Ok(None)
}
