//! Commands (contract 3.6, 3.7, 3.9 and 7).

use control_plane::store::entity::point;
use protocol::WireId;
use protocol::commands::{
    Command, CommandStatus, CompleteCommand, Order, PollCommands, PollPendingCommands,
};
use protocol::identifier::CommandId;
use protocol::reports::{BrowseResult, ReportBrowse};
use protocol::update_run::RunStatus;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ConnectionTrait as _, EntityTrait as _,
    IntoActiveModel as _,
};
use serde_json::{Value, json};

use crate::world::{Agent, PASSWORD, SECRET_KEY, World, refusal};

crate::stories! {
    commands_are_handed_out_once_and_five_of_a_group_at_a_time
    a_command_on_a_point_carries_what_opens_the_repository
    a_run_hears_that_it_is_to_stop_on_every_poll
    a_command_is_answered_once_by_its_own_host
    what_a_command_found_is_kept
    a_refused_restore_fails_its_run
    a_stopped_restore_is_not_handed_out
    orders_for_the_pins_of_a_point_are_handed_out_one_after_the_other
    a_command_that_cannot_be_put_together_costs_no_other
    who_ends_a_restore_and_who_answers_for_it_do_not_wait_for_each_other
}

async fn polled(world: &World, agent: &Agent) -> Vec<Command> {
    world
        .call(agent, &PollPendingCommands)
        .await
        .expect("polled")
}

fn number(id: i64) -> CommandId {
    CommandId(u64::try_from(id).expect("a number"))
}

fn completed(id: i64, status: CommandStatus) -> CompleteCommand {
    CompleteCommand {
        command_id: number(id),
        status,
        result_message: "so it was".to_owned(),
    }
}

async fn commands_are_handed_out_once_and_five_of_a_group_at_a_time(world: World) {
    let (agent, other) = (world.agent().await, world.agent().await);
    let repository = world.repository().await;
    let context = json!({"repository_id": repository.id});
    let mut ids = Vec::new();
    for path in 0..7 {
        let payload = json!({"path": format!("C:\\{path}")});
        ids.push(
            world
                .command(&agent, "browse_directory", payload, json!({}))
                .await,
        );
        let id = world
            .command(&agent, "maintenance_quick", json!({}), context.clone())
            .await;
        ids.push(id);
    }
    assert!(polled(&world, &other).await.is_empty());
    let first = polled(&world, &agent).await;
    assert_eq!(first.len(), 10);
    assert_eq!(first[0].command_id, Some(number(ids[0])));
    let Ok(Order::BrowseDirectory(order)) = first[0].order() else {
        panic!("{first:?}")
    };
    assert_eq!(order.path, "C:\\0");
    assert_eq!(first[0].context(), Ok(None));
    assert_eq!(first[1].order(), Ok(Order::MaintenanceQuick));
    assert_eq!(polled(&world, &agent).await.len(), 4);
    assert!(polled(&world, &agent).await.is_empty());
    assert_eq!(world.run_command(ids[0]).await.status, "processing");
}

/// Makes a run that left a point, and returns both.
async fn backed_up(world: &World, agent: &Agent) -> (String, point::Model) {
    let repository = world.repository().await;
    let job = world.job(agent, &repository, "hyperv").await;
    let vm = world.vm(agent, "web01").await;
    let id = world.queue(&job).await;
    world.take(agent).await.expect("a run");
    let result = json!({
        "vm_id": vm.id, "vm_name": "web01", "backup_type": "Full", "checkpoint_id": "C",
        "disk_manifests": {"D:\\z.vhdx": "9c41"}, "consistency_level": "Crash",
    });
    world
        .end(agent, &id, RunStatus::Success, vec![result])
        .await;
    let point = world.points(&id).await.remove(0);
    (id, point)
}

async fn a_command_on_a_point_carries_what_opens_the_repository(world: World) {
    let agent = world.agent().await;
    let (run, point) = backed_up(&world, &agent).await;
    let context = json!({"point_id": point.id});
    let payload = json!({"restore_point_id": point.id, "path": "/"});
    world
        .command(&agent, "browse_snapshot", payload, context)
        .await;
    let commands = polled(&world, &agent).await;
    let context = commands[0].context().expect("readable").expect("a context");
    assert_eq!(context.manifest_id, "9c41");
    assert_eq!(context.run_id, Some(WireId::Text(run)));
    assert_eq!(context.job_id.map(|id| id.to_string()), point.job_id);
    assert_eq!(context.engine.as_str(), "hyperv");
    assert_eq!(context.destination.dest_secret_key.reveal(), SECRET_KEY);
    let password = context.destination.repository_password.expect("a password");
    assert_eq!(password.reveal(), PASSWORD);
    // Nothing of it is stored with the command.
    let stored = world.run_command(1).await;
    assert!(!stored.payload_json.contains(SECRET_KEY) && !stored.context_json.contains(PASSWORD));
    // Without a repository there is nothing to browse.
    let payload = json!({"restore_point_id": 99, "path": "/"});
    let lost = world
        .command(&agent, "browse_snapshot", payload, json!({"point_id": 99}))
        .await;
    assert!(polled(&world, &agent).await.is_empty());
    let lost = world.run_command(lost).await;
    assert_eq!(lost.status, "failed");
    assert!(
        lost.result_message.contains("repository"),
        "{}",
        lost.result_message
    );
}

async fn a_run_hears_that_it_is_to_stop_on_every_poll(world: World) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "kopia").await;
    let id = world.queue(&job).await;
    let run = world.take(&agent).await.expect("a run").run_id;
    let poll = PollCommands { run_id: run };
    assert!(world.call(&agent, &poll).await.expect("polled").is_empty());
    let logging = json!({"ttl_minutes": 30});
    let verbose = "enable_verbose_admin_logging";
    let command = world
        .command_of_run(&agent, verbose, logging, json!({}), Some(&id))
        .await;
    assert!(
        polled(&world, &agent).await.is_empty(),
        "the run alone is told"
    );
    let commands = world.call(&agent, &poll).await.expect("polled");
    assert_eq!(commands[0].command_id, Some(number(command)));
    let mut row = world.run(&id).await.into_active_model();
    row.cancel_requested_at = Set(Some(world.now()));
    row.update(world.plane.store.db()).await.expect("stopped");
    for _ in 0..3 {
        let commands = world.call(&agent, &poll).await.expect("polled");
        assert_eq!(commands.len(), 1);
        assert_eq!(commands[0].order(), Ok(Order::Cancel));
        assert_eq!(commands[0].command_id, None);
    }
    let get = format!("agent_poll_commands.php?run_id={id}");
    let sent = crate::world::headers(&agent);
    let sent: Vec<_> = sent
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let (status, envelope) = world.raw("GET", &get, &sent, "").await;
    assert_eq!(
        (status, &envelope["commands"][0]["type"]),
        (200, &json!("cancel"))
    );
    world
        .end(&agent, &id, RunStatus::Cancelled, Vec::new())
        .await;
    assert!(
        world.call(&agent, &poll).await.expect("polled").is_empty(),
        "it has stopped"
    );
}

async fn a_command_is_answered_once_by_its_own_host(world: World) {
    let (agent, other) = (world.agent().await, world.agent().await);
    let id = world
        .command(&agent, "refresh_inventory", json!({}), json!({}))
        .await;
    polled(&world, &agent).await;
    let done = completed(id, CommandStatus::Completed);
    assert_eq!(
        refusal(world.call(&other, &done).await),
        (403, "Unauthorized".to_owned())
    );
    let unknown = completed(4_000_000, CommandStatus::Completed);
    let refused = refusal(world.call(&agent, &unknown).await);
    assert_eq!(refused, (404, "Command not found".to_owned()));
    let document = json!({"command_id": id, "status": "cancelled"});
    let (status, _) = world
        .post(&agent, "agent_complete_command.php", document)
        .await;
    assert_eq!(status, 400);
    assert_eq!(world.run_command(id).await.status, "processing");
    let mut document = json!({"command_id": id.to_string(), "status": "completed"});
    document["result_message"] = json!(null);
    let (status, _) = world
        .post(&agent, "agent_complete_command.php", document)
        .await;
    assert_eq!(status, 200);
    let failed = completed(id, CommandStatus::Failed);
    world.call(&agent, &failed).await.expect("ignored");
    let row = world.run_command(id).await;
    assert_eq!(
        (row.status.as_str(), row.result_message.as_str()),
        ("completed", "")
    );
}

async fn what_a_command_found_is_kept(world: World) {
    let (agent, other) = (world.agent().await, world.agent().await);
    let id = world
        .command(&agent, "browse_directory", json!({"path": ""}), json!({}))
        .await;
    polled(&world, &agent).await;
    let found = BrowseResult {
        path: "C:\\".to_owned(),
        ..BrowseResult::default()
    };
    let report = ReportBrowse::new(number(id), &found);
    assert_eq!(refusal(world.call(&other, &report).await).0, 404);
    world.call(&agent, &report).await.expect("taken");
    world.call(&agent, &report).await.expect("ignored");
    let row = world.run_command(id).await;
    assert_eq!(row.status, "completed");
    let kept: BrowseResult = serde_json::from_str(&row.result_json).expect("as it was");
    assert_eq!(kept, found);
    // Plain is taken too; what cannot be read is not.
    let id = world
        .command(&agent, "fetch_log_tail", json!({}), json!({}))
        .await;
    for (member, value, expected) in [
        ("result_b64", json!("%%"), 400),
        ("result", json!([1]), 400),
        ("result", json!({"content": "line"}), 200),
    ] {
        let document = json!({"command_id": id, member: value});
        let (status, _) = world
            .post(&agent, "agent_report_browse.php", document)
            .await;
        assert_eq!(status, expected, "{member}");
    }
    let id = world
        .command(&agent, "reset_agent", json!({}), json!({}))
        .await;
    let report = ReportBrowse::new(number(id), &found);
    assert_eq!(refusal(world.call(&agent, &report).await).0, 400);
}

/// Queues a restore as people's API does, and returns its run and its command.
async fn restore(world: &World, agent: &Agent) -> (String, i64) {
    let (backup, point) = backed_up(world, agent).await;
    let mut row = world.run(&backup).await.into_active_model();
    let id = world.plane.new_id();
    row.id = Set(id.clone());
    row.kind = Set("hyperv_restore".to_owned());
    row.status = Set("queued".to_owned());
    row.point_id = Set(Some(point.id));
    row.created_at = Set(world.now());
    for at in [
        &mut row.started_at,
        &mut row.finished_at,
        &mut row.heartbeat_at,
        &mut row.scheduled_for,
    ] {
        *at = Set(None);
    }
    let row = row.reset_all();
    row.insert(world.plane.store.db()).await.expect("a restore");
    let payload: Value = json!({
        "target_path": "D:\\Restore", "backup_type": "Full", "restore_run_id": id, "restore_run_uuid": id,
        "vms": [{"backup_point_id": point.id, "vm_name": "web01", "disk_manifests": {"D:\\z.vhdx": "9c41"}}],
    });
    let context = json!({"point_id": point.id});
    let command = world
        .command_of_run(agent, "hyperv_restore", payload, context, Some(&id))
        .await;
    (id, command)
}

async fn a_refused_restore_fails_its_run(world: World) {
    let agent = world.agent().await;
    let (run, id) = restore(&world, &agent).await;
    let commands = polled(&world, &agent).await;
    assert_eq!(commands[0].restore_run(), Some(WireId::Text(run.clone())));
    let Ok(Order::HypervRestore(order)) = commands[0].order() else {
        panic!("{commands:?}")
    };
    assert_eq!(order.vms[0].disk_manifests.get("D:\\z.vhdx"), Some("9c41"));
    world
        .call(&agent, &completed(id, CommandStatus::Failed))
        .await
        .expect("taken");
    let row = world.run(&run).await;
    assert_eq!(
        (row.status.as_str(), row.error_summary.as_str()),
        ("failed", "so it was")
    );
    // One that succeeds proves its point, and its command's failure changes nothing any more.
    let (run, id) = restore(&world, &agent).await;
    polled(&world, &agent).await;
    world
        .end(&agent, &run, RunStatus::Success, Vec::new())
        .await;
    world
        .call(&agent, &completed(id, CommandStatus::Failed))
        .await
        .expect("taken");
    let row = world.run(&run).await;
    assert_eq!(row.status, "success");
    let point = point::Entity::find_by_id(row.point_id.expect("a point"))
        .one(world.plane.store.db())
        .await
        .expect("read")
        .expect("it");
    assert_eq!(point.proven_how, "restore");
}

async fn a_stopped_restore_is_not_handed_out(world: World) {
    let agent = world.agent().await;
    let (run, id) = restore(&world, &agent).await;
    let mut row = world.run(&run).await.into_active_model();
    row.cancel_requested_at = Set(Some(world.now()));
    row.update(world.plane.store.db()).await.expect("stopped");
    assert!(polled(&world, &agent).await.is_empty());
    assert_eq!(world.run_command(id).await.status, "failed");
}

async fn orders_for_the_pins_of_a_point_are_handed_out_one_after_the_other(world: World) {
    let (agent, other) = (world.agent().await, world.agent().await);
    let (_, point) = backed_up(&world, &agent).await;
    let (_, another) = backed_up(&world, &agent).await;
    let mut ids = Vec::new();
    for (agent, point, is_pinned) in [
        (&agent, &point, true),
        (&agent, &point, false),
        (&agent, &another, false),
        (&other, &point, true),
    ] {
        let payload = json!({"restore_point_id": point.id, "is_pinned": is_pinned});
        let context = json!({"point_id": point.id});
        ids.push(world.command(agent, "pin_point", payload, context).await);
    }
    let handed = async |agent: &Agent| -> Vec<CommandId> {
        let commands = polled(&world, agent).await;
        commands
            .into_iter()
            .filter_map(|it| it.command_id)
            .collect()
    };
    let is_pinned = async || {
        let found = point::Entity::find_by_id(point.id).one(world.plane.store.db());
        found.await.expect("read").expect("it").is_pinned
    };
    assert!(handed(&other).await.is_empty());
    assert_eq!(handed(&agent).await, [number(ids[0]), number(ids[2])]);
    for (agent, id, next, expected) in [
        (&agent, ids[0], (&agent, ids[1]), true),
        (&agent, ids[1], (&other, ids[3]), false),
    ] {
        assert!(handed(agent).await.is_empty() && handed(&other).await.is_empty());
        let done = completed(id, CommandStatus::Completed);
        world.call(agent, &done).await.expect("taken");
        assert_eq!(is_pinned().await, expected);
        assert_eq!(handed(next.0).await, [number(next.1)]);
    }
}

async fn a_command_that_cannot_be_put_together_costs_no_other(world: World) {
    let agent = world.agent().await;
    let (_, point) = backed_up(&world, &agent).await;
    let mut ids = Vec::new();
    for (kind, context) in [
        ("refresh_inventory", json!({})),
        ("browse_snapshot", json!({"point_id": point.id})),
        ("refresh_inventory", json!({})),
    ] {
        let payload = json!({"restore_point_id": point.id, "path": "/"});
        ids.push(number(world.command(&agent, kind, payload, context).await));
    }
    let db = world.plane.store.db();
    let rename = async |from: &str, to: &str| {
        let sql = format!("ALTER TABLE {from} RENAME TO {to}");
        db.execute_unprepared(&sql).await.expect("renamed");
    };
    rename("points", "points_away").await;
    let got = |commands: Vec<Command>| -> Vec<CommandId> {
        commands
            .into_iter()
            .filter_map(|it| it.command_id)
            .collect()
    };
    assert_eq!(got(polled(&world, &agent).await), ids[..1]);
    rename("points_away", "points").await;
    assert_eq!(got(polled(&world, &agent).await), ids[1..]);
}

async fn who_ends_a_restore_and_who_answers_for_it_do_not_wait_for_each_other(world: World) {
    let store = &world.plane.store;
    if !store.is_shared() {
        // On SQLite one transaction at a time is open.
        return;
    }
    let agent = world.agent().await;
    for is_answer in [true, false] {
        let (run, id) = restore(&world, &agent).await;
        // The watchdog changes the run …
        let watchdog = store.begin().await.expect("begun");
        let order = format!("UPDATE runs SET current_item = 'x' WHERE id = '{run}'");
        watchdog.execute_unprepared(&order).await.expect("changed");
        let other = tokio::spawn({
            let (store, host, run) = (store.clone(), agent.id.clone(), world.run(&run).await);
            async move {
                if is_answer {
                    let answered = store.answer_command(&host, id, false, "no", None, 1).await;
                    answered.map(|_| ())
                } else {
                    let txn = store.begin().await?;
                    store.end_run(&txn, &run, "a person", 1).await?;
                    txn.commit().await
                }
            }
        });
        // … and while the other waits for it …
        world.somebody_waits().await;
        // … it ends the run's command.
        let order = format!("UPDATE commands SET result_message = 'x' WHERE id = {id}");
        watchdog
            .execute_unprepared(&order)
            .await
            .expect("no deadlock");
        watchdog.commit().await.expect("committed");
        other.await.expect("no panic").expect("no deadlock");
    }
}
