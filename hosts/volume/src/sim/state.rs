//! What a simulated machine is made of, as it lies in its folder.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use time_and_chance::Timestamp;
use uuid::Uuid;

const FILE: &str = "volumes.json";

/// What of a volume can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SimContent {
    /// It as a whole.
    Device {
        /// How long it is.
        bytes: u64,
    },
    /// Its files.
    Files,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimVolume {
    /// `\\?\Volume{GUID}\`.
    pub name: String,
    /// Where it is mounted.
    pub mount_point: String,
    /// What of it can be read.
    pub content: SimContent,
}

impl SimVolume {
    /// Tells whether `text` is its name or its mount point, with or without a separator at the
    /// end, whatever the case.
    pub fn is_called(&self, text: &str) -> bool {
        let plain = |it: &str| it.trim_end_matches(['\\', '/']).to_lowercase();
        let wanted = plain(text);
        plain(&self.name) == wanted || plain(&self.mount_point) == wanted
    }
}

/// A program that can bring its files in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimWriter {
    /// What kind of writer it is.
    pub id: Uuid,
    /// Which of that kind.
    pub instance: Uuid,
    /// Its name.
    pub name: String,
    /// How it fails.
    pub failure: Option<SimWriterFailure>,
}

/// What a writer does on the way to a frozen volume, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SimWriterStep {
    /// It looks at what is to be backed up.
    PrepareBackup,
    /// It does what takes long.
    PrepareSnapshot,
    /// It stops writing.
    Freeze,
    /// It writes again.
    Thaw,
    /// It brings the shadow in order.
    PostSnapshot,
}

/// How a writer fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimWriterFailure {
    /// At this step.
    pub at: SimWriterStep,
    /// With this code of VSS.
    pub code: u32,
    /// So many times more.
    pub times: u32,
}

/// A frozen volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimShadow {
    /// Its own name.
    pub id: Uuid,
    /// The set that it belongs to.
    pub set: Uuid,
    /// The name of the volume.
    pub volume: String,
    /// When it was frozen.
    pub frozen_at: Timestamp,
}

/// All of a machine that is not content.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    pub volumes: Vec<SimVolume>,
    pub writers: Vec<SimWriter>,
    pub shadows: Vec<SimShadow>,
}

impl State {
    /// Reads the state of the machine in `folder`; an empty folder is a machine without volumes.
    pub fn read(folder: &Path) -> io::Result<Self> {
        match fs::read(folder.join(FILE)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes it.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        local_file::replace(&folder.join(FILE), &serde_json::to_vec_pretty(self)?)
    }
}
