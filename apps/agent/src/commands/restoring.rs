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
    let destination = Destination::of(&context.destination, &work.parts.config).map_err(failed)?;
    let lease = work
        .parts
        .repositories
        .open(&destination, Absent::IsAnError, 0, work.cancellation)
        .map_err(failed)?;
    let points = Points::load(lease.repository()).map_err(failed)?;
    Ok(Source { lease, points })
}
