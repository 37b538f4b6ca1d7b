//! Finds what paths mean in a snapshot, before anything is written.

use std::sync::Arc;

use kopia::directory::{DirectoryEntry, EntryType};
use repo::{RepoError, RepoErrorKind, Repository};
use snapshot::{find_entry, read_directory};
use time_and_chance::StopSignal;

use super::selection::Selection;
use super::wildcard::{PathPattern, Reached, has_wildcards};
use crate::error::{RestoreError, RestoreErrorKind, repo_error, stopped};

/// What is to be restored.
pub(super) struct Chosen {
    pub selection: Selection,
    /// Bytes in files, as the snapshot says; what is chosen twice counts twice.
    pub bytes: u64,
}

/// Returns what `paths` mean below `root`; no paths mean everything. A name of the snapshot is
/// meant before a wildcard.
pub(super) fn choose(
    repo: &Arc<Repository>,
    root: &DirectoryEntry,
    paths: &[String],
    stop: &StopSignal,
) -> Result<Chosen, RestoreError> {
    let is_file = root.entry_type != EntryType::Directory;
    if paths.is_empty() || (is_file && paths.iter().all(|path| *path == root.name)) {
        return Ok(Chosen {
            selection: Selection::All,
            bytes: bytes_of(root),
        });
    }
    let mut chosen = Chosen {
        selection: Selection::none(),
        bytes: 0,
    };
    for path in paths {
        // Whoever types on Windows separates names as Windows does.
        let path = &match cfg!(windows) {
            true => path.replace('\\', "/"),
            false => path.clone(),
        };
        match find_entry(repo, root, path) {
            Ok(entry) => chosen.add(path, &entry),
            Err(error) if error.kind() != RepoErrorKind::NotFound => {
                return Err(repo_error(format!("restore {path}"))(error));
            }
            Err(error) => {
                let any = has_wildcards(path) && chosen.add_all(repo, root, path, stop)?;
                if !any {
                    return Err(not_found(path, error));
                }
            }
        }
    }
    Ok(chosen)
}

impl Chosen {
    fn add(&mut self, path: &str, entry: &DirectoryEntry) {
        self.selection.add(path);
        self.bytes = self.bytes.saturating_add(bytes_of(entry));
    }

    /// Adds everything that a pattern means; returns whether there is anything.
    fn add_all(
        &mut self,
        repo: &Arc<Repository>,
        root: &DirectoryEntry,
        path: &str,
        stop: &StopSignal,
    ) -> Result<bool, RestoreError> {
        let pattern = PathPattern::new(path);
        let mut any = false;
        let mut folders: Vec<(String, DirectoryEntry, Reached)> =
            vec![(String::new(), root.clone(), pattern.begin())];
        while let Some((place, folder, reached)) = folders.pop() {
            stop.check().map_err(stopped)?;
            let directory = read_directory(repo, &folder.object)
                .map_err(repo_error(format!("find {path} in the snapshot")))?;
            for entry in directory.entries {
                let Some(reached) = pattern.enter(&reached, &entry.name) else {
                    continue;
                };
                let place = format!("{place}/{}", entry.name);
                if pattern.is_whole(&reached) {
                    self.add(&place, &entry);
                    any = true;
                } else if entry.entry_type == EntryType::Directory {
                    folders.push((place, entry, reached));
                }
            }
        }
        Ok(any)
    }
}

fn not_found(path: &str, error: RepoError) -> RestoreError {
    RestoreError::new(RestoreErrorKind::NotFound, format!("restore {path}")).caused_by(error)
}

fn bytes_of(entry: &DirectoryEntry) -> u64 {
    entry
        .summary
        .as_ref()
        .map_or(entry.size, |summary| summary.size)
}
