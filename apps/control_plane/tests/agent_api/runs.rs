//! Runs: handed out, reported, ended (contract 3.1, 3.2, 4 and 5).

use control_plane::store::entity::{repo_operation, run_log};
use protocol::next_run::{Engine, NextRun, Offer};
use protocol::update_run::{Ending, Progress, RunStatus, UpdateRun};
use protocol::{WireId, path_map::PathMap};
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, EntityTrait as _,
    IntoActiveModel as _, PaginatorTrait as _, QueryFilter as _,
};
use serde_json::{Value, json};

use crate::world::{Agent, PASSWORD, SECRET_KEY, World, refusal};

crate::stories! {
    a_run_is_handed_out_with_all_that_it_takes
    a_run_of_vms_names_those_that_the_rules_choose
    a_silent_run_is_offered_again_and_one_that_is_to_stop_is_not
    runs_of_paused_jobs_and_of_other_hosts_are_not_handed_out
    a_run_whose_secrets_cannot_be_opened_fails_instead_of_being_handed_out
    progress_is_kept_and_what_is_over_stays_over
    an_error_before_the_end_fails_the_run
    results_become_points_once_and_the_next_run_gets_the_pointer
    of_a_run_that_succeeded_in_part_the_complete_vms_have_points
    a_result_that_makes_no_sense_costs_no_other
    what_is_not_recorded_is_logged_once_and_within_limits
    vms_without_a_number_are_found_by_their_names
    a_run_of_files_has_one_point_and_leaves_work_in_its_repository
    another_hosts_run_is_none_of_an_agents_business
}

fn result(vm_id: i64, name: &str, manifest: &str) -> Value {
    json!({
        "vm_id": vm_id, "vm_name": name, "backup_type": "Full", "checkpoint_id": format!("C-{manifest}"),
        "rct_ids": {"D:\\z.vhdx": "rctX:1"}, "disk_manifests": {"D:\\z.vhdx": manifest},
        "total_bytes": 1000, "changed_bytes": 10, "consistency_level": "Application",
        "duration_seconds": 7, "warnings": [],
    })
}

fn text(id: &WireId) -> String {
    id.to_string()
}

async fn hyperv_run(world: &World) -> (Agent, String) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "hyperv").await;
    world.queue(&job).await;
    (agent, String::new())
}

async fn a_run_is_handed_out_with_all_that_it_takes(world: World) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "kopia").await;
    assert_eq!(world.take(&agent).await, None);
    let id = world.queue(&job).await;
    let run = world.take(&agent).await.expect("a run");
    assert_eq!(text(&run.run_id), id);
    assert_eq!(run.job_id, Some(WireId::Text(job.id.clone())));
    assert_eq!(run.engine, Engine::Kopia);
    assert_eq!(run.sources(), ["/home"]);
    assert_eq!(run.source_uuid, job.id.replace('-', ""));
    assert_eq!(run.retention_json.keep_last, Some(7));
    assert_eq!(run.policy_json.compression.as_deref(), Some("zstd"));
    assert!(run.compression_enabled && !run.resume);
    let to = &run.destination;
    assert_eq!(to.dest_type, "s3");
    assert_eq!(
        (to.dest_bucket_name.as_str(), to.blob_prefix().as_str()),
        ("backups", "some/where/")
    );
    assert_eq!(to.dest_endpoint, "https://s3.example.net");
    assert_eq!(to.dest_access_key.reveal(), "AK1");
    assert_eq!(to.dest_secret_key.reveal(), SECRET_KEY);
    assert_eq!(to.repository_id.as_deref(), Some(repository.id.as_str()));
    let password = to.repository_password.as_ref().expect("a password");
    assert_eq!(password.reveal(), PASSWORD);
    assert_eq!(
        (to.repo_password_mode.as_str(), to.payload_version.as_str()),
        ("v2", "v2")
    );
    assert_eq!(to.local_bandwidth_limit_kbps, 512);
    assert_eq!(world.take(&agent).await, None, "it is handed out once");
    let row = world.run(&id).await;
    assert_eq!(row.status, "starting");
    assert!(row.started_at.is_some() && row.heartbeat_at == row.started_at);
}

async fn a_run_of_vms_names_those_that_the_rules_choose(world: World) {
    let (agent, _) = hyperv_run(&world).await;
    let chosen = world.vm(&agent, "web01").await;
    world.vm(&agent, "db").await;
    let run = world.take(&agent).await.expect("a run");
    assert_eq!(run.engine, Engine::Hyperv);
    assert!(run.sources().is_empty());
    let [vm] = &run.hyperv_vms[..] else {
        panic!("{run:?}")
    };
    assert_eq!(vm.vm_id.0, u64::try_from(chosen.id).expect("a number"));
    assert_eq!((vm.vm_name.as_str(), &vm.vm_guid), ("web01", &chosen.guid));
    assert_eq!(vm.last_checkpoint_id, None);
    assert!(run.hyperv_config.reads_changes_only());
    assert!(run.hyperv_config.wants_application_consistency());
}

async fn a_silent_run_is_offered_again_and_one_that_is_to_stop_is_not(world: World) {
    let (agent, _) = hyperv_run(&world).await;
    let first = world.take(&agent).await.expect("a run");
    world.pass(170);
    assert_eq!(world.take(&agent).await, None, "it may live");
    world.pass(10);
    let again = world.take(&agent).await.expect("again");
    assert!(again.resume);
    assert_eq!(again.run_id, first.run_id);
    assert_eq!(
        again.last_heartbeat_at.as_deref(),
        Some("2026-03-01 08:00:00")
    );
    let id = text(&first.run_id);
    assert_eq!(world.run(&id).await.status, "starting", "it is as it was");
    let beat = UpdateRun::heartbeat(first.run_id.clone(), &agent.caller.program);
    world.call(&agent, &beat).await.expect("taken");
    assert_eq!(world.take(&agent).await, None, "it lives");
    world.pass(300);
    let mut row = world.run(&id).await.into_active_model();
    row.cancel_requested_at = Set(Some(world.now()));
    row.update(world.plane.store.db()).await.expect("stopped");
    assert_eq!(world.take(&agent).await, None, "it is to stop");
}

async fn runs_of_paused_jobs_and_of_other_hosts_are_not_handed_out(world: World) {
    let (agent, other) = (world.agent().await, world.agent().await);
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "kopia").await;
    let run = world.queue(&job).await;
    assert_eq!(world.take(&other).await, None);
    let mut paused = job.clone().into_active_model();
    paused.status = Set("paused".to_owned());
    let job = paused.update(world.plane.store.db()).await.expect("paused");
    assert_eq!(world.take(&agent).await, None);
    let mut active = job.into_active_model();
    active.status = Set("active".to_owned());
    active.update(world.plane.store.db()).await.expect("active");
    let mut restore = world.run(&run).await.into_active_model();
    restore.kind = Set("restore".to_owned());
    restore
        .update(world.plane.store.db())
        .await
        .expect("a restore");
    assert_eq!(world.take(&agent).await, None, "restores come as commands");
}

async fn a_run_whose_secrets_cannot_be_opened_fails_instead_of_being_handed_out(world: World) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    let mut sealed = repository.clone().into_active_model();
    sealed.password_sealed = Set(vec![7; 60]);
    sealed
        .update(world.plane.store.db())
        .await
        .expect("damaged");
    let job = world.job(&agent, &repository, "kopia").await;
    let id = world.queue(&job).await;
    let offer = world.call(&agent, &NextRun).await.expect("an answer");
    assert_eq!(offer, Offer::NoRun);
    let row = world.run(&id).await;
    assert_eq!(row.status, "failed");
    assert!(
        row.error_summary.contains("secrets.key"),
        "{}",
        row.error_summary
    );
}

async fn progress_is_kept_and_what_is_over_stays_over(world: World) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "kopia").await;
    let id = world.queue(&job).await;
    let run = world.take(&agent).await.expect("a run").run_id;
    let program = agent.caller.program.clone();
    let started = UpdateRun::started(run.clone(), &program, world.plane.clock.now());
    world.call(&agent, &started).await.expect("taken");
    let mut progress = UpdateRun::progressed(
        run.clone(),
        &program,
        Progress {
            progress_pct: Some(12.345),
            bytes_processed: Some(5),
            bytes_total: Some(50),
            current_item: "VM 1/3: web\0 01".to_owned(),
            ..Progress::default()
        },
    );
    progress.stats_json = serde_json::from_value(json!({"a": {"b": 1}})).expect("figures");
    world.call(&agent, &progress).await.expect("taken");
    let row = world.run(&id).await;
    assert_eq!((row.status.as_str(), row.progress_pct), ("running", 12.35));
    assert_eq!((row.bytes_processed, row.bytes_total), (5, 50));
    assert_eq!(
        row.current_item, "VM 1/3: web 01",
        "without what no database takes"
    );
    assert_eq!(row.stats_json, r#"{"a":{"b":1}}"#);
    world.end(&agent, &id, RunStatus::Failed, Vec::new()).await;
    let over = world.run(&id).await;
    assert_eq!(
        (over.status.as_str(), over.error_summary.as_str()),
        ("failed", "it failed")
    );
    for late in [&started, &progress] {
        world
            .call(&agent, late)
            .await
            .expect("an answer all the same");
    }
    world.end(&agent, &id, RunStatus::Success, Vec::new()).await;
    assert_eq!(world.run(&id).await, over);
}

async fn an_error_before_the_end_fails_the_run(world: World) {
    let (agent, _) = hyperv_run(&world).await;
    let run = text(&world.take(&agent).await.expect("a run").run_id);
    let document = json!({"run_id": run.to_uppercase(), "error_summary": "no repository"});
    let (status, envelope) = world.post(&agent, "agent_update_run.php", document).await;
    assert_eq!((status, envelope), (200, json!({"status": "success"})));
    let row = world.run(&run).await;
    assert_eq!(
        (row.status.as_str(), row.error_summary.as_str()),
        ("failed", "no repository")
    );
    assert_eq!(
        world.events(&run).await[0].message_id,
        "AGENT_START_FAILURE"
    );
}

async fn results_become_points_once_and_the_next_run_gets_the_pointer(world: World) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "hyperv").await;
    let vm = world.vm(&agent, "web01").await;
    let id = world.queue(&job).await;
    world.take(&agent).await.expect("a run");
    let mut with_order = result(vm.id, "web01", "9c41");
    with_order["disk_manifests"] = json!({"D:\\a.vhdx": "0001", "D:\\z.vhdx": "9c41"});
    let at = world.plane.clock.now();
    let ending = Ending::new(RunStatus::Success, at);
    let mut update = UpdateRun::ended(WireId::Text(id.clone()), &agent.caller.program, ending);
    let mut sent: protocol::hyperv_results::HypervResult =
        serde_json::from_value(with_order).expect("a result");
    sent.disk_manifests = PathMap::from_iter([("D:\\z.vhdx", "9c41"), ("D:\\a.vhdx", "0001")]);
    update.hyperv_results = vec![sent];
    // The answer is lost, so it comes again.
    for _ in 0..3 {
        world.call(&agent, &update).await.expect("taken");
    }
    let points = world.points(&id).await;
    let [point] = &points[..] else {
        panic!("{points:?}")
    };
    assert_eq!((point.vm_id, point.name.as_str()), (Some(vm.id), "web01"));
    assert_eq!(point.manifest_id, "9c41", "the first disk's");
    assert_eq!(
        (point.backup_type.as_str(), point.consistency.as_str()),
        ("full", "application")
    );
    assert_eq!((point.total_bytes, point.changed_bytes), (1000, 10));
    assert_eq!(point.repository_id, repository.id);
    let row = world.run(&id).await;
    assert_eq!((row.status.as_str(), row.progress_pct), ("success", 100.0));
    assert!(world.vms(&agent.id).await[0].is_tracked);
    // What comes for a run that is over adds what is missing, and no more.
    let other = world.vm(&agent, "web02").await;
    let late = vec![
        result(vm.id, "web01", "9c41"),
        result(other.id, "web02", "77aa"),
    ];
    world.end(&agent, &id, RunStatus::Success, late).await;
    assert_eq!(world.points(&id).await.len(), 2);
    world.queue(&job).await;
    let next = world.take(&agent).await.expect("a run");
    let pointer = |name: &str| {
        let vm = next
            .hyperv_vms
            .iter()
            .find(|vm| vm.vm_name == name)
            .expect("the VM");
        let rct = vm.last_rct_ids.get("D:\\z.vhdx").map(str::to_owned);
        (vm.last_checkpoint_id.clone(), rct)
    };
    assert_eq!(
        pointer("web01"),
        (Some("C-9c41".to_owned()), Some("rctX:1".to_owned()))
    );
    assert_eq!(pointer("web02").0, Some("C-77aa".to_owned()));
}

async fn of_a_run_that_succeeded_in_part_the_complete_vms_have_points(world: World) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "hyperv").await;
    let (good, bad) = (
        world.vm(&agent, "web01").await,
        world.vm(&agent, "web02").await,
    );
    let id = world.queue(&job).await;
    world.take(&agent).await.expect("a run");
    let mut failed = result(bad.id, "web02", "77aa");
    failed["error"] = json!("no space");
    let results = vec![failed, result(good.id, "web01", "9c41")];
    world
        .end(&agent, &id, RunStatus::PartialSuccess, results)
        .await;
    assert_eq!(world.run(&id).await.status, "partial_success");
    let points = world.points(&id).await;
    assert_eq!(points.len(), 1);
    assert_eq!(points[0].vm_id, Some(good.id));
    let queued = repo_operation::Entity::find()
        .all(world.plane.store.db())
        .await;
    assert!(
        queued.expect("read").is_empty(),
        "nothing is expired after it"
    );
    // Failed and cancelled runs have none.
    for status in [RunStatus::Failed, RunStatus::Cancelled] {
        let id = world.queue(&job).await;
        world.take(&agent).await.expect("a run");
        world
            .end(&agent, &id, status, vec![result(good.id, "web01", "aaaa")])
            .await;
        assert!(world.points(&id).await.is_empty(), "{status:?}");
    }
}

async fn a_result_that_makes_no_sense_costs_no_other(world: World) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "hyperv").await;
    let vm = world.vm(&agent, "web01").await;
    let id = world.queue(&job).await;
    world.take(&agent).await.expect("a run");
    let mut odd = result(vm.id, "web03", "1111");
    odd["backup_type"] = json!("Differential");
    let document = json!({
        "run_id": id, "status": "warning", "finished_at": "2026-03-01T08:10:00Z",
        "hyperv_results": [odd, "nonsense", result(vm.id, "web01", "9c41")],
    });
    let (status, _) = world.post(&agent, "agent_update_run.php", document).await;
    assert_eq!(status, 200);
    assert_eq!(world.run(&id).await.status, "warning");
    assert_eq!(world.points(&id).await.len(), 1);
    let logs = run_log::Entity::find()
        .filter(run_log::Column::RunId.eq(&id))
        .all(world.plane.store.db())
        .await
        .expect("read");
    assert_eq!(logs.len(), 2);
    assert!(
        logs.iter().any(|line| line.message.starts_with("web03: ")),
        "{logs:?}"
    );
    // A status that there is not is refused, and changes nothing.
    let document = json!({"run_id": id, "status": "done"});
    let (status, _) = world.post(&agent, "agent_update_run.php", document).await;
    assert_eq!(status, 400);
}

async fn what_is_not_recorded_is_logged_once_and_within_limits(world: World) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "hyperv").await;
    for (sent, kept) in [(2, 2), (5_010, 5_000)] {
        let id = world.queue(&job).await;
        world.take(&agent).await.expect("a run");
        let document = json!({
            "run_id": id, "status": "warning", "finished_at": "2026-03-01T08:10:00Z",
            "hyperv_results": vec!["nonsense"; sent],
        });
        for _ in 0..2 {
            let document = document.clone();
            let (status, _) = world.post(&agent, "agent_update_run.php", document).await;
            assert_eq!(status, 200);
            let logs = run_log::Entity::find().filter(run_log::Column::RunId.eq(&id));
            let logs = logs.count(world.plane.store.db()).await.expect("read");
            assert_eq!(logs, kept, "{sent}");
        }
    }
}

async fn vms_without_a_number_are_found_by_their_names(world: World) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "hyperv").await;
    let vm = world.vm(&agent, "Web01").await;
    let id = world.queue(&job).await;
    world.take(&agent).await.expect("a run");
    let results = vec![
        result(0, "web01", "0001"),
        result(4_000_000, "WEB01", "0002"),
        result(0, "stranger", "0003"),
    ];
    world.end(&agent, &id, RunStatus::Success, results).await;
    let points = world.points(&id).await;
    let found: Vec<_> = points.iter().map(|point| point.vm_id).collect();
    assert_eq!(found, [Some(vm.id), Some(vm.id), None]);
}

async fn a_run_of_files_has_one_point_and_leaves_work_in_its_repository(world: World) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "kopia").await;
    let id = world.queue(&job).await;
    world.take(&agent).await.expect("a run");
    let at = world.plane.clock.now();
    let mut ending = Ending::new(RunStatus::Success, at);
    ending.manifest_id = "feed".to_owned();
    let update = UpdateRun::ended(WireId::Text(id.clone()), &agent.caller.program, ending);
    for _ in 0..2 {
        world.call(&agent, &update).await.expect("taken");
    }
    let points = world.points(&id).await;
    assert_eq!(points.len(), 1);
    assert_eq!(
        (points[0].manifest_id.as_str(), points[0].name.as_str()),
        ("feed", "/home")
    );
    let queued = repo_operation::Entity::find()
        .all(world.plane.store.db())
        .await
        .expect("read");
    let described: Vec<_> = queued
        .iter()
        .map(|it| (it.kind.as_str(), it.token.clone(), it.payload_json.as_str()))
        .collect();
    assert_eq!(
        described,
        [
            (
                "retention_apply",
                format!("run-finish-{id}-retention"),
                r#"{"keep_last":7,"sources":[{"path":"/home"}]}"#
            ),
            (
                "maintenance_quick",
                format!("run-finish-{id}-maintenance"),
                "{}"
            ),
        ]
    );
    // Maintenance that waits already is not queued again.
    let id = world.queue(&job).await;
    world.take(&agent).await.expect("a run");
    world.end(&agent, &id, RunStatus::Success, Vec::new()).await;
    let queued = repo_operation::Entity::find()
        .all(world.plane.store.db())
        .await;
    assert_eq!(queued.expect("read").len(), 3);
}

async fn another_hosts_run_is_none_of_an_agents_business(world: World) {
    let (agent, _) = hyperv_run(&world).await;
    let run = world.take(&agent).await.expect("a run").run_id;
    let neighbour = world.agent().await;
    let tenant = world.new_tenant("two").await;
    let foreigner = world.agent_of(&tenant).await;
    let beat = UpdateRun::heartbeat(run, &agent.caller.program);
    for (who, why) in [
        (&neighbour, "Run not assigned to this agent"),
        (&foreigner, "Run not found or unauthorized"),
    ] {
        assert_eq!(refusal(world.call(who, &beat).await), (403, why.to_owned()));
    }
    let unknown = WireId::Text(world.plane.new_id());
    let beat = UpdateRun::heartbeat(unknown, &agent.caller.program);
    let refused = refusal(world.call(&agent, &beat).await);
    assert_eq!(refused, (403, "Run not found or unauthorized".to_owned()));
}
