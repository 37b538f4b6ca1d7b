//! What a self-test leaves: nothing; and what its report tells: nobody's secrets.

use std::sync::Arc;
use std::time::Duration;

use hyperv::sim::{SimFault, Step};
use hyperv::{HypervErrorKind, VmState};
use progress::Progress;
use selftest::{Answers, Kept, SelfTestError, SelfTestErrorKind};

use time_and_chance::{Clock, SharedClock, StopSignal, Stopped, Timestamp};

use crate::world::{FillAt, MERGE_WAIT, Phases, SETTLE, StopAt, World, holds};

#[test]
fn the_host_is_as_before_byte_for_byte() {
    let world = World::new();
    let before = world.picture();
    let report = world.run().unwrap();
    assert!(report.is_undone());
    assert_eq!(world.picture(), before);
    world.run_simulated().unwrap();
    assert_eq!(world.picture(), before);
}

#[test]
fn a_vm_in_any_state_is_left_in_it() {
    for state in [VmState::Off, VmState::Saved, VmState::Paused] {
        let world = World::new();
        world.sim.set_state(world.vm, state).unwrap();
        let before = world.picture();
        let report = world.run().unwrap();
        assert_eq!(report.ended_early, None, "{state:?}");
        assert_eq!(world.picture(), before, "{state:?}");
        assert_eq!(holds(&report, "7.1"), None, "nobody writes to its files");
    }
}

#[test]
fn a_guest_that_cannot_be_quiesced_is_asked_as_at_power_loss() {
    let world = World::new();
    let fault = SimFault::NoAppConsistency {
        leave_checkpoint: true,
    };
    world.sim.add_fault(world.vm, fault, Some(1)).unwrap();
    let before = world.picture();
    let report = world.run().unwrap();
    assert_eq!(report.ended_early, None);
    world.sim.clear_faults(world.vm).unwrap();
    assert_eq!(world.picture(), before);
}

#[test]
fn tracking_that_is_lost_is_told_and_ends_nothing() {
    let world = World::new();
    let fault = SimFault::LoseTracking { code: 0xC03A_0022 };
    world.sim.add_fault(world.vm, fault, None).unwrap();
    let report = world.run().unwrap();
    assert_eq!(report.ended_early, None);
    assert!(report.is_undone(), "{}", report.markdown());
}

#[test]
fn a_report_names_no_other_vm_and_no_path() {
    let world = World::new();
    let report = world.run().unwrap();
    let folder = world.sim.folder().display().to_string();
    for text in [report.markdown(), report.document().to_string()] {
        assert!(!text.contains("bystander"), "{text}");
        assert!(!text.contains(&folder), "{text}");
        assert!(text.contains("asked") && text.contains("20348"), "{text}");
    }
}

#[test]
fn answers_of_one_build_are_not_those_of_another() {
    let world = World::new();
    world.run().unwrap();
    let kept = |build: &str| {
        let mut version = world.version();
        version.build = build.to_owned();
        Answers::kept::<SelfTestError>(&world.state_folder(), || Ok(version)).unwrap()
    };
    assert!(matches!(kept("20348"), Kept::Ours(_)));
    let Kept::Others(others) = kept("26100") else {
        panic!("answers of another build were used");
    };
    assert!(others[0].contains("20348"), "{others:?}");
}

#[test]
fn a_merge_that_hangs_ends_the_self_test_before_another_checkpoint() {
    let world = World::new();
    let before = world.picture();
    let stuck = SimFault::StuckMerge;
    world.sim.add_fault(world.vm, stuck, None).unwrap();
    let report = world.run_simulated().unwrap();
    assert!(!report.is_undone());
    assert_eq!(holds(&report, "RH-18b"), Some(false));
    assert_eq!(holds(&report, "RH-10b"), None, "{}", report.markdown());
    // It was waited for once, and not again when everything was undone.
    let took = report.finished_at.duration_since(report.started_at);
    assert!(took.unsigned_abs() < MERGE_WAIT * 2, "{took:?}");
    let why = report.ended_early.unwrap();
    assert!(why.contains("in use by another process"), "{why}");
    world.sim.clear_faults(world.vm).unwrap();
    assert_eq!(world.picture(), before);
}

#[test]
fn a_merge_that_hangs_after_a_destroyed_checkpoint_ends_the_self_test() {
    let world = World::new();
    let before = world.picture();
    let stuck = SimFault::StuckMerge;
    world.sim.add_fault(world.vm, stuck, None).unwrap();
    let report = world.run().unwrap();
    assert!(report.ended_early.is_some());
    for id in ["RH-17a", "RH-18b", "RH-10b"] {
        assert_eq!(holds(&report, id), None, "{id}: {}", report.markdown());
    }
    world.sim.clear_faults(world.vm).unwrap();
    assert_eq!(world.picture(), before);
}

#[test]
fn where_a_checkpoint_could_fill_the_volume_none_is_taken() {
    let world = World::new();
    let before = world.picture();
    let full = SimFault::LowSpace { free_bytes: 0 };
    world.sim.add_fault(world.vm, full, None).unwrap();
    let error = world.run_simulated().unwrap_err();
    let kind = SelfTestErrorKind::Host(HypervErrorKind::Full);
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains("make room"), "{error}");
    assert_eq!(world.picture(), before);
}

#[test]
fn a_volume_that_fills_up_beside_a_checkpoint_ends_the_self_test_and_the_checkpoint() {
    for phase in ["reading the frozen disks", "reading the frozen disks again"] {
        let world = World::new();
        let before = world.picture();
        let mut progress = Progress::silent();
        progress.monitor = Arc::new(FillAt {
            phase,
            sim: world.sim.clone(),
            vm: world.vm,
            clock: world.clock.clone(),
        });
        let report = world.run_simulated_with(&progress).unwrap();
        let why = report.ended_early.clone().unwrap();
        assert!(why.contains("make room"), "{phase}: {why}");
        assert!(report.is_undone(), "{}", report.markdown());
        world.sim.clear_faults(world.vm).unwrap();
        assert_eq!(world.picture(), before, "{phase}");
    }
}

#[test]
fn a_stopped_self_test_waits_for_no_merge() {
    let world = World::new();
    let before = world.picture();
    let mut progress = Progress::silent();
    progress.monitor = Arc::new(StopAt {
        phase: "reading the frozen disks",
        stop: progress.stop.clone(),
    });
    let error = world.run_simulated_with(&progress).unwrap_err();
    assert_eq!(error.kind(), SelfTestErrorKind::Stopped, "{error}");
    assert!(error.to_string().contains("a merge goes on"), "{error}");
    assert_eq!(world.picture(), before);
}

/// A clock of a host on which somebody stops the self-test in the pause between two readings.
#[derive(Debug)]
struct StopInPause {
    clock: SharedClock,
    pause: Duration,
    stop: StopSignal,
}

impl Clock for StopInPause {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn sleep(&self, duration: Duration, stop: &StopSignal) -> Result<(), Stopped> {
        if duration != self.pause {
            return self.clock.sleep(duration, stop);
        }
        self.stop.stop();
        // Who waits for something else would not hear it.
        stop.wait_real_time(Duration::ZERO)
    }
}

#[test]
fn a_stop_ends_the_pause_between_two_readings_and_the_round_with_it() {
    let world = World::new();
    let before = world.picture();
    let mut progress = Progress::silent();
    let phases = Arc::new(Phases::default());
    progress.monitor = phases.clone();
    let clock: SharedClock = Arc::new(StopInPause {
        clock: world.clock.clone(),
        pause: SETTLE,
        stop: progress.stop.clone(),
    });
    let error = world.run_by(&clock, &progress).unwrap_err();
    assert_eq!(error.kind(), SelfTestErrorKind::Stopped, "{error}");
    let phases = phases.heard();
    let [.., last, undoing] = &phases[..] else {
        panic!("{phases:?}");
    };
    assert_eq!(
        (last.as_str(), undoing.as_str()),
        ("reading the frozen disks", "undoing everything")
    );
    assert_eq!(world.picture(), before);
}

#[test]
fn a_self_test_that_was_stopped_says_what_it_could_not_undo() {
    let world = World::new();
    let before = world.picture();
    let busy = SimFault::Busy {
        step: Some(Step::DestroyReferencePoint),
    };
    for is_left in [false, true] {
        if is_left {
            let fault = busy.clone();
            world.sim.add_fault(world.vm, fault, None).unwrap();
        }
        let mut progress = Progress::silent();
        progress.monitor = Arc::new(StopAt {
            phase: "asking what changed since",
            stop: progress.stop.clone(),
        });
        let error = world.run_simulated_with(&progress).unwrap_err();
        assert_eq!(error.kind(), SelfTestErrorKind::Stopped, "{error}");
        let text = error.to_string();
        assert_eq!(text.contains("`host clean`"), is_left, "{text}");
        assert_eq!(text.contains("reference point"), is_left, "{text}");
    }
    world.sim.clear_faults(world.vm).unwrap();
    assert!(world.run_simulated().unwrap().is_undone());
    assert_eq!(world.picture(), before);
}
