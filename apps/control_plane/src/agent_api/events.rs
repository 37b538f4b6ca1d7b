//! Events of runs and of agents' health, and verbose logs (contract 3.3 to 3.5).

use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::agent_events::PushAgentEvents;
use protocol::event::Event;
use protocol::limit::{
    DEDUPE_KEY_CHARS_MAX, EVENT_TYPE_CHARS_MAX, LEVEL_CHARS_MAX, MANIFEST_ID_CHARS_MAX,
    MESSAGE_ID_CHARS_MAX, shortened,
};
use protocol::log_chunk::{CHUNK_BYTES_MAX, CHUNKS_MAX, PushLogChunk};
use protocol::run_events::PushEvents;
use sea_orm::ActiveValue::Set;
use serde_json::{Map, Value, json};

use crate::agent_api::call::{AgentCall, uuid_of};
use crate::agent_api::refusal::{Answer, Refusal, success};
use crate::agent_api::update_run::not_the_runs;
use crate::live::What;
use crate::plane::SharedPlane;
use crate::store::entity::{agent_event, log_chunk};
use crate::store::runs::{ChunkTaken, NewEvent, NewLog};

/// The most that an event's parameters take (contract 3.4).
const PARAMS_BYTES_MAX: usize = 65_000;
/// The longest line of a structured log.
const LOG_CHARS_MAX: usize = 8_000;

/// Takes a run's events.
pub(super) async fn push_events(State(plane): State<SharedPlane>, call: AgentCall) -> Answer {
    let run_id = uuid_of(&call.members()?, "run_id")?;
    let push: PushEvents = call.read()?;
    call.pass_gate(&plane, &push.agent_version).await?;
    let named = push.events.iter().filter(|it| !it.message_id.is_empty());
    let events: Vec<NewEvent> = named.map(stored).collect();
    let nameless = (push.events.len() - events.len()) as u64;
    let logs = push.logs.into_iter().map(|line| NewLog {
        level: shortened(&line.level, LEVEL_CHARS_MAX),
        code: shortened(&line.code, MESSAGE_ID_CHARS_MAX),
        message: shortened(&line.message, LOG_CHARS_MAX),
        details_json: document(&line.details_json),
    });
    let manifest_id = shortened(&push.manifest_id, MANIFEST_ID_CHARS_MAX);
    let now = plane.now_ms();
    let (run, taken) = plane
        .store
        .push_run_events(
            &run_id,
            &call.host,
            events,
            logs.collect(),
            &manifest_id,
            now,
        )
        .await?
        .map_err(not_the_runs)?;
    plane.live.tell(&call.host.tenant_id, What::Run, &run.id);
    let log_ref = match manifest_id.as_str() {
        "" => run.manifest_id,
        _ => manifest_id,
    };
    Ok(success(json!({
        "inserted": taken.inserted,
        "dropped": taken.dropped + nameless,
        "truncated": taken.dropped > 0,
        "logs_inserted": taken.logs_inserted,
        "log_ref": log_ref,
    })))
}

fn stored(event: &Event) -> NewEvent {
    let message_id = shortened(&event.message_id, MESSAGE_ID_CHARS_MAX);
    NewEvent {
        kind: word(&event.kind, "info", EVENT_TYPE_CHARS_MAX),
        level: word(&event.level, "info", LEVEL_CHARS_MAX),
        code: match &event.code {
            Some(code) => shortened(code, MESSAGE_ID_CHARS_MAX),
            None => message_id.clone(),
        },
        params_json: document(&event.params_json),
        message_id,
    }
}

fn word(sent: &str, default: &str, chars_max: usize) -> String {
    match sent.trim() {
        "" => default.to_owned(),
        sent => shortened(sent, chars_max),
    }
}

/// Returns a document to be stored; one that is larger than it may be is compacted, as the agent itself does.
fn document(members: &Map<String, Value>) -> String {
    let text = Value::Object(members.clone()).to_string();
    if text.len() <= PARAMS_BYTES_MAX {
        return text;
    }
    let event = Event {
        kind: String::new(),
        level: String::new(),
        code: None,
        message_id: String::new(),
        params_json: members.clone(),
    };
    let text = Value::Object(event.compacted().params_json).to_string();
    match text.len() <= PARAMS_BYTES_MAX {
        true => text,
        false => "{}".to_owned(),
    }
}

/// Takes events of an agent's health.
pub(super) async fn push_agent_events(State(plane): State<SharedPlane>, call: AgentCall) -> Answer {
    let push: PushAgentEvents = call.read()?;
    call.pass_gate(&plane, &push.agent_version).await?;
    let now = plane.now_ms();
    let sent = push.events.len() as u64;
    let rows: Vec<_> = push
        .events
        .into_iter()
        .filter(|event| !event.code.is_empty())
        .map(|event| agent_event::ActiveModel {
            tenant_id: Set(call.host.tenant_id.clone()),
            host_id: Set(call.host.id.clone()),
            at: Set(event.ts.map_or(now, |at| at.as_millisecond().clamp(0, now))),
            received_at: Set(now),
            source: Set(word(&event.source, "agent", LEVEL_CHARS_MAX)),
            level: Set(word(&event.level, "info", LEVEL_CHARS_MAX)),
            message_id: Set(shortened(
                match event.message_id.as_str() {
                    "" => &event.code,
                    name => name,
                },
                MESSAGE_ID_CHARS_MAX,
            )),
            code: Set(shortened(&event.code, MESSAGE_ID_CHARS_MAX)),
            params_json: Set(document(&event.params_json)),
            dedupe_key: Set(shortened(&event.dedupe_key, DEDUPE_KEY_CHARS_MAX)),
            ..Default::default()
        })
        .collect();
    let codeless = sent - rows.len() as u64;
    let taken = plane.store.push_agent_events(rows, &call.host, now).await?;
    if taken.inserted > 0 {
        let host = &call.host;
        plane.live.tell(&host.tenant_id, What::Host, &host.id);
    }
    Ok(success(json!({
        "inserted": taken.inserted,
        "dropped": taken.dropped + codeless,
        "deduped": taken.deduped,
        "truncated": taken.dropped > 0,
    })))
}

/// Takes a piece of a run's verbose log.
pub(super) async fn push_log_chunk(State(plane): State<SharedPlane>, call: AgentCall) -> Answer {
    let run_id = uuid_of(&call.members()?, "run_id")?;
    let push: PushLogChunk = call.read()?;
    call.pass_gate(&plane, &push.agent_version).await?;
    if push.encoding != "gzip" {
        return Err(Refusal::invalid("encoding must be gzip"));
    }
    let content = STANDARD
        .decode(push.content_b64.trim())
        .map_err(|_| Refusal::invalid("content_b64 is not base64"))?;
    if content.len() > CHUNK_BYTES_MAX {
        return Err(Refusal::new(413, "The log chunk is larger than 1 MiB"));
    }
    if !content.starts_with(&[0x1f, 0x8b]) {
        return Err(Refusal::invalid("content_b64 is not gzip"));
    }
    let seq = number(push.chunk_seq);
    let byte_count = content.len();
    let line_count = number(push.line_count);
    let chunk = log_chunk::ActiveModel {
        run_id: Set(run_id.clone()),
        seq: Set(seq),
        source: Set(word(&push.source, "run", LEVEL_CHARS_MAX)),
        content: Set(content),
        line_count: Set(line_count),
        first_at: Set(push.first_ts.map(|at| at.as_millisecond())),
        last_at: Set(push.last_ts.map(|at| at.as_millisecond())),
        received_at: Set(plane.now_ms()),
        ..Default::default()
    };
    let taken = plane
        .store
        .push_log_chunk(&run_id, &call.host, chunk, seq, CHUNKS_MAX)
        .await?
        .map_err(not_the_runs)?;
    let answer = |duplicate: bool, remaining: u64| {
        success(json!({
            "chunk_seq": seq, "byte_count": byte_count, "line_count": line_count,
            "remaining_capacity": remaining, "duplicate": duplicate,
        }))
    };
    match taken {
        ChunkTaken::Kept(remaining) => Ok(answer(false, remaining)),
        ChunkTaken::Duplicate(remaining) => Ok(answer(true, remaining)),
        ChunkTaken::Full => Err(
            Refusal::new(429, "This run has as many log chunks as are kept")
                .code("chunks_cap_reached"),
        ),
    }
}

fn number(sent: u64) -> i64 {
    i64::try_from(sent).unwrap_or(i64::MAX)
}
