//! The requester of windows_host, through this DLL: it keeps the contract, and what the model
//! refuses arrives with its code.
//!
//! Wine prefers the vssapi.dll beside a program to its own where its settings say so, as those of
//! the tests' prefix do. So each test runs in a copy of this program in a folder of its own,
//! beside a copy of the DLL.
#![cfg(windows)]
#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is the failure report"
)]

#[path = "../../../../../hosts/windows_host/tests/held/process.rs"]
#[expect(
    unsafe_code,
    reason = "what a process holds is asked for by raw pointers"
)]
mod held;
mod leaks;
mod world;

use std::time::Duration;

use fake_hyperv::apart::Dll;
use time_and_chance::StopSignal;
use volume::contract::{self, ContractWorld as _};
use volume::{Freeze, ShadowSetId, VolumeErrorKind, Writers};
use windows_host::vss::com::ComVss;
use windows_host::vss::{Context, Requester, Vss as _, VssError, Wait};

use world::World;

const DLL: Dll = Dll {
    built: "fake_vssapi.dll",
    wanted: "vssapi.dll",
};

/// Runs a test in a copy of this program beside the DLL.
fn apart(test: &str, manners: &str, work: impl FnOnce()) {
    fake_hyperv::apart::apart(DLL, test, manners, work);
}

fn code<T: std::fmt::Debug>(result: Result<T, VssError>) -> u32 {
    match result.unwrap_err() {
        VssError::Code { code, .. } => code,
        other => panic!("{other}"),
    }
}

#[test]
fn the_requester_by_com_keeps_the_contract() {
    apart("the_requester_by_com_keeps_the_contract", "", || {
        contract::run_all(World::new);
    });
}

#[test]
fn the_contract_is_kept_in_the_other_manner() {
    let manners = "the-freeze-tells-of-writers,no-list-of-nothing";
    apart("the_contract_is_kept_in_the_other_manner", manners, || {
        contract::run_all(World::new);
    });
}

#[test]
fn what_writers_say_is_read_whole() {
    apart("what_writers_say_is_read_whole", "", || {
        let world = World::new();
        let long = "Writer ÄÖÜ 😀 ".repeat(40);
        let ids = [
            world.hands().add_writer(&long),
            world.hands().add_writer("Second"),
        ];
        let requester = ComVss.begin().unwrap();
        requester.set_context(Context::Backup).unwrap();
        requester.set_backup_state().unwrap();
        let stop = StopSignal::new();
        let wait = Wait {
            limit: Duration::from_secs(10),
            stop: &stop,
        };
        let writers = requester.gather_writer_metadata(wait).unwrap();
        let found: Vec<_> = writers.iter().map(|it| (it.id, it.name.as_str())).collect();
        assert_eq!(found, [(ids[0], long.as_str()), (ids[1], "Second")]);
        assert_eq!(writers[0].components[0].name, format!("files of {long}"));
        assert_eq!(writers[0].components[0].logical_path, "");
    });
}

#[test]
fn calls_out_of_order_are_refused() {
    const BAD_STATE: u32 = 0x8004_2301;
    apart("calls_out_of_order_are_refused", "", || {
        let world = World::new();
        let name = world.hands().add_volume("V:\\", 1 << 20);
        let stop = StopSignal::new();
        let wait = Wait {
            limit: Duration::from_secs(10),
            stop: &stop,
        };
        let requester = ComVss.begin().unwrap();
        assert_eq!(code(requester.start_snapshot_set()), BAD_STATE);
        assert_eq!(code(requester.prepare_for_backup(wait)), BAD_STATE);
        assert_eq!(code(requester.do_snapshot_set(wait)), BAD_STATE);
        assert_eq!(code(requester.gather_writer_status(wait)), BAD_STATE);
        assert_eq!(code(requester.backup_complete(wait)), BAD_STATE);
        assert_eq!(code(requester.abort_backup()), BAD_STATE);
        assert_eq!(code(requester.query_snapshots()), BAD_STATE);
        requester
            .set_context(Context::BackupWithoutWriters)
            .unwrap();
        assert_eq!(code(requester.set_context(Context::Backup)), BAD_STATE);
        let set = requester.start_snapshot_set().unwrap();
        // Nothing to freeze.
        assert_eq!(code(requester.do_snapshot_set(wait)), BAD_STATE);
        assert_eq!(code(requester.add_to_snapshot_set("V:")), 0x8007_0057);
        requester.add_to_snapshot_set(&name).unwrap();
        assert_eq!(code(requester.add_to_snapshot_set("V:\\")), 0x8004_230D);
        // One set at a time is being made.
        let other = ComVss.begin().unwrap();
        other.set_context(Context::BackupWithoutWriters).unwrap();
        assert_eq!(code(other.start_snapshot_set()), 0x8004_2316);
        requester.do_snapshot_set(wait).unwrap();
        other.start_snapshot_set().unwrap();
        requester.delete_snapshot_set(set).unwrap();
        assert_eq!(code(requester.delete_snapshot_set(set)), 0x8004_2308);
    });
}

#[test]
fn an_operation_that_hangs_is_given_up() {
    const PENDING: u32 = 0x0004_2309;
    apart("an_operation_that_hangs_is_given_up", "", || {
        let world = World::new();
        let name = world.hands().add_volume("V:\\", 1 << 20);
        let begun = || {
            let requester = ComVss.begin().unwrap();
            requester
                .set_context(Context::BackupWithoutWriters)
                .unwrap();
            requester.start_snapshot_set().unwrap();
            requester.add_to_snapshot_set(&name).unwrap();
            requester
        };
        let freeze = |requester: &dyn Requester, stop: &StopSignal| {
            let limit = Duration::from_secs(60);
            requester.do_snapshot_set(Wait { limit, stop }).unwrap_err()
        };
        world.fault("DoSnapshotSet", PENDING, 2);
        let late = freeze(begun().as_ref(), &StopSignal::new());
        assert!(
            matches!(late, VssError::TimedOut { limit_s: 60, .. }),
            "{late}"
        );
        let stop = StopSignal::new();
        stop.stop();
        let stopped = freeze(begun().as_ref(), &stop);
        assert!(matches!(stopped, VssError::Stopped { .. }), "{stopped}");
    });
}

#[test]
fn a_code_of_vss_arrives_as_it_is_and_leaves_nothing() {
    apart(
        "a_code_of_vss_arrives_as_it_is_and_leaves_nothing",
        "",
        || {
            for call in [
                "InitializeForBackup",
                "SetContext",
                "SetBackupState",
                "DisableWriterClasses",
                "GatherWriterMetadata",
                "StartSnapshotSet",
                "IsVolumeSupported",
                "AddToSnapshotSet",
                "PrepareForBackup",
                "DoSnapshotSet",
                "GatherWriterStatus",
                "GetSnapshotProperties",
            ] {
                let world = World::new();
                let name = world.hands().add_volume("V:\\", 1 << 20);
                world.fault(call, 0x8004_231F, 1);
                let what = Freeze {
                    volumes: vec![name],
                    writers: Writers::Require,
                };
                let stop = StopSignal::new();
                let host = world.host();
                let error = host.freeze(&what, &mut |_| Ok(()), &stop).unwrap_err();
                assert_eq!(error.kind(), VolumeErrorKind::Full, "{call}: {error}");
                assert!(error.to_string().contains("0x8004231F"), "{call}: {error}");
                assert_eq!(host.shadow_sets().unwrap(), [], "{call}");
            }
        },
    );
}

#[test]
fn a_requester_that_is_dropped_takes_its_shadows_along() {
    apart(
        "a_requester_that_is_dropped_takes_its_shadows_along",
        "",
        || {
            let world = World::new();
            let name = world.hands().add_volume("V:\\", 1 << 20);
            let requester = ComVss.begin().unwrap();
            requester
                .set_context(Context::BackupWithoutWriters)
                .unwrap();
            let set = ShadowSetId(requester.start_snapshot_set().unwrap());
            requester.add_to_snapshot_set(&name).unwrap();
            let stop = StopSignal::new();
            let limit = Duration::from_secs(10);
            requester
                .do_snapshot_set(Wait { limit, stop: &stop })
                .unwrap();
            assert_eq!(world.host().shadow_sets().unwrap()[0].id, set);
            drop(requester);
            assert_eq!(world.host().shadow_sets().unwrap(), []);
        },
    );
}

#[test]
fn a_windows_without_vss_says_so() {
    // Not apart: Wine's own vssapi.dll answers, which has no VSS behind it.
    let error = ComVss.begin().map(drop).unwrap_err();
    assert!(
        matches!(
            error,
            VssError::Code {
                code: 0x8000_4001,
                ..
            }
        ),
        "{error}"
    );
}
