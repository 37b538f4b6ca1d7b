//! Commands: handed out once, at most five of a group, and completed once.

use std::time::Duration;

use serde_json::{Value, json};

use super::operations;
use super::{Served, run_of};
use crate::record::Call;
use crate::reply::Reply;
use crate::world::{Command, CommandState, Now, World, id_text};

const PER_GROUP_MAX: usize = 5;
/// When a command about a cloud drive that is not completed is handed out again; no other ever is.
const NAS_AGAIN_AFTER: Duration = Duration::from_secs(120);

/// Commands whose outcome is a report.
const DISCOVERY: [&str; 6] = [
    "browse_directory",
    "browse_snapshot",
    "list_hyperv_vms",
    "list_hyperv_vm_details",
    "list_disks",
    "fetch_log_tail",
];

/// Cloud drives, the agent itself, restore points, runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Nas,
    Agent,
    RestorePoint,
    Run,
}

const GROUPS: [Group; 4] = [Group::Nas, Group::Agent, Group::RestorePoint, Group::Run];

fn group(command: &Command) -> Group {
    let about_point = !command.payload["restore_point_id"].is_null();
    match command.name.as_str() {
        name if name.starts_with("nas_") => Group::Nas,
        "browse_snapshot" | "pin_point" => Group::RestorePoint,
        "restore" | "hyperv_restore" | "disk_restore" if about_point => Group::RestorePoint,
        "restore" | "hyperv_restore" | "maintenance_quick" | "maintenance_full" => Group::Run,
        _ => Group::Agent,
    }
}

pub(super) fn poll_commands(world: &mut World, call: &Call, agent: usize, now: Now) -> Reply {
    let from_query = call
        .query
        .strip_prefix("run_id=")
        .map(crate::record::unescaped);
    let run_id = match from_query {
        Some(run_id) => Value::String(run_id),
        None => call.body["run_id"].clone(),
    };
    let place = match run_of(world, &run_id, agent) {
        Ok(place) => place,
        Err(refusal) => return refusal,
    };
    let run = &world.runs[place];
    let mut commands = Vec::new();
    if run.cancel_requested.is_some() && !run.is_over() {
        commands.push(json!({"type": "cancel"}));
    }
    let run_id = id_text(&run.id);
    let again = std::mem::take(&mut world.deliver_again);
    let waiting = world.commands.iter_mut().filter(|command| {
        command.state == CommandState::Pending
            && command.by_run_poll
            && id_text(&command.run_id) == run_id
    });
    for command in waiting.take(PER_GROUP_MAX) {
        commands.push(
            json!({"type": command.name, "command_id": command.id, "payload": command.payload}),
        );
        hand_out(command, again, now);
    }
    Reply::success(json!({"commands": commands}))
}

pub(super) fn poll_pending(world: &mut World, agent: usize, now: Now) -> Reply {
    let again = std::mem::take(&mut world.deliver_again);
    let commands = pending(world, agent, again, now);
    Reply::success(json!({"commands": commands}))
}

pub(super) fn poll(world: &mut World, call: &Call, agent: usize, now: Now) -> Served {
    let again = std::mem::take(&mut world.deliver_again);
    let holds = call.query.contains("long_poll=1");
    let commands = pending(world, agent, again, now);
    let operation = operations::claim(world, again, now);
    let busy = !commands.is_empty() || !operation.is_null();
    let next_poll_secs = match busy {
        true => (world.settings.next_poll_secs / 2).max(5),
        false => world.settings.next_poll_secs,
    };
    let reply = Reply::success(json!({"poll_version": 1, "commands": commands,
        "repo_operation": operation, "next_poll_secs": next_poll_secs}));
    match holds && !busy {
        true => Served::Waits(reply),
        false => Served::Reply(reply),
    }
}

/// Tells whether something waits that wakes a long poll of this caller.
pub(crate) fn is_awaited(world: &World, call: &Call, now: Now) -> bool {
    let id = [call.header("x-agent-uuid"), call.header("x-agent-id")];
    let agent = world
        .agents
        .iter()
        .position(|agent| id.contains(&agent.id.as_str()));
    let waits = |it: &Command| {
        it.state == CommandState::Pending
            && it.wakes_long_poll
            && agent.is_some_and(|agent| is_for(world, it, agent))
    };
    world.commands.iter().any(waits) || operations::next(world, now).is_some()
}

fn is_for(world: &World, command: &Command, agent: usize) -> bool {
    command
        .agent
        .as_ref()
        .is_none_or(|id| *id == world.agents[agent].id)
}

fn pending(world: &mut World, agent: usize, again: bool, now: Now) -> Vec<Value> {
    for command in &mut world.commands {
        let is_old = now.since.saturating_sub(command.queued) > NAS_AGAIN_AFTER;
        if is_old && group(command) == Group::Nas && command.state == CommandState::Processing {
            command.state = CommandState::Pending;
        }
    }
    let mut commands = Vec::new();
    for of in GROUPS {
        let places: Vec<usize> = (0..world.commands.len())
            .filter(|&place| {
                let command = &world.commands[place];
                command.state == CommandState::Pending
                    && !command.by_run_poll
                    && group(command) == of
                    && is_for(world, command, agent)
            })
            .take(PER_GROUP_MAX)
            .collect();
        for place in places {
            let command = &mut world.commands[place];
            let needs_point = command.name == "browse_snapshot";
            if needs_point && command.payload["restore_point_id"].is_null() {
                command.state = CommandState::Failed;
                continue;
            }
            commands.push(
                json!({"command_id": command.id, "type": command.name, "run_id": command.run_id,
                "job_id": command.job_context["job_id"].as_str().unwrap_or_default(),
                "payload": command.payload, "job_context": command.job_context}),
            );
            hand_out(command, again, now);
        }
    }
    commands
}

fn hand_out(command: &mut Command, again: bool, now: Now) {
    command.delivered.get_or_insert(now.since);
    if !again {
        command.state = CommandState::Processing;
    }
}

/// Returns the place of a command, if it is the caller's.
fn command_of(world: &World, call: &Call, agent: usize) -> Result<usize, Reply> {
    let id = &call.body["command_id"];
    let id = id.as_u64().or_else(|| id.as_str()?.parse().ok());
    let place = id.and_then(|id| world.commands.iter().position(|command| command.id == id));
    let place = place.ok_or_else(|| Reply::fail(404, "Command not found"))?;
    match is_for(world, &world.commands[place], agent) {
        true => Ok(place),
        false => Err(Reply::fail(403, "Unauthorized")),
    }
}

pub(super) fn complete(world: &mut World, call: &Call, agent: usize, now: Now) -> Reply {
    let state = match call.body["status"].as_str() {
        Some("completed") => CommandState::Completed,
        Some("failed") => CommandState::Failed,
        _ => return Reply::fail(400, "Invalid status"),
    };
    let place = match command_of(world, call, agent) {
        Ok(place) => place,
        Err(refusal) => return refusal,
    };
    let command = &mut world.commands[place];
    command.state = state;
    command.completed.get_or_insert(now.since);
    command.result_message = call.body["result_message"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    Reply::success(json!({}))
}

pub(super) fn report_browse(world: &mut World, call: &Call, agent: usize, now: Now) -> Reply {
    let place = match command_of(world, call, agent) {
        Ok(place) => place,
        Err(_) => return Reply::fail(404, "Command not found"),
    };
    let command = &mut world.commands[place];
    if !DISCOVERY.contains(&command.name.as_str()) {
        return Reply::fail(400, "Unsupported command type");
    }
    if command.completed.is_some() {
        return Reply::success(json!({}));
    }
    let packed = call.unpacked.clone();
    let result = packed.or_else(|| call.body.get("result").cloned());
    let Some(result) = result else {
        return Reply::fail(400, "Invalid result payload");
    };
    command.result = result;
    command.state = CommandState::Completed;
    command.completed = Some(now.since);
    Reply::success(json!({}))
}
