//! One call on its own: method, headers, identity, and the members of its body.

use serde_json::Value;

use super::Violation;
use super::fields;
use crate::record::{Call, Recorded};
use crate::world::World;

const FORMS: [&str; 4] = [
    "agent_enroll",
    "agent_login",
    "agent_poll_commands",
    "agent_complete_repo_operation",
];

const POLLS: [&str; 4] = [
    "agent_next_run",
    "agent_poll",
    "agent_poll_pending_commands",
    "agent_poll_repo_operations",
];

pub(super) fn check(recorded: &Recorded, world: &World) -> Vec<Violation> {
    let call = &recorded.call;
    let Some(fields) = fields::of(&call.endpoint) else {
        return vec![Violation::of(
            recorded,
            "there is no such endpoint for agents",
        )];
    };
    let mut wrong = Vec::new();
    if POLLS.contains(&call.endpoint.as_str()) {
        wrong.extend(poll_faults(call));
    } else {
        wrong.extend(post_faults(call));
        wrong.extend(fields::check(&fields, &call.body, &ids(call, world)));
    }
    wrong.extend(header_faults(call, world));
    if call.endpoint == "agent_poll_commands" && !is_known_run(call, world) {
        wrong.push("`run_id` names no run of this server".to_owned());
    }
    if call.body.get("events_b64").is_some() && !call.unpacked.as_ref().is_some_and(Value::is_array)
    {
        wrong.push("`events_b64` is not gzip and base64 of a list".to_owned());
    }
    if call.endpoint == "agent_report_browse" && call.unpacked.is_none() {
        wrong.push("`result_b64` is not gzip and base64 of JSON".to_owned());
    }
    wrong
        .into_iter()
        .map(|what| Violation::of(recorded, what))
        .collect()
}

fn poll_faults(call: &Call) -> Option<String> {
    if call.method != "GET" || !call.raw.is_empty() {
        return Some("this is asked for with GET and without a body".to_owned());
    }
    let may = match call.endpoint.as_str() {
        "agent_poll" => ["", "long_poll=1"].contains(&call.query.as_str()),
        _ => call.query.is_empty(),
    };
    (!may).then(|| format!("the query `{}` is not in the contract", call.query))
}

fn post_faults(call: &Call) -> Option<String> {
    if call.method != "POST" {
        return Some("this is sent with POST".to_owned());
    }
    let wanted = match FORMS.contains(&call.endpoint.as_str()) {
        true => "application/x-www-form-urlencoded",
        false => "application/json",
    };
    let is_right = call.header("content-type").starts_with(wanted);
    (!is_right).then(|| {
        format!(
            "the body is `{}`, not `{wanted}`",
            call.header("content-type")
        )
    })
}

fn header_faults(call: &Call, world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    if !call.header("user-agent").contains("e3-backup-agent/") {
        wrong.push("the user agent does not end with the program's name and version".to_owned());
    }
    if matches!(call.endpoint.as_str(), "agent_enroll" | "agent_login") {
        return wrong;
    }
    let (wanted, other) = match world.is_old() {
        true => ("x-agent-id", "x-agent-uuid"),
        false => ("x-agent-uuid", "x-agent-id"),
    };
    if call.header(wanted).is_empty() || !call.header(other).is_empty() {
        wrong.push(format!("the agent's name should be in `{wanted}` alone"));
    }
    if call.header("x-agent-token").is_empty() {
        wrong.push("`X-Agent-Token` is missing".to_owned());
    }
    if !matches!(call.header("x-agent-os"), "windows" | "linux") {
        wrong.push(format!(
            "`X-Agent-OS` may not be `{}`",
            call.header("x-agent-os")
        ));
    }
    if !matches!(call.header("x-agent-arch"), "amd64" | "arm64" | "386") {
        wrong.push(format!(
            "`X-Agent-Arch` may not be `{}`",
            call.header("x-agent-arch")
        ));
    }
    wrong
}

/// Identifiers as the server gave them: they go back in the same form.
fn ids<'a>(call: &Call, world: &'a World) -> Vec<&'a Value> {
    match call.endpoint.as_str() {
        "agent_hyperv_discover" => world.runs.iter().map(|run| &run.job_id).collect(),
        _ => world.runs.iter().map(|run| &run.id).collect(),
    }
}

fn is_known_run(call: &Call, world: &World) -> bool {
    let wanted = call.body["run_id"].as_str().unwrap_or_default();
    world
        .runs
        .iter()
        .any(|run| crate::world::id_text(&run.id) == wanted)
}
