//! Files and folders of a snapshot, Kopia's own included, into a folder.
//!
//! What a repository says about names and links is not believed: names that are none are
//! refused, folders are entered only after a look that they are folders and no links, and
//! nothing is ever written through a link. So no snapshot can reach outside the target.

mod big_file;
mod chosen;
mod entry;
mod folder;
mod job;
mod options;
mod outcome;
mod present;
mod queue;
mod selection;
mod small_files;
mod warnings;
mod wildcard;

use std::path::Path;
use std::sync::Arc;

use kopia::directory::{DirectoryEntry, EntryType};
use progress::Progress;
use repo::Repository;

pub use crate::os::Attributes;
pub use options::{Existing, FilesOptions};
pub use outcome::{FailedEntry, RestoredFiles};

use crate::error::{RestoreError, file_error, stopped};
use crate::os;
use crate::place::{refuse_simulated_host, unsuited};
use chosen::choose;
use entry::TreeRestore;
use folder::Folder;

/// Restores what is at `paths` below `root` into `folder`, which is made if it is not there; no
/// paths stand for everything. A path keeps its folders: `etc/hosts` becomes `<folder>/etc/hosts`.
/// A path that names nothing may have wildcards: `*` and `?` within a name, `**` for folders. A
/// root that is a file becomes a file in `folder`.
///
/// # Errors
/// `NotFound` if one of `paths` is not there, before anything is written.
pub fn to_folder(
    repo: &Arc<Repository>,
    root: &DirectoryEntry,
    paths: &[String],
    folder: &Path,
    options: &FilesOptions,
    progress: &Progress,
) -> Result<RestoredFiles, RestoreError> {
    refuse_simulated_host(folder)?;
    progress.stop.check().map_err(stopped)?;
    progress.phase("finding files");
    let chosen = choose(repo, root, paths, &progress.stop)?;
    if folder.exists() && !folder.is_dir() {
        return Err(unsuited(folder, "that is not a folder"));
    }
    progress.phase(match options.dry_run {
        true => "looking what would be restored",
        false => "restoring files",
    });
    progress.disk_begins(0, chosen.bytes);
    let target = Folder::target(
        folder,
        matches!(root.entry_type, EntryType::Directory).then_some(root),
        options,
    )?;
    let restore = TreeRestore::new(repo, options, progress);
    restore.run(root, chosen.selection, target)?;
    if !options.dry_run {
        os::sync_file_system(folder).map_err(file_error("write", folder))?;
    }
    progress.disk_ends(0);
    let restored = restore.finish();
    for warning in &restored.warnings {
        progress.warning(warning);
    }
    Ok(restored)
}
