//! The combined poll (contract 3.8).

use std::time::Duration;

use control_plane::live::What;
use protocol::commands::Poll;
use serde_json::json;

use crate::world::World;

crate::stories! {
    a_poll_hands_out_commands_and_an_operation
    a_long_poll_is_woken_by_who_queues_work
    a_long_poll_finds_work_that_nobody_told_of
    a_long_poll_ends_when_the_server_stops
}

const LONG: Poll = Poll { long: true };
const SHORT: Poll = Poll { long: false };

async fn a_poll_hands_out_commands_and_an_operation(world: World) {
    let agent = world.agent().await;
    let empty = world.call(&agent, &SHORT).await.expect("polled");
    assert!(empty.commands.is_empty() && empty.repo_operation.is_none());
    assert_eq!(empty.next_poll_secs, Some(15));
    let repository = world.repository().await;
    world.used(&agent, &repository).await;
    world
        .operation(&repository, "maintenance_quick", "one")
        .await;
    world
        .command(&agent, "list_disks", json!({}), json!({}))
        .await;
    // There is work, so even a long poll is answered at once.
    let polled = world.call(&agent, &LONG).await.expect("polled");
    assert_eq!(polled.commands[0].name, "list_disks");
    let operation = polled.repo_operation.expect("an operation");
    assert_eq!(operation.operation_token, "one");
    assert_eq!(polled.next_poll_secs, Some(7));
}

async fn a_long_poll_is_woken_by_who_queues_work(world: World) {
    let agent = world.agent().await;
    let queue = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let run = world.plane.new_id();
        world
            .command_of_run(
                &agent,
                "refresh_inventory",
                json!({}),
                json!({}),
                Some(&run),
            )
            .await;
        world
            .plane
            .live
            .tell(&world.tenant, What::HostWork, &agent.id);
    };
    let (polled, ()) = tokio::join!(world.call(&agent, &LONG), queue);
    let polled = polled.expect("polled");
    assert_eq!(
        polled.commands[0].name, "refresh_inventory",
        "bound to a run or not"
    );
}

async fn a_long_poll_finds_work_that_nobody_told_of(world: World) {
    let agent = world.agent().await;
    let second = world.second().await;
    let queue = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        second
            .command(&agent, "list_disks", json!({}), json!({}))
            .await;
    };
    let (polled, ()) = tokio::join!(world.call(&agent, &LONG), queue);
    assert_eq!(polled.expect("polled").commands[0].name, "list_disks");
}

async fn a_long_poll_ends_when_the_server_stops(world: World) {
    let agent = world.agent().await;
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.plane.live.stop();
    };
    let (polled, ()) = tokio::join!(world.call(&agent, &LONG), stop);
    assert!(polled.expect("answered").commands.is_empty());
}
