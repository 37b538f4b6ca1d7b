//! Runs: what is handed out, from the claim to its end.

mod files;
mod hyperv;
mod hyperv_choice;
mod hyperv_news;
mod hyperv_options;
mod stages;

pub use hyperv_choice::ChosenVm;

use std::sync::Arc;

use protocol::WireId;
use protocol::event::{BackupStarting, CompletedFailed};
use protocol::next_run::{Engine, Run};
use protocol::update_run::{Ending, RunStatus};

use crate::meter::Meter;
use crate::parts::Parts;
use crate::reporter::Reporter;
use crate::supervision::{Ended, Kind, supervise};

/// Carries a run out that was handed out, and returns when it has ended. One that is being carried
/// out already goes on as it is; one that has ended, and whose end the control plane does not know
/// yet, is not begun again.
pub fn carry_out(parts: &Parts, run: &Run) {
    if parts.active.holds(&run.run_id) {
        parts.log.info(&format!(
            "run {} was handed out again and goes on",
            run.run_id
        ));
        return;
    }
    if parts.outbox.holds(&run.run_id) || parts.outbox.tell_again(&run.run_id) {
        parts.log.info(&format!(
            "run {} was handed out again and has ended, which is told once more",
            run.run_id
        ));
        parts.outbox.deliver(&parts.plane, true, &parts.stop);
        return;
    }
    if run.resume {
        let was = run.last_heartbeat_at.as_deref().unwrap_or("unknown");
        parts.log.warn(&format!(
            "run {} was begun before and died (last heartbeat {was}); it is begun again",
            run.run_id
        ));
    }
    let kind = Kind {
        name: run.engine.as_str().to_owned(),
        is_backup: true,
        job_id: run.job_id.clone(),
    };
    match run.engine {
        Engine::Kopia => files::carry_out(parts, run, &kind),
        Engine::Hyperv => hyperv::carry_out(parts, run, &kind),
        ref other => {
            let why = format!("engine {} is not in this version", other.as_str());
            end_at_once(parts, &run.run_id, &kind, &why);
        }
    }
}

/// Ends a run as failed that cannot even be read.
pub fn refuse(parts: &Parts, run_id: &WireId, reason: &str) {
    if parts.active.holds(run_id) || parts.outbox.holds(run_id) {
        return;
    }
    let reporter = Reporter::new(parts, run_id.clone());
    let why = format!("what the control plane says of this run cannot be used: {reason}");
    reporter.ends(Ending::failed(parts.ports.clock.now(), why));
}

fn end_at_once(parts: &Parts, run_id: &WireId, kind: &Kind, why: &str) {
    let meter = Arc::new(Meter::new(0, |_| {}));
    supervise(parts, run_id, kind, &meter, |work| {
        let ending = Ending::failed(work.parts.ports.clock.now(), why);
        failed(ending, &kind.name)
    });
}

/// Returns what a run came to that has nothing to show, with the event that says so.
fn failed(ending: Ending, engine: &str) -> Ended {
    let last_events = match ending.status {
        RunStatus::Failed => {
            let event = CompletedFailed {
                error: ending.error_summary.clone(),
                engine: engine.to_owned(),
            };
            vec![event.into()]
        }
        _ => vec![stages::cancelled("").into()],
    };
    Ended {
        ending,
        last_events,
    }
}

fn starting(engine: &str) -> BackupStarting {
    BackupStarting {
        engine: engine.to_owned(),
    }
}
