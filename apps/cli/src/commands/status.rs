//! `status`: what the service is doing now.

use std::fmt::Write as _;

use agent::status::{RunStatus, ServiceLock, Status as Found};
use clap::Args;
use serde_json::{Value, json};

use crate::amounts;
use crate::answer::Answer;
use crate::failure::{Failure, FailureKind};
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  e3-backup-agent status

Tells whether a service runs on the state folder (--state-dir), whether the control plane answers
it, and how far its runs are. The service writes this down every few seconds.")]
pub struct Status {}

impl Status {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let state = world.state_folder()?;
        let is_running = ServiceLock::is_held(&state);
        let found = Found::read(&state).map_err(|error| {
            let what = format!("failed to read what the service wrote down: {error}");
            Failure::new(FailureKind::State, what)
        })?;
        let text = text(is_running, found.as_ref());
        let last = serde_json::to_value(&found).unwrap_or(Value::Null);
        Ok(Answer::new(
            text,
            json!({ "running": is_running, "last": last }),
        ))
    }
}

fn text(is_running: bool, found: Option<&Found>) -> String {
    let mut text = match is_running {
        true => "the service is running\n".to_owned(),
        false => "the service is not running\n".to_owned(),
    };
    let Some(found) = found else { return text };
    let as_of = match is_running {
        true => "",
        false => " (when it last ran)",
    };
    let _ = writeln!(
        text,
        "agent {} at {}, version {}{as_of}",
        found.agent, found.api_base_url, found.version
    );
    match (&found.silent_since, found.answered_at) {
        (Some(since), _) => {
            let why = found
                .silent_because
                .as_deref()
                .unwrap_or("it is not known why");
            let _ = writeln!(
                text,
                "the control plane does not answer since {}: {why}",
                amounts::time(*since)
            );
        }
        (None, Some(at)) => {
            let _ = writeln!(text, "the control plane answered at {}", amounts::time(at));
        }
        (None, None) => text.push_str("the control plane was not asked yet\n"),
    }
    if found.ends_waiting > 0 {
        let _ = writeln!(text, "ends of {} runs wait to be told", found.ends_waiting);
    }
    if found.runs.is_empty() {
        text.push_str("nothing is being carried out\n");
    }
    for run in &found.runs {
        describe(&mut text, run);
    }
    text
}

fn describe(text: &mut String, run: &RunStatus) {
    let _ = writeln!(
        text,
        "run {} ({}), begun {}: {} %, {} of {}; {} {}",
        run.run_id,
        run.kind,
        amounts::time(run.begun_at),
        run.percent,
        amounts::bytes(run.done_bytes),
        amounts::bytes(run.total_bytes),
        run.subject,
        run.phase
    );
}
