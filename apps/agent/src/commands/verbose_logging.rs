//! `enable_verbose_admin_logging`: pushing everything the log has to say while a run goes on.

use std::time::Duration;

use protocol::WireId;
use protocol::commands::VerboseLogging;

use super::Reply;
use crate::parts::Parts;
use crate::verbose_logs::Begun;

/// Begins with it, or goes on for longer.
pub fn enable(
    parts: &Parts,
    run_id: Option<&WireId>,
    order: &VerboseLogging,
) -> Result<Reply, String> {
    let run_id = run_id.ok_or("the command names no run whose log to push")?;
    if !parts.active.holds(run_id) {
        return Err(format!(
            "run {run_id} is not being carried out, so it has no log to push"
        ));
    }
    let minutes = order.minutes();
    let until = parts.ports.clock.monotonic() + Duration::from_mins(minutes);
    let is_active = |run_id: &WireId| parts.active.holds(run_id);
    let words = format!("the log of run {run_id} is pushed for {minutes} minutes at most");
    let first = parts.runs_begun.pieces(run_id);
    Ok(match parts.verbose.want(run_id, until, first, is_active) {
        Begun::Here => Reply::Pushes(run_id.clone(), words),
        Begun::Longer => Reply::Done(words),
    })
}
