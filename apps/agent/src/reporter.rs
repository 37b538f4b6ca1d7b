//! What the control plane is told of one run: begun, how far, ended, in this order and each once.

use std::sync::Mutex;

use protocol::WireId;
use protocol::event::Event;
use protocol::request::{Body, Call as _};
use protocol::update_run::{DiskProgress, Ending, Progress, UpdateRun};
use time_and_chance::StopSignal;

use crate::control_plane::{CallError, Ends};
use crate::outbox::Which;
use crate::parts::Parts;

/// Tells of one run. What is told of it stands in line, so that the last is the last.
#[derive(Debug)]
pub struct Reporter<'p> {
    parts: &'p Parts,
    run_id: WireId,
    stage: Mutex<Stage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The control plane does not know yet that it has begun.
    New,
    Begun,
    Ended,
}

impl<'p> Reporter<'p> {
    /// Returns what tells of a run.
    pub fn new(parts: &'p Parts, run_id: WireId) -> Self {
        Self {
            parts,
            run_id,
            stage: Mutex::new(Stage::New),
        }
    }

    /// Returns the run.
    pub fn run_id(&self) -> &WireId {
        &self.run_id
    }

    /// Tells that the run has begun, or how far it and its disks are. That it cannot be told is nothing to the run. `stop`
    /// keeps it from being told; once it is on its way, its answer is waited for: cut off, it could come after
    /// the run's end.
    pub fn is_at(
        &self,
        progress: Progress,
        disks: Option<&[DiskProgress]>,
        stop: &StopSignal,
    ) -> Result<(), CallError> {
        let mut stage = self.stage.lock().expect("nobody panics while he tells");
        let (parts, program) = (self.parts, &self.parts.ports.program);
        let run_id = self.run_id.clone();
        let (update, stop) = match *stage {
            Stage::Ended => return Ok(()),
            Stage::Begun => (UpdateRun::progressed(run_id, program, progress), stop),
            // However short the run is, its beginning is told.
            Stage::New => {
                let begun = UpdateRun::started(run_id, program, parts.ports.clock.now());
                (UpdateRun { progress, ..begun }, &parts.stop)
            }
        };
        let update = match disks {
            Some(disks) => update.with_disks(disks),
            None => update,
        };
        let cut = &parts.cut;
        parts.plane.call_through(&update, Ends { stop, cut })?;
        *stage = Stage::Begun;
        Ok(())
    }

    /// Tells of an event, when there is time.
    pub fn event(&self, event: impl Into<Event>) {
        self.parts.events.push(&self.run_id, event.into());
    }

    /// Notes how the run ended, and what is to be told after that. Once this returns it is told for certain,
    /// sooner or later.
    pub fn ends(&self, mut ending: Ending, last_events: Vec<Event>) {
        let mut stage = self.stage.lock().expect("nobody panics while he tells");
        if *stage == Stage::Ended {
            return;
        }
        *stage = Stage::Ended;
        ending.error_summary = self.parts.log.redacted(&ending.error_summary);
        self.parts.log.info(&format!(
            "run {} ended as {}{}",
            self.run_id,
            ending.status.as_str(),
            match ending.error_summary.as_str() {
                "" => String::new(),
                why => format!(": {why}"),
            }
        ));
        let update = UpdateRun::ended(self.run_id.clone(), &self.parts.ports.program, ending);
        let Body::Json(body) = update.body() else {
            unreachable!("updates of runs are JSON");
        };
        self.parts.outbox.post(&self.run_id, body, last_events);
        self.parts.runs_begun.remove(&self.run_id);
    }

    /// Tells how the run ended now rather than later, if that can be.
    pub fn tells_end(&self) {
        let ends = Ends::by(&self.parts.cut);
        tell_ends(self.parts, Which::Of(&self.run_id), ends);
    }
}

/// Tells how runs ended, and then what is to be told after that.
pub fn tell_ends(parts: &Parts, which: Which<'_>, ends: Ends<'_>) {
    for (run_id, last_events) in parts.outbox.deliver(which, &parts.plane, ends) {
        for event in last_events {
            parts.events.push(&run_id, event);
        }
    }
}

#[cfg(test)]
mod tests {

    use protocol::endpoint::Endpoint;

    use super::*;
    use crate::http::LineErrorKind;
    use crate::test_parts::{TestLine, clock, no_answer, parts, success};

    #[test]
    fn a_sign_of_life_that_is_on_its_way_is_not_cut_off_and_so_never_comes_after_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let (line, there, go_on) = TestLine::held("{}");
        let parts = parts(folder.path(), &line, clock());
        let reporter = Reporter::new(&parts, WireId::Number(7));
        let is_over = StopSignal::new();
        let tell = || reporter.is_at(Progress::default(), None, &is_over);
        std::thread::scope(|scope| {
            let begun = scope.spawn(tell);
            there.recv().unwrap();
            go_on.send(()).unwrap();
            begun.join().unwrap().unwrap();
            let told = scope.spawn(tell);
            there.recv().unwrap();
            // The run is over, and the service ends too.
            is_over.stop();
            parts.stop.stop();
            go_on.send(()).unwrap();
            told.join().unwrap().unwrap();
        });
        // And none begins any more.
        assert!(reporter.is_at(Progress::default(), None, &is_over).is_err());
        assert_eq!(line.bodies(Endpoint::UpdateRun).len(), 2);
    }

    #[test]
    fn an_end_on_its_way_is_not_cut_off_by_the_end_of_the_service() {
        let folder = tempfile::tempdir().unwrap();
        let line = TestLine::new(|_, stop| match stop.is_stopped() {
            true => no_answer(LineErrorKind::Stopped),
            false => success("{}"),
        });
        let parts = parts(folder.path(), &line, clock());
        parts.stop.stop();
        let reporter = Reporter::new(&parts, WireId::Number(7));
        let ending = Ending::failed(parts.ports.clock.now(), "because");
        reporter.ends(ending, Vec::new());
        reporter.tells_end();
        assert!(parts.outbox.is_empty());
        let told = line.documents(Endpoint::UpdateRun);
        assert_eq!((told.len(), &told[0]["status"]), (1, &"failed".into()));
    }
}
