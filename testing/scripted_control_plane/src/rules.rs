//! The contract's rules as checks over the recorded calls. What they find is said with the call's number,
//! so that it can be looked up in the record.

mod commands;
mod events;
mod fields;
mod log_chunks;
mod pace;
mod results;
mod runs;
mod secrecy;
mod shape;

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::record::Recorded;
use crate::world::{CommandState, World};

/// Something that breaks a rule.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The call, by its number; 0 when none is meant.
    pub call: u64,
    /// What breaks which rule.
    pub what: String,
}

impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}: {}", self.call, self.what)
    }
}

impl Violation {
    pub(crate) fn of(recorded: &Recorded, what: impl Into<String>) -> Self {
        Self {
            call: recorded.number,
            what: format!("{}: {}", recorded.call.endpoint, what.into()),
        }
    }
}

/// What the agent is not to blame for.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// When it was killed.
    pub(crate) kills: Vec<Duration>,
    /// When the server could not be reached.
    pub(crate) outages: Vec<(Duration, Duration)>,
}

impl Timeline {
    /// Tells whether the agent could not go on without a break between two moments.
    fn breaks(&self, from: Duration, to: Duration) -> bool {
        self.is_killed(from, to)
            || self
                .outages
                .iter()
                .any(|(begin, end)| *begin <= to && *end >= from)
    }

    fn is_killed(&self, from: Duration, to: Duration) -> bool {
        self.kills.iter().any(|kill| (from..=to).contains(kill))
    }
}

/// Returns what of the calls breaks a rule, in their order.
pub(crate) fn violations(calls: &[Recorded], world: &World, timeline: &Timeline) -> Vec<Violation> {
    let mut found = Vec::new();
    found.extend(
        calls
            .iter()
            .flat_map(|recorded| shape::check(recorded, world)),
    );
    found.extend(runs::check(calls, world, timeline));
    found.extend(results::check(calls));
    found.extend(events::check(calls));
    found.extend(log_chunks::check(calls, world));
    found.extend(commands::check(calls, world, timeline));
    found.extend(secrecy::check(calls, world));
    found.extend(pace::check(calls, world, timeline));
    found.sort_by_key(|violation| violation.call);
    found
}

/// Returns what was handed out and has not ended.
pub(crate) fn unfinished(world: &World) -> Vec<Violation> {
    let runs = world.runs.iter().filter(|run| run.is_working());
    let runs = runs.map(|run| format!("run {} is still {}", run.id, run.status));
    let commands = world
        .commands
        .iter()
        .filter(|it| it.state == CommandState::Processing);
    let commands = commands.map(|it| format!("command {} ({}) is not completed", it.id, it.name));
    let operations = world.operations.iter().filter(|it| it.status == "running");
    let operations =
        operations.map(|it| format!("operation {} ({}) is not completed", it.id, it.op_type));
    let all = runs.chain(commands).chain(operations);
    all.map(|what| Violation { call: 0, what }).collect()
}
