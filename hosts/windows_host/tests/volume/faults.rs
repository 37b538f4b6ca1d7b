//! Each documented failure of each call leads to the documented action, and nothing is left.

use std::time::Duration;

use fake_vssapi::Manners;
use uuid::uuid;
use volume::contract::ContractWorld as _;
use volume::sim::SimWriterStep;
use volume::{StorageLayout as _, VolumeErrorKind, VolumeHost as _, Writers};

use crate::world::World;

const PAUSE: Duration = Duration::from_mins(10);
/// Ten minutes and three times, as Microsoft recommends.
const ALL_PAUSES: Duration = Duration::from_mins(30);

const CALLS: [&str; 11] = [
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
    "GetSnapshotProperties",
];

fn world() -> (World, String) {
    let world = World::new(Manners::default());
    let name = world.hands().add_volume("V:\\", 1 << 20);
    world.hands().add_writer("Writer");
    (world, name)
}

#[test]
fn what_does_not_pass_fails_at_once_at_any_call_and_leaves_nothing() {
    for call in CALLS {
        for (code, kind) in [
            (0x8007_0005, VolumeErrorKind::Denied),
            (0x8004_2301, VolumeErrorKind::Failed),
            (0x8004_231F, VolumeErrorKind::Full),
            (0x8004_2318, VolumeErrorKind::Unavailable),
            (0x8004_230C, VolumeErrorKind::Unsupported),
            (0x8004_2308, VolumeErrorKind::NotFound),
            (0x8000_FFFF, VolumeErrorKind::Failed),
        ] {
            let (world, name) = world();
            world.fault(call, code, 1);
            let error = world.freeze(&name, Writers::Require).unwrap_err();
            assert_eq!(error.kind(), kind, "{call}: {error}");
            assert!(
                error.to_string().contains(&format!("0x{code:08X}")),
                "{error}"
            );
            assert_eq!(world.passed(), Duration::ZERO, "{call} 0x{code:08X}");
            assert_eq!(world.host.shadow_sets().unwrap(), [], "{call}");
            // The next one begins anew: no set is left half made.
            world.freeze(&name, Writers::Require).unwrap();
        }
    }
}

#[test]
fn what_passes_is_begun_anew_after_a_pause() {
    for call in CALLS {
        for code in [0x8004_2314, 0x8004_2316, 0x8004_2306, 0x8004_2302] {
            let (world, name) = world();
            world.fault(call, code, 1);
            let frozen = world.freeze(&name, Writers::Require).unwrap();
            assert_eq!(world.passed(), PAUSE, "{call} 0x{code:08X}");
            assert_eq!(world.host.shadow_sets().unwrap().len(), 1);
            drop(frozen);
        }
    }
}

#[test]
fn what_never_passes_ends_after_three_pauses() {
    let (world, name) = world();
    world.fault("DoSnapshotSet", 0x8004_2314, 100);
    let error = world.freeze(&name, Writers::Require).unwrap_err();
    assert_eq!(error.kind(), VolumeErrorKind::Busy, "{error}");
    assert_eq!(world.passed(), ALL_PAUSES);
    assert_eq!(world.host.shadow_sets().unwrap(), []);
}

#[test]
fn an_operation_that_never_ends_is_given_up() {
    /// VSS says so for ever.
    const PENDING: u32 = 0x0004_2309;
    for call in [
        "GatherWriterMetadata",
        "PrepareForBackup",
        "DoSnapshotSet",
        "GatherWriterStatus",
    ] {
        let (world, name) = world();
        world.fault(call, PENDING, 1);
        let error = world.freeze(&name, Writers::Require).unwrap_err();
        assert_eq!(error.kind(), VolumeErrorKind::Busy, "{call}: {error}");
        assert_eq!(world.host.shadow_sets().unwrap(), [], "{call}");
    }
}

#[test]
fn a_writer_may_fail_at_any_step() {
    for at in [
        SimWriterStep::PrepareBackup,
        SimWriterStep::PrepareSnapshot,
        SimWriterStep::Freeze,
        SimWriterStep::Thaw,
        SimWriterStep::PostSnapshot,
    ] {
        let (world, name) = world();
        let bad = world.hands().add_writer("Bad Writer");
        world.fail_writer(bad, at, 0x8004_23F4, 100);
        let error = world.freeze(&name, Writers::Require).unwrap_err();
        assert_eq!(error.kind(), VolumeErrorKind::WriterFailed, "{error}");
        assert_eq!(world.host.shadow_sets().unwrap(), [], "{at:?}");
        let frozen = world.freeze(&name, Writers::LeaveOutFailing).unwrap();
        let left_out: Vec<_> = frozen
            .writers()
            .iter()
            .map(|it| it.left_out.is_some())
            .collect();
        assert_eq!(left_out, [false, true], "{at:?}");
        assert_eq!(world.passed(), Duration::ZERO);
    }
}

#[test]
fn a_writer_that_does_better_the_next_time_is_waited_for() {
    let (world, name) = world();
    let slow = world.hands().add_writer("Slow Writer");
    world.fail_writer(slow, SimWriterStep::Freeze, 0x8004_23F2, 1);
    let frozen = world.freeze(&name, Writers::LeaveOutFailing).unwrap();
    assert!(frozen.writers().iter().all(|it| it.left_out.is_none()));
    assert_eq!(world.passed(), PAUSE);
}

#[test]
fn a_code_of_writers_that_no_writer_owns_up_to_fails() {
    let (world, name) = world();
    world.fault("DoSnapshotSet", 0x8004_23F4, 1);
    let error = world.freeze(&name, Writers::LeaveOutFailing).unwrap_err();
    assert_eq!(error.kind(), VolumeErrorKind::WriterFailed, "{error}");
}

#[test]
fn hyperv_s_own_writer_is_never_asked() {
    let (world, name) = world();
    let hyperv = uuid!("66841cd4-6ded-4f4b-8f17-fd23f8ddc3de");
    world
        .sim
        .add_writer(hyperv, "Microsoft Hyper-V VSS Writer")
        .unwrap();
    world.fail_writer(hyperv, SimWriterStep::PrepareBackup, 0x8004_23F4, 100);
    let frozen = world.freeze(&name, Writers::Require).unwrap();
    assert!(frozen.writers().iter().all(|writer| writer.id != hyperv));
}

#[test]
fn writers_that_do_not_hear_that_it_is_done_spoil_nothing() {
    let (world, name) = world();
    let frozen = world.freeze(&name, Writers::Require).unwrap();
    world.fault("BackupComplete", 0x8004_2318, 1);
    frozen.release().unwrap();
    assert_eq!(world.host.shadow_sets().unwrap(), []);
}

#[test]
fn a_set_that_cannot_be_removed_is_told() {
    let (world, name) = world();
    let frozen = world.freeze(&name, Writers::None).unwrap();
    world.fault("DeleteSnapshots", 0x8004_2306, 1);
    assert!(frozen.release().is_err());
    // Its requester's end took it along all the same.
    assert_eq!(world.host.shadow_sets().unwrap(), []);
}

#[test]
fn windows_may_take_a_shadow_away() {
    let (world, name) = world();
    let frozen = world.freeze(&name, Writers::None).unwrap();
    world.sim.remove(frozen.id()).unwrap();
    assert!(frozen.open(&frozen.shadows()[0]).is_err());
    frozen.release().unwrap();
}

#[test]
fn disks_and_volumes_are_told_in_order() {
    let world = World::new(Manners::default());
    let mut names: Vec<String> = (0..12)
        .map(|number| world.hands().add_volume(&format!("V{number}:\\"), 1 << 20))
        .collect();
    names.sort();
    let volumes = world.host.volumes().unwrap();
    let found: Vec<&str> = volumes.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(found, names);
    let disks = world.host.disks().unwrap();
    // By number, not by name: 2 comes before 10.
    let found: Vec<&str> = disks.iter().map(|it| it.name.as_str()).collect();
    assert_eq!((found[2], found[10]), ("PhysicalDrive2", "PhysicalDrive10"));
    assert_eq!(disks[2].device.display().to_string(), r"\\.\PhysicalDrive2");
    assert_eq!(disks[2].serial, None, "blanks say nothing");
}
