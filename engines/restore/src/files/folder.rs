//! A folder of the target while it is filled.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kopia::directory::DirectoryEntry;

use super::options::FilesOptions;
use super::warnings::Warnings;
use crate::error::{RestoreError, RestoreErrorKind, file_error};
use crate::new_file::remove_dead;
use crate::os::{self, Attributes};

/// Deeper trees are nothing that any system has; a hostile repository may.
const DEPTH_MAX: u32 = 1000;

/// A folder that is there. Everything that is still to be put into it holds it; whoever lets it
/// go last gives it the owner, mode and time it had, which must not happen earlier.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    entry: Option<DirectoryEntry>,
    parent: Option<Arc<Folder>>,
    depth: u32,
    was_there: bool,
}

impl Folder {
    /// Makes the folder everything goes to, or takes the one that is there as it is. A dry run
    /// makes none.
    pub fn target(
        path: &Path,
        entry: Option<&DirectoryEntry>,
        options: &FilesOptions,
    ) -> Result<Arc<Self>, RestoreError> {
        let was_there = path.is_dir();
        let mut entry = entry.cloned();
        if options.dry_run || was_there {
            entry = None;
        }
        if was_there && !options.dry_run {
            remove_dead(path, None);
        }
        if !was_there && !options.dry_run {
            std::fs::create_dir_all(path).map_err(file_error("make", path))?;
        }
        Ok(Arc::new(Self {
            path: path.to_owned(),
            entry,
            parent: None,
            depth: 0,
            was_there,
        }))
    }

    /// Makes a folder in this one. One that is there is filled up, and becomes as the entry says
    /// only if what is there may be changed; a link to a folder is not a folder. A dry run makes
    /// none.
    pub fn enter(
        self: &Arc<Self>,
        entry: &DirectoryEntry,
        options: &FilesOptions,
    ) -> Result<Arc<Self>, RestoreError> {
        let path = self.path.join(&entry.name);
        if self.depth >= DEPTH_MAX {
            return Err(RestoreError::new(
                RestoreErrorKind::Unsupported,
                format!("make a folder more than {DEPTH_MAX} folders deep"),
            ));
        }
        let made = match options.dry_run {
            true => !self.was_there || path.symlink_metadata().is_err(),
            false => make(&path, options.attributes)?,
        };
        if !made {
            check_is_folder(&path)?;
            if !options.dry_run {
                remove_dead(&path, None);
            }
        }
        let completes = !options.dry_run && (made || options.existing.changes_folders());
        Ok(Arc::new(Self {
            path,
            entry: completes.then(|| entry.clone()),
            parent: Some(Arc::clone(self)),
            depth: self.depth + 1,
            was_there: !made,
        }))
    }

    /// Returns whether the folder was there before, so that something may be in it.
    pub fn was_there(&self) -> bool {
        self.was_there
    }

    /// Returns where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets a folder go; the last one to do so completes it, and its parents with it.
    pub fn let_go(folder: Arc<Self>, attributes: Attributes, warnings: &Warnings) {
        let mut next = Some(folder);
        while let Some(folder) = next.and_then(Arc::into_inner) {
            if let Some(entry) = &folder.entry {
                let set = os::set_folder_metadata(&folder.path, entry, attributes);
                warnings.add_owner(set, &folder.path);
            }
            next = folder.parent;
        }
    }
}

/// Makes a folder; returns whether none was there.
fn make(path: &Path, attributes: Attributes) -> Result<bool, RestoreError> {
    // Nobody else may look in until the folder has the mode it had.
    let made = match attributes.permissions {
        true => os::create_private_folder(path),
        false => std::fs::create_dir(path),
    };
    match made {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(file_error("make", path)(error)),
    }
}

fn check_is_folder(path: &Path) -> Result<(), RestoreError> {
    let is = path
        .symlink_metadata()
        .map_err(file_error("look at", path))?;
    match is.is_dir() {
        true => Ok(()),
        false => Err(RestoreError::new(
            RestoreErrorKind::Exists,
            format!(
                "make folder {}: a file or link is in its place, which is never replaced by a folder",
                path.display()
            ),
        )),
    }
}
