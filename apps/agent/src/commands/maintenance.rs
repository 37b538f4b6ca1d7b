//! `maintenance_quick` and `maintenance_full`: keeping a repository small and quick.

use std::sync::Arc;

use maintain::{MaintainErrorKind, Maintenance, Options, Report};
use progress::Progress;
use protocol::WireId;
use protocol::commands::Command;
use protocol::event::{MaintenanceCompleted, MaintenanceFailed, MaintenanceStarting};
use repo::Repository;

use super::{Reply, context, failed};
use crate::cancellation::Cancellation;
use crate::destination::Destination;
use crate::parts::Parts;
use crate::repositories::Absent;

/// Maintains the repository that a command is about.
pub fn carry_out(
    parts: &Parts,
    command: &Command,
    of_run: Option<&WireId>,
    full: bool,
) -> Result<Reply, String> {
    let run_id = of_run.or(command.run_id.as_ref());
    let tell = |event: protocol::event::Event| {
        if let Some(run_id) = run_id {
            parts.events.push(run_id, event);
        }
    };
    let mode = if full { "full" } else { "quick" }.to_owned();
    tell(MaintenanceStarting { mode: mode.clone() }.into());
    let done = context(command).and_then(|context| {
        let destination = Destination::of(&context.destination, &parts.config).map_err(failed)?;
        let limit = context
            .destination
            .upload_bytes_per_second_max()
            .unwrap_or(0);
        let cancellation = Cancellation::below(&parts.stop);
        let lease = parts
            .repositories
            .open(&destination, Absent::IsAnError, limit, &cancellation);
        maintain(
            parts,
            lease.map_err(failed)?.repository(),
            full,
            &cancellation,
        )
    });
    match done {
        Ok(report) => {
            tell(MaintenanceCompleted { mode: mode.clone() }.into());
            Ok(Reply::Done(in_words(&report, &mode)))
        }
        Err(error) => {
            let event = MaintenanceFailed {
                mode,
                error: error.clone(),
            };
            tell(event.into());
            Err(error)
        }
    }
}

/// Maintains a repository, with the format's safety margins and as its owner. Where this machine's
/// own older agent owns it, that is taken over; another machine's is left alone.
pub fn maintain(
    parts: &Parts,
    repository: &Arc<Repository>,
    full: bool,
    cancellation: &Cancellation,
) -> Result<Report, String> {
    let progress = Progress {
        stop: cancellation.stop().clone(),
        ..Progress::silent()
    };
    let run = |take_ownership: bool| {
        let maintenance = Maintenance {
            repo: repository,
            options: Options {
                full,
                take_ownership,
                memory_bytes: u64::from(parts.config.memory_mib) << 20,
                ..Options::default()
            },
            progress: &progress,
        };
        maintenance.run()
    };
    let report = match run(false) {
        Err(error)
            if error.kind() == MaintainErrorKind::NotOwner && is_ours_or_nobodys(repository) =>
        {
            run(true)
        }
        other => other,
    };
    let report = report.map_err(failed)?;
    match &report.collection_stopped {
        Some(why) => Err(format!("nothing was collected: failed to {why}")),
        None => Ok(report),
    }
}

fn is_ours_or_nobodys(repository: &Arc<Repository>) -> bool {
    let parameters = repository.manifests().and_then(|it| it.maintenance());
    let Ok(parameters) = parameters else {
        return false;
    };
    let owner = parameters.map_or(String::new(), |it| it.owner);
    let host = owner.rsplit_once('@').map_or("", |(_, host)| host);
    owner.is_empty() || host.eq_ignore_ascii_case(&repository.identity().hostname)
}

fn in_words(report: &Report, mode: &str) -> String {
    let deleted = report.deleted.packs.count;
    format!("{mode} maintenance is done; {deleted} packs were deleted")
}
