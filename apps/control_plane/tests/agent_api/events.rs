//! Events and logs (contract 3.3 to 3.5).

use std::time::Duration;

use control_plane::store::entity::{agent_event, log_chunk};
use jiff::Timestamp;
use protocol::WireId;
use protocol::agent_events::{AgentEvent, Health, PushAgentEvents};
use protocol::event::{BackupStarting, Event};
use protocol::log_chunk::PushLogChunk;
use protocol::run_events::PushEvents;
use sea_orm::{EntityTrait as _, PaginatorTrait as _};
use serde_json::json;

use crate::world::{Agent, World};

crate::stories! {
    events_are_kept_plain_and_packed
    a_run_keeps_so_many_events_and_says_so_once
    health_is_kept_without_repetitions_and_up_to_a_day_full
    pieces_of_a_log_are_kept_once_and_up_to_a_limit
}

async fn begun(world: &World) -> (Agent, String) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "kopia").await;
    let id = world.queue(&job).await;
    world.take(&agent).await.expect("a run");
    (agent, id)
}

fn event() -> Event {
    BackupStarting {
        engine: "hyperv".to_owned(),
    }
    .into()
}

async fn events_are_kept_plain_and_packed(world: World) {
    let (agent, id) = begun(&world).await;
    let run = WireId::Text(id.clone());
    let mut push = PushEvents::new(run, "1.9.0", vec![event(), event()]);
    push.manifest_id = "feed".to_owned();
    let taken = world.call(&agent, &push).await.expect("taken");
    assert_eq!(
        (taken.inserted, taken.dropped, taken.truncated),
        (2, 0, false)
    );
    let taken = world
        .call(&agent, &push.for_firewall())
        .await
        .expect("taken");
    assert_eq!(taken.inserted, 2);
    let events = world.events(&id).await;
    assert_eq!(events.len(), 4);
    let first = &events[0];
    assert_eq!(
        (first.message_id.as_str(), first.code.as_str()),
        ("BACKUP_STARTING", "BACKUP_STARTING")
    );
    assert_eq!(
        (first.kind.as_str(), first.level.as_str()),
        ("info", "info")
    );
    assert_eq!(first.params_json, r#"{"engine":"hyperv"}"#);
    assert_eq!(world.run(&id).await.manifest_id, "feed");
    let document = json!({
        "run_id": id,
        "events": [{"message_id": "X", "code": ""}, {"type": "info"}, {"message_id": "Y", "params_json": []}],
        "logs": [{"level": "info", "message": "line", "details_json": {"a": 1}}],
    });
    let (status, envelope) = world.post(&agent, "agent_push_events.php", document).await;
    assert_eq!(status, 200, "{envelope}");
    assert_eq!(
        envelope,
        json!({
            "status": "success", "inserted": 2, "dropped": 1, "truncated": false, "logs_inserted": 1,
            "log_ref": "feed",
        })
    );
    let events = world.events(&id).await;
    assert_eq!(events[4].code, "", "an empty code stays empty");
    let document = json!({"run_id": id, "events_encoding": "gzip+base64", "events_b64": "%%%"});
    let (status, _) = world.post(&agent, "agent_push_events.php", document).await;
    assert_eq!(status, 400);
}

async fn a_run_keeps_so_many_events_and_says_so_once(world: World) {
    let (agent, id) = begun(&world).await;
    let push = |count: usize| {
        let events = (0..count).map(|_| event()).collect();
        PushEvents::new(WireId::Text(id.clone()), "1.9.0", events)
    };
    let taken = world.call(&agent, &push(4_990)).await.expect("taken");
    assert_eq!((taken.inserted, taken.truncated), (4_990, false));
    let taken = world.call(&agent, &push(15)).await.expect("taken");
    assert_eq!(
        (taken.inserted, taken.dropped, taken.truncated),
        (10, 5, true)
    );
    let taken = world.call(&agent, &push(3)).await.expect("taken");
    assert_eq!((taken.inserted, taken.dropped), (0, 3));
    let events = world.events(&id).await;
    assert_eq!(events.len(), 5_001);
    let last = events.last().expect("events");
    assert_eq!(last.message_id, "EVENTS_TRUNCATED");
    assert!(last.params_json.contains("5000"), "{}", last.params_json);
    // By errors alarms are judged: so many more of them are kept.
    let error = Event {
        level: "error".to_owned(),
        ..event()
    };
    let run = WireId::Text(id.clone());
    let errors = PushEvents::new(run, "1.9.0", vec![error; 600]);
    let taken = world.call(&agent, &errors).await.expect("taken");
    assert_eq!((taken.inserted, taken.dropped), (499, 101));
    assert_eq!(world.events(&id).await.len(), 5_500);
}

async fn health_is_kept_without_repetitions_and_up_to_a_day_full(world: World) {
    let agent = world.agent().await;
    let health = |version: &str, at: Timestamp| {
        AgentEvent::new(
            Health::ServiceStarted {
                version: version.to_owned(),
            },
            at,
        )
    };
    let at = world.plane.clock.now();
    let push = |events: Vec<AgentEvent>| PushAgentEvents {
        agent_version: "1.9.0".to_owned(),
        events,
        after_firewall: false,
    };
    let mut codeless = health("1", at);
    codeless.code = String::new();
    let batch = push(vec![health("1", at), health("1", at), codeless]);
    let taken = world.call(&agent, &batch).await.expect("taken");
    assert_eq!((taken.inserted, taken.deduped, taken.dropped), (1, 1, 1));
    let taken = world
        .call(&agent, &push(vec![health("1", at)]))
        .await
        .expect("taken");
    assert_eq!((taken.inserted, taken.deduped), (0, 1), "a moment later");
    world.pass(61);
    let taken = world
        .call(&agent, &push(vec![health("1", at)]))
        .await
        .expect("taken");
    assert_eq!(taken.inserted, 1, "a minute later");
    let many = |count: usize| {
        let events = (0..count).map(|_| {
            let mut event = health("1", at);
            event.dedupe_key = String::new();
            event
        });
        push(events.collect())
    };
    let taken = world.call(&agent, &many(1_000)).await.expect("taken");
    assert_eq!(
        (taken.inserted, taken.dropped, taken.truncated),
        (998, 2, true)
    );
    world.clock.advance(Duration::from_hours(24));
    let taken = world.call(&agent, &many(1)).await.expect("taken");
    assert_eq!(taken.inserted, 1, "the next day");
    let kept = agent_event::Entity::find()
        .count(world.plane.store.db())
        .await;
    assert_eq!(kept.expect("counted"), 1_001);
}

async fn pieces_of_a_log_are_kept_once_and_up_to_a_limit(world: World) {
    let (agent, id) = begun(&world).await;
    let at = world.plane.clock.now();
    let chunk = |seq: u64| {
        let run = WireId::Text(id.clone());
        PushLogChunk::new(run, seq, "one\ntwo\n", (at, at), "1.9.0").expect("small")
    };
    let taken = world.call(&agent, &chunk(0)).await.expect("taken");
    assert_eq!(
        (taken.remaining_capacity, taken.duplicate),
        (Some(59), false)
    );
    let taken = world.call(&agent, &chunk(0)).await.expect("taken");
    assert_eq!(
        (taken.remaining_capacity, taken.duplicate),
        (Some(59), true)
    );
    for seq in 1..60 {
        world.call(&agent, &chunk(seq)).await.expect("taken");
    }
    let refused = world.call(&agent, &chunk(60)).await.expect_err("full");
    assert_eq!(refused.code(), Some("chunks_cap_reached"));
    world
        .call(&agent, &chunk(3))
        .await
        .expect("a duplicate is none too many");
    let rows = log_chunk::Entity::find()
        .all(world.plane.store.db())
        .await
        .expect("read");
    assert_eq!((rows.len(), rows[0].line_count), (60, 2));
    for (encoding, content, expected) in [
        ("plain", "aGVsbG8=".to_owned(), 400),
        ("gzip", "%".to_owned(), 400),
        ("gzip", "aGVsbG8=".to_owned(), 400),
        ("gzip", "H4sI".repeat(400_000), 413),
    ] {
        let document = json!({
            "run_id": id, "chunk_seq": 99, "encoding": encoding, "content_b64": content,
        });
        let (status, _) = world
            .post(&agent, "agent_push_log_chunk.php", document)
            .await;
        assert_eq!(status, expected, "{encoding}");
    }
}
