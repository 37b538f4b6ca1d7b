//! What happens to runs, decided: pure functions of rows, what an agent says, and the time.
//!
//! ```text
//! queued ──► starting ──► running ──► success | warning | partial_success | failed | cancelled
//!    └──────────── missed, cancelled, failed (by the server)
//! ```

pub mod change;
pub mod claim;
pub mod finish;
pub mod listing;
pub mod pin;
pub mod points;
pub mod told;
pub mod watchdog;

use crate::store::entity::run;

/// Runs that are not over.
pub const OPEN: [&str; 3] = ["queued", "starting", "running"];

/// Runs that an agent has taken and not ended.
pub const TAKEN: [&str; 2] = ["starting", "running"];

/// A run whose agent was silent for longer is offered again (contract 3.1).
pub const RECLAIM_AFTER_MS: i64 = 180_000;

/// A run whose agent was silent for longer is ended (contract 3.1).
pub const SILENCE_MAX_MS: i64 = 720_000;

/// Tells whether a status is the last one of a run.
pub fn is_over(status: &str) -> bool {
    !OPEN.contains(&status)
}

/// Tells whether a run makes restore points, rather than using them.
pub fn is_backup(run: &run::Model) -> bool {
    run.kind == "backup"
}

/// Something that happened in a run, to be written into its events.
#[derive(Clone, Debug, PartialEq)]
pub struct Happened {
    /// `info`, `summary`, `cancelled`, …
    pub kind: &'static str,
    /// `info`, `warn` or `error`.
    pub level: &'static str,
    /// What.
    pub message_id: &'static str,
    /// With what.
    pub params: serde_json::Value,
}

/// A run for the tests of the rules.
#[cfg(test)]
pub(crate) fn test_run(status: &str) -> run::Model {
    run::Model {
        id: "0195d2a4-0000-7000-8000-000000000001".to_owned(),
        tenant_id: "t".to_owned(),
        job_id: Some("j".to_owned()),
        host_id: "h".to_owned(),
        repository_id: Some("r".to_owned()),
        kind: "backup".to_owned(),
        engine: "hyperv".to_owned(),
        trigger: "manual".to_owned(),
        status: status.to_owned(),
        scheduled_for: None,
        point_id: None,
        target_json: "{}".to_owned(),
        requested_by: String::new(),
        created_at: 0,
        started_at: None,
        finished_at: None,
        heartbeat_at: None,
        cancel_requested_at: None,
        progress_pct: 0.0,
        bytes_processed: 0,
        bytes_transferred: 0,
        bytes_total: 0,
        objects_transferred: 0,
        objects_total: 0,
        speed_bytes_per_sec: 0,
        eta_seconds: 0,
        current_item: String::new(),
        error_summary: String::new(),
        manifest_id: String::new(),
        stats_json: "{}".to_owned(),
        progress_json: "{}".to_owned(),
        disk_manifests_json: "{}".to_owned(),
        log_excerpt: String::new(),
    }
}
