//! A self-test that is killed at any step: the next one, or a cleaning, removes what it left.

use fake_hyperv::Manners;
use fake_hyperv::meddling::{ALWAYS, Meanwhile, Twist};
use hyperv::sim::{SimFault, Step};
use hyperv::{HypervErrorKind, HypervHost as _, VmId};
use selftest::SelfTestErrorKind;
use windows_host::hyperv::Beliefs;

use crate::world::World;

/// How far apart the steps are at which it is killed, in the short form.
const STRIDE: usize = 17;

fn is_long() -> bool {
    std::env::var_os("E3_TEST_LONG").is_some()
}

#[test]
fn whatever_a_killed_self_test_left_goes_away() {
    let stride = if is_long() { 1 } else { STRIDE };
    let mut killed = 0;
    for step in (0..).step_by(stride) {
        let mut world = World::new();
        let before = world.picture();
        world.sim.die_after(step as u64);
        let report = world.run();
        let finished = report.is_ok_and(|report| report.ended_early.is_none());
        world.reopen();
        if finished {
            break;
        }
        killed += 1;
        let host = world.windows().open(&Beliefs::default()).unwrap();
        let cleaned = selftest::clean(&*host, &world.state_folder(), world.vm, false).unwrap();
        assert_eq!(
            world.picture(),
            before,
            "killed after {step} steps: {cleaned:?}"
        );
        let again = selftest::clean(&*host, &world.state_folder(), world.vm, false).unwrap();
        assert_eq!(again, selftest::Cleaned::default(), "after {step} steps");
    }
    assert!(killed > 10, "it was killed only {killed} times");
}

/// Runs a self-test that dies when its first checkpoint is made and not named yet.
fn die_before_the_name(world: &mut World) {
    for step in 0.. {
        world.sim.die_after(step);
        let report = world.run();
        let finished = report.is_ok_and(|report| report.ended_early.is_none());
        assert!(!finished, "it never died there");
        world.reopen();
        let listed = world.sim.checkpoints(world.vm).unwrap();
        if listed.iter().any(|left| !left.name.contains("selftest")) {
            return;
        }
        let host = world.windows().open(&Beliefs::default()).unwrap();
        selftest::clean(&*host, &world.state_folder(), world.vm, false).unwrap();
    }
}

#[test]
fn a_checkpoint_that_was_not_named_yet_is_removed_by_the_next_self_test() {
    let mut world = World::new();
    let before = world.picture();
    die_before_the_name(&mut world);
    let report = world.run().unwrap();
    assert!(report.is_undone(), "{}", report.markdown());
    assert_eq!(world.picture(), before);
}

/// Runs a self-test that dies when Hyper-V has imported a configuration and what came of it bears no
/// name of ours yet; returns that planned VM.
fn die_before_the_planned_vm_s_name(world: &mut World) -> VmId {
    let sim = world.sim.clone();
    let dies = Meanwhile::new(move || {
        if !sim.truth().unwrap().planned.is_empty() {
            sim.die_after(0);
        }
    });
    let naming = "call ModifySystemSettings";
    let meddler = &world.meddler;
    meddler.twist(naming, ALWAYS, Twist::Meanwhile(dies));
    let report = world.run();
    assert!(report.is_err() || report.is_ok_and(|report| !report.is_undone()));
    meddler.rest();
    world.reopen();
    let planned = world.sim.planned_vms().unwrap();
    let [(planned, name)] = &planned[..] else {
        panic!("{planned:?}");
    };
    assert!(!name.contains("selftest"), "{name}");
    *planned
}

#[test]
fn a_planned_vm_that_was_not_named_yet_is_known_by_its_folder() {
    let mut world = World::new();
    let before = world.picture();
    let planned = die_before_the_planned_vm_s_name(&mut world);
    let host = world.windows().open(&Beliefs::default()).unwrap();
    let clean = |dry_run| selftest::clean(&*host, &world.state_folder(), world.vm, dry_run);
    for dry_run in [true, false] {
        let cleaned = clean(dry_run).unwrap();
        assert_eq!(cleaned.planned_vms, [planned], "dry run: {dry_run}");
        assert_eq!(cleaned.warnings, Vec::<String>::new());
    }
    assert_eq!(world.picture(), before);

    die_before_the_planned_vm_s_name(&mut world);
    let report = world.run().unwrap();
    assert!(report.is_undone(), "{}", report.markdown());
    assert_eq!(world.picture(), before);
}

#[test]
fn a_planned_vm_that_nothing_tells_from_anybody_s_restore_is_told_of_and_stays() {
    let manners = Manners {
        imports_stay_in_their_folder: false,
        ..Manners::default()
    };
    let mut world = World::with(manners, 40);
    let planned = die_before_the_planned_vm_s_name(&mut world);
    let host = world.windows().open(&Beliefs::default()).unwrap();
    let cleaned = selftest::clean(&*host, &world.state_folder(), world.vm, false).unwrap();
    assert_eq!(cleaned.planned_vms, []);
    let told = cleaned.warnings.join("\n");
    assert!(told.contains(&planned.to_string()), "{told}");
    assert_eq!(world.sim.planned_vms().unwrap().len(), 1);
}

#[test]
fn the_next_self_test_begins_by_cleaning() {
    let mut world = World::new();
    let before = world.picture();
    world.sim.die_after(60);
    let report = world.run();
    assert!(report.is_err() || report.is_ok_and(|report| !report.is_undone()));
    world.reopen();
    let report = world.run().unwrap();
    assert!(report.is_undone(), "{}", report.markdown());
    assert_eq!(world.picture(), before);
}

#[test]
fn what_cannot_be_undone_yet_is_not_forgotten_by_the_next_self_test() {
    let world = World::new();
    let before = world.picture();
    let busy = SimFault::Busy {
        step: Some(Step::DestroyReferencePoint),
    };
    world.sim.add_fault(world.vm, busy, None).unwrap();
    assert!(!world.run_simulated().unwrap().is_undone());
    let error = world.run_simulated().unwrap_err();
    let kind = SelfTestErrorKind::Host(HypervErrorKind::Busy);
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains("reference point"), "{error}");
    world.sim.clear_faults(world.vm).unwrap();
    assert!(world.run_simulated().unwrap().is_undone());
    assert_eq!(world.picture(), before);
}
