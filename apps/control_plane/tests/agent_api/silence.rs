//! What becomes of runs and commands that nobody speaks of any more (contract 3.1).

use protocol::WireId;
use protocol::update_run::{RunStatus, UpdateRun};
use sea_orm::{ActiveModelTrait as _, ActiveValue::Set, IntoActiveModel as _};
use serde_json::json;

use crate::world::World;

crate::stories! {
    a_silent_run_is_told_to_stop_and_then_ended
    an_agent_that_comes_back_in_time_saves_its_run
    an_agent_that_comes_back_too_late_still_says_how_its_run_ended
    missed_runs_are_counted_since_a_jobs_last_run
    restores_that_nobody_begins_and_commands_without_an_answer_fail
}

async fn silent(world: &World) -> (crate::world::Agent, String) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "kopia").await;
    let id = world.queue(&job).await;
    world.take(&agent).await.expect("a run");
    world.pass(721);
    (agent, id)
}

async fn watch(world: &World) -> usize {
    let changed = world.plane.store.watchdog(world.now(), 0).await;
    changed.expect("watched").len()
}

async fn a_silent_run_is_told_to_stop_and_then_ended(world: World) {
    let (agent, id) = silent(&world).await;
    assert_eq!(watch(&world).await, 1);
    let row = world.run(&id).await;
    assert_eq!(row.status, "starting");
    assert!(row.cancel_requested_at.is_some());
    assert_eq!(world.take(&agent).await, None, "it is not offered again");
    assert_eq!(watch(&world).await, 0, "at once");
    world.pass(60);
    assert_eq!(watch(&world).await, 1);
    let row = world.run(&id).await;
    assert_eq!(row.status, "cancelled");
    assert!(
        row.error_summary.contains("offline"),
        "{}",
        row.error_summary
    );
    let told: Vec<_> = world
        .events(&id)
        .await
        .into_iter()
        .map(|it| it.message_id)
        .collect();
    assert_eq!(told, ["CANCEL_REQUESTED", "CANCELLED"]);
    assert_eq!(watch(&world).await, 0);
}

async fn an_agent_that_comes_back_in_time_saves_its_run(world: World) {
    let (agent, id) = silent(&world).await;
    watch(&world).await;
    let beat = UpdateRun::heartbeat(WireId::Text(id.clone()), &agent.caller.program);
    world.call(&agent, &beat).await.expect("taken");
    world.pass(60);
    assert_eq!(watch(&world).await, 0);
    assert_eq!(world.run(&id).await.status, "starting");
}

async fn an_agent_that_comes_back_too_late_still_says_how_its_run_ended(world: World) {
    let (agent, id) = silent(&world).await;
    watch(&world).await;
    world.pass(60);
    watch(&world).await;
    assert_eq!(world.run(&id).await.status, "cancelled");
    let run = WireId::Text(id.clone());
    let started = UpdateRun::started(run, &agent.caller.program, world.plane.clock.now());
    world.call(&agent, &started).await.expect("answered");
    assert_eq!(
        world.run(&id).await.status,
        "cancelled",
        "it is not reopened"
    );
    world.end(&agent, &id, RunStatus::Success, Vec::new()).await;
    let row = world.run(&id).await;
    assert_eq!(
        (row.status.as_str(), row.error_summary.as_str()),
        ("success", "")
    );
    world.end(&agent, &id, RunStatus::Failed, Vec::new()).await;
    assert_eq!(world.run(&id).await.status, "success", "once");
}

async fn missed_runs_are_counted_since_a_jobs_last_run(world: World) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    let never_ran = world.job(&agent, &repository, "kopia").await;
    let ran = world.job(&agent, &repository, "kopia").await;
    let recovered = world.job(&agent, &repository, "kopia").await;
    let ended = async |job, status: &str, why: &str| {
        let id = world.queue(job).await;
        let mut run = world.run(&id).await.into_active_model();
        run.status = Set(status.to_owned());
        run.finished_at = Set(Some(world.now()));
        run.error_summary = Set(why.to_owned());
        run.update(world.plane.store.db()).await.expect("ended");
        world.pass(3_600);
        id
    };
    let mut newest = String::new();
    for job in [&never_ran, &ran, &recovered] {
        ended(job, "missed", "asleep").await;
        newest = ended(job, "missed", "off").await;
    }
    ended(&ran, "success", "").await;
    ended(&recovered, "success", "").await;
    let last = ended(&ran, "missed", "off again").await;
    let facts = world.plane.store.facts(world.now(), 0).await.expect("read");
    let missed = |job: &str| {
        let job = facts.jobs.iter().find(|it| it.id == job).expect("it");
        let missed = job.missed.clone();
        missed.map(|it| (it.count, it.id, it.why))
    };
    let of_first = missed(&never_ran.id).expect("some");
    assert_eq!((of_first.0, &*of_first.2), (2, "off"));
    assert_ne!(of_first.1, newest, "of another job");
    assert_eq!(missed(&ran.id), Some((1, last, "off again".to_owned())));
    assert_eq!(missed(&recovered.id), None);
}

async fn restores_that_nobody_begins_and_commands_without_an_answer_fail(world: World) {
    let agent = world.agent().await;
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "kopia").await;
    let id = world.queue(&job).await;
    let mut restore = world.run(&id).await.into_active_model();
    restore.kind = Set("restore".to_owned());
    restore
        .update(world.plane.store.db())
        .await
        .expect("a restore");
    let begins = world
        .command_of_run(&agent, "restore", json!({}), json!({}), Some(&id))
        .await;
    let lost = world
        .command(&agent, "list_disks", json!({}), json!({}))
        .await;
    let mut taken = world.run_command(lost).await.into_active_model();
    taken.status = Set("processing".to_owned());
    taken.delivered_at = Set(Some(world.now()));
    taken.update(world.plane.store.db()).await.expect("taken");
    world.pass(3_600);
    watch(&world).await;
    assert_eq!(world.run_command(lost).await.status, "processing");
    world.pass(1);
    watch(&world).await;
    assert_eq!(world.run_command(lost).await.status, "failed");
    assert_eq!(world.run(&id).await.status, "queued");
    world.pass(86_400);
    watch(&world).await;
    assert_eq!(world.run(&id).await.status, "failed");
    assert_eq!(world.run_command(begins).await.status, "failed");
}
