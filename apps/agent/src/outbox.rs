//! Terminal updates of runs: written down before they are sent, and sent until they are
//! acknowledged, also after a restart, byte for byte the same.
//!
//! A terminal update that is lost leaves its run hanging, and its points are never listed.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use protocol::WireId;
use protocol::identity::Program;
use protocol::update_run::UpdateRun;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time_and_chance::{SharedClock, StopSignal};

use crate::control_plane::ControlPlane;
use crate::log::Log;
use crate::records;

/// The first pause after an attempt that failed; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// And is never longer.
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// So many ends that were acknowledged are kept in memory.
const TOLD_MAX: usize = 50;

/// An update that waits for its acknowledgement.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Letter {
    run_id: WireId,
    /// The body as it is sent.
    body: String,
}

#[derive(Debug)]
struct Waiting {
    letter: Letter,
    attempts: u32,
    not_before: Duration,
    /// Somebody is sending it right now.
    is_on_its_way: bool,
}

/// The outbox.
#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
    clock: SharedClock,
    log: Arc<Log>,
    waiting: Mutex<BTreeMap<String, Waiting>>,
    /// The last ones that were acknowledged.
    told: Mutex<VecDeque<Letter>>,
}

impl Outbox {
    /// Opens the outbox in a folder, with what waits there from earlier.
    pub fn open(folder: PathBuf, clock: SharedClock, log: Arc<Log>) -> io::Result<Self> {
        let mut waiting = BTreeMap::new();
        for (name, path, read) in records::read_all(&folder, &log)? {
            match serde_json::from_slice::<Letter>(&read) {
                Ok(letter) => {
                    waiting.insert(name, Waiting::new(letter));
                }
                Err(error) => log.error(&format!(
                    "failed to understand {}, which stays there: {error}",
                    path.display()
                )),
            }
        }
        Ok(Self {
            folder,
            clock,
            log,
            waiting: Mutex::new(waiting),
            told: Mutex::default(),
        })
    }

    /// Takes the last update of a run. Once this returns, it is not lost any more; what comes later
    /// for the same run is dropped, for a run ends once.
    pub fn post(&self, run_id: &WireId, body: Vec<u8>) {
        let name = name_of(run_id);
        let mut waiting = self.lock();
        if waiting.contains_key(&name) {
            drop(waiting);
            self.log.error(&format!(
                "run {run_id} ended a second time, which is not told"
            ));
            return;
        }
        let body = String::from_utf8(body).expect("updates are JSON");
        let letter = Letter {
            run_id: run_id.clone(),
            body,
        };
        let bytes = serde_json::to_vec(&letter).expect("texts and numbers have JSON");
        let path = self.path(&name);
        if let Err(error) = local_file::replace(&path, &bytes) {
            // It is sent from memory: only a crash before that loses it.
            self.log.error(&format!(
                "failed to write {}: {error}; how run {run_id} ended is lost if the service ends before it is told",
                path.display()
            ));
        }
        waiting.insert(name, Waiting::new(letter));
    }

    /// Lets the end of a run be told once more that was acknowledged, and returns whether there is
    /// one: a server that hands the run out again has lost it.
    pub fn tell_again(&self, run_id: &WireId) -> bool {
        let mut told = self.told.lock().expect("nobody panics while he holds it");
        let place = told.iter().position(|it| it.run_id.names_same(run_id));
        let Some(letter) = place.and_then(|place| told.remove(place)) else {
            return false;
        };
        drop(told);
        self.post(run_id, letter.body.into_bytes());
        true
    }

    /// Returns whether the run has ended and the control plane may not know yet.
    pub fn holds(&self, run_id: &WireId) -> bool {
        self.lock().contains_key(&name_of(run_id))
    }

    /// Returns how many updates wait.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Returns whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Sends what is due; with `now` everything that waits.
    pub fn deliver(&self, plane: &ControlPlane, now: bool, stop: &StopSignal) {
        let time = self.clock.monotonic();
        let due: Vec<String> = {
            let mut waiting = self.lock();
            let mut due = Vec::new();
            for (name, it) in waiting.iter_mut() {
                if !it.is_on_its_way && (now || it.not_before <= time) {
                    it.is_on_its_way = true;
                    due.push(name.clone());
                }
            }
            due
        };
        for name in due {
            self.deliver_one(&name, plane, stop);
        }
    }

    fn deliver_one(&self, name: &str, plane: &ControlPlane, stop: &StopSignal) {
        let letter = {
            let waiting = self.lock();
            let Some(it) = waiting.get(name) else { return };
            it.letter.clone()
        };
        let call = UpdateRun::heartbeat(letter.run_id.clone(), &Program::default());
        let sent = plane.call_with_body(&call, letter.body.as_bytes(), stop);
        let mut waiting = self.lock();
        match sent {
            Ok(()) => {
                self.log
                    .info(&format!("the end of run {} is told", letter.run_id));
                self.remove(&mut waiting, name);
                let mut told = self.told.lock().expect("nobody panics while he holds it");
                told.push_back(letter);
                if told.len() > TOLD_MAX {
                    told.pop_front();
                }
            }
            Err(error) if error.is_final() => {
                self.log.error(&format!(
                    "the control plane will never take how run {} ended: {error}",
                    letter.run_id
                ));
                self.remove(&mut waiting, name);
            }
            Err(error) => {
                let Some(it) = waiting.get_mut(name) else {
                    return;
                };
                let doubled = PAUSE_MIN.saturating_mul(1 << it.attempts.min(10));
                let pause = doubled
                    .min(PAUSE_MAX)
                    .max(error.after().unwrap_or_default());
                it.attempts += 1;
                it.not_before = self.clock.monotonic() + pause;
                it.is_on_its_way = false;
                self.log.debug(&format!(
                    "the end of run {} could not be told yet: {error}",
                    letter.run_id
                ));
            }
        }
    }

    fn remove(&self, waiting: &mut BTreeMap<String, Waiting>, name: &str) {
        waiting.remove(name);
        let path = self.path(name);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            self.log
                .error(&format!("failed to delete {}: {error}", path.display()));
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        records::path(&self.folder, name)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Waiting>> {
        self.waiting
            .lock()
            .expect("nobody panics while he holds it")
    }
}

impl Waiting {
    fn new(letter: Letter) -> Self {
        Self {
            letter,
            attempts: 0,
            not_before: Duration::ZERO,
            is_on_its_way: false,
        }
    }
}

/// Returns the name of a run's files: whatever a server calls it, it is one of a file.
pub fn name_of(run_id: &WireId) -> String {
    hex::encode(&Sha256::digest(run_id.to_string())[..16])
}
