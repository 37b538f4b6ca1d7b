//! What a self-test is doing to a VM, written down before it is done.
//!
//! `selftest/<vm>.json` in the state folder, replaced as a whole, gone once nothing is left. Our
//! checkpoints bear the name of a backup's too, so that a backup's own cleaning finds them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use backup::vm::Announced;
use hyperv::{CheckpointId, ReferencePointId, VmId};
use serde::{Deserialize, Serialize};

use crate::error::{SelfTestError, state_error};

/// The folder within the state folder.
pub(crate) const FOLDER: &str = "selftest";

/// What may be left on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    /// The name of our checkpoints.
    pub mark: String,
    /// A checkpoint that is being taken, or was without anybody's seeing how that ended.
    #[serde(default)]
    pub announced: Option<Announced>,
    /// Our checkpoints, as far as they are known.
    pub checkpoints: Vec<CheckpointId>,
    /// Our reference points.
    pub points: Vec<ReferencePointId>,
    /// A conversion whose outcome may not be known.
    pub converting: Option<Converting>,
    /// An import whose outcome may not be known.
    pub importing: Option<Importing>,
}

/// A checkpoint that is becoming a reference point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Converting {
    pub checkpoint: CheckpointId,
    /// The reference points listed before.
    pub before: Vec<ReferencePointId>,
    /// The tracking ids of its frozen disks.
    pub change_ids: Vec<String>,
}

/// A planned VM that is made to be given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Importing {
    /// Its name, which nothing else has.
    pub name: String,
    /// Where its files go; nothing but ours lies there.
    pub folder: PathBuf,
    /// The planned VMs listed before.
    pub before: Vec<VmId>,
}

/// Where journals lie.
#[derive(Debug, Clone)]
pub(crate) struct Journals {
    folder: PathBuf,
}

impl Journals {
    /// Returns those in a state folder, which need not be there yet.
    pub(crate) fn new(state_folder: &Path) -> Self {
        Self {
            folder: state_folder.join(FOLDER),
        }
    }

    fn path(&self, vm: VmId) -> PathBuf {
        self.folder.join(format!("{vm}.json"))
    }

    /// Returns what was being done to a VM, if anything. A document that was cut counts as none:
    /// it is replaced as a whole, so only a hand can have done that.
    pub(crate) fn read(&self, vm: VmId) -> Result<Option<Journal>, SelfTestError> {
        let path = self.path(vm);
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(state_error("read", &path)(error)),
        }
    }

    pub(crate) fn write(&self, vm: VmId, journal: &Journal) -> Result<(), SelfTestError> {
        local_file::create_private_folders(&self.folder)
            .map_err(state_error("create", &self.folder))?;
        let bytes = serde_json::to_vec_pretty(journal).expect("a journal has no odd keys");
        let path = self.path(vm);
        local_file::replace(&path, &bytes).map_err(state_error("write", &path))
    }

    pub(crate) fn clear(&self, vm: VmId) -> Result<(), SelfTestError> {
        let path = self.path(vm);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(state_error("delete", &path)(error))
            }
            _ => Ok(()),
        }
    }
}
