//! Scripts for the program: what the server is, whom it knows, what it hands out, and what goes wrong.
//!
//! ```json
//! {
//!   "settings": {"generation": "current", "rate_limit": true},
//!   "agents": [{"id": "0f0e0d0c-0000-4000-8000-000000000001", "token": "secret"}],
//!   "enrollment_tokens": ["0123456789abcdef0123456789abcdef01234567"],
//!   "accounts": [{"email": "office@example.com", "password": "secret"}],
//!   "steps": [
//!     {"run": {"engine": "hyperv", "vms": [{"name": "web01", "guid": "5F3B…"}],
//!              "members": {"dest_type": "local", "dest_local_path": "/srv/backup"}}},
//!     {"after_secs": 5, "command": {"type": "browse_directory", "payload": {"path": ""}}},
//!     {"after_secs": 9, "operation": {"op_type": "maintenance_quick", "repository_id": "5c0e…"}},
//!     {"after_secs": 20, "cancel": 0},
//!     {"after_secs": 30, "down_for_secs": 10},
//!     {"after_secs": 60, "restart": true}
//!   ],
//!   "faults": [{"endpoint": "agent_update_run", "call": 3, "fault": "answer_lost"},
//!              {"endpoint": "agent_poll", "call": 2, "fault": {"rate_limited": {"retry_after_secs": 4}}}]
//! }
//! ```
//!
//! All parts may be left out. `cancel` names a run by its place among the script's runs. Steps without
//! `after_secs` are done before the URL is printed; the others when so much time has passed.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use time_and_chance::{Clock, StopSignal};

use crate::fault::Fault;
use crate::plane::ControlPlane;
use crate::world::{CommandOrder, OperationOrder, RunOrder, Settings};

/// A script.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// What kind of server it is.
    pub settings: Settings,
    agents: Vec<AgentEntry>,
    enrollment_tokens: Vec<String>,
    accounts: Vec<AccountEntry>,
    steps: Vec<Step>,
    faults: Vec<FaultEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentEntry {
    id: String,
    token: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountEntry {
    email: String,
    password: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultEntry {
    endpoint: String,
    call: u64,
    fault: Fault,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Step {
    after_secs: u64,
    run: Option<RunOrder>,
    command: Option<CommandOrder>,
    operation: Option<OperationOrder>,
    cancel: Option<usize>,
    down_for_secs: Option<u64>,
    restart: bool,
}

impl Script {
    /// Reads a script.
    pub fn parse(json: &str) -> Result<Self> {
        serde_json::from_str(json).context("failed to read the script")
    }

    /// Does what the script says, until its last step is done or `stop` is thrown; calls `ready` when all is
    /// done that takes no time.
    pub fn play(
        self,
        plane: &ControlPlane,
        clock: &dyn Clock,
        stop: &StopSignal,
        ready: impl FnOnce(),
    ) -> Result<()> {
        plane.with(|world| {
            for agent in &self.agents {
                world.add_agent(&agent.id, &agent.token);
            }
            for token in &self.enrollment_tokens {
                world.add_enrollment_token(token, 100);
            }
            for account in &self.accounts {
                world.add_account(&account.email, &account.password);
            }
        });
        for entry in self.faults {
            plane.inject(&entry.endpoint, entry.call, entry.fault);
        }
        let (at_once, mut later): (Vec<_>, Vec<_>) = self
            .steps
            .into_iter()
            .partition(|step| step.after_secs == 0);
        later.sort_by_key(|step| step.after_secs);
        let begun = clock.monotonic();
        let mut runs = Vec::new();
        for step in at_once {
            do_step(step, plane, clock, stop, &mut runs)?;
        }
        ready();
        for step in later {
            let passed = clock.monotonic() - begun;
            let wait = Duration::from_secs(step.after_secs).saturating_sub(passed);
            if clock.sleep(wait, stop).is_err() {
                return Ok(());
            }
            do_step(step, plane, clock, stop, &mut runs)?;
        }
        Ok(())
    }
}

fn do_step(
    step: Step,
    plane: &ControlPlane,
    clock: &dyn Clock,
    stop: &StopSignal,
    runs: &mut Vec<Value>,
) -> Result<()> {
    if let Some(order) = step.run {
        runs.push(plane.with(|world| world.queue_run(order)));
    }
    if let Some(order) = step.command {
        plane.queue_command(order);
    }
    if let Some(order) = step.operation {
        plane.with(|world| world.queue_operation(order));
    }
    if let Some(place) = step.cancel {
        match runs.get(place) {
            Some(run) => plane.request_cancel(run),
            None => bail!(
                "`cancel` names run {place}, and the script has queued {} so far",
                runs.len()
            ),
        }
    }
    if let Some(seconds) = step.down_for_secs {
        plane.go_down();
        // Whoever stops the program has no use for the server.
        if clock.sleep(Duration::from_secs(seconds), stop).is_ok() {
            plane.come_back();
        }
    }
    if step.restart {
        plane.restart();
    }
    Ok(())
}

/// Returns what the program prints at its end.
pub fn report(plane: &ControlPlane) -> Value {
    let world = plane.with(|world| serde_json::to_value(&*world));
    json!({
        "calls": plane.calls(),
        "world": world.unwrap_or_default(),
        "violations": plane.violations(),
        "unfinished": plane.unfinished(),
    })
}
