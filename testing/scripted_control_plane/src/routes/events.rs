//! Events of runs and of agents, and pieces of verbose logs.

use serde_json::{Value, json};

use super::{run_of, version_gate};
use crate::record::Call;
use crate::reply::Reply;
use crate::world::{Now, RunEvent, World};

const AGENT_EVENTS_MAX: usize = 1000;
const CHUNKS_MAX: usize = 60;
/// A megabyte, in base64.
const CHUNK_CHARS_MAX: usize = (1 << 20) / 3 * 4 + 4;

pub(super) fn push_events(world: &mut World, call: &Call, agent: usize, now: Now) -> Reply {
    if world.settings.push_events_broken {
        return Reply {
            http_status: 500,
            headers: Vec::new(),
            body: Vec::new(),
        };
    }
    let place = match run_of(world, &call.body["run_id"], agent) {
        Ok(place) => place,
        Err(refusal) => return refusal,
    };
    if let Err(refusal) = version_gate(world, call, agent) {
        return refusal;
    }
    if call.body.get("events_b64").is_some() && call.unpacked.is_none() {
        return Reply::fail(400, "Invalid events payload");
    }
    let run_id = world.runs[place].id.clone();
    let events = call.events();
    let named = |event: &Value| {
        event["message_id"]
            .as_str()
            .is_some_and(|name| !name.is_empty())
    };
    if !events.iter().all(named) {
        return Reply::fail(500, "Server error");
    }
    let kept = world
        .events
        .iter()
        .filter(|event| event.run_id == run_id)
        .count();
    let inserted = events
        .len()
        .min(world.settings.events_max.saturating_sub(kept));
    for event in &events[..inserted] {
        world.events.push(RunEvent {
            run_id: run_id.clone(),
            message_id: event["message_id"].as_str().unwrap_or_default().to_owned(),
            event: event.clone(),
        });
    }
    let dropped = events.len() - inserted;
    if dropped > 0 {
        let marks =
            |event: &RunEvent| event.run_id == run_id && event.message_id == "EVENTS_TRUNCATED";
        if !world.events.iter().any(marks) {
            world
                .events
                .push(RunEvent::by_server(&run_id, "EVENTS_TRUNCATED"));
        }
    }
    let manifest = ["log_ref", "manifest_id"]
        .iter()
        .find_map(|name| call.body[name].as_str());
    if let Some(manifest) = manifest {
        world.runs[place].manifest_id = manifest.to_owned();
        world.runs[place].last_heartbeat = now.since;
    }
    let logs = call.body["logs"].as_array().map_or(0, Vec::len);
    Reply::success(
        json!({"inserted": inserted, "dropped": dropped, "truncated": dropped > 0,
        "logs_inserted": logs, "log_ref": manifest}),
    )
}

pub(super) fn push_agent_events(world: &mut World, call: &Call, agent: usize) -> Reply {
    if let Err(refusal) = version_gate(world, call, agent) {
        return refusal;
    }
    let (mut inserted, mut dropped) = (0, 0);
    for event in call.events() {
        let has_code = event["code"].as_str().is_some_and(|code| !code.is_empty());
        if has_code && world.agent_events.len() < AGENT_EVENTS_MAX {
            world.agent_events.push(event.clone());
            inserted += 1;
        } else {
            dropped += 1;
        }
    }
    Reply::success(
        json!({"inserted": inserted, "dropped": dropped, "deduped": 0, "truncated": false}),
    )
}

pub(super) fn push_log_chunk(world: &mut World, call: &Call, agent: usize) -> Reply {
    let place = match run_of(world, &call.body["run_id"], agent) {
        Ok(place) => place,
        Err(refusal) => return refusal,
    };
    if let Err(refusal) = version_gate(world, call, agent) {
        return refusal;
    }
    let content = call.body["content_b64"].as_str().unwrap_or_default();
    if content.len() > CHUNK_CHARS_MAX {
        return Reply::fail(413, "Chunk too large");
    }
    let run_id = world.runs[place].id.clone();
    let seq = call.body["chunk_seq"].as_u64().unwrap_or_default();
    let taken = world
        .log_chunks
        .iter()
        .filter(|(run, _)| *run == run_id)
        .count();
    let duplicate = world.log_chunks.contains(&(run_id.clone(), seq));
    if !duplicate && taken >= CHUNKS_MAX {
        return Reply::fail_with_code(429, "chunks_cap_reached", "Too many chunks");
    }
    if !duplicate {
        world.log_chunks.push((run_id, seq));
    }
    Reply::success(
        json!({"chunk_seq": seq, "byte_count": content.len() / 4 * 3,
        "line_count": call.body["line_count"], "duplicate": duplicate,
        "remaining_capacity": CHUNKS_MAX.saturating_sub(taken + 1)}),
    )
}
