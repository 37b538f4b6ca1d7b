//! The rows that the server keeps, and what people do in its portal.

mod orders;
mod rows;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use orders::{CommandOrder, OperationOrder, RunOrder, VmOrder};
pub use rows::{
    Agent, BackupPoint, Command, CommandState, EnrollmentToken, LoginSession, Operation, Run,
    RunEvent, Vm,
};
pub(crate) use rows::{id_text, is_terminal};

/// Servers of two generations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generation {
    /// With UUIDs.
    #[default]
    Current,
    /// With numbers, and without the newer endpoints.
    Old,
}

/// What kind of server it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Which generation.
    pub generation: Generation,
    /// The oldest version that is let in.
    pub min_version: Option<String>,
    /// Whether calls are limited to eight per second and agent.
    pub rate_limit: bool,
    /// Whether this is the generation whose `agent_push_events` fails at compile time.
    pub push_events_broken: bool,
    /// Whether empty maps come as lists and numbers as texts.
    pub php_artefacts: bool,
    /// When a run without heartbeat is handed out again.
    pub reclaim_grace_secs: u64,
    /// When a run without heartbeat is cancelled.
    pub watchdog_secs: u64,
    /// Whether the watchdog makes its passes by itself, with the calls that come in.
    pub watchdog: bool,
    /// How long a long poll is held.
    pub long_poll_secs: u64,
    /// When the combined poll asks to be called again.
    pub next_poll_secs: u64,
    /// How far the server's wall clock is off.
    pub clock_off_secs: i64,
    /// How many events of a run are kept.
    pub events_max: usize,
    /// Whether successful runs queue retention and maintenance.
    pub operations_after_runs: bool,
    /// How long a call without an answer is held, in real time.
    pub hold_millis: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            generation: Generation::Current,
            min_version: None,
            rate_limit: false,
            push_events_broken: false,
            php_artefacts: false,
            reclaim_grace_secs: 180,
            watchdog_secs: 720,
            watchdog: true,
            long_poll_secs: 25,
            next_poll_secs: 15,
            clock_off_secs: 0,
            events_max: 5000,
            operations_after_runs: false,
            hold_millis: 30_000,
        }
    }
}

/// The rows of the database, and what the server keeps in memory.
#[derive(Debug, Serialize)]
pub struct World {
    /// What kind of server it is.
    pub settings: Settings,
    /// Agents that are enrolled.
    pub agents: Vec<Agent>,
    /// Tokens by which agents may enrol.
    pub enrollment_tokens: Vec<EnrollmentToken>,
    /// E-mail and password of the client's users.
    #[serde(skip)]
    pub accounts: Vec<(String, String)>,
    /// Logins that wait to be completed.
    #[serde(skip)]
    pub sessions: Vec<LoginSession>,
    /// Runs, the oldest first.
    pub runs: Vec<Run>,
    /// VMs that are registered for jobs.
    pub vms: Vec<Vm>,
    /// What runs have of VMs.
    pub backup_points: Vec<BackupPoint>,
    /// Manifests that the portal lists as restore points, with their runs.
    pub restore_points: Vec<(String, Value)>,
    /// Commands, the oldest first.
    pub commands: Vec<Command>,
    /// Operations on repositories, the oldest first.
    pub operations: Vec<Operation>,
    /// Events of runs.
    pub events: Vec<RunEvent>,
    /// Events of agents' health.
    pub agent_events: Vec<Value>,
    /// Pieces of verbose logs: run and number.
    pub log_chunks: Vec<(Value, u64)>,
    /// Texts that must never be seen in a call, but where they belong.
    #[serde(skip)]
    pub secrets: Vec<String>,
    /// Commands and operations to hand out once more although they were.
    #[serde(skip)]
    pub(crate) deliver_again: bool,
    /// Calls of the current second, by agent.
    #[serde(skip)]
    pub(crate) calls_of_second: Vec<(u64, usize)>,
    next_row: u64,
}

/// The server's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The wall's, as far off as it is.
    pub wall: jiff::Timestamp,
    /// The steady one.
    pub since: Duration,
}

impl World {
    /// Returns a server without rows.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            agents: Vec::new(),
            enrollment_tokens: Vec::new(),
            accounts: Vec::new(),
            sessions: Vec::new(),
            runs: Vec::new(),
            vms: Vec::new(),
            backup_points: Vec::new(),
            restore_points: Vec::new(),
            commands: Vec::new(),
            operations: Vec::new(),
            events: Vec::new(),
            agent_events: Vec::new(),
            log_chunks: Vec::new(),
            secrets: Vec::new(),
            deliver_again: false,
            calls_of_second: Vec::new(),
            next_row: 1,
        }
    }

    /// Tells whether this is a server from before UUIDs.
    pub fn is_old(&self) -> bool {
        self.settings.generation == Generation::Old
    }

    pub(crate) fn row(&mut self) -> u64 {
        self.next_row += 1;
        self.next_row - 1
    }

    /// Returns a new identifier of a run or a job, in this server's form.
    pub fn wire_id(&mut self) -> Value {
        let row = self.row();
        match self.is_old() {
            true => json!(row),
            false => json!(format!("0195d2a4-0000-7000-8000-{row:012x}")),
        }
    }

    /// Makes an agent known, as enrolment does.
    pub fn add_agent(&mut self, id: &str, token: &str) {
        self.secrets.push(token.to_owned());
        let row = self.row();
        self.agents.push(Agent {
            id: id.to_owned(),
            row,
            token: token.to_owned(),
            active: true,
            ..Agent::default()
        });
    }

    /// Makes a token by which an agent may enrol.
    pub fn add_enrollment_token(&mut self, token: &str, max_uses: u64) {
        self.secrets.push(token.to_owned());
        self.enrollment_tokens.push(EnrollmentToken {
            token: token.to_owned(),
            uses_left: max_uses,
            revoked: false,
        });
    }

    /// Makes a user by whom an agent may enrol.
    pub fn add_account(&mut self, email: &str, password: &str) {
        self.secrets.push(password.to_owned());
        self.accounts.push((email.to_owned(), password.to_owned()));
    }

    /// Asks a run to stop, as people do in the portal.
    pub fn request_cancel(&mut self, run_id: &Value, now: Duration) {
        if let Some(run) = self.runs.iter_mut().find(|run| run.id == *run_id) {
            run.cancel_requested.get_or_insert(now);
        }
    }

    /// Returns a run.
    ///
    /// # Panics
    /// If there is none of this name.
    pub fn run(&self, run_id: &Value) -> &Run {
        self.runs
            .iter()
            .find(|run| run.id == *run_id)
            .expect("the run was queued")
    }

    /// Returns a run's state.
    ///
    /// # Panics
    /// If there is none of this name.
    pub fn run_status(&self, run_id: &Value) -> &str {
        &self.run(run_id).status
    }

    /// Returns a command.
    ///
    /// # Panics
    /// If there is none of this number.
    pub fn command(&self, id: u64) -> &Command {
        self.commands
            .iter()
            .find(|command| command.id == id)
            .expect("the command was queued")
    }

    /// Makes a pass of the watchdog: a run without heartbeat is first told to stop, then cancelled.
    pub fn watchdog(&mut self, now: Duration) {
        let limit = Duration::from_secs(self.settings.watchdog_secs);
        let mut events = Vec::new();
        for run in &mut self.runs {
            let is_silent = run.is_working() && now.saturating_sub(run.last_heartbeat) > limit;
            if !is_silent {
                continue;
            }
            let message_id = match run.cancel_requested {
                None => {
                    run.cancel_requested = Some(now);
                    "CANCEL_REQUESTED"
                }
                Some(_) => {
                    run.status = "cancelled".to_owned();
                    run.error_summary = "the agent is offline".to_owned();
                    run.cancelled_by_watchdog = true;
                    "CANCELLED"
                }
            };
            events.push(RunEvent::by_server(&run.id, message_id));
        }
        self.events.append(&mut events);
    }
}
