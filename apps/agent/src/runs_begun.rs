//! Which runs were begun and have not ended, for the case that the service dies.
//!
//! A backup that died is handed out again by the control plane, which has waited for its heartbeat. No
//! keys are written down here, so nothing is begun again without being handed out.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use protocol::WireId;
use serde::{Deserialize, Serialize};
use time_and_chance::Timestamp;

use crate::log::Log;
use crate::outbox::name_of;
use crate::records;

/// What is written down of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BegunRun {
    /// The run.
    pub run_id: WireId,
    /// Whether the control plane hands it out again.
    pub is_backup: bool,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// How many pieces of its verbose log have numbers, whether the control plane has them or not.
    #[serde(default)]
    pub pieces: u64,
}

/// The runs that were begun.
#[derive(Debug)]
pub struct RunsBegun {
    folder: PathBuf,
    log: Arc<Log>,
    /// Those that a dead service left, until they are handed out again or ended.
    left: Mutex<BTreeMap<String, BegunRun>>,
}

impl RunsBegun {
    /// Opens what is written down in a folder.
    pub fn open(folder: PathBuf, log: Arc<Log>) -> io::Result<Self> {
        let mut left = BTreeMap::new();
        for (_, _, bytes) in records::read_all(&folder, &log)? {
            if let Ok(run) = serde_json::from_slice::<BegunRun>(&bytes) {
                left.insert(name_of(&run.run_id), run);
            }
        }
        Ok(Self {
            folder,
            log,
            left: Mutex::new(left),
        })
    }

    /// Writes down that a run has begun. Pieces of its verbose log that a dead service pushed keep their
    /// numbers.
    pub fn add(&self, run: &BegunRun) {
        let name = name_of(&run.run_id);
        let mut left = self.lock();
        left.remove(&name);
        let pieces = self.read(&name).map_or(0, |it| it.pieces);
        self.write(
            &name,
            &BegunRun {
                pieces,
                ..run.clone()
            },
        );
    }

    /// Returns how many pieces of a run's verbose log have numbers.
    pub fn pieces(&self, run_id: &WireId) -> u64 {
        let _held = self.lock();
        self.read(&name_of(run_id)).map_or(0, |it| it.pieces)
    }

    /// Writes down that so many pieces of a run's verbose log have numbers: whoever goes on with the run after
    /// a crash takes others. A run that has ended is nobody's to go on with.
    pub fn note_pieces(&self, run_id: &WireId, pieces: u64) {
        let name = name_of(run_id);
        let _held = self.lock();
        if let Some(run) = self.read(&name) {
            self.write(&name, &BegunRun { pieces, ..run });
        }
    }

    fn read(&self, name: &str) -> Option<BegunRun> {
        let bytes = fs::read(self.path(name)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn write(&self, name: &str, run: &BegunRun) {
        let bytes = serde_json::to_vec(run).expect("texts and numbers have JSON");
        let path = self.path(name);
        if let Err(error) = local_file::replace(&path, &bytes) {
            self.log
                .warn(&format!("failed to write {}: {error}", path.display()));
        }
    }

    /// Notes that a run was handed out, so that nobody takes it for one that a dead service left.
    pub fn is_handed_out(&self, run_id: &WireId) {
        self.lock().remove(&name_of(run_id));
    }

    /// Notes that a run has ended.
    pub fn remove(&self, run_id: &WireId) {
        let name = name_of(run_id);
        let mut left = self.lock();
        left.remove(&name);
        let path = self.path(&name);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            self.log
                .warn(&format!("failed to delete {}: {error}", path.display()));
        }
    }

    /// Returns the runs that a dead service left, as long as they were neither handed out again nor
    /// ended.
    pub fn left(&self) -> Vec<BegunRun> {
        self.lock().values().cloned().collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        records::path(&self.folder, name)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, BegunRun>> {
        self.left.lock().expect("nobody panics while he looks")
    }
}

#[cfg(test)]
mod tests {
    use time_and_chance::ManualClock;

    use super::*;
    use crate::log::Level;

    #[test]
    fn a_run_that_a_dead_service_left_is_known_until_it_is_begun_again_or_ended() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
            let log = Log::nowhere(Level::Error, false, clock);
            RunsBegun::open(folder.path().join("runs"), Arc::new(log)).unwrap()
        };
        let run = BegunRun {
            run_id: WireId::Number(7),
            is_backup: true,
            begun_at: Timestamp::UNIX_EPOCH,
            pieces: 0,
        };
        open().add(&run);
        let again = open();
        assert_eq!(again.left(), std::slice::from_ref(&run));
        again.add(&run);
        assert!(again.left().is_empty());
        assert_eq!(open().left(), std::slice::from_ref(&run));
        // What was pushed of its log is known when it is begun again.
        open().note_pieces(&run.run_id, 3);
        again.add(&run);
        assert_eq!(again.pieces(&run.run_id), 3);
        open().remove(&run.run_id);
        assert!(open().left().is_empty());
        again.note_pieces(&run.run_id, 4);
        assert!(open().left().is_empty(), "what has ended stays so");
    }
}
