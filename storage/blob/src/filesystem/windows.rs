//! What differs between systems, for Windows: modes, syncing folders.
//!
//! Rights come from the folder that the repository lies in. A folder cannot be synced; NTFS
//! journals renames itself.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::Path;

/// So often is it tried to take the place of a file that others are replacing: far longer than
/// they need, far shorter than anyone waits who really may not.
const REPLACE_TRIES_MAX: u32 = 1000;

/// Creates a file; one that exists is an error.
pub fn create_new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Creates a folder.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().create(path)
}

/// Does nothing: see the module's head.
pub fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Gives a file the name of another, which is gone then.
///
/// Where others replace the same file at this moment, Windows denies it; theirs is done at once.
pub fn replace(from: &Path, to: &Path) -> io::Result<()> {
    for _ in 0..REPLACE_TRIES_MAX {
        match std::fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                std::thread::yield_now();
            }
            other => return other,
        }
    }
    std::fs::rename(from, to)
}
