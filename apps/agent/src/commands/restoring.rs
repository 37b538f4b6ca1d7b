//! What all restores have in common: the run they report to, where they write, what they read from,
//! and what their command is answered with.

use std::path::PathBuf;
use std::sync::Arc;

use point::Points;
use protocol::commands::{Command, JobContext};
use protocol::event::KopiaRestoreConnecting;
use protocol::update_run::{Ending, RunStatus};

use super::{Reply, failed};
use crate::destination::Destination;
use crate::meter::Meter;
use crate::parts::Parts;
use crate::repositories::{Absent, Lease};
use crate::storage;
use crate::supervision::{Ended, Kind, Work, supervise};

/// Carries a restore out, and reports to its run.
pub fn carry_out(
    parts: &Parts,
    command: &Command,
    meter: Meter,
    work: impl FnOnce(&Work<'_>) -> Ended,
) -> Result<Reply, String> {
    let run_id = command
        .restore_run()
        .ok_or("the order names no run to report to")?;
    let kind = Kind {
        name: command.name.clone(),
        is_backup: false,
        job_id: command.job_id.clone(),
    };
    reply(supervise(parts, &run_id, &kind, &Arc::new(meter), work))
}

fn reply(ending: Option<Ending>) -> Result<Reply, String> {
    let ending = ending.ok_or("this restore is going on already, or was interrupted")?;
    match ending.status {
        RunStatus::Success => Ok(Reply::Done("restored".to_owned())),
        RunStatus::Warning => Ok(Reply::Done(ending.error_summary)),
        _ => Err(ending.error_summary),
    }
}

/// Returns the folder that an order names.
pub fn target(path: &str) -> Result<PathBuf, String> {
    let target = PathBuf::from(path);
    match target.is_absolute() {
        true => Ok(target),
        false => Err(format!(
            "{path:?} is no whole path of a folder to restore to"
        )),
    }
}

/// What a restore reads from.
pub struct Source<'w> {
    pub lease: Lease<'w>,
    pub points: Points,
}

/// Opens the repository of an order, and finds its points.
pub fn open<'w>(work: &Work<'w>, context: &JobContext) -> Result<Source<'w>, String> {
    work.meter.is_at("", "opening the repository");
    work.reporter.event(KopiaRestoreConnecting {
        bucket: context.destination.dest_bucket_name.clone(),
        prefix: context.destination.dest_prefix.clone(),
    });
    let sent = &context.destination;
    let destination = Destination::of(sent, &work.parts.config).map_err(|error| {
        storage::tell_of_address(work, sent, &error);
        failed(error)
    })?;
    let lease = work
        .parts
        .repositories
        .open(&destination, Absent::IsAnError, 0, work.cancellation)
        .map_err(|error| storage::because(work, sent, &error))?;
    let points = Points::load(lease.repository());
    let points = points.map_err(|error| storage::because(work, sent, &error))?;
    Ok(Source { lease, points })
}

/// Returns how many hands restore: as many as a job wants, as far as there is memory for them.
pub fn at_most(wanted: Option<u64>, fit: usize) -> usize {
    let wanted = wanted.and_then(|wanted| usize::try_from(wanted).ok());
    wanted.map_or(fit, |wanted| wanted.clamp(1, fit.max(1)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn as_many_hands_restore_as_the_job_wants_and_memory_lets() {
        let at_most = |wanted: Option<u64>| super::at_most(wanted, 24);
        for (wanted, hands) in [(None, 24), (Some(3), 3), (Some(0), 1), (Some(64), 24)] {
            assert_eq!(at_most(wanted), hands, "{wanted:?}");
        }
        let policy = |json: serde_json::Value| -> protocol::next_run::Policy {
            serde_json::from_value(json).unwrap()
        };
        let both = policy(serde_json::json!({
            "restore_parallel_workers": "500", "restore_kopia_parallel": 40,
        }));
        assert_eq!(both.restore_parallel_workers_within(), Some(64));
        assert_eq!(both.restored_files_at_once(), Some(32));
        let one = policy(serde_json::json!({"restore_parallel_workers": 7}));
        assert_eq!(one.restored_files_at_once(), Some(7));
    }
}
