//! What differs between systems, for Windows: modes, syncing folders.
//!
//! Rights come from the folder that the repository lies in. A folder cannot be synced; NTFS
//! journals renames itself.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::Path;

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
