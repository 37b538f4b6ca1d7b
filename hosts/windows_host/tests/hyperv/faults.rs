//! What goes wrong in Hyper-V, and what a caller may act on (Hyper-V spec 16).

use std::sync::Arc;
use std::time::Duration;

use hyperv::HypervErrorKind as Kind;
use hyperv::RequestedConsistency::{Application, Crash};
use hyperv::{HypervHost, VmId};
use time_and_chance::{Clock, StopSignal};
use windows_host::hyperv::{Beliefs, Ending, EventChannels, LoggedEvent, Probing};
use windows_host::wmi::Value;

use crate::world::{MARK, World};
use fake_hyperv::Manners;
use fake_hyperv::meddling::{ALWAYS, Twist};

const CREATE: &str = "call CreateSnapshot";
const JOB: &str = "get Msvm_ConcreteJob";

fn names(world: &World, vm: VmId) -> Vec<String> {
    world.meddler.rest();
    let left = world.host.checkpoints(vm).unwrap();
    left.into_iter().map(|checkpoint| checkpoint.name).collect()
}

#[test]
fn every_return_code_of_a_checkpoint_has_its_kind_and_leaves_nothing() {
    let world = World::new();
    let vm = world.vm("codes");
    for (code, consistency, kind) in [
        (1, Application, Kind::Unsupported),
        (32770, Crash, Kind::Unsupported),
        (2, Crash, Kind::Failed),
        (32768, Crash, Kind::Failed),
        // With the guest to be quiesced, nobody else is at hand to be blamed.
        (2, Application, Kind::GuestRefused),
        (32768, Application, Kind::GuestRefused),
        (3, Application, Kind::Unavailable),
        (32772, Crash, Kind::Unavailable),
        (4, Application, Kind::Invalid),
        (32773, Crash, Kind::Invalid),
        (6, Application, Kind::Invalid),
        (32776, Crash, Kind::Invalid),
        (32769, Application, Kind::Denied),
        (32771, Application, Kind::OutcomeUnknown),
        (5, Application, Kind::Busy),
        (32774, Crash, Kind::Busy),
        (32775, Application, Kind::Busy),
        (32777, Crash, Kind::NotFound),
        (32778, Crash, Kind::Unavailable),
        (32779, Crash, Kind::Failed),
    ] {
        world.meddler.twist(CREATE, ALWAYS, Twist::Return(code));
        let error = world.freeze_as(vm, consistency).unwrap_err();
        assert_eq!(
            (error.kind(), error.code()),
            (kind, Some(code)),
            "{code}: {error}"
        );
        assert!(error.to_string().contains(&vm.to_string()), "{error}");
        assert_eq!(names(&world, vm), Vec::<String>::new());
    }
    world.freeze(vm).unwrap();
    assert_eq!(names(&world, vm), [MARK]);
}

#[test]
fn every_failed_call_has_its_kind() {
    let world = World::new();
    let vm = world.vm("calls");
    for (code, asked, changed) in [
        (0x8004_1003, Kind::Denied, Kind::Denied),
        (0x8004_1002, Kind::NotFound, Kind::NotFound),
        (0x8004_1013, Kind::Unavailable, Kind::OutcomeUnknown),
        (0x8004_1014, Kind::Unavailable, Kind::Unavailable),
        (0x8004_1015, Kind::Unavailable, Kind::OutcomeUnknown),
        (0x8007_06BA, Kind::Unavailable, Kind::Unavailable),
        (0x8007_06BE, Kind::Unavailable, Kind::OutcomeUnknown),
        (0x8007_05B4, Kind::Unavailable, Kind::OutcomeUnknown),
        (0x8001_0007, Kind::Unavailable, Kind::OutcomeUnknown),
        (0x8001_0105, Kind::Unavailable, Kind::OutcomeUnknown),
        (0x8001_0108, Kind::Unavailable, Kind::OutcomeUnknown),
        (0x8001_FFFF, Kind::Unavailable, Kind::OutcomeUnknown),
        (0x8004_1032, Kind::Unavailable, Kind::OutcomeUnknown),
        (0x8004_1033, Kind::Unavailable, Kind::OutcomeUnknown),
        (0x8004_106C, Kind::Unavailable, Kind::Unavailable),
        (0x8004_102F, Kind::Invalid, Kind::Invalid),
        (0x8004_103A, Kind::Invalid, Kind::Invalid),
        (0x8004_1001, Kind::Failed, Kind::Failed),
    ] {
        world.meddler.twist(CREATE, ALWAYS, Twist::Error(code));
        let error = world.freeze(vm).unwrap_err();
        assert_eq!(
            (error.kind(), error.code()),
            (changed, Some(code)),
            "{error}"
        );
        world.meddler.rest();
        let list = "query Msvm_SnapshotOfVirtualSystem";
        world.meddler.twist(list, ALWAYS, Twist::Error(code));
        let error = world.host.checkpoints(vm).unwrap_err();
        assert_eq!((error.kind(), error.code()), (asked, Some(code)), "{error}");
        world.meddler.rest();
    }
}

#[test]
fn what_fails_in_passing_is_asked_again_and_changes_nothing_twice() {
    let world = World::new();
    let vm = world.vm("passing");
    for code in [
        0x8004_1013,
        0x8004_1014,
        0x8004_1015,
        0x8007_06BA,
        0x8007_06BE,
        0x8004_1032,
        0x8004_1033,
        0x8004_106C,
    ] {
        world.meddler.twist("query", 3, Twist::Error(code));
        assert_eq!(world.host.vm(vm).unwrap().id, vm, "0x{code:08X}");
    }
    // A call that did not get through is made again; one whose answer was lost is not.
    for (code, calls) in [
        (0x8004_1014, 3),
        (0x8007_06BA, 3),
        (0x8007_06BE, 1),
        (0x8007_05B4, 1),
        (0x8001_0108, 1),
    ] {
        world.meddler.take_calls();
        world.meddler.twist(CREATE, 2, Twist::Error(code));
        let taken = world.freeze(vm);
        let made = world.meddler.take_calls();
        let made = made.iter().filter(|call| call.starts_with(CREATE)).count();
        assert_eq!((made, taken.is_ok()), (calls, calls == 3), "0x{code:08X}");
        world.meddler.rest();
        if let Ok(checkpoint) = taken {
            world.host.destroy_checkpoint(vm, checkpoint).unwrap();
            world.settle(vm);
        }
    }
}

#[test]
fn an_end_that_is_watched_is_not_asked_for_twice_when_its_answer_was_lost() {
    let world = World::new();
    let vm = world.vm("watched");
    for (ending, part) in [
        (Ending::Convert, "call ConvertToReferencePoint"),
        (Ending::Destroy, "call DestroySnapshot"),
    ] {
        let checkpoint = world.freeze(vm).unwrap();
        let end = || {
            let unstoppable = StopSignal::new();
            world.host.end_watched(vm, checkpoint, ending, &unstoppable)
        };
        world.meddler.take_calls();
        world.meddler.twist(part, 2, Twist::Error(0x8007_06BE));
        assert_eq!(end().unwrap_err().kind(), Kind::OutcomeUnknown);
        let made = world.meddler.take_calls();
        let made = made.iter().filter(|call| call.starts_with(part)).count();
        assert_eq!(made, 1, "{part}");
        world.meddler.rest();
        end().unwrap();
        world.settle(vm);
    }
}

#[test]
fn a_busy_vm_is_asked_again_for_a_minute_and_then_said_to_be_busy_with_what() {
    let world = World::new();
    let vm = world.vm("busy");
    let begun = world.clock.monotonic();
    world.meddler.twist(CREATE, 3, Twist::Return(32775));
    let checkpoint = world.freeze(vm).unwrap();
    assert!(world.clock.monotonic() - begun >= Duration::from_millis(700));
    let busy = Value::Array(vec![Value::from(2u16), Value::from(32772u16)]);
    world
        .meddler
        .twist("call DestroySnapshot", ALWAYS, Twist::Return(32775));
    world.meddler.twist(
        "get Msvm_ComputerSystem",
        ALWAYS,
        Twist::Property("OperationalStatus", busy),
    );
    let begun = world.clock.monotonic();
    let error = world.host.destroy_checkpoint(vm, checkpoint).unwrap_err();
    let waited = world.clock.monotonic() - begun;
    assert_eq!(error.kind(), Kind::Busy);
    assert!(error.to_string().contains("being merged"), "{error}");
    assert!(
        waited >= Duration::from_secs(60) && waited < Duration::from_secs(70),
        "{waited:?}"
    );
}

fn said(messages: &[&str]) -> Value {
    Value::texts(messages.iter().map(|message| {
        format!(
            r#"<INSTANCE CLASSNAME="Msvm_Error"><PROPERTY NAME="Message" TYPE="string"><VALUE>{message}</VALUE></PROPERTY></INSTANCE>"#
        )
    }))
}

#[test]
fn a_failed_job_is_told_by_the_codes_in_its_messages() {
    let world = World::with(Manners {
        jobs_work_first: false,
        ..Manners::default()
    });
    let vm = world.vm("jobs");
    for (state, messages, consistency, kind) in [
        (
            10u16,
            &["Fehler (0x800423F4)"][..],
            Application,
            Kind::GuestRefused,
        ),
        (
            10,
            &["Fehler (0x800423F2)", "(0x80004005)"],
            Application,
            Kind::GuestRefused,
        ),
        (11, &["(0x80070020)"], Application, Kind::InUse),
        (10, &["(0x80070070)"], Crash, Kind::Full),
        (10, &["(0x80070005)"], Application, Kind::Denied),
        (10, &["(0x80070569)"], Application, Kind::Denied),
        (10, &["(0x80070002)"], Application, Kind::Failed),
        (10, &["nothing to go by"], Application, Kind::GuestRefused),
        (10, &["nothing to go by"], Crash, Kind::Failed),
        (10, &[], Crash, Kind::Failed),
        (8, &[], Application, Kind::Failed),
        (9, &[], Crash, Kind::Failed),
        (1, &[], Crash, Kind::OutcomeUnknown),
    ] {
        world
            .meddler
            .twist(JOB, 1, Twist::Property("JobState", Value::from(state)));
        world.meddler.twist(
            "call GetErrorEx",
            1,
            Twist::Property("Errors", said(messages)),
        );
        let error = world.freeze_as(vm, consistency).unwrap_err();
        assert_eq!(error.kind(), kind, "{state} {messages:?}: {error}");
        world.meddler.rest();
    }
}

#[test]
fn who_does_not_believe_it_does_not_blame_the_guest() {
    let world = World::new();
    let vm = world.vm("belief");
    let host = world.believing(Beliefs {
        unexplained_failure_is_the_guests: false,
        ..Beliefs::default()
    });
    world.meddler.twist(CREATE, 1, Twist::Return(32768));
    let error = host
        .create_recovery_checkpoint(vm, Application, MARK, &StopSignal::new())
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Failed);
}

#[test]
fn a_checkpoint_whose_making_was_not_seen_to_end_carries_its_mark() {
    for twist in [
        (CREATE, Twist::LoseAnswer(0x8007_06BE)),
        (JOB, Twist::Error(0x8004_1002)),
        (JOB, Twist::Property("JobState", Value::from(99u16))),
    ] {
        let world = World::new();
        let vm = world.vm("unseen");
        let user = world.sim.checkpoint(vm, "a user's own").unwrap();
        world.meddler.twist(twist.0, 1, twist.1);
        let error = world.freeze(vm).unwrap_err();
        assert_eq!(error.kind(), Kind::OutcomeUnknown, "{error}");
        let left = world.host.checkpoints(vm).unwrap();
        let ours: Vec<_> = left.iter().filter(|left| left.name == MARK).collect();
        assert_eq!(ours.len(), 1);
        assert_ne!(ours[0].id, user);
        world.host.destroy_checkpoint(vm, ours[0].id).unwrap();
    }
}

#[test]
fn a_service_that_restarts_does_not_end_the_wait_for_a_job() {
    let world = World::new();
    let vm = world.vm("restart");
    world.meddler.twist(JOB, 2, Twist::Error(0x8007_06BA));
    world.freeze(vm).unwrap();
    assert_eq!(names(&world, vm), [MARK]);
}

#[test]
fn a_job_that_never_ends_is_an_unknown_outcome_after_its_limit() {
    for (consistency, minutes) in [(Application, 20), (Crash, 5)] {
        let world = World::with(Manners {
            job_states: vec![4; 2000],
            ..Manners::default()
        });
        let vm = world.vm("slow");
        let begun = world.clock.monotonic();
        let error = world.freeze_as(vm, consistency).unwrap_err();
        assert_eq!(error.kind(), Kind::OutcomeUnknown);
        let waited = world.clock.monotonic() - begun;
        assert!(waited >= Duration::from_mins(minutes), "{waited:?}");
        assert!(waited < Duration::from_mins(minutes + 1), "{waited:?}");
    }
}

#[test]
fn a_stop_cancels_the_job_or_waits_for_what_cannot_be_cancelled() {
    for work_first in [false, true] {
        let world = World::with(Manners {
            jobs_work_first: work_first,
            job_states: vec![4; 6],
            ..Manners::default()
        });
        let vm = world.vm("stop");
        let stop = StopSignal::new();
        world.meddler.twist(JOB, 1, Twist::Stop(stop.clone()));
        let taken = world
            .host
            .create_recovery_checkpoint(vm, Application, MARK, &stop);
        match taken {
            Ok(_) => assert_eq!(names(&world, vm), [MARK]),
            Err(error) => {
                assert_eq!(error.kind(), Kind::Stopped);
                assert_eq!(names(&world, vm), Vec::<String>::new());
            }
        }
        assert!(stop.is_stopped());
        let refused = world
            .host
            .create_recovery_checkpoint(vm, Application, MARK, &stop);
        assert_eq!(refused.unwrap_err().kind(), Kind::Stopped);
    }
}

#[test]
fn a_name_that_cannot_be_given_is_no_failure() {
    let world = World::new();
    let vm = world.vm("nameless");
    world
        .meddler
        .twist("call ModifySystemSettings", 1, Twist::Return(32768));
    let checkpoint = world.freeze(vm).unwrap();
    let left = world.host.checkpoints(vm).unwrap();
    assert_eq!(left[0].id, checkpoint);
    assert_ne!(left[0].name, MARK);
}

#[test]
fn a_checkpoint_that_is_gone_is_destroyed_even_if_nobody_saw_it() {
    let world = World::new();
    let vm = world.vm("gone");
    let checkpoint = world.freeze(vm).unwrap();
    world
        .meddler
        .twist("call DestroySnapshot", 1, Twist::LoseAnswer(0x8004_1015));
    world.host.destroy_checkpoint(vm, checkpoint).unwrap();
    let checkpoint = world.freeze(vm).unwrap();
    world
        .meddler
        .twist("call DestroySnapshot", 1, Twist::Error(0x8004_1015));
    let error = world.host.destroy_checkpoint(vm, checkpoint).unwrap_err();
    assert_eq!(error.kind(), Kind::OutcomeUnknown);
}

#[test]
fn a_conversion_that_was_not_seen_to_end_is_an_unknown_outcome() {
    let world = World::new();
    let vm = world.vm("conversion");
    for twist in [
        (
            "call ConvertToReferencePoint",
            Twist::LoseAnswer(0x8007_06BE),
        ),
        (JOB, Twist::Error(0x8004_1002)),
    ] {
        let checkpoint = world.freeze(vm).unwrap();
        world.meddler.twist(twist.0, 1, twist.1);
        let converted = world
            .host
            .convert_to_reference_point(vm, checkpoint, &StopSignal::new());
        assert_eq!(converted.unwrap_err().kind(), Kind::OutcomeUnknown);
        assert_eq!(names(&world, vm), Vec::<String>::new());
        world.settle(vm);
    }
    assert_eq!(world.host.reference_points(vm).unwrap().len(), 2);
}

#[test]
fn an_account_that_sees_nothing_is_told_so() {
    let world = World::new();
    let vm = world.vm("unseen");
    let all = "query FROM Msvm_ComputerSystem";
    world.meddler.twist(all, 2, Twist::Nothing);
    for error in [
        world.host.vms().unwrap_err(),
        world.host.name().unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::Denied);
        assert!(error.to_string().contains("elevated"), "{error}");
    }
    world
        .meddler
        .twist("get Msvm_ComputerSystem", 1, Twist::Error(0x8004_1002));
    world.meddler.twist(all, 1, Twist::Nothing);
    assert_eq!(world.host.vm(vm).unwrap_err().kind(), Kind::Denied);
}

#[test]
fn a_machine_without_hyperv_is_told_so() {
    let world = World::new();
    for (code, kind) in [
        (0x8004_100E, Kind::Unsupported),
        (0x8004_1003, Kind::Denied),
        (0x8004_1014, Kind::Unavailable),
    ] {
        world
            .meddler
            .twist("connect virtualization", ALWAYS, Twist::Error(code));
        assert_eq!(world.reconnect().unwrap_err().kind(), kind);
        world.meddler.rest();
    }
}

#[test]
fn a_cluster_that_does_not_tell_its_name_does_not_lend_the_hosts() {
    let world = World::new();
    let name = world.host.name().unwrap();
    assert!(!name.is_empty());
    world
        .meddler
        .twist("connect MSCluster", 1, Twist::Error(0x8004_1003));
    assert_eq!(world.host.name().unwrap_err().kind(), Kind::Denied);
}

/// A log with one event of a VM.
#[derive(Debug)]
struct Logged(VmId);

impl EventChannels for Logged {
    fn newest(&self, _: &str, _: &str, _: Duration, _: usize) -> std::io::Result<Vec<LoggedEvent>> {
        Ok(vec![LoggedEvent {
            xml: format!("<EventID>18012</EventID><VmId>{}</VmId>", self.0),
            message: Some("Prüfpunkt fehlgeschlagen.".to_owned()),
        }])
    }
}

#[test]
fn a_job_that_fails_without_detail_is_told_with_what_was_logged_of_its_vm() {
    let world = World::new();
    let (vm, other) = (world.vm("logged"), world.vm("other"));
    let host = world.reconnect().unwrap().with_events(Arc::new(Logged(vm)));
    for (id, is_told) in [(vm, true), (other, false)] {
        world.meddler.twist(CREATE, 1, Twist::Job(10, None));
        let error = host
            .create_recovery_checkpoint(id, Crash, MARK, &StopSignal::new())
            .unwrap_err();
        let text = error.to_string();
        assert_eq!(text.contains("event 18012: Prüfpunkt"), is_told, "{text}");
    }
}
