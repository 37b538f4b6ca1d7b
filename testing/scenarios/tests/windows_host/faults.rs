//! What each documented failure of a call leads to: another read, another attempt, that VM fails
//! (Hyper-V spec 2.5, 4.5, 7.4 and 16).
//!
//! The short form tries some of the codes, the long form all.

use backup::BackupErrorKind;
use fake_hyperv::Manners;
use fake_hyperv::meddling::{ALWAYS, Twist};
use hyperv::{Consistency, HypervErrorKind as Kind, HypervHost, VmId};
use point::BackupType;

use crate::machine::{MIB, Machine, some};

/// What a failure leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// Nothing that anybody would notice: it is tried again, or it does not matter.
    Increment,
    /// The guest is to blame, as far as anyone can tell: a point as at power loss.
    Crash,
    /// The disk is read in full, and the point says why.
    Full,
    /// The point stands, and a warning says that the next run reads more.
    Warned,
    /// This VM fails.
    Fails(Kind),
    /// This VM fails because its disk cannot be read.
    Unreadable,
}

use Action::{Crash, Fails, Full, Increment, Unreadable, Warned};

struct Bench {
    machine: Machine,
    vm: VmId,
    round: u64,
}

impl Bench {
    fn new(seed: u64, manners: Manners) -> Self {
        let machine = Machine::with(seed, manners);
        let vm = machine.world.add_vm("bench", 2 * MIB);
        machine.back_up(vm);
        // The second run has a base to drop.
        machine.back_up(vm);
        machine.settle(vm);
        Self {
            machine,
            vm,
            round: 0,
        }
    }

    /// Lets `call` fail `times` times in one run, and checks what that led to and that the next
    /// run is right.
    fn check(&mut self, call: &str, times: u32, twist: &Twist, action: Action) {
        let what = format!("{call}, {times} times {twist:?}");
        let (machine, vm) = (&self.machine, self.vm);
        self.round += 1;
        let write = |seed| {
            let sim = &machine.world.host;
            sim.write_random(vm, 0, MIB / 8, seed).unwrap();
        };
        write(self.round);
        let points = machine.points();
        machine.meddler.twist(call, times, twist.clone());
        let outcome = machine.try_back_up(vm, &|_| ());
        machine.meddler.rest();
        let seen = match &outcome {
            Ok(report) => {
                machine.assert_holds(report, vm, &what);
                let disk = &report.descriptor.disks[0];
                match () {
                    () if disk.full_reason.is_some() => Full,
                    () if report.descriptor.consistency == Consistency::Crash => Crash,
                    () if !report.warnings.is_empty() => Warned,
                    () => Increment,
                }
            }
            Err(error) => {
                let now = machine.points();
                assert_eq!(now, points, "{what}: a point of a run that failed");
                match error.kind() {
                    BackupErrorKind::Host(kind) => Fails(kind),
                    BackupErrorKind::Image(_) => Unreadable,
                    other => panic!("{what}: {other:?}: {error}"),
                }
            }
        };
        assert_eq!(seen, action, "{what}: {outcome:?}");
        write(self.round + 1000);
        let next = machine
            .try_back_up(vm, &|_| ())
            .unwrap_or_else(|error| panic!("after {what}: {error}"));
        machine.assert_holds(&next, vm, &what);
        assert_eq!(
            next.descriptor.backup_type(),
            BackupType::Incremental,
            "after {what}: {:?}",
            next.descriptor.disks
        );
        machine.world.assert_no_checkpoint(vm);
        machine.settle(vm);
    }
}

#[test]
fn each_number_of_create_snapshot_leads_to_what_is_documented() {
    let mut bench = Bench::new(30, Manners::default());
    let rows = [
        (1, Fails(Kind::Unsupported), Fails(Kind::Unsupported)),
        (2, Crash, Fails(Kind::Failed)),
        (3, Fails(Kind::Unavailable), Fails(Kind::Unavailable)),
        (4, Fails(Kind::Invalid), Fails(Kind::Invalid)),
        (5, Increment, Fails(Kind::Busy)),
        (6, Fails(Kind::Invalid), Fails(Kind::Invalid)),
        (32768, Crash, Fails(Kind::Failed)),
        (32769, Fails(Kind::Denied), Fails(Kind::Denied)),
        (32770, Fails(Kind::Unsupported), Fails(Kind::Unsupported)),
        (32771, Increment, Fails(Kind::OutcomeUnknown)),
        (32772, Fails(Kind::Unavailable), Fails(Kind::Unavailable)),
        (32773, Fails(Kind::Invalid), Fails(Kind::Invalid)),
        (32774, Increment, Fails(Kind::Busy)),
        (32775, Increment, Fails(Kind::Busy)),
        (32776, Fails(Kind::Invalid), Fails(Kind::Invalid)),
        (32777, Fails(Kind::NotFound), Fails(Kind::NotFound)),
        (32778, Fails(Kind::Unavailable), Fails(Kind::Unavailable)),
        (32779, Crash, Fails(Kind::Failed)),
    ];
    for (code, once, for_good) in some(rows, 1) {
        let twist = Twist::Return(code);
        bench.check("call CreateSnapshot", 1, &twist, once);
        bench.check("call CreateSnapshot", ALWAYS, &twist, for_good);
    }
}

#[test]
fn each_message_of_a_failed_checkpoint_job_leads_to_what_is_documented() {
    for (seed, jobs_work_first) in [(31, true), (32, false)] {
        let manners = Manners {
            jobs_work_first,
            ..Manners::default()
        };
        let mut bench = Bench::new(seed, manners);
        let rows = [
            (Some(0x8004_23F0), Crash),
            (Some(0x8004_23F2), Crash),
            (Some(0x8004_23F4), Crash),
            (Some(0x8004_23FB), Crash),
            (None, Crash),
            (Some(0x8000_4005), Crash),
            (Some(0x8007_0002), Fails(Kind::Failed)),
            (Some(0x8007_0005), Fails(Kind::Denied)),
            (Some(0x8007_0020), Fails(Kind::InUse)),
            (Some(0x8007_0070), Fails(Kind::Full)),
            (Some(0x8007_0569), Fails(Kind::Denied)),
            (Some(0x8007_05B4), Fails(Kind::Unavailable)),
            (Some(0xC03A_000D), Fails(Kind::Failed)),
            (Some(0xC05C_FF0A), Fails(Kind::Unsupported)),
        ];
        for (code, action) in some(rows, usize::from(jobs_work_first)) {
            let twist = Twist::Job(10, code);
            bench.check("call CreateSnapshot", 1, &twist, action);
        }
    }
}

#[test]
fn each_failed_call_of_create_snapshot_leads_to_what_is_documented() {
    let mut bench = Bench::new(33, Manners::default());
    let rows = [
        (0x8004_1003, Fails(Kind::Denied)),
        (0x8004_1002, Fails(Kind::NotFound)),
        (0x8004_102F, Fails(Kind::Invalid)),
        (0x8004_103A, Fails(Kind::Invalid)),
        (0x8004_1013, Increment),
        (0x8004_1014, Increment),
        (0x8004_1015, Increment),
        (0x8007_06BA, Increment),
        (0x8007_06BE, Increment),
        (0x8004_1032, Increment),
        (0x8004_1033, Increment),
        (0x8004_106C, Increment),
    ];
    for (code, once) in some(rows, 1) {
        bench.check("call CreateSnapshot", 1, &Twist::Error(code), once);
        // The answer is lost, and the checkpoint is there.
        if once == Increment {
            let lost = Twist::LoseAnswer(0x8007_06BE);
            bench.check("call CreateSnapshot", 1, &lost, Increment);
        }
    }
}

#[test]
fn a_conversion_that_fails_keeps_the_point_and_the_old_base() {
    let mut bench = Bench::new(34, Manners::default());
    let convert = "call ConvertToReferencePoint";
    let rows = [
        1, 2, 3, 4, 6, 32768, 32769, 32770, 32771, 32772, 32773, 32776, 32777, 32778, 32779,
    ];
    for code in some(rows, 2) {
        bench.check(convert, 1, &Twist::Return(code), Warned);
    }
    for code in some([5, 32774, 32775], 2) {
        bench.check(convert, 1, &Twist::Return(code), Increment);
        bench.check(convert, ALWAYS, &Twist::Return(code), Warned);
    }
    for code in some([0x8004_1003, 0x8004_1002, 0x8007_06BE, 0x8004_1033], 2) {
        bench.check(convert, 1, &Twist::Error(code), Warned);
    }
    for code in some([0x8007_06BA, 0x8004_1014], 0) {
        bench.check(convert, 1, &Twist::Error(code), Increment);
    }
    // What was done and not heard of is found.
    bench.check(convert, 1, &Twist::LoseAnswer(0x8007_06BE), Warned);
    for code in some([0x8007_0020, 0x8007_0005, 0x8007_0569], 0) {
        bench.check(convert, 1, &Twist::Job(10, Some(code)), Warned);
    }
}

#[test]
fn what_only_tidies_up_never_fails_a_backup() {
    let mut bench = Bench::new(35, Manners::default());
    for call in ["call DestroyReferencePoint", "call ModifySystemSettings"] {
        let twists = [
            Twist::Return(2),
            Twist::Return(32769),
            Twist::Return(32775),
            Twist::Return(32771),
            Twist::Error(0x8004_1003),
            Twist::Error(0x8004_1002),
            Twist::LoseAnswer(0x8007_06BE),
        ];
        for twist in some(twists, 0) {
            bench.check(call, 1, &twist, Increment);
            bench.check(call, ALWAYS, &twist, Increment);
        }
    }
}

#[test]
fn each_code_of_change_tracking_means_a_full_read_of_that_disk() {
    let mut bench = Bench::new(36, Manners::default());
    let codes = [
        0xC03A_0020,
        0xC03A_0021,
        0xC03A_0022,
        0xC03A_0023,
        0xC03A_0024,
        0xC03A_0029,
        0xC03A_002A,
        0xC03A_0030,
        0xC03A_001A,
        0xC03A_001B,
        0xC05C_FF0A,
        5,
        31,
        50,
        87,
        1460,
    ];
    for code in some(codes, 2) {
        bench.check("disk query_changes of", 1, &Twist::Error(code), Full);
    }
}

#[test]
fn a_disk_that_cannot_be_opened_or_read_fails_its_vm() {
    let mut bench = Bench::new(37, Manners::default());
    let rows = [
        (2, Kind::Failed),
        (5, Kind::Denied),
        (32, Kind::InUse),
        (87, Kind::Invalid),
        (112, Kind::Full),
        (618, Kind::Unsupported),
        (1392, Kind::Failed),
        (0xC03A_0002, Kind::Failed),
        (0xC03A_000D, Kind::Failed),
        (0xC03A_0012, Kind::Unsupported),
        (0xC03A_0014, Kind::Failed),
        (0xC03A_001A, Kind::Unsupported),
        (0xC03A_001C, Kind::InUse),
        (0xC03A_0034, Kind::Failed),
        (0xC05C_FF0A, Kind::Unsupported),
    ];
    for (code, kind) in some(rows, 1) {
        bench.check("disk open Read", 1, &Twist::Error(code), Fails(kind));
        bench.check("disk read_at of", 1, &Twist::Error(code), Unreadable);
    }
}

#[test]
fn a_listing_that_fails_fails_the_whole_run_and_one_that_passes_does_not() {
    let bench = Bench::new(38, Manners::default());
    let host = &bench.machine.host;
    let meddler = &bench.machine.meddler;
    for (code, kind) in [
        (0x8004_1003, Kind::Denied),
        (0x8004_100E, Kind::Unsupported),
        (0x8004_1014, Kind::Unavailable),
        (0x8007_06BA, Kind::Unavailable),
    ] {
        meddler.twist("query", ALWAYS, Twist::Error(code));
        assert_eq!(host.vms().unwrap_err().kind(), kind);
        meddler.rest();
        if kind == Kind::Unavailable {
            meddler.twist("query", 2, Twist::Error(code));
            assert_eq!(host.vms().unwrap().len(), 1);
        }
    }
}
