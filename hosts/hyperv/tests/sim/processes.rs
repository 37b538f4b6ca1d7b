//! Several processes use one host; any of them may be killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use crate::world::*;
use hyperv::sim::SimHost;
use hyperv::{HypervErrorKind, HypervHost, VmId};
use time_and_chance::{Chance, ManualClock, Timestamp};

const HOST: &str = "HYPERV_TEST_HOST";
const VM: &str = "HYPERV_TEST_VM";

/// Runs in a process of its own when the variables are set: holds a frozen disk open.
#[test]
fn holder() {
    let (Ok(host), Ok(vm)) = (std::env::var(HOST), std::env::var(VM)) else {
        return;
    };
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let host = SimHost::open(Path::new(&host), clock, Chance::from_system()).unwrap();
    let vm: VmId = vm.parse().unwrap();
    let checkpoint = host.checkpoints(vm).unwrap()[0].id;
    let disk = open(&host, vm, checkpoint, 0);
    println!("\nholding");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    drop(disk);
}

#[test]
fn a_handle_of_another_process_counts_and_dies_with_it() {
    let world = World::new();
    let vm = world.vm();
    let checkpoint = freeze(&world.host, vm);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["processes::holder", "--exact", "--nocapture"]);
    command.env(HOST, world.host.folder());
    command.env(VM, vm.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = wine::begun(|| command.spawn()).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap() == "holding"),
        "the child got that far"
    );
    let refused = try_convert(&world.host, vm, checkpoint).unwrap_err();
    assert_eq!(refused.kind(), HypervErrorKind::InUse);
    child.kill().unwrap();
    child.wait().unwrap();
    convert(&world.host, vm, checkpoint);
}

#[test]
fn calls_of_many_hands_do_not_undo_each_other() {
    const HANDS: u64 = 4;
    const ROUNDS: usize = 4;
    let world = World::new();
    let vms: Vec<_> = (0..HANDS).map(|_| world.vm()).collect();
    thread::scope(|scope| {
        for (hand, &vm) in vms.iter().enumerate() {
            let host = world.reopen(50 + hand as u64);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    host.write(vm, 0, round as u64 * MIB, &[1 + round as u8; 512])
                        .unwrap();
                    let checkpoint = freeze(&host, vm);
                    convert(&host, vm, checkpoint);
                }
            });
        }
    });
    for vm in vms {
        assert_eq!(world.host.reference_points(vm).unwrap().len(), ROUNDS);
        let seen = live_content(&world.host, vm, 0);
        for round in 0..ROUNDS {
            assert_eq!(seen[round << 20], 1 + round as u8);
        }
    }
}
