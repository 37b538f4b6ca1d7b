//! Every body over damaged seeds: a fixed number each in the short form, many in the long one.
//!
//! Memory is limited for the whole process, so that a huge allocation ends it; how long an input
//! takes is measured.

use std::panic::catch_unwind;
use std::time::Duration;

use fuzzing::{TARGETS, mutate};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use time_and_chance::{Chance, SystemClock};

const RUNS_SHORT: u32 = 40_000;
const RUNS_LONG: u32 = 400_000;
/// More than all seeds and the largest sound result need.
const MEMORY_BYTES_MAX: u64 = 3 << 30;
const LASTS_MAX: Duration = Duration::from_secs(5);

#[test]
fn no_bytes_make_a_parser_panic_hang_or_take_much_memory() {
    let long = std::env::var("E3_TEST_LONG").is_ok_and(|long| long == "1");
    let maximum = getrlimit(Resource::As).maximum;
    let limit = Rlimit {
        current: Some(MEMORY_BYTES_MAX),
        maximum,
    };
    setrlimit(Resource::As, limit).unwrap();
    let clock = SystemClock::new();
    let one = std::env::var("E3_FUZZ_TARGET").ok();
    for target in TARGETS {
        if one.as_ref().is_some_and(|one| one != target.name) {
            continue;
        }
        let seeds = (target.seeds)();
        let chance = Chance::from_seed(7);
        let began = clock.monotonic();
        // A run over a whole VHDX file costs more than one over a small document.
        let share = if target.name == "vhdx" { 50 } else { 1 };
        let runs = if long { RUNS_LONG } else { RUNS_SHORT } / share;
        for run in 0..runs {
            let input = match seeds.get(run as usize) {
                Some(sound) => sound.clone(),
                None => mutate(&seeds, &chance),
            };
            let begun = clock.monotonic();
            let result = catch_unwind(|| (target.body)(&input));
            let lasted = clock.monotonic() - begun;
            let words = String::from_utf8_lossy(&input);
            assert!(
                result.is_ok(),
                "{}, run {run}: {input:?} = {words}",
                target.name
            );
            assert!(
                lasted < LASTS_MAX,
                "{}, run {run}: {lasted:?} for {input:?}",
                target.name
            );
        }
        println!(
            "{}: {runs} runs in {:?}",
            target.name,
            clock.monotonic() - began
        );
    }
}

/// Every target has an entry point for fuzzers, and the other way round.
#[test]
fn entry_points_and_targets_are_the_same() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/fuzz_targets");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut names: Vec<String> = TARGETS
        .iter()
        .map(|target| format!("{}.rs", target.name))
        .collect();
    names.sort();
    assert_eq!(files, names);
}
