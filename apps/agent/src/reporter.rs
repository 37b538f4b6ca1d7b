//! What the control plane is told of one run: begun, how far, ended, in this order and each once.

use std::sync::Mutex;

use protocol::WireId;
use protocol::event::Event;
use protocol::request::{Body, Call as _};
use protocol::update_run::{Ending, Progress, UpdateRun};
use time_and_chance::StopSignal;

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

    /// Tells that the run has begun, or how far it is. That it cannot be told is nothing to the run;
    /// `stop` gives up waiting for an answer.
    pub fn is_at(&self, progress: Progress, stop: &StopSignal) -> bool {
        let mut stage = self.stage.lock().expect("nobody panics while he tells");
        let program = &self.parts.ports.program;
        let run_id = self.run_id.clone();
        // The first one has a status. Cut off on its way, it could come after the last one and
        // overwrite it, so its answer is waited for.
        let stop = match *stage {
            Stage::New => &self.parts.stop,
            Stage::Begun | Stage::Ended => stop,
        };
        let update = match *stage {
            Stage::Ended => return true,
            Stage::Begun => UpdateRun::progressed(run_id, program, progress),
            Stage::New => UpdateRun {
                progress,
                ..UpdateRun::started(run_id, program, self.parts.ports.clock.now())
            },
        };
        let told = self.parts.plane.call(&update, stop);
        if told.is_ok() {
            *stage = Stage::Begun;
        }
        told.is_ok()
    }

    /// Tells of an event, when there is time.
    pub fn event(&self, event: impl Into<Event>) {
        self.parts.events.push(&self.run_id, event.into());
    }

    /// Tells how the run ended. Once this returns it is told for certain, sooner or later.
    pub fn ends(&self, mut ending: Ending) {
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
        self.parts.outbox.post(&self.run_id, body);
        self.parts.runs_begun.remove(&self.run_id);
        self.parts
            .outbox
            .deliver(&self.parts.plane, false, &self.parts.stop);
    }
}
