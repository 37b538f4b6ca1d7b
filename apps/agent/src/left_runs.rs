//! Runs that a dead service left: who ends them, and when.
//!
//! A restore is ended as failed, for nobody hands it out again. A backup is handed out again by the control
//! plane while its last heartbeat is between three and twelve minutes old, the oldest run first, and
//! later ended by it (control-plane API 3.1). So it is waited for, and kept from growing too old as long
//! as other runs leave no room for it.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::update_run::{Ending, RunStatus, UpdateRun};
use time_and_chance::SignedDuration;

use crate::control_plane::Ends;
use crate::outbox::name_of;
use crate::parts::Parts;
use crate::receiving;
use crate::reporter::Reporter;
use crate::runs_begun::BegunRun;
use crate::status::Status;

/// A run without a heartbeat for so long is not handed out any more: the control plane ends it.
const WATCHDOG: Duration = Duration::from_mins(12);
/// A run that there is no room for gets a sign of life this often: early enough for one that was nearly
/// due to be handed out when the service began, late enough that it is due most of the time.
const SIGN_OF_LIFE: Duration = Duration::from_mins(8);
/// A control plane that has not ended a run by then does not look after its runs.
const FORGOTTEN: Duration = Duration::from_mins(20);

/// Ends what a dead service left and nobody will hand out again.
pub fn settle(parts: &Parts) {
    let silence = silence(parts);
    for run in parts.runs_begun.left() {
        let run_id = &run.run_id;
        if parts.outbox.knows(run_id) {
            parts.runs_begun.remove(run_id);
        } else if !run.is_backup {
            let why = "the service ended while this was going on; order it again";
            end_as_failed(parts, &run, why);
        } else if silence > WATCHDOG {
            parts.log.info(&format!(
                "run {run_id} was going on when the service ended, so long ago that the control plane has ended it"
            ));
            parts.runs_begun.remove(run_id);
        }
    }
}

/// Returns for how long no service was here.
fn silence(parts: &Parts) -> Duration {
    let status = Status::read(&parts.ports.places.state).ok().flatten();
    let since = status.map(|it| parts.ports.clock.now().duration_since(it.updated_at));
    let since = since.unwrap_or(SignedDuration::ZERO);
    Duration::try_from(since).unwrap_or_default()
}

/// Looks after backups that a dead service left.
#[derive(Debug)]
pub struct LeftRuns {
    /// When the first look was.
    begun: Duration,
    /// When a run last gave a sign of life.
    signs: BTreeMap<String, Duration>,
}

impl LeftRuns {
    /// Begins to look after them.
    pub fn new(now: Duration) -> Self {
        Self {
            begun: now,
            signs: BTreeMap::new(),
        }
    }

    /// Ends those that were cancelled meanwhile, and keeps those alive that there is no room for.
    pub fn look_after(&mut self, parts: &Parts, has_room: bool) {
        for run in parts.runs_begun.left() {
            parts.ports.pulse.beat();
            if parts.stop.is_stopped() {
                return;
            }
            self.look_after_one(parts, &run, has_room);
        }
    }

    fn look_after_one(&mut self, parts: &Parts, run: &BegunRun, has_room: bool) {
        let run_id = &run.run_id;
        let is_cancelled = match receiving::of_run(parts, run_id, &parts.stop) {
            Ok(is_cancelled) => is_cancelled,
            Err(error) if error.is_final() => {
                parts.log.info(&format!(
                    "run {run_id}, which an earlier service left, is none of the control plane's any more: {error}"
                ));
                parts.runs_begun.remove(run_id);
                return;
            }
            // Nobody knows.
            Err(_) => return,
        };
        let now = parts.ports.clock.monotonic();
        let last = self.signs.get(&name_of(run_id)).copied();
        let silent = now.saturating_sub(last.unwrap_or(self.begun));
        if is_cancelled {
            let ending = Ending {
                error_summary: "cancelled on request".to_owned(),
                ..Ending::new(RunStatus::Cancelled, parts.ports.clock.now())
            };
            Reporter::new(parts, run_id.clone()).ends(ending, Vec::new());
        } else if !has_room && silent >= SIGN_OF_LIFE {
            let sign = UpdateRun::heartbeat(run_id.clone(), &parts.ports.program);
            let (stop, cut) = (&parts.stop, &parts.cut);
            if parts.plane.call_through(&sign, Ends { stop, cut }).is_ok() {
                self.signs.insert(name_of(run_id), now);
            }
        } else if silent >= FORGOTTEN {
            let why = "the service ended while this run was going on, and the control plane did not hand it out again; the next run continues from what is stored";
            end_as_failed(parts, run, why);
        }
    }
}

fn end_as_failed(parts: &Parts, run: &BegunRun, why: &str) {
    let ending = Ending::failed(parts.ports.clock.now(), why);
    Reporter::new(parts, run.run_id.clone()).ends(ending, Vec::new());
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use protocol::WireId;
    use protocol::endpoint::Endpoint;
    use time_and_chance::{ManualClock, SharedClock};

    use super::*;
    use crate::test_parts::{self, TestLine, clock, success};

    const LOOK: Duration = Duration::from_secs(20);

    /// Returns the parts of a service after one that died during a backup.
    fn parts(folder: &Path, line: &Arc<TestLine>, clock: SharedClock) -> Parts {
        let dead = test_parts::parts(folder, line, clock.clone());
        dead.runs_begun.add(&BegunRun {
            run_id: WireId::Number(7),
            is_backup: true,
            begun_at: dead.ports.clock.now(),
            pieces: 0,
        });
        Status::of(&dead).write(folder).unwrap();
        test_parts::parts(folder, line, clock.clone())
    }

    /// Lets time pass while runs are looked after.
    fn pass(
        left: &mut LeftRuns,
        parts: &Parts,
        clock: &ManualClock,
        time: Duration,
        has_room: bool,
    ) {
        let until = parts.ports.clock.monotonic() + time;
        while parts.ports.clock.monotonic() < until {
            left.look_after(parts, has_room);
            clock.advance(LOOK);
        }
    }

    #[test]
    fn a_backup_is_waited_for_as_long_as_it_may_be_handed_out_and_does_not_hang_for_ever() {
        let (folder, clock, line) = (tempfile::tempdir().unwrap(), clock(), TestLine::quiet());
        let parts = parts(folder.path(), &line, clock.clone());
        settle(&parts);
        let mut left = LeftRuns::new(parts.ports.clock.monotonic());
        pass(&mut left, &parts, &clock, Duration::from_mins(15), true);
        assert!(parts.outbox.is_empty() && line.bodies(Endpoint::UpdateRun).is_empty());
        assert_eq!(parts.runs_begun.left().len(), 1);
        pass(&mut left, &parts, &clock, Duration::from_mins(15), true);
        assert!(parts.outbox.holds(&WireId::Number(7)));
        assert!(parts.runs_begun.left().is_empty());
    }

    #[test]
    fn a_backup_without_room_is_kept_alive_and_due_to_be_handed_out_most_of_the_time() {
        let (folder, clock, line) = (tempfile::tempdir().unwrap(), clock(), TestLine::quiet());
        let parts = parts(folder.path(), &line, clock.clone());
        settle(&parts);
        let mut left = LeftRuns::new(parts.ports.clock.monotonic());
        pass(&mut left, &parts, &clock, Duration::from_hours(2), false);
        let signs = line.documents(Endpoint::UpdateRun);
        assert!((13..=15).contains(&signs.len()), "{}", signs.len());
        assert!(signs.iter().all(|sign| sign["status"].is_null()));
        assert_eq!(parts.runs_begun.left().len(), 1);
        // There is room again, and it is handed out in time.
        pass(&mut left, &parts, &clock, Duration::from_mins(11), true);
        assert!(parts.outbox.is_empty());
        parts.runs_begun.is_handed_out(&WireId::Number(7));
        pass(&mut left, &parts, &clock, Duration::from_hours(1), true);
        assert!(parts.outbox.is_empty());
    }

    #[test]
    fn a_backup_that_was_cancelled_meanwhile_ends_as_that() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
        let is_wanted = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&is_wanted);
        let line = TestLine::new(move |request, _| {
            let is_poll = request.endpoint == Endpoint::PollCommands;
            match is_poll && asked.load(Ordering::SeqCst) {
                true => success(r#"{"commands": [{"type": "cancel"}]}"#),
                false => success("{}"),
            }
        });
        let parts = parts(folder.path(), &line, clock.clone());
        let mut left = LeftRuns::new(parts.ports.clock.monotonic());
        pass(&mut left, &parts, &clock, Duration::from_mins(1), true);
        assert!(parts.outbox.is_empty());
        is_wanted.store(true, Ordering::SeqCst);
        pass(&mut left, &parts, &clock, Duration::from_mins(1), true);
        Reporter::new(&parts, WireId::Number(7)).tells_end();
        let told = line.documents(Endpoint::UpdateRun);
        assert_eq!((told.len(), &told[0]["status"]), (1, &"cancelled".into()));
    }

    #[test]
    fn a_backup_that_the_control_plane_has_ended_itself_is_let_go_of() {
        let (folder, clock, line) = (tempfile::tempdir().unwrap(), clock(), TestLine::quiet());
        let parts = parts(folder.path(), &line, clock.clone());
        clock.advance(WATCHDOG + Duration::from_secs(1));
        settle(&parts);
        assert!(parts.runs_begun.left().is_empty() && parts.outbox.is_empty());
    }

    #[test]
    fn a_restore_ends_as_failed_at_once() {
        let (folder, clock, line) = (tempfile::tempdir().unwrap(), clock(), TestLine::quiet());
        let dead = test_parts::parts(folder.path(), &line, clock.clone());
        dead.runs_begun.add(&BegunRun {
            run_id: WireId::Number(8),
            is_backup: false,
            begun_at: dead.ports.clock.now(),
            pieces: 0,
        });
        let parts = test_parts::parts(folder.path(), &line, clock.clone());
        settle(&parts);
        assert!(parts.outbox.holds(&WireId::Number(8)));
    }
}
