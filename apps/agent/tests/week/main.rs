//! Services that wait for work, for as long as it takes: nothing grows, nobody is asked too often, a run is
//! told of once however long the server is gone, and not all come back at one time.
//!
//! The short form plays hours, the long form a week. What is measured is the process's, so one test runs
//! at a time.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a panic in a test is its failure")]

mod clock;
mod rest;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use crate::world::{HOUR, Taken, World};

const HOURS_SHORT: u32 = 8;
const HOURS_LONG: u32 = 7 * 24;
/// A run is claimed and over within this time.
const RUN_MAX: Duration = Duration::from_mins(2);

/// Both tests look at what the whole process takes, or at how fast it goes.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn a_week_of_waiting_takes_no_more_than_an_hour_does() {
    let _alone = ONE_AT_A_TIME.lock();
    let long = std::env::var("E3_TEST_LONG").is_ok_and(|long| long == "1");
    let hours = if long { HOURS_LONG } else { HOURS_SHORT };
    let world = World::with_services(1);
    // In the second hour of a day a run is carried out, in the fourth one with a server that is gone.
    let mut before = None;
    for hour in 1..=hours {
        match hour % 24 {
            2 => carries_out_a_run(&world, hour),
            4 => carries_out_a_run_offline(&world, hour),
            _ => waits(&world, hour),
        }
        assert_eq!(world.plane().violations(), [], "log:\n{}", world.log());
        assert_eq!(world.plane().unfinished(), [], "log:\n{}", world.log());
        world.plane().forget_calls();
        world.take_tried();
        if hour == 6 {
            before = Some(Taken::now(&world));
        }
    }
    let (before, after) = (before.unwrap(), Taken::now(&world));
    println!("{before:?}\n{after:?}");
    assert_eq!(after.threads, before.threads);
    assert!(after.open_files <= before.open_files + 2, "{after:?}");
    let grown = after.memory_bytes.saturating_sub(before.memory_bytes);
    assert!(grown <= 16 << 20, "{before:?} {after:?}");
    assert!(after.state_files <= 120, "{after:?}");
    assert!(after.state_bytes <= 512 << 10, "{after:?}");
    assert!(after.log_files <= 3, "{after:?}");
    assert!(after.log_bytes <= 16 << 20, "{after:?}");
    world.end();
}

/// An hour in which nothing happens: everything is asked for as often as agreed, and no more.
fn waits(world: &World, hour: u32) {
    world.take_tried();
    world.clock.run_until(HOUR * hour);
    let tried = world.take_tried();
    let of = |script: &str| tried.get(script).copied().unwrap_or(0);
    // Every five seconds, or up to a quarter less often, and on a whole second.
    assert!((500..=721).contains(&of("agent_next_run.php")), "{tried:?}");
    // Held for 25 seconds each.
    assert!((130..=145).contains(&of("agent_poll.php")), "{tried:?}");
    assert!(
        (11..=13).contains(&of("agent_report_volumes.php")),
        "{tried:?}"
    );
    assert!(tried.values().sum::<u64>() <= 900, "{tried:?}");
}

fn carries_out_a_run(world: &World, hour: u32) {
    let begun = HOUR * (hour - 1);
    world.clock.has_work(true);
    let run = world.queue_run();
    world.clock.run_until(begun + RUN_MAX);
    ends_once(world, &run);
    world.clock.has_work(false);
    world.clock.run_until(HOUR * hour);
}

/// The server is gone from the moment it has handed the run out, and for an hour.
fn carries_out_a_run_offline(world: &World, hour: u32) {
    let (begun, end) = (HOUR * (hour - 1), HOUR * hour);
    world.clock.has_work(true);
    let run = world.queue_run();
    world.goes_down_with_a_run();
    world.clock.run_until(begun + RUN_MAX);
    world.clock.has_work(false);
    world.clock.run_until(begun + HOUR / 4);
    world.take_tried();
    world.clock.run_until(begun + HOUR / 2);
    // A server that is gone is looked for about once a minute, by each who needs it.
    let tried = world.take_tried();
    assert!(tried["agent_next_run.php"] <= 16, "{tried:?}");
    assert!(tried["agent_poll.php"] <= 16, "{tried:?}");
    assert!(tried.values().sum::<u64>() <= 250, "{tried:?}");
    assert_eq!(world.status(&run), "starting");
    world.plane().come_back();
    world.clock.run_until(end - HOUR / 4);
    ends_once(world, &run);
    world.clock.run_until(end);
}

/// The run has ended by now, which was told once.
fn ends_once(world: &World, run: &Value) {
    assert_eq!(world.status(run), "failed", "log:\n{}", world.log());
    let ends = world.plane().calls_of("agent_update_run").into_iter();
    let mut ends = ends.filter(|it| it.call.body["status"] == "failed" && it.had_effect);
    let end = ends.next().expect("the run ends");
    let why = &end.call.body["error_summary"];
    assert_eq!(why, "engine sync is not in this version");
    assert_eq!(ends.next(), None, "log:\n{}", world.log());
}

#[test]
fn services_that_lost_their_server_do_not_come_back_all_at_one_time() {
    const SERVICES: u64 = 20;
    let _alone = ONE_AT_A_TIME.lock();
    let world = World::with_services(SERVICES);
    let minute = Duration::from_mins(1);
    world.clock.run_until(minute * 2);
    world.plane().go_down();
    world.clock.run_until(minute * 12);
    world.plane().forget_calls();
    world.plane().come_back();
    world.clock.run_until(minute * 15);
    for endpoint in ["agent_next_run", "agent_poll"] {
        let mut calls: BTreeMap<u64, u64> = BTreeMap::new();
        let mut came = BTreeMap::new();
        for recorded in world.plane().calls_of(endpoint) {
            let agent = recorded.call.header("x-agent-uuid").to_owned();
            came.entry(agent).or_insert_with(|| {
                *calls.entry(recorded.at.as_secs()).or_default() += 1;
            });
        }
        assert_eq!(came.len() as u64, SERVICES, "{endpoint}: all are back");
        let most = calls.values().max().copied().unwrap();
        assert!(most <= SERVICES / 3, "{endpoint}, by second: {calls:?}");
    }
    world.end();
}
