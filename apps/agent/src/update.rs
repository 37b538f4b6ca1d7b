//! Replacing this program by a newer one, and putting the old one back when that does not come up.
//!
//! ```text
//! fetched ─► checked ─► waits for runs ─► takes the old one's place ─► on trial ─► has polled: over
//!                                             the old one is kept        └─► does not come up: put back
//! ```
//!
//! How far it is is written down before each step that cannot be taken back, so whoever starts next
//! knows what to do: the new program, the old one, or on Linux the old one before the service, which
//! judges a new one that does not even begin.

mod download;
mod files;
mod order;
mod plan;
mod record;
mod signature;
mod version;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use fault::Fault;
use time_and_chance::{SharedClock, Timestamp};

pub use download::{Download, Fetched};
pub use files::{Place, kept_beside, sha256_of};
pub use order::{Wanted, check_direction, check_label, wanted};
pub use plan::Stage;
pub use record::Update;
pub use signature::ReleaseKeys;
pub use version::{Version, said_by};

use plan::{Start, Step};
use record::Record;

/// Why a step of an update failed.
pub type UpdateError = Fault<()>;

/// What a program that begins is to do about an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtStart {
    /// Go on.
    GoOn,
    /// Another program was put in this one's place: end, to be started anew as that.
    StartAnew,
}

/// Does what an update needs when the service begins, before anything else: counts the start of a
/// new program, and puts the old one back when it had its chances. `start` tells starts apart where
/// somebody has looked already before this one, as the old program does on Linux.
pub fn at_start(
    state: &Path,
    clock: &SharedClock,
    start: Option<&str>,
) -> Result<AtStart, UpdateError> {
    let record = Record::in_folder(state);
    let Some(update) = record.read()? else {
        return Ok(AtStart::GoOn);
    };
    let place = Place::of(&update.program);
    let found = place.look(&update)?;
    let start = Start {
        id: start,
        now: clock.now(),
    };
    let steps = plan::at_start(&update.stage, found, start);
    let puts_back = steps.contains(&Step::PutBack);
    carry_out(&record, update, &place, steps, Notes::Needed)?;
    Ok(match puts_back {
        true => AtStart::StartAnew,
        false => AtStart::GoOn,
    })
}

/// What it means that a stage cannot be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notes {
    /// That nothing more is done: whoever starts next must know.
    Needed,
    /// Nothing for now: on the way back to the old program every earlier note leads whoever starts next to the
    /// same end, by what is found in place.
    Wanted,
}

/// Carries out steps, one after the other; returns the update as it is then, and why not all of its stages
/// are written down.
fn carry_out(
    record: &Record,
    mut update: Update,
    place: &Place,
    steps: Vec<Step>,
    notes: Notes,
) -> Result<(Update, Option<UpdateError>), UpdateError> {
    let mut unwritten = None;
    for step in steps {
        match step {
            Step::Note(stage) => {
                update.stage = stage;
                match record.write(&update) {
                    Err(error) if notes == Notes::Needed => return Err(error),
                    written => unwritten = written.err(),
                }
            }
            Step::KeepOld => place.keep_old()?,
            Step::PutInPlace => place.put_in_place()?,
            Step::PutBack => place.put_back()?,
            Step::ForgetStaged => place.forget_staged(),
            Step::ForgetKept => place.forget_kept(),
        }
    }
    Ok((update, unwritten))
}

/// The update that is under way, if there is one.
#[derive(Debug)]
pub struct Updates {
    record: Record,
    clock: SharedClock,
    begun: Duration,
    /// This process is the one on trial, and not the one from before on its way out.
    is_on_trial: bool,
    has_polled: AtomicBool,
    /// No run is begun any more.
    is_waiting_for_runs: AtomicBool,
    current: Mutex<Option<Update>>,
    /// Held by whoever tells how it ended: whether that is told, and only has to be forgotten.
    telling: Mutex<bool>,
}

/// What became of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// There is none, or nothing is known yet.
    Open,
    /// The new program works.
    Passed,
    /// The old one was put back.
    PutBack,
}

impl Updates {
    /// Returns what is written down in a state folder.
    pub fn in_folder(state: &Path, clock: SharedClock) -> Result<Self, UpdateError> {
        let record = Record::in_folder(state);
        let current = record.read()?;
        let is_on_trial = current
            .as_ref()
            .is_some_and(|it| matches!(it.stage, Stage::OnTrial { .. }));
        Ok(Self {
            is_on_trial,
            current: Mutex::new(current),
            begun: clock.monotonic(),
            has_polled: AtomicBool::new(false),
            is_waiting_for_runs: AtomicBool::new(false),
            telling: Mutex::default(),
            record,
            clock,
        })
    }

    /// Returns the update that is under way or not told yet.
    pub fn current(&self) -> Option<Update> {
        self.lock().clone()
    }

    /// Notes that the control plane answered a poll: this program works.
    pub fn has_polled(&self) {
        self.has_polled.store(true, Ordering::Relaxed);
    }

    /// Lets no run begin any more, or again.
    pub fn wait_for_runs(&self, is_waiting: bool) {
        self.is_waiting_for_runs.store(is_waiting, Ordering::SeqCst);
    }

    /// Returns whether no run is to begin.
    pub fn is_waiting_for_runs(&self) -> bool {
        self.is_waiting_for_runs.load(Ordering::SeqCst)
    }

    /// Begins an update, unless one is under way.
    pub fn begin(&self, update: Update) -> Result<(), UpdateError> {
        let mut is_told = self.telling.lock().expect("nobody panics while he tells");
        let mut current = self.lock();
        if let Some(known) = current.as_ref().filter(|_| !*is_told) {
            let what = format!("begin: the update to {} is not over yet", known.to);
            return Err(UpdateError::new((), what));
        }
        self.record.write(&update)?;
        *current = Some(update);
        *is_told = false;
        Ok(())
    }

    /// Puts the new program in the place of this one, which is kept, for its trial.
    pub fn replace(&self, to: &str) -> Result<(), UpdateError> {
        self.advance(Notes::Needed, |update, now| {
            to.clone_into(&mut update.to);
            plan::replace(now)
        })
        .map(|_| ())
    }

    /// Notes that the update failed before anything was replaced, or while it was: what is in place
    /// decides.
    ///
    /// # Errors
    /// That this could not be written down, which takes nothing back ([`Self::is_over`]), or that the old
    /// program could not be put back.
    pub fn fails(&self, why: &str) -> Result<(), UpdateError> {
        let place = self.current().map(|update| Place::of(&update.program));
        self.advance(Notes::Wanted, |update, _| {
            let found = place.and_then(|place| place.look(update).ok());
            plan::failed(&update.stage, found, why)
        })
        .map(|_| ())
    }

    /// Returns whether an update has ended, and nobody was told yet.
    pub fn is_over(&self) -> bool {
        let current = self.lock();
        current
            .as_ref()
            .is_some_and(|it| matches!(it.stage, Stage::Over { .. }))
    }

    /// Looks how a trial goes.
    pub fn look(&self) -> Result<Trial, UpdateError> {
        if !self.is_on_trial {
            return Ok(Trial::Open);
        }
        let running_for = self.clock.monotonic().saturating_sub(self.begun);
        let has_polled = self.has_polled.load(Ordering::Relaxed);
        let steps = self.advance(Notes::Needed, |update, _| {
            plan::on_trial(&update.stage, has_polled, running_for)
        })?;
        Ok(match steps {
            steps if steps.contains(&Step::PutBack) => Trial::PutBack,
            steps if steps.is_empty() => Trial::Open,
            _ => Trial::Passed,
        })
    }

    /// Calls `tell` with an update that is over, unless somebody does; forgets it if that says that
    /// it is told.
    pub fn tell(
        &self,
        tell: impl FnOnce(&Update, Option<&str>) -> bool,
    ) -> Result<(), UpdateError> {
        let Ok(mut is_told) = self.telling.try_lock() else {
            return Ok(());
        };
        let Some(update) = self.current() else {
            return Ok(());
        };
        let Stage::Over { failure } = &update.stage else {
            return Ok(());
        };
        if !*is_told && !tell(&update, failure.as_deref()) {
            return Ok(());
        }
        *is_told = true;
        let mut current = self.lock();
        let place = Place::of(&update.program);
        place.forget_staged();
        place.forget_kept();
        self.record.forget()?;
        *current = None;
        *is_told = false;
        Ok(())
    }

    fn advance(
        &self,
        notes: Notes,
        plan: impl FnOnce(&mut Update, Timestamp) -> Vec<Step>,
    ) -> Result<Vec<Step>, UpdateError> {
        let mut current = self.lock();
        let Some(update) = &*current else {
            return Ok(Vec::new());
        };
        let mut update = update.clone();
        let steps = plan(&mut update, self.clock.now());
        let place = Place::of(&update.program);
        let done = carry_out(&self.record, update, &place, steps.clone(), notes);
        match done {
            Ok((update, unwritten)) => {
                *current = Some(update);
                unwritten.map_or(Ok(steps), Err)
            }
            // Whatever happened is what was written down.
            Err(error) => {
                *current = self.record.read().ok().flatten().or(current.take());
                Err(error)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Update>> {
        self.current
            .lock()
            .expect("nobody panics while he holds it")
    }
}

/// Returns the program that this process is, by its path, as it was when it was asked for.
pub fn this_program() -> std::io::Result<PathBuf> {
    std::env::current_exe().and_then(|path| local_file::real_path(&path))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::test_parts::clock;

    fn update(program: &Path, command_id: u64) -> Update {
        Update {
            identity: "me".to_owned(),
            command_id,
            update_job_id: 3,
            from: "1.9.0".to_owned(),
            to: "1.10.0".to_owned(),
            program: program.to_owned(),
            old_sha256: sha256_of(program).unwrap(),
            new_sha256: "00".repeat(32),
            stage: Stage::Preparing,
        }
    }

    #[test]
    fn a_failure_that_cannot_be_written_down_is_told_once_and_another_update_may_begin() {
        let folder = tempfile::tempdir().unwrap();
        let (state, program) = (folder.path().join("state"), folder.path().join("program"));
        fs::create_dir(&state).unwrap();
        fs::write(&program, "old").unwrap();
        let updates = Updates::in_folder(&state, clock()).unwrap();
        updates.begin(update(&program, 311)).unwrap();
        // Neither written nor removed: not even an administrator can do that to a folder in its place.
        let record = state.join("update.json");
        fs::remove_file(&record).unwrap();
        fs::create_dir(&record).unwrap();
        updates.fails("no room").unwrap_err();
        assert!(updates.is_over());
        let told = Mutex::new(Vec::new());
        let tell = || {
            updates.tell(|update, why| {
                let why = why.map(str::to_owned);
                told.lock().unwrap().push((update.command_id, why));
                true
            })
        };
        tell().unwrap_err();
        tell().unwrap_err();
        assert_eq!(*told.lock().unwrap(), [(311, Some("no room".to_owned()))]);
        updates.begin(update(&program, 312)).unwrap_err();
        fs::remove_dir(&record).unwrap();
        updates.begin(update(&program, 312)).unwrap();
        updates.begin(update(&program, 313)).unwrap_err();
        updates.fails("too large").unwrap();
        tell().unwrap();
        assert_eq!(told.lock().unwrap().len(), 2);
        assert!(updates.current().is_none() && !record.exists());
    }
}
