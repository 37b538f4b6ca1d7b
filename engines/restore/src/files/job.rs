//! What is to be restored where.

use std::path::PathBuf;
use std::sync::Arc;

use kopia::directory::DirectoryEntry;

use super::folder::Folder;
use super::selection::Selection;

/// A file or link to be restored into a folder.
pub(super) struct FileJob {
    pub entry: DirectoryEntry,
    pub folder: Arc<Folder>,
    /// Whether it takes the place of another.
    pub replaces: bool,
}

impl FileJob {
    /// Returns where it goes.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(&self.entry.name)
    }
}

/// A folder that is there and whose entries are to be looked at.
pub(super) struct FolderJob {
    pub entry: DirectoryEntry,
    pub folder: Arc<Folder>,
    pub selection: Selection,
}
