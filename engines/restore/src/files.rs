//! Files and folders of a snapshot, Kopia's own included, into a folder.
//!
//! What a repository says about names and links is not believed: names that are none are
//! refused, folders are entered only after a look that they are folders and no links, and
//! nothing is ever written through a link. So no snapshot can reach outside the target.

mod big_file;
mod entry;
mod folder;
mod queue;
mod selection;
mod warnings;

use std::path::Path;
use std::sync::Arc;

use kopia::directory::{DirectoryEntry, EntryType};
use progress::Progress;
use repo::{RepoErrorKind, Repository};
use snapshot::find_entry;

use crate::error::{RestoreError, RestoreErrorKind, file_error, repo_error, stopped};
use crate::options::RestoreOptions;
use crate::os;
use crate::place::{refuse_simulated_host, unsuited};
use entry::TreeRestore;
use folder::Folder;
use selection::Selection;

/// What was restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoredFiles {
    /// How many files.
    pub files: u64,
    /// How many folders, the target excluded.
    pub folders: u64,
    /// How many symbolic links.
    pub symlinks: u64,
    /// How many bytes in files.
    pub bytes: u64,
    /// What is not as it was.
    pub warnings: Vec<String>,
}

/// Restores what is at `paths` below `root` into `folder`, which is made if it is not there; no
/// paths stand for everything. A path keeps its folders: `etc/hosts` becomes `<folder>/etc/hosts`.
/// A root that is a file becomes a file in `folder`.
///
/// Folders that are there already are filled up. Files that are there already end the restore
/// unless overwriting was asked for.
///
/// # Errors
/// `NotFound` if one of `paths` is not there, before anything is written.
pub fn to_folder(
    repo: &Arc<Repository>,
    root: &DirectoryEntry,
    paths: &[String],
    folder: &Path,
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<RestoredFiles, RestoreError> {
    refuse_simulated_host(folder)?;
    let selection = select(repo, root, paths)?;
    progress.stop.check().map_err(stopped)?;
    if folder.exists() && !folder.is_dir() {
        return Err(unsuited(folder, "that is not a folder"));
    }
    progress.phase("restoring files");
    progress.disk_begins(
        0,
        root.summary
            .as_ref()
            .map_or(root.size, |summary| summary.size),
    );
    let target = Folder::target(
        folder,
        matches!(root.entry_type, EntryType::Directory).then_some(root),
    )?;
    let restore = TreeRestore::new(repo, options, progress);
    restore.run(root, selection, target)?;
    os::sync_file_system(folder).map_err(file_error("write", folder))?;
    progress.disk_ends(0);
    let restored = restore.finish();
    for warning in &restored.warnings {
        progress.warning(warning);
    }
    Ok(restored)
}

/// Looks whether all paths are there.
fn select(
    repo: &Arc<Repository>,
    root: &DirectoryEntry,
    paths: &[String],
) -> Result<Selection, RestoreError> {
    let is_file = root.entry_type != EntryType::Directory;
    for path in paths {
        if is_file && *path == root.name {
            return Ok(Selection::All);
        }
        find_entry(repo, root, path).map_err(|error| match error.kind() {
            RepoErrorKind::NotFound => {
                RestoreError::new(RestoreErrorKind::NotFound, format!("restore {path}"))
                    .caused_by(error)
            }
            _ => repo_error(format!("restore {path}"))(error),
        })?;
    }
    Ok(Selection::of(paths))
}
