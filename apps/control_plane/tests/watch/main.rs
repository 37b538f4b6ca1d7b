//! Schedules that fire, alarms that come and go, and messages that reach people, on real databases and real sockets.

#[path = "../things/ground.rs"]
#[expect(dead_code, reason = "each test program uses a part of it")]
mod ground;
mod history;
mod mail_over_tls;
#[path = "../agent_api/program.rs"]
#[expect(dead_code, reason = "each test program uses a part of it")]
mod program;
mod receivers;
mod schedules;
#[path = "../server/mod.rs"]
mod server;

use std::collections::BTreeMap;
use std::time::Duration;

use control_plane::chores::Chores;
use control_plane::deliver;
use control_plane::store::audit::Entry;
use control_plane::store::commands::NewCommand;
use control_plane::store::entity::{
    alarm, audit_entry, command, delivery, host, job, point, repo_operation, repository, run,
    run_event, vm,
};
use control_plane::store::settings::SMTP;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::NotSet, ActiveValue::Set, ColumnTrait as _,
    ConnectionTrait as _, EntityTrait, IdenStatic as _, Iterable as _, QueryFilter as _,
    QueryOrder as _,
};
use serde_json::{Value, json};
use time_and_chance::{StopSignal, SystemClock};

use ground::{DAY, Ground, HOUR, PointOf, text};
use receivers::{mails, posts};

/// Ends every run that is queued, as an agent would.
async fn end_runs(ground: &Ground, status: &str) {
    run::Entity::update_many()
        .col_expr(run::Column::Status, Expr::value(status))
        .col_expr(run::Column::FinishedAt, Expr::value(ground.now()))
        .filter(run::Column::Status.eq("queued"))
        .exec(ground.world.plane.store.db())
        .await
        .expect("ended");
}

/// The host calls.
async fn call(ground: &Ground) {
    host::Entity::update_many()
        .col_expr(host::Column::LastSeenAt, Expr::value(ground.now()))
        .exec(ground.world.plane.store.db())
        .await
        .expect("seen");
}

async fn runs(ground: &Ground) -> Vec<run::Model> {
    run::Entity::find()
        .order_by_asc(run::Column::ScheduledFor)
        .all(ground.world.plane.store.db())
        .await
        .expect("read")
}

async fn open_alarms(ground: &Ground) -> Vec<String> {
    // Days may have passed, and with them the session.
    let viewer = &ground.viewer;
    let viewer = ground.world.session(&viewer.user_id, &viewer.email).await;
    let alarms = viewer.get("/alarms").await.expect(200);
    let mut kinds: Vec<String> = alarms["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|alarm| text(&alarm["kind"]))
        .collect();
    kinds.sort();
    kinds
}

#[tokio::test]
async fn alarms_open_once_resolve_by_themselves_and_are_answered_by_people() {
    let ground = Ground::new().await;
    let vm = ground.vm("web").await;
    let job = text(&ground.job(ground.wish()).await["id"]);
    let run = ground.run(&job, "failed", 1).await;
    ground
        .point(PointOf {
            job: Some(&job),
            run: &run,
            vm: Some(vm),
            name: "web",
            hours_ago: 2,
            ..PointOf::default()
        })
        .await;
    let chores = Chores::new(ground.world.plane.clone());
    for _ in 0..3 {
        chores.turn().await;
        ground.world.clock.advance(Duration::from_secs(60));
    }
    assert_eq!(open_alarms(&ground).await, ["run_failed"]);
    let alarm = ground.viewer.get("/alarms").await.expect(200)["items"][0].clone();
    assert_eq!(alarm["severity"], "critical");
    assert_eq!(alarm["subject_name"], "Nightly");
    assert_eq!(alarm["detail"]["run_id"], run.as_str());
    let path = |what: &str| format!("/alarms/{}/{what}", alarm["id"]);

    // Who may, and who may not.
    ground
        .viewer
        .post(&path("resolve"), json!({}))
        .await
        .refused(403, "forbidden");
    ground
        .foreigner
        .post(&path("resolve"), json!({}))
        .await
        .refused(404, "not_found");
    assert_eq!(
        ground.foreigner.get("/alarms?state=all").await.expect(200)["items"],
        json!([])
    );
    let acknowledged = ground
        .operator
        .post(&path("acknowledge"), json!({}))
        .await
        .expect(200);
    assert_eq!(
        acknowledged["acknowledged_by"],
        ground.operator.email.as_str()
    );
    ground
        .operator
        .post(&path("snooze"), json!({"until": "2020-01-01T00:00:00Z"}))
        .await
        .refused(422, "invalid");
    ground
        .operator
        .post(&path("snooze"), json!({"until": "2026-03-02T00:00:00Z"}))
        .await
        .expect(200);
    ground
        .operator
        .post(&path("resolve"), json!({}))
        .await
        .expect(200);
    ground
        .operator
        .post(&path("resolve"), json!({}))
        .await
        .refused(409, "resolved");
    let audited = audit_entry::Entity::find()
        .filter(audit_entry::Column::ObjectKind.eq("alarm"))
        .all(ground.world.plane.store.db())
        .await
        .expect("read");
    let actions: Vec<&str> = audited.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(
        actions,
        ["alarm.acknowledge", "alarm.snooze", "alarm.resolve"]
    );

    // The same failed run opens no other; the next failed one does, and a good one ends it.
    let look = async || {
        ground.world.clock.advance(Duration::from_secs(60));
        call(&ground).await;
        chores.turn().await;
        open_alarms(&ground).await
    };
    assert_eq!(look().await, [""; 0]);
    ground.run(&job, "failed", 0).await;
    assert_eq!(look().await, ["run_failed"]);
    ground.run(&job, "cancelled", 0).await;
    assert_eq!(
        look().await,
        ["run_failed"],
        "a person stopped the next one"
    );
    ground.run(&job, "success", 0).await;
    assert_eq!(look().await, [""; 0]);
    let all = alarm::Entity::find()
        .order_by_asc(alarm::Column::Id)
        .all(ground.world.plane.store.db())
        .await
        .expect("read");
    let ended: Vec<&str> = all.iter().map(|alarm| alarm.resolved_by.as_str()).collect();
    assert_eq!(ended, [ground.operator.email.as_str(), "system"]);
}

#[tokio::test]
async fn a_run_that_is_dated_in_the_future_does_not_speak_for_its_job() {
    let ground = Ground::new().await;
    let job = text(&ground.job(ground.wish()).await["id"]);
    let last = async || {
        let job = ground.viewer.get(&format!("/jobs/{job}")).await.expect(200);
        text(&job["last_run"]["id"])
    };
    let chores = Chores::new(ground.world.plane.clone());
    // Made by a clock that was 400 days ahead.
    ground.run(&job, "success", -400 * 24).await;
    let failed = ground.run(&job, "failed", 1).await;
    chores.turn().await;
    assert_eq!(open_alarms(&ground).await, ["run_failed"]);
    assert_eq!(last().await, failed);
    ground.run(&job, "success", 0).await;
    ground.run(&job, "failed", -400 * 24).await;
    ground.world.clock.advance(Duration::from_secs(60));
    chores.turn().await;
    assert_eq!(open_alarms(&ground).await, [""; 0]);
}

#[tokio::test]
async fn times_that_a_clock_left_in_the_future_keep_nothing_waiting() {
    let ground = Ground::new().await;
    let (store, db) = (&ground.world.plane.store, ground.world.plane.store.db());
    let chores = Chores::new(ground.world.plane.clone());
    let now = ground.now();
    ground.vm("web").await;
    let job = text(&ground.job(ground.wish()).await["id"]);
    ground.run(&job, "failed", 1).await;
    ground.run(&job, "running", 0).await;
    chores.turn().await;
    assert_eq!(open_alarms(&ground).await, ["run_failed"]);
    let list = NewCommand {
        tenant_id: ground.tenant.clone(),
        host_id: ground.host.clone(),
        kind: "list_hyperv_vms".to_owned(),
        ..NewCommand::default()
    };
    let list = store.queue_command(db, list, now).await.expect("queued");
    for status in ["queued", "running", "failed"] {
        repo_operation::ActiveModel {
            id: NotSet,
            tenant_id: Set(ground.tenant.clone()),
            repository_id: Set(ground.repository.clone()),
            kind: Set("verify".to_owned()),
            token: Set(status.to_owned()),
            payload_json: Set("{}".to_owned()),
            status: Set(status.to_owned()),
            host_id: Set(None),
            attempts: Set(0),
            not_before: Set(now),
            locked_until: Set((status == "running").then_some(now)),
            result_json: Set("{}".to_owned()),
            created_at: Set(now),
            finished_at: Set((status == "failed").then_some(now)),
        }
        .insert(db)
        .await
        .expect("work");
    }
    delivery::ActiveModel {
        id: NotSet,
        tenant_id: Set(ground.tenant.clone()),
        channel_id: Set("a channel".to_owned()),
        subject: Set(String::new()),
        body_json: Set("{}".to_owned()),
        status: Set("due".to_owned()),
        due_at: Set(now),
        attempts: Set(1),
        error: Set(String::new()),
        created_at: Set(now),
        sent_at: Set(None),
    }
    .insert(db)
    .await
    .expect("a message");
    // Each of the times that something waits for, of the rows that count.
    let times = [
        ("hosts", "last_seen_at", "1 = 1"),
        ("vms", "first_seen_at", "1 = 1"),
        ("jobs", "created_at", "1 = 1"),
        ("repositories", "last_quick_at", "1 = 1"),
        ("repositories", "last_full_at", "1 = 1"),
        ("repositories", "last_verified_at", "1 = 1"),
        ("repositories", "last_listed_at", "1 = 1"),
        ("repositories", "created_at", "1 = 1"),
        ("repo_operations", "not_before", "status = 'queued'"),
        ("repo_operations", "created_at", "status = 'queued'"),
        ("repo_operations", "locked_until", "status = 'running'"),
        ("repo_operations", "finished_at", "status = 'failed'"),
        ("commands", "created_at", "1 = 1"),
        ("commands", "finished_at", "status = 'completed'"),
        ("runs", "started_at", "1 = 1"),
        ("runs", "heartbeat_at", "1 = 1"),
        ("runs", "finished_at", "status = 'failed'"),
        ("alarms", "opened_at", "1 = 1"),
        ("alarms", "graded_at", "1 = 1"),
        ("deliveries", "due_at", "1 = 1"),
        ("deliveries", "created_at", "1 = 1"),
    ];
    store
        .answer_command(&ground.host, list.id, true, "", None, now)
        .await
        .expect("answered");
    let ahead = now + 400 * DAY;
    for (table, at, which) in times {
        let sql = format!("UPDATE {table} SET {at} = {ahead} WHERE {which}");
        let changed = db.execute_unprepared(&sql).await.expect(&sql);
        assert_ne!(changed.rows_affected(), 0, "{sql}");
    }
    assert_ne!(store.pull_back_times(now).await.expect("done"), 0);
    for (table, at, which) in times {
        let sql = format!("UPDATE {table} SET {at} = {at} WHERE {which} AND {at} <> {now}");
        let left = db.execute_unprepared(&sql).await.expect(&sql);
        assert_eq!(left.rows_affected(), 0, "{table}.{at}");
    }
    assert_eq!(store.pull_back_times(now).await.expect("done"), 0);
}

#[tokio::test]
async fn a_run_that_the_watchdog_stopped_is_no_persons_doing() {
    let ground = Ground::new().await;
    let (store, db) = (&ground.world.plane.store, ground.world.plane.store.db());
    let job = text(&ground.job(ground.wish()).await["id"]);
    let run = ground.run(&job, "running", 1).await;
    let asked = store.watchdog(ground.now(), 0).await.expect("watched");
    assert!(asked[0].cancel_requested_at.is_some(), "{asked:?}");
    // The agent comes back, is told to stop, and says that it did.
    let cancelled = run::Entity::update_many()
        .col_expr(run::Column::Status, Expr::value("cancelled"))
        .col_expr(run::Column::FinishedAt, Expr::value(ground.now()))
        .filter(run::Column::Id.eq(&run));
    cancelled.exec(db).await.expect("ended");
    Chores::new(ground.world.plane.clone()).turn().await;
    assert_eq!(open_alarms(&ground).await, ["run_failed"]);
}

#[tokio::test]
async fn what_the_server_slept_through_opens_no_alarm_of_silence_at_once() {
    let ground = Ground::new().await;
    let chores = Chores::new(ground.world.plane.clone());
    chores.turn().await;
    // The server sleeps for a night; when it wakes, agents get their time to call.
    ground.world.clock.advance(Duration::from_secs(8 * 3_600));
    chores.turn().await;
    assert_eq!(open_alarms(&ground).await, [""; 0]);
    for _ in 0..16 {
        ground.world.clock.advance(Duration::from_secs(60));
        chores.turn().await;
    }
    assert_eq!(open_alarms(&ground).await, ["agent_silent"]);
    call(&ground).await;
    ground.world.clock.advance(Duration::from_secs(60));
    chores.turn().await;
    assert_eq!(open_alarms(&ground).await, [""; 0]);
}

#[tokio::test]
async fn upkeep_and_lists_of_vms_are_asked_for_once_when_they_are_due() {
    let ground = Ground::new().await;
    let vm = ground.vm("web").await;
    let job = text(&ground.job(ground.wish()).await["id"]);
    let run = ground.run(&job, "success", 1).await;
    ground
        .point(PointOf {
            job: Some(&job),
            run: &run,
            vm: Some(vm),
            ..PointOf::default()
        })
        .await;
    let db = ground.world.plane.store.db();
    repository::Entity::update_many()
        .col_expr(repository::Column::QuickEveryHours, Expr::value(24_i64))
        .col_expr(repository::Column::FullEveryHours, Expr::value(48_i64))
        .col_expr(repository::Column::VerifyEveryHours, Expr::value(24_i64))
        .exec(db)
        .await
        .expect("changed");
    let chores = Chores::new(ground.world.plane.clone());
    let turn = async |seconds: u64| {
        ground.world.clock.advance(Duration::from_secs(seconds));
        call(&ground).await;
        chores.turn().await;
        let asked = command::Entity::find()
            .order_by_asc(command::Column::Id)
            .all(db)
            .await
            .expect("read");
        asked
            .into_iter()
            .map(|it| (it.kind, it.payload_json))
            .collect::<Vec<_>>()
    };
    assert_eq!(turn(60).await.len(), 1);
    assert_eq!(turn(1_000).await.len(), 1, "it is pending still");
    command::Entity::update_many()
        .col_expr(command::Column::Status, Expr::value("completed"))
        .exec(db)
        .await
        .expect("answered");
    let asked = turn(60).await;
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].0, "list_hyperv_vm_details");
    assert!(asked[1].1.contains("vm_ids"), "{asked:?}");

    turn(24 * 3_600).await;
    turn(60).await;
    let queued = repo_operation::Entity::find().all(db).await.expect("read");
    // No agent of this host's version knows how to verify, and full maintenance is not due.
    let kinds: Vec<&str> = queued.iter().map(|it| it.kind.as_str()).collect();
    assert_eq!(kinds, ["maintenance_quick"]);
    assert_eq!(queued[0].status, "queued");

    // Long afterwards events are dropped.
    ground.event(&run, "BACKUP_STARTING", json!({})).await;
    let store = &ground.world.plane.store;
    let events = async || {
        let rows = run_event::Entity::find().all(db).await.expect("read");
        rows.len()
    };
    let begun = events().await;
    store
        .drop_old_rows(ground.now() + 80 * DAY)
        .await
        .expect("done");
    assert_eq!(events().await, begun);
    store
        .drop_old_rows(ground.now() + 91 * DAY)
        .await
        .expect("done");
    assert_eq!(events().await, 0);
}

/// Returns what went out: kind, severity and whether it is worse, of each alarm that is told as open.
async fn told(ground: &Ground) -> Vec<(String, String, bool)> {
    let mut told = Vec::new();
    for message in messages(ground).await {
        let message: Value = serde_json::from_str(&message.body_json).expect("JSON");
        for item in message["opened"].as_array().expect("a list") {
            let is_worse = item["is_worse"] == true;
            told.push((text(&item["kind"]), text(&item["severity"]), is_worse));
        }
    }
    told
}

/// Makes a webhook that takes every message.
async fn take_messages(ground: &Ground) {
    let (address, _) = posts(vec![200; 20]).await;
    allow(ground, "127.0.0.0/8").await;
    let body = json!({"name": "Hook", "kind": "webhook", "url": format!("http://{address}/hook")});
    ground.owner.post("/alarm-channels", body).await.expect(201);
}

#[tokio::test]
async fn what_gets_worse_is_told_again_and_what_merely_lasts_is_not() {
    let ground = Ground::new().await;
    take_messages(&ground).await;
    let job = text(&ground.job(ground.wish()).await["id"]);
    let chores = Chores::new(ground.world.plane.clone());
    let look = async || {
        for _ in 0..8 {
            ground.world.clock.advance(Duration::from_secs(60));
            call(&ground).await;
            turn_and_send(&ground, &chores).await;
        }
        told(&ground).await.len()
    };
    let fail = async |vms: usize| {
        let run = ground.run(&job, "warning", 0).await;
        for _ in 0..vms {
            let params = json!({"vm_name": "web"});
            ground.event(&run, "HYPERV_VM_FAILED", params).await;
        }
    };
    fail(1).await;
    assert_eq!(look().await, 1);
    fail(1).await;
    assert_eq!(look().await, 1, "it lasts");
    fail(5).await;
    assert_eq!(look().await, 2, "five VMs instead of one");
    fail(1).await;
    fail(5).await;
    assert_eq!(look().await, 2, "that was told");
    let alarms = ground.viewer.get("/alarms").await.expect(200);
    let path = format!("/alarms/{}/acknowledge", alarms["items"][0]["id"]);
    ground.operator.post(&path, json!({})).await.expect(200);
    fail(40).await;
    assert_eq!(look().await, 2, "somebody takes care");
    ground.run(&job, "failed", 0).await;
    assert_eq!(look().await, 3, "it is more than what somebody knows of");
    let expected = [("warning", false), ("warning", true), ("critical", true)];
    let expected = expected
        .map(|(severity, is_worse)| ("run_failed".to_owned(), severity.to_owned(), is_worse));
    assert_eq!(told(&ground).await, expected);
}

#[tokio::test]
async fn a_message_counts_the_alarms_that_it_does_not_name() {
    let ground = Ground::new().await;
    take_messages(&ground).await;
    for number in 0..103 {
        ground.vm(&format!("vm{number}")).await;
    }
    let chores = Chores::new(ground.world.plane.clone());
    for _ in 0..8 {
        ground.world.clock.advance(Duration::from_secs(60));
        call(&ground).await;
        turn_and_send(&ground, &chores).await;
    }
    let all = messages(&ground).await;
    assert_eq!(all.len(), 1, "{all:?}");
    let message: Value = serde_json::from_str(&all[0].body_json).expect("JSON");
    assert_eq!(message["opened"].as_array().map(Vec::len), Some(100));
    assert_eq!(message["more_opened"], 3);
    let subject = text(&message["subject"]);
    assert!(subject.contains("103 alarms"), "{subject}");
}

#[tokio::test]
async fn what_was_given_up_is_told_with_the_next_message_that_arrives() {
    let ground = Ground::new().await;
    let (gone, _) = posts(Vec::new()).await;
    allow(&ground, "127.0.0.0/8").await;
    let body = json!({"name": "Hook", "kind": "webhook", "url": format!("http://{gone}/gone")});
    let made = ground.owner.post("/alarm-channels", body).await.expect(201);
    let jobs = ["Lasts", "Ends"].map(|name| {
        let mut wish = ground.wish();
        wish["name"] = json!(name);
        wish["schedule"] = json!({"kind": "manual"});
        wish
    });
    let mut ids = Vec::new();
    for wish in jobs {
        let id = text(&ground.job(wish).await["id"]);
        ground.run(&id, "failed", 0).await;
        ids.push(id);
    }
    let chores = Chores::new(ground.world.plane.clone());
    let look = async |turns: usize| {
        for _ in 0..turns {
            ground.world.clock.advance(Duration::from_secs(1_800));
            call(&ground).await;
            turn_and_send(&ground, &chores).await;
        }
    };
    look(50).await;
    let all = messages(&ground).await;
    assert_eq!(all[0].status, "failed", "{all:?}");
    ground.run(&ids[1], "success", 0).await;
    look(2).await;
    // Somebody corrects the channel.
    let (address, calls) = posts(vec![200; 20]).await;
    let owner = ground
        .world
        .session(&ground.owner.user_id, &ground.owner.email)
        .await;
    let path = format!("/alarm-channels/{}", text(&made["id"]));
    let url = json!({"url": format!("http://{address}/hook")});
    owner.patch(&path, url).await.expect(200);
    look(4).await;
    let (mut opened, mut resolved) = (Vec::new(), Vec::new());
    for (_, body) in calls.lock().expect("whole").iter() {
        let message: Value = serde_json::from_slice(body).expect("JSON");
        let names = |what: &str| -> Vec<String> {
            let items = message[what].as_array().expect("a list").iter();
            let of_runs = items.filter(|it| it["kind"] == "run_failed");
            of_runs.map(|it| text(&it["subject_name"])).collect()
        };
        opened.extend(names("opened"));
        resolved.extend(names("resolved"));
    }
    opened.sort();
    opened.dedup();
    assert!(opened.contains(&"Lasts".to_owned()), "{opened:?}");
    assert_eq!(resolved, ["Ends"], "{opened:?}");
}

#[tokio::test]
async fn whoever_heard_of_an_alarm_hears_of_its_end_though_it_was_snoozed() {
    let ground = Ground::new().await;
    take_messages(&ground).await;
    let mut wish = ground.wish();
    wish["schedule"] = json!({"kind": "manual"});
    let job = text(&ground.job(wish).await["id"]);
    let chores = Chores::new(ground.world.plane.clone());
    let look = async |minutes: usize| {
        for _ in 0..minutes {
            ground.world.clock.advance(Duration::from_secs(60));
            call(&ground).await;
            turn_and_send(&ground, &chores).await;
        }
        let mut counts = [0, 0];
        for message in messages(&ground).await {
            let message: Value = serde_json::from_str(&message.body_json).expect("JSON");
            for (count, what) in counts.iter_mut().zip(["opened", "resolved"]) {
                let items = message[what].as_array().expect("a list").iter();
                *count += items.filter(|it| it["kind"] == "run_failed").count();
            }
        }
        counts
    };
    let snooze = async |minutes: i64| {
        let alarm = ground.viewer.get("/alarms").await.expect(200)["items"][0]["id"].clone();
        let until = control_plane::plane::rfc3339(ground.now() + minutes * 60_000);
        let path = format!("/alarms/{alarm}/snooze");
        let body = json!({"until": until});
        ground.operator.post(&path, body).await.expect(200);
    };
    ground.run(&job, "failed", 0).await;
    assert_eq!(look(8).await, [1, 0]);
    snooze(10).await;
    assert_eq!(look(8).await, [1, 0], "it is quiet");
    assert_eq!(look(10).await, [2, 0], "it is told anew");
    snooze(60).await;
    ground.run(&job, "success", 0).await;
    assert_eq!(look(10).await, [2, 1], "it ended in the meantime");
}

async fn turn_and_send(ground: &Ground, chores: &Chores) {
    chores.turn().await;
    deliver::send_due(&ground.world.plane).await.expect("sent");
}

async fn messages(ground: &Ground) -> Vec<delivery::Model> {
    delivery::Entity::find()
        .order_by_asc(delivery::Column::Id)
        .all(ground.world.plane.store.db())
        .await
        .expect("read")
}

#[tokio::test]
async fn mail_reaches_people_when_an_alarm_begins_and_ends_and_each_morning() {
    let ground = Ground::new().await;
    let (address, inbox) = mails().await;
    let smtp = json!({"host": address.ip().to_string(), "port": address.port(), "tls": "none", "username": "",
        "from": "Backups <backup@example.com>"});
    let store = &ground.world.plane.store;
    store
        .set_setting(store.db(), SMTP, &smtp.to_string())
        .await
        .expect("set");
    let channel = json!({"name": "Admins", "kind": "email", "addresses": ["ann@example.com"], "summary_at": "07:00",
        "quiet_hours": {"from": "22:00", "to": "06:00"}});
    ground
        .operator
        .post("/alarm-channels", channel.clone())
        .await
        .refused(403, "forbidden");
    let made = ground
        .owner
        .post("/alarm-channels", channel)
        .await
        .expect(201);
    assert_eq!(made["summary_at"], "07:00");
    assert_eq!(made["min_severity"], "warning");
    let path = format!("/alarm-channels/{}", text(&made["id"]));
    let tested = ground
        .owner
        .post(&format!("{path}/test"), json!({}))
        .await
        .expect(200);
    assert_eq!(tested, json!({"sent": true, "error": null}));
    ground
        .foreigner
        .delete(&path)
        .await
        .refused(404, "not_found");

    let job = text(&ground.job(ground.wish()).await["id"]);
    ground.run(&job, "failed", 1).await;
    let chores = Chores::new(ground.world.plane.clone());
    turn_and_send(&ground, &chores).await;
    ground.world.clock.advance(Duration::from_secs(60));
    ground.run(&job, "success", 0).await;
    for _ in 0..8 {
        ground.world.clock.advance(Duration::from_secs(60));
        call(&ground).await;
        turn_and_send(&ground, &chores).await;
    }
    // The next morning, 07:00 in Berlin.
    ground.world.clock.advance(Duration::from_secs(22 * 3_600));
    call(&ground).await;
    turn_and_send(&ground, &chores).await;
    ground.world.clock.advance(Duration::from_secs(600));
    turn_and_send(&ground, &chores).await;
    let subjects: Vec<String> = inbox
        .lock()
        .expect("whole")
        .iter()
        .map(|mail| {
            assert!(mail.contains("To: ann@example.com"), "{mail}");
            assert!(mail.contains("text/html"), "{mail}");
            let line = mail.lines().find(|line| line.starts_with("Subject:"));
            line.unwrap_or_default().to_owned()
        })
        .collect();
    assert_eq!(
        subjects.len(),
        messages(&ground).await.len() + 1,
        "{subjects:?}"
    );
    assert_eq!(subjects[0], "Subject: [Example] A test message");
    assert!(
        subjects[1].contains("Run failed: Nightly (critical)"),
        "{subjects:?}"
    );
    assert!(
        subjects[2].contains("Resolved: Run failed: Nightly"),
        "{subjects:?}"
    );
    assert!(
        subjects
            .iter()
            .filter(|it| it.contains("Backups of 2026-03-02"))
            .count()
            == 1,
        "{subjects:?}"
    );
}

/// Lets webhooks call somewhere inside.
async fn allow(ground: &Ground, network: &str) {
    let root = ground.world.person("owner", None).await;
    let wish = json!({"webhook_networks": [network]});
    ground
        .owner
        .put("/settings", wish.clone())
        .await
        .refused(403, "forbidden");
    root.put("/settings", wish).await.expect(200);
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_called_unless_it_was_allowed() {
    let ground = Ground::new().await;
    let (address, calls) = posts(vec![200]).await;
    let url = format!("http://localhost:{}/hook", address.port());
    let body = json!({"name": "Hook", "kind": "webhook", "url": url});
    let made = ground.owner.post("/alarm-channels", body).await.expect(201);
    let path = format!("/alarm-channels/{}/test", text(&made["id"]));
    let tested = ground.owner.post(&path, json!({})).await.expect(200);
    let error = text(&tested["error"]);
    assert!(error.contains("private network"), "{error}");
    assert!(!error.contains("127."), "{error}");
    assert!(calls.lock().expect("whole").is_empty());
    allow(&ground, "localhost").await;
    let tested = ground.owner.post(&path, json!({})).await.expect(200);
    assert_eq!(tested["sent"], true, "{tested}");
    // It is noted a moment after it was answered.
    while calls.lock().expect("whole").is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_webhook_is_signed_tried_again_and_given_up_with_an_alarm() {
    let ground = Ground::new().await;
    let (address, calls) = posts(vec![500, 200]).await;
    let url = format!("http://{address}/hook");
    for refused in [
        "http://169.254.169.254/",
        "http://93.184.215.14/",
        "ftp://x/",
    ] {
        let body = json!({"name": "Bad", "kind": "webhook", "url": refused});
        ground
            .owner
            .post("/alarm-channels", body)
            .await
            .refused(422, "invalid");
    }
    let body = json!({"name": "Hook", "kind": "webhook", "url": url, "secret": "only a test"});
    let refused = ground.owner.post("/alarm-channels", body.clone()).await;
    assert_eq!(refused.refused(422, "invalid")["field"], "url");
    allow(&ground, "127.0.0.0/8").await;
    let made = ground.owner.post("/alarm-channels", body).await.expect(201);
    assert_eq!(made["has_secret"], true);
    assert!(!made.to_string().contains("only a test"));
    let job = text(&ground.job(ground.wish()).await["id"]);
    ground.run(&job, "failed", 1).await;
    let chores = Chores::new(ground.world.plane.clone());
    for _ in 0..3 {
        turn_and_send(&ground, &chores).await;
        ground.world.clock.advance(Duration::from_secs(61));
        call(&ground).await;
    }
    let calls = calls.lock().expect("whole").clone();
    assert_eq!(
        calls.len(),
        2,
        "the first was answered by 500, the second by 200"
    );
    for (headers, body) in &calls {
        let headers: &BTreeMap<String, String> = headers;
        let timestamp: i64 = headers["x-e3-timestamp"].parse().expect("a number");
        let expected = deliver::webhook::signature(b"only a test", timestamp, body);
        assert_eq!(headers["x-e3-signature"], expected);
        let message: Value = serde_json::from_slice(body).expect("JSON");
        assert_eq!(message["kind"], "alarms");
        assert_eq!(message["opened"][0]["kind"], "run_failed");
    }
    let id = |at: usize| serde_json::from_slice::<Value>(&calls[at].1).expect("JSON")["id"].clone();
    assert_eq!(id(0), id(1), "the same message has the same id");

    // Nobody answers any more: after a day it is given up.
    let path = format!("/alarm-channels/{}", text(&made["id"]));
    let (gone, _) = posts(Vec::new()).await;
    let url = format!("http://{gone}/gone");
    ground
        .owner
        .patch(&path, json!({"url": url}))
        .await
        .expect(200);
    ground.run(&job, "success", 0).await;
    for _ in 0..60 {
        ground.world.clock.advance(Duration::from_secs(1_800));
        call(&ground).await;
        end_runs(&ground, "success").await;
        turn_and_send(&ground, &chores).await;
    }
    let failed = messages(&ground)
        .await
        .into_iter()
        .find(|it| it.status == "failed");
    let failed = failed.expect("one that was given up");
    assert!(failed.attempts > 10, "{failed:?}");
    assert!(
        failed.sent_at.expect("ended") - failed.created_at >= DAY - 2 * HOUR,
        "{failed:?}"
    );
    let open = open_alarms(&ground).await;
    assert!(open.contains(&"channel_failed".to_owned()), "{open:?}");
}
