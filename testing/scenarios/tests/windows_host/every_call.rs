//! Every call that a backup or a restore makes fails once, each in its turn: the run ends, with a
//! point that is whole or with none, and the next run is right.
//!
//! The short form lets some of the calls fail, each with one of the codes; the long form all.

use backup::BackupErrorKind;
use backup::vm::PointReport;
use fake_hyperv::Manners;
use fake_hyperv::meddling::Twist;
use hyperv::{HypervHost, VmId};

use crate::machine::{MIB, Machine, is_long};

/// What calls of WMI fail with, by turns (Hyper-V spec 16): refused, vanished, not understood,
/// failed, in passing, answer lost.
const WMI_CODES: [u32; 8] = [
    0x8004_1003,
    0x8004_1002,
    0x8004_103A,
    0x8004_1001,
    0x8007_06BA,
    0x8007_06BE,
    0x8004_1033,
    0x8004_106C,
];

/// What calls of virtdisk fail with, by turns.
const DISK_CODES: [u32; 8] = [
    5,
    32,
    0xC03A_0002,
    0xC03A_000D,
    0xC03A_001A,
    0xC03A_0029,
    1392,
    31,
];

/// Returns how a call fails in this round.
fn failure(call: &str, round: usize) -> Twist {
    match call.starts_with("disk ") {
        true => Twist::Error(DISK_CODES[round % DISK_CODES.len()]),
        false if call.starts_with("call ") && round.is_multiple_of(3) => Twist::Return(32768),
        false if call.starts_with("call ") && round % 3 == 1 => Twist::LoseAnswer(0x8007_06BE),
        false => Twist::Error(WMI_CODES[round % WMI_CODES.len()]),
    }
}

/// Returns which calls of so many fail, and in which rounds.
fn turns(calls: usize, seed: usize) -> Vec<(usize, usize)> {
    if is_long() {
        let rounds = 0..24;
        return rounds
            .flat_map(|round| (0..calls).map(move |call| (call, round)))
            .collect();
    }
    (0..calls)
        .filter(|call| (call + seed).is_multiple_of(9))
        .map(|call| (call, call / 9 + seed))
        .collect()
}

/// Counts the calls of an ordinary increment.
fn calls_of_an_increment(machine: &Machine, vm: VmId) -> Vec<String> {
    machine.world.host.write_random(vm, 0, MIB / 4, 1).unwrap();
    machine.meddler.take_calls();
    machine.back_up(vm);
    machine.settle(vm);
    machine.meddler.take_calls()
}

fn sweep(seed: u64, manners: Manners) {
    let machine = Machine::with(seed, manners);
    let sim = &machine.world.host;
    let vm = machine.world.add_vm("swept", 2 * MIB);
    machine.extras().key_protectors.insert(vm, vec![7; 32]);
    machine.back_up(vm);
    machine.settle(vm);
    let calls = calls_of_an_increment(&machine, vm);
    assert!(calls.len() > 40, "{calls:#?}");
    for (number, round) in turns(calls.len(), seed as usize) {
        let twist = failure(&calls[number], round);
        let what = format!("call {number} ({}) with {twist:?}", calls[number]);
        sim.write_random(vm, 0, MIB / 4, round as u64).unwrap();
        machine.meddler.take_calls();
        machine.meddler.twist_number(number, twist);
        match machine.try_back_up(vm, &|_| ()) {
            Ok(report) => machine.assert_holds(&report, vm, &what),
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    BackupErrorKind::Host(_) | BackupErrorKind::Image(_)
                ),
                "{what}: {error}"
            ),
        }
        machine.meddler.rest();
        let next = next_run(&machine, vm, &what);
        machine.assert_holds(&next, vm, &what);
        machine.world.assert_no_checkpoint(vm);
        machine.settle(vm);
        let points = machine.host.reference_points(vm).unwrap();
        assert!(points.len() <= 2, "{what}: {points:?}");
    }
}

fn next_run(machine: &Machine, vm: VmId, what: &str) -> PointReport {
    machine.world.host.write_random(vm, 0, MIB / 4, 99).unwrap();
    machine
        .try_back_up(vm, &|_| ())
        .unwrap_or_else(|error| panic!("after {what}: {error}"))
}

#[test]
fn whatever_call_of_a_backup_fails_its_point_is_whole_or_none_and_the_next_is_right() {
    sweep(20, Manners::default());
}

#[test]
fn so_it_is_where_the_work_of_jobs_is_done_in_the_end() {
    sweep(
        21,
        Manners {
            jobs_work_first: false,
            jobs_wait_for_merge: true,
            checkpoint_keeps_ids: false,
            ..Manners::default()
        },
    );
}

#[test]
fn whatever_call_of_a_restore_fails_nothing_is_left_or_the_vm_is_whole() {
    let machine = Machine::new(22);
    let vm = machine.world.add_vm("back", 2 * MIB);
    machine.world.host.write_random(vm, 0, MIB, 5).unwrap();
    let report = machine.back_up(vm);
    let content = machine.world.disk(vm, 0);
    machine.meddler.take_calls();
    let first = machine.restore(&report, true);
    let calls = machine.meddler.take_calls();
    let mut known = vec![vm, first.id];
    for (number, round) in turns(calls.len(), 22) {
        let twist = failure(&calls[number], round);
        let what = format!("call {number} ({}) with {twist:?}", calls[number]);
        machine.meddler.take_calls();
        machine.meddler.twist_number(number, twist);
        let restored = machine.try_restore(&report, true);
        machine.meddler.rest();
        let here = machine.host.vms().unwrap();
        let new: Vec<VmId> = here
            .iter()
            .map(|vm| vm.id)
            .filter(|id| !known.contains(id))
            .collect();
        // A VM that is there has its disks, whatever the restore said.
        for id in &new {
            assert!(machine.world.disk(*id, 0) == content, "{what}");
        }
        match restored {
            Ok(restored) => assert_eq!(new, [restored.id], "{what}"),
            Err(error) => assert!(new.len() <= 1, "{what}: {error}"),
        }
        known.extend(new);
    }
    let again = machine.restore(&report, true);
    assert!(machine.world.disk(again.id, 0) == content);
}
