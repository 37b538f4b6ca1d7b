//! A folder of the target while it is filled.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kopia::directory::DirectoryEntry;

use super::warnings::{Difference, Warnings};
use crate::error::{RestoreError, RestoreErrorKind, file_error};
use crate::new_file::remove_dead;
use crate::os::{self, Owner};

/// A folder that is there. Everything that is still to be put into it holds it; whoever lets it
/// go last gives it the owner, mode and time it had, which must not happen earlier.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    entry: Option<DirectoryEntry>,
    parent: Option<Arc<Folder>>,
}

impl Folder {
    /// Makes the folder everything goes to, or takes the one that is there as it is.
    pub fn target(path: &Path, entry: Option<&DirectoryEntry>) -> Result<Arc<Self>, RestoreError> {
        let entry = match path.is_dir() {
            true => {
                remove_dead(path, None);
                None
            }
            false => {
                std::fs::create_dir_all(path).map_err(file_error("make", path))?;
                entry.cloned()
            }
        };
        Ok(Arc::new(Self {
            path: path.to_owned(),
            entry,
            parent: None,
        }))
    }

    /// Makes a folder in this one. One that is there is filled up, and becomes as the entry says
    /// only if overwriting was asked for; a link to a folder is not a folder.
    pub fn enter(
        self: &Arc<Self>,
        entry: &DirectoryEntry,
        overwrite: bool,
    ) -> Result<Arc<Self>, RestoreError> {
        let path = self.path.join(&entry.name);
        let made = match os::create_private_folder(&path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(file_error("make", &path)(error)),
        };
        if !made {
            let is = path
                .symlink_metadata()
                .map_err(file_error("look at", &path))?;
            if !is.is_dir() {
                return Err(RestoreError::new(
                    RestoreErrorKind::Exists,
                    format!(
                        "make folder {}: a file or link is in its place, which is never replaced by a folder",
                        path.display()
                    ),
                ));
            }
            remove_dead(&path, None);
        }
        let entry = (made || overwrite).then(|| entry.clone());
        Ok(Arc::new(Self {
            path,
            entry,
            parent: Some(Arc::clone(self)),
        }))
    }

    /// Returns where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets a folder go; the last one to do so completes it, and its parents with it.
    pub fn let_go(folder: Arc<Self>, warnings: &Warnings) {
        let mut next = Some(folder);
        while let Some(folder) = next.and_then(Arc::into_inner) {
            if let Some(entry) = &folder.entry {
                match os::set_folder_metadata(&folder.path, entry) {
                    Ok(Owner::Restored) => {}
                    Ok(Owner::Other) => warnings.add(Difference::Owner, &folder.path),
                    Err(_) => warnings.add(Difference::Metadata, &folder.path),
                }
            }
            next = folder.parent;
        }
    }
}
