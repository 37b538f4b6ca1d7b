//! Two instances on one database: nothing is handed out twice, nothing is lost.

use std::collections::HashSet;

use protocol::WireId;
use protocol::commands::PollPendingCommands;
use protocol::next_run::{NextRun, Offer};
use protocol::repo_operations::PollRepoOperations;
use protocol::update_run::{Ending, RunStatus, UpdateRun};
use serde_json::json;

use crate::world::World;

crate::stories! {
    every_run_goes_out_once
    every_command_goes_out_once
    work_on_one_repository_goes_out_once_at_a_time
    an_ending_that_arrives_twice_at_once_is_recorded_once
    one_run_is_started_by_many_who_ask_at_once
}

async fn every_run_goes_out_once(world: World) {
    let second = world.second().await;
    let agent = world.agent().await;
    let repository = world.repository().await;
    let mut queued = HashSet::new();
    for _ in 0..24 {
        let job = world.job(&agent, &repository, "kopia").await;
        queued.insert(world.queue(&job).await);
    }
    let mut taken = Vec::new();
    while taken.len() < queued.len() {
        world.pass(1);
        let (a, b, c, d) = tokio::join!(
            world.call_at_once(&agent, &NextRun),
            second.call_at_once(&agent, &NextRun),
            world.call_at_once(&agent, &NextRun),
            second.call_at_once(&agent, &NextRun),
        );
        let before = taken.len();
        for offer in [a, b, c, d] {
            if let Offer::Run(run) = offer.expect("an answer") {
                taken.push(run.run_id.to_string());
            }
        }
        assert!(
            taken.len() > before,
            "one of those who come at once gets one"
        );
    }
    assert_eq!(taken.len(), queued.len(), "{taken:?}");
    assert_eq!(taken.into_iter().collect::<HashSet<_>>(), queued);
}

async fn every_command_goes_out_once(world: World) {
    let second = world.second().await;
    let agent = world.agent().await;
    let mut queued = HashSet::new();
    for _ in 0..20 {
        let id = world
            .command(&agent, "list_disks", json!({}), json!({}))
            .await;
        queued.insert(u64::try_from(id).expect("a number"));
    }
    let mut taken = Vec::new();
    for _ in 0..20 {
        world.pass(1);
        let (a, b, c) = tokio::join!(
            world.call_at_once(&agent, &PollPendingCommands),
            second.call_at_once(&agent, &PollPendingCommands),
            second.call_at_once(&agent, &PollPendingCommands),
        );
        for commands in [a, b, c] {
            let numbers = commands.expect("an answer").into_iter();
            taken.extend(numbers.filter_map(|it| Some(it.command_id?.0)));
        }
    }
    assert_eq!(taken.len(), 20, "{taken:?}");
    assert_eq!(taken.into_iter().collect::<HashSet<_>>(), queued);
}

async fn work_on_one_repository_goes_out_once_at_a_time(world: World) {
    let second = world.second().await;
    let (agent, other) = (world.agent().await, world.agent().await);
    let repository = world.repository().await;
    world.used(&agent, &repository).await;
    world.used(&other, &repository).await;
    for token in ["a", "b", "c"] {
        world
            .operation(&repository, "maintenance_quick", token)
            .await;
    }
    let mut taken = 0;
    for _ in 0..3 {
        let (a, b, c, d) = tokio::join!(
            world.call_at_once(&agent, &PollRepoOperations),
            second.call_at_once(&other, &PollRepoOperations),
            world.call_at_once(&other, &PollRepoOperations),
            second.call_at_once(&agent, &PollRepoOperations),
        );
        let handed_out = [a, b, c, d].into_iter();
        taken += handed_out
            .filter(|it| it.as_ref().expect("an answer").is_some())
            .count();
    }
    assert_eq!(taken, 1);
}

async fn an_ending_that_arrives_twice_at_once_is_recorded_once(world: World) {
    let second = world.second().await;
    let agent = world.agent().await;
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "hyperv").await;
    let vm = world.vm(&agent, "web01").await;
    let id = world.queue(&job).await;
    world.take(&agent).await.expect("a run");
    let ending = Ending::new(RunStatus::Success, world.plane.clock.now());
    let mut update = UpdateRun::ended(WireId::Text(id.clone()), &agent.caller.program, ending);
    let result = json!({
        "vm_id": vm.id, "vm_name": "web01", "backup_type": "Full", "checkpoint_id": "C",
        "disk_manifests": {"D:\\z.vhdx": "9c41"}, "consistency_level": "Crash",
    });
    update.hyperv_results = vec![serde_json::from_value(result).expect("a result")];
    world.pass(1);
    let (a, b, c) = tokio::join!(
        world.call_at_once(&agent, &update),
        second.call_at_once(&agent, &update),
        second.call_at_once(&agent, &update),
    );
    for answer in [a, b, c] {
        answer.expect("taken");
    }
    assert_eq!(world.points(&id).await.len(), 1);
}

async fn one_run_is_started_by_many_who_ask_at_once(world: World) {
    let second = world.second().await;
    let agent = world.agent().await;
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "kopia").await;
    let start = |world: &World| {
        let (store, id) = (world.plane.store.clone(), world.plane.new_id());
        let (job, host, now) = (job.id.clone(), agent.id.clone(), world.now());
        async move { store.start_run(&job, &host, id, "a test", now).await }
    };
    let (a, b, c) = tokio::join!(start(&world), start(&second), start(&second));
    let started = [a, b, c]
        .into_iter()
        .filter(|it| it.as_ref().expect("an answer").is_ok());
    assert_eq!(started.count(), 1);
}
