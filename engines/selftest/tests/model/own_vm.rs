//! A VM that a self-test makes for itself: it answers, and nothing of it stays, whatever happens.

use std::sync::Arc;

use backup::vm::{SELF_TEST_VM, StateFolder};
use fake_hyperv::Manners;
use fake_hyperv::meddling::{Meanwhile, Twist};
use hyperv::sim::{SimFault, Step};
use hyperv::{Generation, HypervErrorKind, HypervHost as _};
use progress::Progress;
use selftest::SelfTestErrorKind;
use windows_host::wmi::TextForm;

use crate::world::{StopAt, World, holds};

/// How far apart the steps are at which it is killed, in the short form.
const STRIDE: u64 = 29;

#[test]
fn a_vm_of_its_own_answers_and_goes_with_its_files() {
    for manners in [
        Manners::default(),
        Manners {
            no_jobs: true,
            ..Manners::default()
        },
        Manners {
            only_text_form: Some(TextForm::WmiDtd20),
            ..Manners::default()
        },
    ] {
        let world = World::with(manners, 3);
        let before = world.picture();
        let report = world.run_with_own_vm().unwrap();
        assert_eq!(report.ended_early, None);
        for id in ["RH-1a", "RH-9", "RH-11", "RH-22a", "RH-25b", "C1", "C6"] {
            let markdown = report.markdown();
            assert_eq!(holds(&report, id), Some(true), "{id}: {markdown}");
        }
        assert_eq!(world.picture(), before);
    }
}

#[test]
fn a_simulated_host_makes_no_vm() {
    let error = World::new().run_simulated_with_own_vm().unwrap_err();
    let kind = SelfTestErrorKind::Host(HypervErrorKind::Unsupported);
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains("--vm"), "{error}");
}

#[test]
fn whatever_a_killed_self_test_left_of_its_own_vm_goes_away() {
    let is_long = std::env::var_os("E3_TEST_LONG").is_some();
    let stride = if is_long { 1 } else { STRIDE };
    let mut killed = 0;
    for step in (0..).step_by(usize::try_from(stride).unwrap()) {
        let mut world = World::with(Manners::default(), 3);
        let before = world.picture();
        world.sim.die_after(step);
        let report = world.run_with_own_vm();
        world.reopen();
        if report.is_ok_and(|report| report.is_undone()) {
            break;
        }
        killed += 1;
        world.let_what_is_made_come();
        let cleaned = world.clean_vms().unwrap();
        assert_eq!(cleaned.warnings, Vec::<String>::new(), "after {step} steps");
        assert_eq!(world.picture(), before, "after {step} steps: {cleaned:?}");
        let again = world.clean_vms().unwrap();
        assert_eq!(again.vms, [], "after {step} steps");
    }
    assert!(killed > 3, "it was killed only {killed} times");
}

#[test]
fn a_self_test_that_fails_or_is_stopped_takes_its_vm_away() {
    let world = World::new();
    let before = world.picture();
    let mut progress = Progress::silent();
    progress.monitor = Arc::new(StopAt {
        phase: "reading the frozen disks",
        stop: progress.stop.clone(),
    });
    let error = world.run_with_own_vm_and(&progress).unwrap_err();
    assert_eq!(error.kind(), SelfTestErrorKind::Stopped, "{error}");
    assert_eq!(world.picture(), before);

    for step in [Step::CreateDisk, Step::Realise, Step::SetDisks] {
        for fault in [
            SimFault::JobFailsAt { step },
            SimFault::OutcomeUnknownAt { step, done: false },
        ] {
            world.sim.add_host_fault(fault.clone(), Some(1)).unwrap();
            let error = world.run_with_own_vm().unwrap_err();
            let is_the_host_s = matches!(error.kind(), SelfTestErrorKind::Host(_));
            assert!(is_the_host_s, "{fault}: {error}");
            if world.picture() != before {
                // It may come yet, for all that anybody knows.
                assert!(
                    matches!(fault, SimFault::OutcomeUnknownAt { .. }),
                    "{fault}"
                );
                let cleaned = world.clean_vms().unwrap();
                assert!(cleaned.warnings[0].contains("may still"), "{cleaned:?}");
                let again = world.run_with_own_vm().unwrap_err();
                assert!(again.to_string().contains("may still"), "{again}");
                world.let_what_is_made_come();
                let cleaned = world.clean_vms().unwrap();
                assert_eq!(cleaned.warnings, Vec::<String>::new());
            }
            assert_eq!(world.picture(), before, "{fault}");
        }
    }
}

#[test]
fn a_vm_whose_making_was_not_seen_to_end_is_known_by_its_name() {
    let world = World::with(Manners::default(), 3);
    let before = world.picture();
    let unknown = SimFault::OutcomeUnknownAt {
        step: Step::Realise,
        done: true,
    };
    world.sim.add_host_fault(unknown, Some(1)).unwrap();
    let report = world.run_with_own_vm().unwrap();
    assert!(report.is_undone(), "{}", report.markdown());
    assert_eq!(world.picture(), before);
}

#[test]
fn a_vm_of_such_a_name_that_is_written_down_nowhere_is_told_of_and_stays() {
    let world = World::new();
    let name = "e3 selftest VM 1";
    let vm = world.sim.define_vm(name, Generation::One, None).unwrap();
    let cleaned = world.clean_vms().unwrap();
    assert_eq!(cleaned.vms, []);
    assert!(cleaned.warnings[0].contains(name), "{cleaned:?}");
    assert!(world.run_with_own_vm().unwrap().is_undone());
    assert!(world.sim.vm(vm).is_ok());
}

#[test]
fn what_is_written_of_its_vm_and_cannot_be_read_is_no_reason_to_forget_it() {
    let world = World::new();
    let folder = world.state_folder().join("selftest");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("own.json"), b"{\"name\": \"e3 se").unwrap();
    let error = world.clean_vms().unwrap_err();
    assert_eq!(error.kind(), SelfTestErrorKind::State, "{error}");
    assert!(error.to_string().contains("own.json"), "{error}");
    assert!(world.run_with_own_vm().is_err());
    assert!(folder.join("own.json").exists());
}

#[test]
fn a_vm_of_its_own_that_something_works_with_is_told_of_and_removed_later() {
    let mut world = World::with(Manners::default(), 3);
    let before = world.picture();
    let sim = world.sim.clone();
    let dies = Meanwhile::new(move || sim.die_after(0));
    let meddler = &world.meddler;
    meddler.twist("call CreateSnapshot", 1, Twist::Meanwhile(dies));
    let report = world.run_with_own_vm();
    assert!(report.is_err() || report.is_ok_and(|report| !report.is_undone()));
    world.reopen();
    let mut vms = world.sim.vms().unwrap().into_iter();
    let own = vms.find(|vm| vm.name.starts_with(SELF_TEST_VM));
    let own = own.unwrap().id;
    let state = StateFolder::open(world.state_folder()).unwrap();
    let lock = state.lock(own).unwrap();
    let cleaned = world.clean_vms().unwrap();
    assert_eq!(cleaned.vms, [own]);
    assert!(cleaned.warnings[0].contains("yet"), "{cleaned:?}");
    assert!(world.sim.vm(own).is_ok());
    drop(lock);
    let cleaned = world.clean_vms().unwrap();
    assert_eq!(cleaned.warnings, Vec::<String>::new());
    assert_eq!(world.picture(), before);
}
