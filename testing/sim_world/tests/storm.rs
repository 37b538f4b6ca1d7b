//! Storms: whatever happens, in whatever order, every listed point is the disks as they were.
//!
//! `E3_STORM_SEED` replays one seed. The short form takes fixed ones, the long form many.

use sim_world::{Storm, Tally};

const STEPS_SHORT: u32 = 60;
const STEPS_LONG: u32 = 150;
const SEEDS_SHORT: [u64; 2] = [1, 5];
const SEEDS_LONG: u64 = 60;

#[test]
fn whatever_happens_every_point_is_the_disks_as_they_were() {
    let long = std::env::var("E3_TEST_LONG").is_ok_and(|long| long == "1");
    let one = std::env::var("E3_STORM_SEED")
        .ok()
        .map(|seed| seed.parse().expect("E3_STORM_SEED is a number"));
    let seeds: Vec<u64> = match one {
        Some(seed) => vec![seed],
        None if long => (1..=SEEDS_LONG).collect(),
        None => SEEDS_SHORT.to_vec(),
    };
    let mut tally = Tally::default();
    let steps = if long { STEPS_LONG } else { STEPS_SHORT };
    for seed in seeds {
        tally += Storm::new(seed).rage(steps);
    }
    println!("{tally:?}");
    if one.is_none() {
        // A storm in which nothing happens proves nothing.
        let Tally {
            fulls,
            increments,
            killed,
            failed,
            orphan_points,
            restored,
            compared,
            maintained,
            packs_deleted,
            ..
        } = tally;
        let happened = [
            fulls,
            increments,
            killed,
            failed,
            orphan_points,
            restored,
            compared,
            maintained,
            packs_deleted,
        ];
        assert!(happened.iter().all(|&times| times > 0), "{tally:?}");
    }
}
