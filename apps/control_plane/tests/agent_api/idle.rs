//! Agents without a run are answered without a look into the store (NextRun), and yet no run is missed and nobody is
//! let in.

use control_plane::live::What;
use control_plane::store::entity::host;
use protocol::next_run::{NextRun, Offer};
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait as _, IntoActiveModel as _};

use crate::world::{Agent, World, caller, refusal};

crate::stories! {
    a_run_that_this_instance_queued_is_found_at_once
    a_run_that_another_instance_queued_is_found_a_second_later
    whoever_is_not_who_was_remembered_is_asked_again
    a_host_that_is_disabled_is_refused_at_once_here_and_soon_elsewhere
    agents_without_runs_are_counted_as_well
}

/// Returns an agent that was told that it has no run, the last time without a look into the store.
async fn idle_agent(world: &World) -> Agent {
    let agent = world.agent().await;
    // The first call makes it known, but also that it is online now; with the second it is known for long.
    for _ in 0..3 {
        assert!(!is_offered(world, &agent).await);
    }
    agent
}

async fn is_offered(world: &World, agent: &Agent) -> bool {
    let answer = world.call_at_once(agent, &NextRun).await;
    matches!(answer.expect("an answer"), Offer::Run(_))
}

async fn a_run_that_this_instance_queued_is_found_at_once(world: World) {
    let agent = idle_agent(&world).await;
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "kopia").await;
    assert!(!is_offered(&world, &agent).await);
    let run = world.queue(&job).await;
    world.plane.live.tell(&world.tenant, What::Run, run);
    assert!(is_offered(&world, &agent).await);
}

async fn a_run_that_another_instance_queued_is_found_a_second_later(world: World) {
    let (agent, other) = (idle_agent(&world).await, idle_agent(&world).await);
    let repository = world.repository().await;
    let job = world.job(&agent, &repository, "kopia").await;
    assert!(!is_offered(&world, &agent).await);
    world.queue(&job).await;
    assert!(!is_offered(&world, &agent).await, "the store was asked");
    world.pass(1);
    assert!(is_offered(&world, &agent).await);
    assert!(!is_offered(&world, &other).await);
}

async fn whoever_is_not_who_was_remembered_is_asked_again(world: World) {
    let agent = idle_agent(&world).await;
    let with = |token: &str| Agent {
        caller: caller(&agent.id, token),
        ..agent.clone()
    };
    for token in ["", "0123456789012345678901234567890123456789"] {
        let answer = world.call_at_once(&with(token), &NextRun).await;
        assert_eq!(refusal(answer).0, 401, "{token:?}");
    }
    let mut updated = agent.clone();
    updated.caller.program.version = "1.9.1".to_owned();
    assert!(!is_offered(&world, &updated).await);
    assert_eq!(world.host(&agent.id).await.agent_version, "1.9.1");
}

async fn a_host_that_is_disabled_is_refused_at_once_here_and_soon_elsewhere(world: World) {
    for is_told in [true, false] {
        let agent = idle_agent(&world).await;
        let row = host::ActiveModel {
            is_disabled: Set(true),
            ..world.host(&agent.id).await.into_active_model()
        };
        row.update(world.plane.store.db()).await.expect("disabled");
        if is_told {
            world.plane.live.tell(&world.tenant, What::Host, &agent.id);
        } else {
            assert!(!is_offered(&world, &agent).await, "the store was asked");
            world.pass(45);
        }
        let answer = world.call_at_once(&agent, &NextRun).await;
        assert_eq!(refusal(answer).0, 401, "told: {is_told}");
    }
}

async fn agents_without_runs_are_counted_as_well(world: World) {
    let agent = idle_agent(&world).await;
    let mut answers = 3;
    while world.call_at_once(&agent, &NextRun).await.is_ok() {
        answers += 1;
    }
    assert_eq!(answers, 8);
}
