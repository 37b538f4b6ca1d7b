//! What is being carried out right now.

use std::sync::{Arc, Mutex, MutexGuard};

use protocol::WireId;
use time_and_chance::Timestamp;

use crate::cancellation::Cancellation;
use crate::meter::{Measured, Meter};

/// One run, of a backup or of a restore.
#[derive(Debug, Clone)]
pub struct ActiveRun {
    /// The run.
    pub run_id: WireId,
    /// What kind of work it is, for people.
    pub kind: String,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// Whether it is a backup, of which only so many are carried out at once.
    pub is_backup: bool,
    /// How far it is.
    pub meter: Arc<Meter>,
    /// What ends it.
    pub cancellation: Cancellation,
}

/// Runs that are being carried out.
#[derive(Debug, Default)]
pub struct ActiveRuns(Mutex<Vec<ActiveRun>>);

/// Holds a run's place for as long as it is carried out.
#[derive(Debug)]
pub struct Held<'a> {
    runs: &'a ActiveRuns,
    run_id: WireId,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.runs
            .lock()
            .retain(|run| !run.run_id.names_same(&self.run_id));
    }
}

impl ActiveRuns {
    /// Takes a place for a run; `None` if it is being carried out already.
    pub fn begin(&self, run: ActiveRun) -> Option<Held<'_>> {
        let mut runs = self.lock();
        if runs.iter().any(|it| it.run_id.names_same(&run.run_id)) {
            return None;
        }
        let run_id = run.run_id.clone();
        runs.push(run);
        Some(Held { runs: self, run_id })
    }

    /// Returns whether a run is being carried out.
    pub fn holds(&self, run_id: &WireId) -> bool {
        self.lock().iter().any(|run| run.run_id.names_same(run_id))
    }

    /// Returns how many backups are being carried out.
    pub fn backups(&self) -> usize {
        self.lock().iter().filter(|run| run.is_backup).count()
    }

    /// Returns all of them, with how far they are.
    pub fn list(&self) -> Vec<(ActiveRun, Measured)> {
        let runs = self.lock().clone();
        let measured = |run: ActiveRun| {
            let measured = run.meter.measured();
            (run, measured)
        };
        runs.into_iter().map(measured).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ActiveRun>> {
        self.0.lock().expect("nobody panics while he looks")
    }
}
