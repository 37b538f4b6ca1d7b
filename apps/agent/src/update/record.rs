//! The file that says how far an update is; it survives a crash.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::UpdateError;
use super::plan::Stage;

const FILE_NAME: &str = "update.json";

/// An update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// The server and agent that it was ordered from: every server counts its commands from one.
    pub identity: String,
    /// The command that ordered it.
    pub command_id: u64,
    /// By what its progress is reported.
    pub update_job_id: u64,
    /// The version it began with.
    pub from: String,
    /// The version of the new program, as far as it is known.
    pub to: String,
    /// The program that is replaced.
    pub program: PathBuf,
    /// What it is, in hexadecimal.
    pub old_sha256: String,
    /// What the new one is.
    pub new_sha256: String,
    /// How far it is.
    pub stage: Stage,
}

/// Where it is written down.
#[derive(Debug, Clone)]
pub struct Record {
    path: PathBuf,
}

impl Record {
    /// Returns the record in a state folder, whether it is there or not.
    pub fn in_folder(state: &Path) -> Self {
        Self {
            path: state.join(FILE_NAME),
        }
    }

    /// Reads it, if there is one.
    pub fn read(&self) -> Result<Option<Update>, UpdateError> {
        let failed = |error| self.failed("read", error);
        match fs::read(&self.path) {
            // What cannot be understood is of a version that is gone.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Writes it down.
    pub fn write(&self, update: &Update) -> Result<(), UpdateError> {
        let bytes = serde_json::to_vec(update).expect("texts and numbers have JSON");
        local_file::replace(&self.path, &bytes).map_err(|error| self.failed("write", error))
    }

    /// Forgets it.
    pub fn forget(&self) -> Result<(), UpdateError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("remove", error))
            }
            _ => Ok(()),
        }
    }

    fn failed(&self, doing: &str, error: io::Error) -> UpdateError {
        UpdateError::new((), format!("{doing} {}", self.path.display())).caused_by(error)
    }
}
