//! Endpoints: what the server does with a call, by the rules of its database.

pub(crate) mod commands;
mod enrolment;
mod events;
mod next_run;
mod operations;
mod reports;
mod update_run;

use serde_json::{Value, json};

use crate::record::Call;
use crate::reply::Reply;
use crate::world::{Now, World, id_text};

/// What a route makes of a call.
pub(crate) enum Served {
    /// This.
    Reply(Reply),
    /// Nothing yet: there is no work, and the agent is ready to wait for some.
    Waits(Reply),
}

/// Calls of an agent within a second.
const BURST_MAX: usize = 8;

/// Endpoints that old servers lack.
const CURRENT_ONLY: [&str; 6] = [
    "agent_poll",
    "agent_poll_repo_operations",
    "agent_complete_repo_operation",
    "agent_push_agent_events",
    "agent_push_log_chunk",
    "agent_update_progress",
];

/// Endpoints whose calls are limited.
const LIMITED: [&str; 7] = [
    "agent_next_run",
    "agent_update_run",
    "agent_poll",
    "agent_poll_pending_commands",
    "agent_poll_commands",
    "agent_poll_repo_operations",
    "agent_update_progress",
];

/// Does what a call asks for.
pub(crate) fn serve(world: &mut World, call: &Call, now: Now) -> Served {
    let reply = match call.endpoint.as_str() {
        missing if world.is_old() && CURRENT_ONLY.contains(&missing) => Reply::html(404),
        "agent_enroll" => enrolment::enroll(world, call, now),
        "agent_login" => enrolment::login(world, call, now),
        _ => match authenticated(world, call) {
            Err(refusal) => refusal,
            Ok(agent) => {
                let served = serve_agent(world, call, agent, now);
                return with_artefacts(world, served);
            }
        },
    };
    Served::Reply(reply)
}

fn serve_agent(world: &mut World, call: &Call, agent: usize, now: Now) -> Served {
    if world.settings.rate_limit && is_over_limit(world, call, agent, now) {
        let body =
            json!({"status": "fail", "message": "Rate limit exceeded", "retry_after_secs": 1});
        return Served::Reply(Reply::json(429, &body).with_header("Retry-After", "1"));
    }
    Served::Reply(match call.endpoint.as_str() {
        "agent_next_run" => next_run::next_run(world, agent, now),
        "agent_update_run" => update_run::update_run(world, call, agent, now),
        "agent_push_events" => events::push_events(world, call, agent, now),
        "agent_push_agent_events" => events::push_agent_events(world, call, agent),
        "agent_push_log_chunk" => events::push_log_chunk(world, call, agent),
        "agent_poll_commands" => commands::poll_commands(world, call, agent, now),
        "agent_poll_pending_commands" => commands::poll_pending(world, agent, now),
        "agent_poll" => return commands::poll(world, call, agent, now),
        "agent_complete_command" => commands::complete(world, call, agent, now),
        "agent_report_browse" => commands::report_browse(world, call, agent, now),
        "agent_report_volumes" => reports::volumes(world, call, agent),
        "agent_hyperv_discover" => reports::discover(world, call),
        "agent_poll_repo_operations" => operations::poll(world, now),
        "agent_complete_repo_operation" => operations::complete(world, call),
        "agent_update_progress" => reports::update_progress(world, call, agent),
        _ => Reply::html(404),
    })
}

fn is_over_limit(world: &mut World, call: &Call, agent: usize, now: Now) -> bool {
    if !LIMITED.contains(&call.endpoint.as_str()) {
        return false;
    }
    let second = now.since.as_secs();
    world.calls_of_second.retain(|(of, _)| *of == second);
    world.calls_of_second.push((second, agent));
    world
        .calls_of_second
        .iter()
        .filter(|(_, of)| *of == agent)
        .count()
        > BURST_MAX
}

/// Returns the caller's place among the agents.
fn authenticated(world: &mut World, call: &Call) -> Result<usize, Reply> {
    let header = if world.is_old() {
        "x-agent-id"
    } else {
        "x-agent-uuid"
    };
    let (id, token) = (call.header(header), call.header("x-agent-token"));
    if id.is_empty() || token.is_empty() {
        return Err(Reply::fail(401, "Missing agent headers"));
    }
    let is_caller =
        |agent: &crate::world::Agent| agent.active && agent.id == id && agent.token == token;
    let place = world.agents.iter().position(is_caller);
    let place = place.ok_or_else(|| Reply::fail(401, "Unauthorized"))?;
    let agent = &mut world.agents[place];
    let is_poll = call.endpoint.contains("poll") || call.endpoint == "agent_next_run";
    if is_poll && !call.header("x-agent-version").is_empty() {
        agent.version = call.header("x-agent-version").to_owned();
        agent.os = call.header("x-agent-os").to_owned();
        agent.arch = call.header("x-agent-arch").to_owned();
    }
    Ok(place)
}

/// Refuses versions that are too old, and those that are not told.
pub(crate) fn version_gate(world: &World, call: &Call, agent: usize) -> Result<(), Reply> {
    let Some(min_version) = &world.settings.min_version else {
        return Ok(());
    };
    let reported = match call.body["agent_version"].as_str() {
        Some(version) if !version.is_empty() => version,
        _ => &world.agents[agent].version,
    };
    if !reported.is_empty() && numbers(reported) >= numbers(min_version) {
        return Ok(());
    }
    let body = json!({"status": "fail", "code": "agent_version_too_old", "message": "Agent version too old",
        "min_version": min_version, "reported_version": reported});
    Err(Reply::json(426, &body))
}

fn numbers(version: &str) -> Vec<u64> {
    version
        .split('.')
        .map(|part| part.parse().unwrap_or_default())
        .collect()
}

/// Returns the place of the run that a call is about, if it is the caller's.
pub(crate) fn run_of(world: &World, run_id: &Value, agent: usize) -> Result<usize, Reply> {
    match run_id {
        Value::Null => return Err(Reply::fail(400, "run_id is required")),
        Value::String(text) if text.is_empty() => {
            return Err(Reply::fail(400, "run_id is required"));
        }
        Value::Number(_) if !world.is_old() => {
            let message = "run_id must be a valid UUID";
            return Err(Reply::fail_with_code(
                400,
                "invalid_identifier_format",
                message,
            ));
        }
        _ => {}
    }
    let wanted = id_text(run_id);
    let run = world.runs.iter().position(|run| id_text(&run.id) == wanted);
    let run = run.ok_or_else(|| Reply::fail(403, "Run not found or unauthorized"))?;
    match &world.runs[run].agent {
        Some(bound) if *bound != world.agents[agent].id => {
            Err(Reply::fail(403, "Run not assigned to this agent"))
        }
        _ => Ok(run),
    }
}

/// Rewrites an answer as PHP would: empty maps as lists, numbers and booleans as texts.
fn with_artefacts(world: &World, served: Served) -> Served {
    if !world.settings.php_artefacts {
        return served;
    }
    let rewritten = |mut reply: Reply| {
        if let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body) {
            rewrite(&mut body, "");
            reply.body = body.to_string().into_bytes();
        }
        reply
    };
    match served {
        Served::Reply(reply) => Served::Reply(rewritten(reply)),
        Served::Waits(reply) => Served::Waits(rewritten(reply)),
    }
}

fn rewrite(value: &mut Value, name: &str) {
    match value {
        Value::Object(members) if members.is_empty() => *value = json!([]),
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                rewrite(member, name);
            }
        }
        Value::Array(elements) => elements
            .iter_mut()
            .for_each(|element| rewrite(element, name)),
        Value::Bool(yes) => *value = if *yes { json!(1) } else { json!("") },
        // Identifiers keep the form of the server's generation.
        Value::Number(number) if !matches!(name, "run_id" | "job_id" | "restore_run_id") => {
            *value = json!(number.to_string());
        }
        Value::Null | Value::Number(_) | Value::String(_) => {}
    }
}
