//! What the service is doing now, in a file that others read.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use time_and_chance::Timestamp;

use crate::parts::Parts;

/// The file.
const FILE_NAME: &str = "status.json";
/// The lock that a running service holds.
const LOCK_NAME: &str = "service.lock";

/// What the service is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process.
    pub process: u32,
    /// When this was written.
    pub updated_at: Timestamp,
    /// The control plane's address.
    pub api_base_url: String,
    /// Who it is there.
    pub agent: String,
    /// When the control plane last answered.
    pub answered_at: Option<Timestamp>,
    /// Since when it does not.
    pub silent_since: Option<Timestamp>,
    /// And why.
    pub silent_because: Option<String>,
    /// Runs that are being carried out.
    pub runs: Vec<RunStatus>,
    /// Ends of runs that the control plane does not know yet.
    pub ends_waiting: usize,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStatus {
    /// The run.
    pub run_id: String,
    /// What kind of work it is.
    pub kind: String,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// How far it is.
    pub percent: f64,
    /// Bytes that were dealt with.
    pub done_bytes: u64,
    /// Bytes that there are, as far as is known.
    pub total_bytes: u64,
    /// What is worked on.
    pub subject: String,
    /// And in which phase.
    pub phase: String,
}

impl Status {
    /// Returns what the service is doing.
    pub fn of(parts: &Parts) -> Self {
        let connection = parts.plane.connection();
        let (silent_since, silent_because) = connection.lost.unzip();
        let runs = parts
            .active
            .list()
            .into_iter()
            .map(|(run, measured)| RunStatus {
                run_id: run.run_id.to_string(),
                kind: run.kind,
                begun_at: run.begun_at,
                percent: (measured.percent * 10.0).round() / 10.0,
                done_bytes: measured.done_bytes,
                total_bytes: measured.total_bytes,
                subject: measured.subject,
                phase: measured.phase,
            });
        let identity = parts.plane.caller().identity.as_ref();
        Self {
            version: parts.ports.program.version.clone(),
            process: std::process::id(),
            updated_at: parts.ports.clock.now(),
            api_base_url: parts.config.api_base_url.clone(),
            agent: identity.map_or_else(String::new, |it| it.agent.to_string()),
            answered_at: connection.answered_at,
            silent_since,
            silent_because,
            runs: runs.collect(),
            ends_waiting: parts.outbox.len(),
        }
    }

    /// Writes it into a state folder, where a crash of the machine may leave an older one or none: it is
    /// written every few seconds, and no record of anything.
    pub fn write(&self, state: &Path) -> io::Result<()> {
        let bytes = serde_json::to_vec(self).expect("texts and numbers have JSON");
        local_file::replace_fleeting(&state.join(FILE_NAME), &bytes)
    }

    /// Returns what a service wrote into a state folder last, if one did.
    pub fn read(state: &Path) -> io::Result<Option<Self>> {
        match fs::read(state.join(FILE_NAME)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Held by the one service that runs on a state folder.
#[derive(Debug)]
pub struct ServiceLock {
    _file: File,
}

impl ServiceLock {
    /// Takes the lock; `None` if a service runs on this state folder.
    pub fn take(state: &Path) -> io::Result<Option<Self>> {
        local_file::create_private_folders(state)?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(state.join(LOCK_NAME))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Returns whether a service runs on a state folder.
    pub fn is_held(state: &Path) -> bool {
        let Ok(file) = File::options().write(true).open(state.join(LOCK_NAME)) else {
            return false;
        };
        matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    }
}
