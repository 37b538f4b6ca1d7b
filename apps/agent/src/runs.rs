//! Runs: what is handed out, from the claim to its end.

mod files;
mod hyperv;
mod hyperv_choice;
mod hyperv_news;
mod hyperv_options;
mod hyperv_stats;
mod stages;
mod vm_registration;

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::WireId;
use protocol::event::{BackupStarting, CompletedFailed};
use protocol::next_run::{Engine, Run};
use protocol::update_run::{Ending, RunStatus};

use crate::meter::Meter;
use crate::parts::Parts;
use crate::reporter::Reporter;
use crate::supervision::{Ended, Kind, supervise};

/// So many ways in which runs were handed out are remembered.
const OFFERS_MAX: usize = 100;

/// How runs were handed out lately, so that a copy that comes late is told from a run that is handed out
/// anew.
#[derive(Debug, Default)]
pub struct Offers(VecDeque<Offered>);

/// How a run was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// The run.
    pub run_id: WireId,
    /// Whether the control plane takes it for one that died.
    pub resume: bool,
    /// By when it died.
    pub last_heartbeat_at: Option<String>,
}

impl Offers {
    /// Returns whether a run that is handed out is to be begun. One that is being carried out goes on as it
    /// is; one that has ended is not begun again. If the control plane takes it for one that died although it
    /// was told of its end, it is told once more; a copy that comes late changes nothing.
    pub fn takes(&mut self, parts: &Parts, offered: Offered) -> bool {
        let run_id = offered.run_id.clone();
        let is_copy = self.0.contains(&offered);
        let died = offered.resume;
        if !is_copy {
            self.0.push_back(offered);
            if self.0.len() > OFFERS_MAX {
                self.0.pop_front();
            }
        }
        parts.runs_begun.is_handed_out(&run_id);
        let because = if parts.active.holds(&run_id) {
            "goes on"
        } else if parts.outbox.holds(&run_id) {
            parts.outbox.hurry(&run_id);
            "has ended, which is about to be told"
        } else if !parts.outbox.knows(&run_id) {
            return true;
        } else if died && !is_copy {
            parts.outbox.tell_again(&run_id);
            "has ended, which is told once more"
        } else {
            "has ended, which was told"
        };
        parts
            .log
            .info(&format!("run {run_id} was handed out again and {because}"));
        false
    }
}

/// Carries a run out that was handed out and is to be begun, and returns when it has ended.
pub fn carry_out(parts: &Parts, run: &Run) {
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

/// Ends a run as failed that is to be begun and cannot even be read.
pub fn refuse(parts: &Parts, run_id: &WireId, reason: &str) {
    let reporter = Reporter::new(parts, run_id.clone());
    let why = format!("what the control plane says of this run cannot be used: {reason}");
    let ending = Ending::failed(parts.ports.clock.now(), why);
    reporter.ends(ending, Vec::new());
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
    Ended::new(ending, last_events)
}

fn starting(engine: &str) -> BackupStarting {
    BackupStarting {
        engine: engine.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use protocol::endpoint::Endpoint;

    use super::*;
    use crate::test_parts::{TestLine, clock, parts};

    fn offered(resume: bool, last_heartbeat_at: &str) -> Offered {
        Offered {
            run_id: WireId::Number(7),
            resume,
            last_heartbeat_at: Some(last_heartbeat_at.to_owned()).filter(|it| !it.is_empty()),
        }
    }

    #[test]
    fn a_late_copy_of_a_run_that_has_ended_changes_nothing_also_after_a_restart() {
        let (folder, line) = (tempfile::tempdir().unwrap(), TestLine::quiet());
        let clock = clock();
        let first = parts(folder.path(), &line, clock.clone());
        let mut offers = Offers::default();
        assert!(offers.takes(&first, offered(true, "10:00:00")));
        refuse(&first, &WireId::Number(7), "because");
        // Not told yet: it is about to be.
        assert!(!offers.takes(&first, offered(true, "10:00:00")));
        Reporter::new(&first, WireId::Number(7)).tells_end();
        assert_eq!(line.bodies(Endpoint::UpdateRun).len(), 1);
        for late in [offered(false, ""), offered(true, "10:00:00")] {
            assert!(!offers.takes(&first, late));
            assert!(first.outbox.is_empty());
        }
        let second = parts(folder.path(), &line, clock.clone());
        assert!(!Offers::default().takes(&second, offered(false, "")));
        assert!(second.outbox.is_empty());
    }

    #[test]
    fn a_run_whose_end_the_control_plane_lost_is_not_begun_again_and_told_once_more() {
        let (folder, line) = (tempfile::tempdir().unwrap(), TestLine::quiet());
        let parts = parts(folder.path(), &line, clock());
        let mut offers = Offers::default();
        assert!(offers.takes(&parts, offered(false, "")));
        refuse(&parts, &WireId::Number(7), "because");
        let tell = || Reporter::new(&parts, WireId::Number(7)).tells_end();
        tell();
        assert!(!offers.takes(&parts, offered(true, "10:00:00")));
        tell();
        let told = line.bodies(Endpoint::UpdateRun);
        assert_eq!((told.len(), &told[0]), (2, &told[1]));
    }
}
