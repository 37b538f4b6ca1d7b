//! One repository, two clients, in random order: stock Kopia where it is at hand (`$KOPIA`, or `kopia` on the path), and in any case
//! what stands in for it here.
//!
//! Without stock Kopia each test of it says by name what it leaves out. `E3_STORM_SEED=N` replays one round.

#![expect(
    clippy::unwrap_used,
    reason = "in tests and their helpers a panic is the report"
)]

mod kinds;
mod other_client;
mod retention;
mod rounds;
mod stand_in;
mod stock;
mod trees;

use std::path::Path;

use foreign_client::ForeignClient;
use scenarios::{PASSWORD, World};
use time_and_chance::{Chance, SystemClock};

use kinds::kinds;
use other_client::OtherClient;
use stock::{StockKopia, find_or_leave_out};

fn is_long() -> bool {
    std::env::var("E3_TEST_LONG").is_ok_and(|long| long == "1")
}

/// Plays the rounds of the short or the long form, or the one that is asked for.
fn play_all(
    short: usize,
    long: usize,
    connect: &dyn Fn(&World, &Path, &Path) -> Box<dyn OtherClient>,
) {
    let count = if is_long() { long } else { short };
    let wanted = std::env::var("E3_STORM_SEED").ok();
    let wanted: Option<usize> = wanted.map(|seed| seed.parse().unwrap());
    let last = wanted.map_or(count, |seed| seed + 1);
    for (seed, kind) in (0..last).zip(kinds()) {
        if wanted.is_none_or(|wanted| wanted == seed) {
            rounds::play(seed as u64, &kind, connect);
        }
    }
}

#[test]
fn both_clients_work_on_one_repository_and_everything_comes_back() {
    play_all(1, 100, &|_, repository, _| {
        let clock = SystemClock::new();
        let chance = Chance::from_system();
        Box::new(ForeignClient::open(repository, PASSWORD, clock, chance).unwrap())
    });
}

#[test]
fn stock_kopia_and_we_work_on_one_repository_and_everything_comes_back() {
    let what = "rounds with stock Kopia: list, verify, restore, store, delete, pin, maintain, both at work";
    let Some(kopia) = find_or_leave_out(what) else {
        return;
    };
    play_all(10, 100, &|_, repository, folder| {
        Box::new(StockKopia::connect(&kopia, repository, folder))
    });
}
