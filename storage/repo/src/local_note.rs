//! A note on a repository that this machine keeps, where it cannot be written into the repository.
//!
//! What stands in it is its writer's business. It lies in a file named by the repository's id, in a
//! folder that the program names.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::error::{RepoError, RepoErrorKind, local_error};
use crate::repository::Repository;

impl Repository {
    /// Says in which folder this machine keeps notes on repositories. The first one that is named
    /// counts; until one is, there are no notes.
    pub fn keep_notes_in(&self, folder: PathBuf) {
        let name = format!("{}.json", self.unique_id_hex());
        // A program has one such folder.
        let _ = self.local_note.set(folder.join(name));
    }

    /// Returns the note on this repository, if there is one.
    ///
    /// # Errors
    /// `Local` if it cannot be read.
    pub fn local_note(&self) -> Result<Option<String>, RepoError> {
        let Some(path) = self.local_note.get() else {
            return Ok(None);
        };
        match fs::read_to_string(path) {
            Ok(note) => Ok(Some(note)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(local_error(format!("read {}", path.display()))(error)),
        }
    }

    /// Writes the note, in place of what it was.
    ///
    /// # Errors
    /// `Local` if that is not possible.
    pub fn write_local_note(&self, note: &str) -> Result<(), RepoError> {
        let doing = "keep a note on the repository on this machine";
        let Some(path) = self.local_note.get() else {
            let why = format!("{doing}: there is no folder for it");
            return Err(RepoError::new(RepoErrorKind::Local, why));
        };
        let write = || {
            let folder = path.parent().expect("a note lies in a folder");
            local_file::create_private_folders(folder)?;
            local_file::replace(path, note.as_bytes())
        };
        write().map_err(local_error(format!("{doing}, in {}", path.display())))
    }

    /// Deletes the note, if there is one.
    ///
    /// # Errors
    /// `Local` if that is not possible.
    pub fn delete_local_note(&self) -> Result<(), RepoError> {
        let Some(path) = self.local_note.get() else {
            return Ok(());
        };
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(local_error(format!("delete {}", path.display()))(error))
            }
            _ => Ok(()),
        }
    }
}
