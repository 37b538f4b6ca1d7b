//! Rows.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

/// An agent.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Agent {
    /// Its UUID, or its number on old servers.
    pub id: String,
    /// Its row.
    pub row: u64,
    /// Its secret.
    #[serde(skip)]
    pub token: String,
    /// Whether it is let in.
    pub active: bool,
    /// The machine.
    pub device_id: String,
    /// What its headers said last.
    pub version: String,
    /// What its headers said last.
    pub os: String,
    /// What its headers said last.
    pub arch: String,
    /// The machine's volumes.
    pub volumes: Vec<Value>,
}

/// A token by which agents may enrol.
#[derive(Clone, Debug, Serialize)]
pub struct EnrollmentToken {
    /// The secret.
    #[serde(skip)]
    pub token: String,
    /// How often it may still be used.
    pub uses_left: u64,
    /// Whether it was taken back.
    pub revoked: bool,
}

/// A login that waits to be completed.
#[derive(Clone, Debug)]
pub struct LoginSession {
    /// Its secret.
    pub token: String,
    /// The machine.
    pub device_id: String,
    /// When it was made.
    pub since: Duration,
    /// Whether it was completed.
    pub used: bool,
}

/// A run.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Its name, in the server's form.
    pub id: Value,
    /// Its job's name.
    pub job_id: Value,
    /// The agent it is for; none means whichever asks.
    pub agent: Option<String>,
    /// Empty for backups; else `restore`, `hyperv_restore`.
    pub run_type: String,
    /// Its state.
    pub status: String,
    /// The members of the run object that NextRun hands out.
    pub order: Map<String, Value>,
    /// When it was handed out.
    pub claimed: Option<Duration>,
    /// The last heartbeat.
    pub last_heartbeat: Duration,
    /// The same on the wall's clock, as it is handed out.
    pub last_heartbeat_at: String,
    /// When it was asked to stop.
    pub cancel_requested: Option<Duration>,
    /// Whether the watchdog ended it.
    pub cancelled_by_watchdog: bool,
    /// Why it failed.
    pub error_summary: String,
    /// Its manifest.
    pub manifest_id: String,
    /// All other columns that updates set.
    pub columns: Map<String, Value>,
}

impl Run {
    /// Tells whether it was handed out and has not ended.
    pub fn is_working(&self) -> bool {
        matches!(self.status.as_str(), "starting" | "running")
    }

    /// Tells whether it has ended.
    pub fn is_over(&self) -> bool {
        is_terminal(&self.status)
    }

    /// Tells whether it is a backup.
    pub fn is_backup(&self) -> bool {
        self.run_type.is_empty()
    }
}

/// Returns an identifier as text, in whichever form it came.
pub(crate) fn id_text(id: &Value) -> String {
    match id {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(crate) fn is_terminal(status: &str) -> bool {
    matches!(
        status,
        "success" | "warning" | "failed" | "cancelled" | "partial_success"
    )
}

/// A VM that is registered for a job.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Vm {
    /// Its row.
    pub vm_id: u64,
    /// The job.
    pub job_id: Value,
    /// Its name.
    pub name: String,
    /// Hyper-V's id.
    pub guid: String,
    /// Whether it is to be backed up.
    pub backup_enabled: bool,
    /// What was reported with the newest pointer.
    pub checkpoint_id: Option<String>,
    /// Disk path to change-tracking point, reported with it.
    pub rct_ids: Value,
    /// Its disks, as they were registered.
    pub disks: Vec<Value>,
}

/// What a run has of a VM.
#[derive(Clone, Debug, Serialize)]
pub struct BackupPoint {
    /// Its row.
    pub id: u64,
    /// The VM.
    pub vm_id: u64,
    /// The run.
    pub run_id: Value,
    /// `Full` or `Incremental`.
    pub backup_type: String,
    /// Its primary manifest.
    pub manifest_id: String,
    /// Disk path to manifest.
    pub disk_manifests: Value,
    /// The newest point of the VM when this one was made, if this one builds on it.
    pub parent: Option<u64>,
    /// All that was reported.
    pub result: Value,
}

/// A command's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandState {
    /// It waits.
    Pending,
    /// It was handed out.
    Processing,
    /// It was carried out.
    Completed,
    /// It was not.
    Failed,
}

/// A command.
#[derive(Clone, Debug, Serialize)]
pub struct Command {
    /// Its row.
    pub id: u64,
    /// What it orders.
    pub name: String,
    /// The agent it is for.
    pub agent: Option<String>,
    /// The run it is about.
    pub run_id: Value,
    /// Whether it comes by the run's poll alone.
    pub by_run_poll: bool,
    /// Whether it wakes a long poll.
    pub wakes_long_poll: bool,
    /// What it says.
    pub payload: Value,
    /// Where the repository rests.
    #[serde(skip)]
    pub job_context: Value,
    /// Its state.
    pub state: CommandState,
    /// When it was queued.
    pub queued: Duration,
    /// When it was handed out first.
    pub delivered: Option<Duration>,
    /// When it was completed.
    pub completed: Option<Duration>,
    /// What was said of the outcome.
    pub result_message: String,
    /// What was found.
    pub result: Value,
}

/// An operation on a repository.
#[derive(Clone, Debug, Serialize)]
pub struct Operation {
    /// Its row.
    pub id: u64,
    /// What proves that it was handed out.
    pub token: String,
    /// What it does.
    pub op_type: String,
    /// `queued`, `running`, `success` or `failed`.
    pub status: String,
    /// Its members as they are handed out.
    #[serde(skip)]
    pub order: Map<String, Value>,
    /// What was reported.
    pub result: Value,
    /// When it was handed out.
    pub claimed: Option<Duration>,
}

/// An event of a run.
#[derive(Clone, Debug, Serialize)]
pub struct RunEvent {
    /// The run.
    pub run_id: Value,
    /// The name.
    pub message_id: String,
    /// All of it.
    pub event: Value,
}

impl RunEvent {
    pub(crate) fn by_server(run_id: &Value, message_id: &str) -> Self {
        Self {
            run_id: run_id.clone(),
            message_id: message_id.to_owned(),
            event: json!({"message_id": message_id, "by": "server"}),
        }
    }
}
