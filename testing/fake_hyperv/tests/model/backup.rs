//! Checkpoints and reference points by WMI.

use fake_hyperv::{Manners, PointEntries};
use hyperv::sim::{SimDisk, SimFault, SimVm, Step};
use hyperv::{CheckpointKind, HypervHost, VmId};
use windows_host::wmi::{EmbeddedSource, Value, WmiObject};

use crate::world::{MANAGEMENT, MIB, POINTS, SNAPSHOTS, World};

const SETTINGS: &str = "Msvm_VirtualSystemSettingData";
const STORAGE: &str = "Msvm_StorageAllocationSettingData";

fn convert(world: &World, snapshot: &WmiObject) -> WmiObject {
    let path = snapshot.path().unwrap();
    world.call(
        SNAPSHOTS,
        "ConvertToReferencePoint",
        &[("AffectedSnapshot", path.into())],
    )
}

fn points(world: &World, vm: VmId) -> Vec<WmiObject> {
    let system = world.system(vm);
    let class = "Msvm_VirtualSystemReferencePoint";
    world.associated(
        system.path().unwrap(),
        "Msvm_ReferencePointOfVirtualSystem",
        class,
    )
}

fn add_fault(world: &World, vm: VmId, words: &str) {
    let words: Vec<_> = words.split(' ').collect();
    world
        .host
        .add_fault(vm, SimFault::parse(&words).unwrap(), Some(1))
        .unwrap();
}

fn errors(world: &World, job: &WmiObject) -> Vec<String> {
    let answer = world
        .session
        .call(job.path().unwrap(), "GetErrorEx", &[])
        .unwrap();
    assert_eq!(answer.u32("ReturnValue").unwrap(), 0);
    answer
        .texts("Errors")
        .unwrap()
        .into_iter()
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_checkpoint_becomes_a_reference_point_and_goes() {
    for jobs_work_first in [true, false] {
        let world = World::new(Manners {
            jobs_work_first,
            ..Manners::default()
        });
        let vm = world.vm();
        let answer = world.try_snapshot(vm, 1);
        assert_eq!(*answer.value("ResultingSnapshot"), Value::Null);
        let (job, states) = world.follow(&answer);
        assert_eq!(states, [2, 4, 4, 7]);
        assert_eq!(job.u16("JobType").unwrap(), 70);
        let made = world.associated(job.path().unwrap(), "Msvm_AffectedJobElement", SETTINGS);
        let snapshot = &made[0];
        assert_eq!(
            snapshot.text("VirtualSystemType").unwrap(),
            "Microsoft:Hyper-V:Snapshot:Recovery"
        );
        let root = std::path::Path::new(snapshot.text("ConfigurationDataRoot").unwrap());
        assert!(
            root.join(snapshot.text("ConfigurationFile").unwrap())
                .is_file()
        );
        let association = "Msvm_VirtualSystemSettingDataComponent";
        let files = world.associated(snapshot.path().unwrap(), association, STORAGE);
        assert_eq!(files.len(), 2);
        let system = world.system(vm);
        let settings =
            world.associated(system.path().unwrap(), "Msvm_SettingsDefineState", SETTINGS);
        let live = world.associated(settings[0].path().unwrap(), association, STORAGE);
        for (frozen, live) in files.iter().zip(&live) {
            assert_ne!(
                frozen.texts("HostResource").unwrap(),
                live.texts("HostResource").unwrap()
            );
            let tail = |object: &WmiObject| {
                let id = object.text("InstanceID").unwrap().to_owned();
                id.split_once('\\').unwrap().1.to_owned()
            };
            assert_eq!(tail(frozen), tail(live));
        }

        let job = world.done(&convert(&world, snapshot));
        let class = "Msvm_VirtualSystemReferencePoint";
        let made = world.associated(job.path().unwrap(), "Msvm_AffectedJobElement", class);
        assert_eq!(made, points(&world, vm));
        let point = &made[0];
        assert_eq!(point.u16("ReferencePointType").unwrap(), 2);
        assert_eq!(point.u16("ConsistencyLevel").unwrap(), 1);
        assert!(!point.bool("HasAssociatedData").unwrap());
        let entries = point.texts("VirtualDiskIdentifiers").unwrap();
        let ids: Vec<_> = live
            .iter()
            .map(|live| live.text("InstanceID").unwrap())
            .collect();
        assert_eq!(entries, ids);
        assert_eq!(
            point
                .texts("ResilientChangeTrackingIdentifiers")
                .unwrap()
                .len(),
            2
        );
        assert!(world.host.checkpoints(vm).unwrap().is_empty());

        let path = point.path().unwrap();
        world.done(&world.call(
            POINTS,
            "DestroyReferencePoint",
            &[("AffectedReferencePoint", path.into())],
        ));
        assert!(points(&world, vm).is_empty());
    }
}

#[test]
fn a_merge_shows_until_it_is_over() {
    let world = World::new(Manners::default());
    let vm = world.vm();
    let snapshot = world.snapshot(vm);
    world.done(&world.call(
        SNAPSHOTS,
        "DestroySnapshot",
        &[("AffectedSnapshot", snapshot.path().unwrap().into())],
    ));
    let status = || world.system(vm).numbers("OperationalStatus").unwrap();
    assert_eq!(status(), [2, 32772]);
    assert_eq!(status(), [2]);
    assert!(
        world
            .host
            .vm(vm)
            .unwrap()
            .disks
            .iter()
            .all(|disk| disk.chain_depth == 0)
    );
}

#[test]
fn jobs_may_wait_for_the_merge() {
    let world = World::new(Manners {
        jobs_wait_for_merge: true,
        ..Manners::default()
    });
    let vm = world.vm();
    let snapshot = world.snapshot(vm);
    world.done(&convert(&world, &snapshot));
    assert_eq!(world.system(vm).numbers("OperationalStatus").unwrap(), [2]);
}

#[test]
fn a_checkpoint_can_be_renamed() {
    let world = World::new(Manners::default());
    let vm = world.vm();
    let snapshot = world.snapshot(vm);
    assert!(
        snapshot
            .text("ElementName")
            .unwrap()
            .starts_with("dc01 - (")
    );
    let source = EmbeddedSource::Instance(snapshot.path().unwrap());
    let name = "ours \"<backup>\" & \\ more";
    let text = world
        .session
        .embedded(source, &[("ElementName", name.into())])
        .unwrap();
    let answer = world.call(
        MANAGEMENT,
        "ModifySystemSettings",
        &[("SystemSettings", text.into())],
    );
    assert_eq!(answer.u32("ReturnValue").unwrap(), 0);
    assert_eq!(world.host.checkpoints(vm).unwrap()[0].name, name);
}

#[test]
fn an_answer_may_come_at_once_or_with_its_job() {
    let world = World::new(Manners {
        no_jobs: true,
        ..Manners::default()
    });
    let vm = world.vm();
    let answer = world.try_snapshot(vm, 2);
    assert_eq!(answer.u32("ReturnValue").unwrap(), 0);
    let snapshot = world
        .session
        .get(answer.text("ResultingSnapshot").unwrap())
        .unwrap();
    let answer = convert(&world, &snapshot);
    assert!(
        world
            .session
            .get(answer.text("ResultingReferencePoint").unwrap())
            .is_ok()
    );

    let world = World::new(Manners {
        result_beside_job: true,
        ..Manners::default()
    });
    let vm = world.vm();
    let answer = world.try_snapshot(vm, 2);
    world.done(&answer);
    assert!(
        world
            .session
            .get(answer.text("ResultingSnapshot").unwrap())
            .is_ok()
    );
}

#[test]
fn other_manners_of_ids_are_kept_up() {
    let world = World::new(Manners {
        checkpoint_keeps_ids: false,
        scsi_number_in_ids: false,
        point_entries: PointEntries::Point,
        ..Manners::default()
    });
    let disks = (0..65).map(|_| SimDisk::new(MIB)).collect();
    let vm = world.host.add_vm(&SimVm::new("many", disks)).unwrap();
    let snapshot = world.snapshot(vm);
    let files = world.associated(
        snapshot.path().unwrap(),
        "Msvm_VirtualSystemSettingDataComponent",
        STORAGE,
    );
    assert_eq!(files.len(), 65);
    let ids: std::collections::BTreeSet<_> = files
        .iter()
        .map(|file| file.text("InstanceID").unwrap())
        .collect();
    assert_eq!(ids.len(), 65);
    assert!(ids.iter().all(|id| id.split('\\').nth(2) == Some("0")));
    world.done(&convert(&world, &snapshot));
    let point = points(&world, vm).remove(0);
    let entries = point.texts("VirtualDiskIdentifiers").unwrap();
    assert!(entries.iter().all(|entry| !ids.contains(entry)));
}

#[test]
fn failures_come_as_numbers_or_as_jobs_with_a_code_in_their_text() {
    let world = World::new(Manners::default());
    let vm = world.vm();
    add_fault(&world, vm, "busy create");
    assert_eq!(world.try_snapshot(vm, 1).u32("ReturnValue").unwrap(), 32775);
    add_fault(&world, vm, "no-app-consistency");
    let (job, states) = world.follow(&world.try_snapshot(vm, 1));
    assert_eq!(states.last(), Some(&10));
    let texts = errors(&world, &job);
    assert!(texts[0].contains("0x800423F4"), "{texts:?}");
    let answer = world
        .session
        .call(job.path().unwrap(), "GetError", &[])
        .unwrap();
    assert_eq!(answer.text("Error").unwrap(), texts[0]);
    add_fault(&world, vm, "job-fails-at create");
    let (job, _) = world.follow(&world.try_snapshot(vm, 1));
    assert!(!errors(&world, &job)[0].contains("0x"));
    let settings = world.snapshot_settings(0);
    let system = world.system(vm);
    let answer = world.call(
        SNAPSHOTS,
        "CreateSnapshot",
        &[
            ("AffectedSystem", system.path().unwrap().into()),
            ("SnapshotSettings", settings),
            ("SnapshotType", Value::I32(32768)),
        ],
    );
    assert_eq!(answer.u32("ReturnValue").unwrap(), 4, "level 0 is none");

    let snapshot = world.snapshot(vm);
    let disk = world
        .host
        .frozen_disks(vm, world.host.checkpoints(vm).unwrap()[0].id)
        .unwrap()
        .remove(0);
    let open = world
        .host
        .open_frozen_disk(vm, world.host.checkpoints(vm).unwrap()[0].id, &disk)
        .unwrap();
    let (job, _) = world.follow(&convert(&world, &snapshot));
    assert!(errors(&world, &job)[0].contains("0x80070020"));
    drop(open);
    world.done(&convert(&world, &snapshot));
}

#[test]
fn a_job_can_vanish_with_its_work_done_or_not() {
    for (words, left) in [
        ("outcome-unknown-at create", 1),
        ("outcome-unknown-at create undone", 0),
    ] {
        let world = World::new(Manners::default());
        let vm = world.vm();
        add_fault(&world, vm, words);
        let answer = world.try_snapshot(vm, 1);
        let path = answer.text("Job").unwrap();
        let gone = (0..20).find_map(|_| world.session.get(path).err()).unwrap();
        assert_eq!(gone.code(), Some(0x8004_1002));
        assert_eq!(world.host.checkpoints(vm).unwrap().len(), left);
    }
}

#[test]
fn a_job_can_be_cancelled_before_its_work() {
    for (jobs_work_first, code, left) in [(false, 0, 0), (true, 32775, 1)] {
        let world = World::new(Manners {
            jobs_work_first,
            ..Manners::default()
        });
        let vm = world.vm();
        let answer = world.try_snapshot(vm, 2);
        let path = answer.text("Job").unwrap();
        let job = world.session.get(path).unwrap();
        assert_eq!(job.bool("Cancellable").unwrap(), !jobs_work_first);
        let cancelled = world
            .session
            .call(
                path,
                "RequestStateChange",
                &[("RequestedState", Value::I32(4))],
            )
            .unwrap();
        assert_eq!(cancelled.u32("ReturnValue").unwrap(), code);
        let (job, _) = world.follow(&answer);
        assert_eq!(job.u16("JobState").unwrap(), if code == 0 { 8 } else { 7 });
        assert_eq!(world.host.checkpoints(vm).unwrap().len(), left);
    }
}

#[test]
fn only_recovery_checkpoints_are_converted() {
    let world = World::new(Manners::default());
    let vm = world.vm();
    let system = world.system(vm);
    let answer = world.call(
        SNAPSHOTS,
        "CreateSnapshot",
        &[
            ("AffectedSystem", system.path().unwrap().into()),
            ("SnapshotType", Value::I32(2)),
        ],
    );
    world.done(&answer);
    assert_eq!(
        world.host.checkpoints(vm).unwrap()[0].kind,
        CheckpointKind::User
    );
    let snapshot = world
        .associated(
            system.path().unwrap(),
            "Msvm_SnapshotOfVirtualSystem",
            SETTINGS,
        )
        .remove(0);
    assert_eq!(convert(&world, &snapshot).u32("ReturnValue").unwrap(), 1);
    let kept_up = World::new(Manners {
        family_b_everywhere: true,
        ..Manners::default()
    });
    let vm = kept_up.vm();
    kept_up.host.checkpoint(vm, "a user's").unwrap();
    let system = kept_up.system(vm);
    let snapshot = kept_up
        .associated(
            system.path().unwrap(),
            "Msvm_SnapshotOfVirtualSystem",
            SETTINGS,
        )
        .remove(0);
    assert_eq!(
        convert(&kept_up, &snapshot).u32("ReturnValue").unwrap(),
        32770
    );
}

#[test]
fn a_vm_that_moves_away_is_gone() {
    let world = World::new(Manners::default());
    let vm = world.vm();
    let path = world.system(vm).path().unwrap().to_owned();
    world
        .host
        .add_fault(
            vm,
            SimFault::MoveAway {
                step: Some(Step::Vm),
            },
            Some(1),
        )
        .unwrap();
    assert_eq!(
        world.session.get(&path).unwrap_err().code(),
        Some(0x8004_1002)
    );
    let wql = "SELECT * FROM Msvm_ComputerSystem WHERE Caption = 'Virtual Machine'";
    assert!(world.query(wql).is_empty());
}

#[test]
fn what_another_product_leaves_appears_in_the_listing() {
    let world = World::new(Manners::default());
    let vm = world.vm();
    add_fault(&world, vm, "foreign-reference-point");
    assert_eq!(points(&world, vm).len(), 1);
}
