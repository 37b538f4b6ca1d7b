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
    carry_out(&record, update, &place, steps)?;
    Ok(match puts_back {
        true => AtStart::StartAnew,
        false => AtStart::GoOn,
    })
}

/// Carries out steps, one after the other; returns the update as it is then.
fn carry_out(
    record: &Record,
    mut update: Update,
    place: &Place,
    steps: Vec<Step>,
) -> Result<Update, UpdateError> {
    for step in steps {
        match step {
            Step::Note(stage) => {
                update.stage = stage;
                record.write(&update)?;
            }
            Step::KeepOld => place.keep_old()?,
            Step::PutInPlace => place.put_in_place()?,
            Step::PutBack => place.put_back()?,
            Step::ForgetStaged => place.forget_staged(),
            Step::ForgetKept => place.forget_kept(),
        }
    }
    Ok(update)
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
    /// Held by whoever tells how it ended.
    telling: Mutex<()>,
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
        let mut current = self.lock();
        if let Some(known) = &*current {
            let what = format!("begin: the update to {} is not over yet", known.to);
            return Err(UpdateError::new((), what));
        }
        self.record.write(&update)?;
        *current = Some(update);
        Ok(())
    }

    /// Puts the new program in the place of this one, which is kept, for its trial.
    pub fn replace(&self, to: &str) -> Result<(), UpdateError> {
        self.advance(|update, now| {
            to.clone_into(&mut update.to);
            plan::replace(now)
        })
        .map(|_| ())
    }

    /// Notes that the update failed before anything was replaced, or while it was: what is in place
    /// decides.
    pub fn fails(&self, why: &str) -> Result<(), UpdateError> {
        let place = self.current().map(|update| Place::of(&update.program));
        self.advance(|update, _| {
            let found = place.and_then(|place| place.look(update).ok());
            plan::failed(&update.stage, found, why)
        })
        .map(|_| ())
    }

    /// Looks how a trial goes.
    pub fn look(&self) -> Result<Trial, UpdateError> {
        if !self.is_on_trial {
            return Ok(Trial::Open);
        }
        let running_for = self.clock.monotonic().saturating_sub(self.begun);
        let has_polled = self.has_polled.load(Ordering::Relaxed);
        let steps =
            self.advance(|update, _| plan::on_trial(&update.stage, has_polled, running_for))?;
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
        let Ok(_telling) = self.telling.try_lock() else {
            return Ok(());
        };
        let Some(update) = self.current() else {
            return Ok(());
        };
        let Stage::Over { failure } = &update.stage else {
            return Ok(());
        };
        if !tell(&update, failure.as_deref()) {
            return Ok(());
        }
        let mut current = self.lock();
        let place = Place::of(&update.program);
        place.forget_staged();
        place.forget_kept();
        self.record.forget()?;
        *current = None;
        Ok(())
    }

    fn advance(
        &self,
        plan: impl FnOnce(&mut Update, Timestamp) -> Vec<Step>,
    ) -> Result<Vec<Step>, UpdateError> {
        let mut current = self.lock();
        let Some(update) = &*current else {
            return Ok(Vec::new());
        };
        let mut update = update.clone();
        let steps = plan(&mut update, self.clock.now());
        let place = Place::of(&update.program);
        let done = carry_out(&self.record, update, &place, steps.clone());
        // Whatever happened is what was written down.
        *current = match done {
            Ok(update) => Some(update),
            Err(error) => {
                *current = self.record.read().ok().flatten().or(current.take());
                return Err(error);
            }
        };
        Ok(steps)
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
