//! Who is let in, how often, and with which version (contract 1.2 and 1.3).

use control_plane::live::What;
use control_plane::store::entity::host;
use protocol::agent_events::PushAgentEvents;
use protocol::commands::{Poll, PollPendingCommands};
use protocol::next_run::NextRun;
use protocol::update_run::UpdateRun;
use protocol::{NoAnswer, WireId};
use sea_orm::{ActiveModelTrait as _, ActiveValue::Set, IntoActiveModel as _};
use serde_json::json;

use crate::world::{World, caller, headers, refusal};

crate::stories! {
    nobody_is_let_in_but_who_is_enrolled_and_not_disabled
    a_form_may_say_who_calls
    the_program_is_written_down_at_polls_and_calls_now_and_then
    old_versions_are_turned_away_from_the_four_calls_that_report
    an_agent_that_calls_too_often_is_told_to_wait
    an_address_that_calls_too_often_is_told_to_wait
    what_is_none_of_ours_is_refused_cleanly
}

async fn nobody_is_let_in_but_who_is_enrolled_and_not_disabled(world: World) {
    let agent = world.agent().await;
    world.call(&agent, &NextRun).await.expect("let in");
    let (status, envelope) = world.raw("GET", "agent_next_run.php", &[], "").await;
    assert_eq!(status, 401);
    assert_eq!(
        envelope,
        json!({"status": "fail", "message": "Missing agent headers"})
    );
    // A number alone is what old servers knew.
    let legacy = [("X-Agent-ID", "7"), ("X-Agent-Token", "x")];
    let (status, envelope) = world.raw("GET", "agent_next_run.php", &legacy, "").await;
    assert_eq!(
        (status, &envelope["message"]),
        (401, &json!("Missing agent headers"))
    );
    let mut wrong = agent.clone();
    for (id, token) in [
        (agent.id.as_str(), "wrong"),
        ("0f0e0d0c-0000-4000-8000-000000000001", "wrong"),
        ("7", "wrong"),
        ("\u{1}';--", "wrong"),
    ] {
        wrong.caller = caller(id, token);
        let refused = refusal(world.call(&wrong, &NextRun).await);
        assert_eq!(refused, (401, "Unauthorized".to_owned()), "{id}");
    }
    let mut upper = agent.clone();
    let token = headers(&agent)[1].1.clone();
    upper.caller = caller(&agent.id.to_uppercase(), &token);
    world.call(&upper, &NextRun).await.expect("let in");
    let mut row = world.host(&agent.id).await.into_active_model();
    row.is_disabled = Set(true);
    row.update(world.plane.store.db()).await.expect("disabled");
    world.plane.live.tell(&world.tenant, What::Host, &agent.id);
    let refused = refusal(world.call(&agent, &NextRun).await);
    assert_eq!(refused, (401, "Unauthorized".to_owned()));
}

async fn a_form_may_say_who_calls(world: World) {
    let agent = world.agent().await;
    let token = headers(&agent)[1].1.clone();
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let run = world.plane.new_id();
    let fields = format!("agent_uuid={}&agent_token={token}&run_id={run}", agent.id);
    let (status, envelope) = world
        .raw("POST", "agent_poll_commands.php", &form, &fields)
        .await;
    assert_eq!(status, 403);
    assert_eq!(envelope["message"], "Run not found or unauthorized");
    let fields = format!("agent_uuid={}&agent_token=x&run_id={run}", agent.id);
    let (status, _) = world
        .raw("POST", "agent_poll_commands.php", &form, &fields)
        .await;
    assert_eq!(status, 401);
}

async fn the_program_is_written_down_at_polls_and_calls_now_and_then(world: World) {
    let mut agent = world.agent().await;
    agent.caller.program.version = "1.9.7".to_owned();
    agent.caller.program.arch = "arm64".to_owned();
    world
        .call(&agent, &Poll { long: false })
        .await
        .expect("polled");
    let seen = world.now();
    let row = world.host(&agent.id).await;
    assert_eq!(
        (row.agent_version.as_str(), row.arch.as_str()),
        ("1.9.7", "arm64")
    );
    assert_eq!(row.last_seen_at, Some(seen));
    let seen_again = |row: &host::Model| row.last_seen_at != Some(seen);
    world
        .call(&agent, &PollPendingCommands)
        .await
        .expect("polled");
    assert!(!seen_again(&world.host(&agent.id).await), "a moment later");
    world.pass(60);
    world
        .call(&agent, &PollPendingCommands)
        .await
        .expect("polled");
    assert!(seen_again(&world.host(&agent.id).await), "a minute later");
}

async fn old_versions_are_turned_away_from_the_four_calls_that_report(world: World) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "kopia").await;
    world.queue(&job).await;
    let run = world.take(&agent).await.expect("a run").run_id;
    world.set("min_agent_version", "1.10.0").await;
    let update = |version: &str| {
        let mut program = agent.caller.program.clone();
        program.version = version.to_owned();
        UpdateRun::heartbeat(run.clone(), &program)
    };
    let too_old = NoAnswer::TooOld {
        min_version: "1.10.0".to_owned(),
        reported_version: "1.9.0".to_owned(),
    };
    assert_eq!(
        world.call(&agent, &update("1.9.0")).await,
        Err(too_old.clone())
    );
    // Without a version in the body, the one that is known counts.
    assert_eq!(world.call(&agent, &update("")).await, Err(too_old.clone()));
    let health = PushAgentEvents {
        agent_version: "1.9.0".to_owned(),
        events: Vec::new(),
        after_firewall: false,
    };
    assert_eq!(world.call(&agent, &health).await, Err(too_old));
    for script in ["agent_push_events.php", "agent_push_log_chunk.php"] {
        let document = json!({"run_id": run, "agent_version": "1.9.0"});
        let (status, envelope) = world.post(&agent, script, document).await;
        assert_eq!(status, 426, "{script}");
        assert_eq!(envelope["code"], "agent_version_too_old");
        assert_eq!(envelope["reported_version"], "1.9.0");
    }
    world
        .call(&agent, &update("1.10.0"))
        .await
        .expect("new enough");
    let mut nameless = agent.clone();
    nameless.caller.program.version = String::new();
    let mut row = world.host(&agent.id).await.into_active_model();
    row.agent_version = Set(String::new());
    row.update(world.plane.store.db()).await.expect("unknown");
    let refused = world.call(&nameless, &update("")).await;
    assert!(
        matches!(refused, Err(NoAnswer::TooOld { .. })),
        "{refused:?}"
    );
    world.call(&nameless, &NextRun).await.expect("polls go on");
}

async fn an_agent_that_calls_too_often_is_told_to_wait(world: World) {
    let (agent, other) = (world.agent().await, world.agent().await);
    world.pass(2);
    let mut refused = 0;
    for _ in 0..12 {
        match world.call_at_once(&agent, &NextRun).await {
            Ok(_) => {}
            Err(NoAnswer::Retry {
                http_status: 429,
                after: Some(after),
                ..
            }) => {
                assert_eq!(after.as_secs(), 1);
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 4);
    world.call_at_once(&other, &NextRun).await.expect("its own");
    world.pass(1);
    world
        .call_at_once(&agent, &NextRun)
        .await
        .expect("a new second");
    // Reports of what happened are not counted.
    for _ in 0..20 {
        let health = PushAgentEvents {
            agent_version: "1.9.0".to_owned(),
            events: Vec::new(),
            after_firewall: false,
        };
        world.call_at_once(&agent, &health).await.expect("taken");
    }
}

async fn an_address_that_calls_too_often_is_told_to_wait(world: World) {
    world.pass(2);
    let mut refused = 0;
    for _ in 0..13 {
        let agent = world.agent().await;
        for _ in 0..5 {
            let answer = world.call_at_once(&agent, &NextRun).await;
            refused += usize::from(answer.is_err());
        }
    }
    assert_eq!(refused, 5, "60 of 65 are let in");
}

async fn what_is_none_of_ours_is_refused_cleanly(world: World) {
    let agent = world.agent().await;
    for (method, script) in [
        ("POST", "cloudnas_pending_mounts.php"),
        ("POST", "cloudbackup_recovery_token_exchange.php"),
        ("POST", "agent_driver_bundle_exists.php"),
        ("POST", "agent_upload_driver_bundle.php"),
        ("GET", "nothing/at/all"),
    ] {
        let (status, envelope) = world.raw(method, script, &[], "").await;
        assert_eq!(status, 404, "{script}");
        assert_eq!(envelope["status"], "fail", "{script}");
    }
    let (status, envelope) = world.raw("POST", "agent_next_run.php", &[], "").await;
    assert_eq!((status, &envelope["status"]), (405, &json!("fail")));
    for body in ["", "[]", "nonsense", "\"text\"", "{\"run_id\":"] {
        let sent = headers(&agent);
        let sent: Vec<_> = sent
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let (status, envelope) = world.raw("POST", "agent_update_run.php", &sent, body).await;
        assert_eq!(
            (status, &envelope["status"]),
            (400, &json!("fail")),
            "{body}"
        );
    }
    for script in [
        "agent_update_run.php",
        "agent_push_events.php",
        "agent_push_log_chunk.php",
    ] {
        for (id, code) in [
            (json!(17), json!("invalid_identifier_format")),
            (json!("17"), json!("invalid_identifier_format")),
            (json!(null), json!(null)),
        ] {
            let (status, envelope) = world.post(&agent, script, json!({"run_id": id})).await;
            assert_eq!((status, &envelope["code"]), (400, &code), "{script} {id}");
        }
    }
    let numeric = WireId::Number(17);
    let polled = protocol::commands::PollCommands { run_id: numeric };
    let refused = world.call(&agent, &polled).await.expect_err("refused");
    assert_eq!(refused.code(), Some("invalid_identifier_format"));
}
