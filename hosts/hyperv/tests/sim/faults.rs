//! Every fault, at the call it is meant for, as often as it is meant.

use crate::world::*;
use disk::DiskErrorKind;
use hyperv::sim::{SimFault, SimHost, Step};
use hyperv::{
    CheckpointId, CheckpointKind, HypervError, HypervErrorKind, HypervHost, MergeState,
    ReferencePointId, VmId, codes,
};
use uuid::Uuid;

fn put(host: &SimHost, vm: VmId, fault: &str, times: Option<u32>) {
    let words: Vec<_> = fault.split(' ').collect();
    host.add_fault(vm, SimFault::parse(&words).unwrap(), times)
        .unwrap();
}

/// Makes the call that `step` names, on a VM that has a recovery checkpoint.
fn call(world: &World, vm: VmId, checkpoint: CheckpointId, step: Step) -> Result<(), HypervError> {
    let host = &world.host;
    let nobody = VmId(Uuid::from_u128(1));
    match step {
        Step::Vm => host.vm(vm).map(drop),
        Step::Create => try_freeze(host, vm).map(drop),
        Step::Checkpoints => host.checkpoints(vm).map(drop),
        Step::FrozenDisks => host.frozen_disks(vm, checkpoint).map(drop),
        Step::Open => {
            let disks = host.frozen_disks(vm, checkpoint)?;
            host.open_frozen_disk(vm, checkpoint, &disks[0]).map(drop)
        }
        Step::Configuration => host.configuration_files(vm, checkpoint).map(drop),
        Step::Convert => try_convert(host, vm, checkpoint).map(drop),
        Step::Destroy => host.destroy_checkpoint(vm, checkpoint),
        Step::ReferencePoints => host.reference_points(vm).map(drop),
        Step::DestroyReferencePoint => {
            host.destroy_reference_point(vm, &ReferencePointId("x".to_owned()))
        }
        Step::MergeState => host.merge_state(vm).map(drop),
        Step::VolumeSpace => host.volume_space(vm).map(drop),
        Step::CreateDisk => {
            let new = hyperv::NewDisk {
                geometry: disk::Geometry {
                    virtual_bytes: MIB,
                    logical_sector_bytes: 512,
                    physical_sector_bytes: 512,
                },
                block_bytes: None,
                virtual_disk_id: Uuid::from_u128(2),
            };
            host.create_disk(&host.folder().join("vms/x.vhdx"), &new)
                .map(drop)
        }
        Step::RemoveFile => host.remove_file(&host.folder().join("vms/x.vhdx")),
        Step::Import => host.import_planned(&[], host.folder(), "x", true).map(drop),
        Step::Define => {
            let machine = host.vm(vm).unwrap();
            let definition = hyperv::VmDefinition {
                name: "x".to_owned(),
                generation: machine.generation,
                firmware: machine.firmware,
                processors: 1,
                memory_bytes: 1 << 30,
                network_adapters: Vec::new(),
                disks: Vec::new(),
            };
            host.define_planned(&definition, &[], host.folder())
                .map(drop)
        }
        Step::SetDisks => host.set_planned_disks(nobody, &[]),
        Step::SetSwitches => host.set_planned_switches(nobody, &[]),
        Step::Validate => host.validate_planned(nobody).map(drop),
        Step::Realise => host.realise_planned(nobody).map(drop),
        Step::Abort => host.abort_planned(nobody),
        Step::Start => host.start(vm),
        Step::Read | Step::Changes => unreachable!("these are calls of an open disk"),
    }
}

#[test]
fn a_job_fails_at_any_step_once() {
    for &step in Step::ALL {
        if matches!(step, Step::Read | Step::Changes) {
            continue;
        }
        let world = World::new();
        let vm = world.vm();
        let checkpoint = freeze(&world.host, vm);
        let words = format!("job-fails-at {step}");
        put(&world.host, vm, &words, Some(1));
        let failed = call(&world, vm, checkpoint, step).unwrap_err();
        assert_eq!(
            (failed.kind(), failed.code()),
            (HypervErrorKind::Failed, Some(codes::FAILED))
        );
        assert!(failed.to_string().contains(&step.to_string()), "{failed}");
        assert_eq!(world.host.faults(vm).unwrap(), []);
        let again = call(&world, vm, checkpoint, step);
        if let Err(error) = again {
            assert!(
                !error.to_string().contains("finish the job"),
                "{step} fails once: {error}"
            );
        }
        let left = world.host.checkpoints(vm).unwrap();
        let gone = matches!(step, Step::Convert | Step::Destroy);
        assert_eq!(left.is_empty(), gone, "{step} did nothing the first time");
    }
}

#[test]
fn an_unknown_outcome_may_be_either() {
    for done in [true, false] {
        let world = World::new();
        let host = &world.host;
        let vm = world.vm();
        let words = |step| {
            format!(
                "outcome-unknown-at {step}{}",
                if done { "" } else { " undone" }
            )
        };
        put(host, vm, &words("create"), Some(1));
        let unknown = try_freeze(host, vm).unwrap_err();
        assert_eq!(unknown.kind(), HypervErrorKind::OutcomeUnknown);
        let found = host.checkpoints(vm).unwrap();
        assert_eq!(found.len(), usize::from(done));
        let checkpoint = found
            .first()
            .map_or_else(|| freeze(host, vm), |found| found.id);
        put(host, vm, &words("convert"), Some(1));
        let unknown = try_convert(host, vm, checkpoint).unwrap_err();
        assert_eq!(unknown.kind(), HypervErrorKind::OutcomeUnknown);
        assert_eq!(host.reference_points(vm).unwrap().len(), usize::from(done));
        assert_eq!(host.checkpoints(vm).unwrap().len(), usize::from(!done));
    }
}

#[test]
fn a_guest_refuses_and_may_leave_a_checkpoint_behind() {
    for leaving in [false, true] {
        let world = World::new();
        let vm = world.vm();
        let words = if leaving {
            "no-app-consistency leaving-checkpoint"
        } else {
            "no-app-consistency"
        };
        put(&world.host, vm, words, Some(1));
        let refused = try_freeze(&world.host, vm).unwrap_err();
        assert_eq!(refused.kind(), HypervErrorKind::GuestRefused);
        assert_eq!(refused.code(), Some(codes::GUEST_WRITER_FAILED));
        let left = world.host.checkpoints(vm).unwrap();
        assert_eq!(left.len(), usize::from(leaving));
        for checkpoint in left {
            assert_eq!(checkpoint.name, "ours");
            world.host.destroy_checkpoint(vm, checkpoint.id).unwrap();
        }
        settle(&world.host, vm);
        freeze(&world.host, vm);
    }
}

#[test]
fn a_stuck_merge_stays_stuck_until_it_is_cleared() {
    let world = World::new();
    let host = &world.host;
    let vm = world.vm();
    put(host, vm, "stuck-merge", Some(1));
    let checkpoint = freeze(host, vm);
    host.write(vm, 0, 0, &[1; 512]).unwrap();
    try_convert(host, vm, checkpoint).unwrap();
    for _ in 0..10 {
        assert!(matches!(
            host.merge_state(vm).unwrap(),
            MergeState::Stuck(_)
        ));
    }
    assert_eq!(host.vm(vm).unwrap().disks[0].chain_depth, 1);
    let refused = try_freeze(host, vm).unwrap_err();
    assert_eq!(
        (refused.kind(), refused.code()),
        (HypervErrorKind::InUse, Some(codes::SHARING_VIOLATION))
    );
    assert_eq!(live_content(host, vm, 0)[0], 1, "the guest does not notice");
    host.clear_faults(vm).unwrap();
    settle(host, vm);
    assert_eq!(host.vm(vm).unwrap().disks[0].chain_depth, 0);
    assert_eq!(live_content(host, vm, 0)[0], 1);
}

#[test]
fn tracking_is_lost_for_the_past_and_works_for_the_future() {
    let world = World::new();
    let vm = world.vm_with(&[8 * MIB, 8 * MIB]);
    let old = base(&world.host, vm);
    put(&world.host, vm, "lose-tracking 0xC03A0029", Some(1));
    let checkpoint = freeze(&world.host, vm);
    let disk = open(&world.host, vm, checkpoint, 0);
    assert_eq!(code(&disk.changes_since(&old)), codes::TRACKING_INVALID_ID);
    assert_eq!(
        code(&disk.changes_since(&old)),
        codes::TRACKING_INVALID_ID,
        "it stays lost"
    );
    let new = disk.change_id().unwrap().unwrap();
    drop(disk);
    convert(&world.host, vm, checkpoint);
    world.host.write(vm, 0, 0, &[1; 512]).unwrap();
    assert_eq!(ranges(&changes(&world.host, vm, &new)), [(0, 65_536)]);
}

#[test]
fn a_failed_query_is_unknown_and_not_empty() {
    let world = World::new();
    let vm = world.vm();
    let base = base(&world.host, vm);
    put(&world.host, vm, "job-fails-at changes", Some(1));
    assert_eq!(code(&changes(&world.host, vm, &base)), codes::FAILED);
    assert_eq!(ranges(&changes(&world.host, vm, &base)), []);
}

#[test]
fn crumbs_make_the_same_answer() {
    let world = World::new();
    let vm = world.vm_with(&[64 * MIB]);
    let base = base(&world.host, vm);
    let written = world.host.write_random(vm, 0, 2 * MIB, 3).unwrap();
    let checkpoint = freeze(&world.host, vm);
    let disk = open(&world.host, vm, checkpoint, 0);
    let whole = disk.changes_since(&base);
    put(&world.host, vm, "partial-answers", Some(1));
    assert_eq!(disk.changes_since(&base), whole);
    assert_eq!(world.host.faults(vm).unwrap(), []);
    assert!(covers(&whole, &written));
}

#[test]
fn reads_fail_where_they_are_told_to() {
    let world = World::new();
    let vm = world.vm_with(&[8 * MIB, 8 * MIB]);
    put(&world.host, vm, "unreadable 4096-8192 1", None);
    let checkpoint = freeze(&world.host, vm);
    let [one, other] = [0, 1].map(|disk| open(&world.host, vm, checkpoint, disk));
    let mut buf = [0; 512];
    one.read_at(4096, &mut buf).unwrap();
    other.read_at(0, &mut buf).unwrap();
    other.read_at(8192, &mut buf).unwrap();
    for _ in 0..3 {
        let failed = other.read_at(8191, &mut buf).unwrap_err();
        assert_eq!(failed.kind(), DiskErrorKind::Unreadable);
    }
    drop((one, other));
    world.host.clear_faults(vm).unwrap();
    put(&world.host, vm, "job-fails-at read", Some(1));
    let disk = open(&world.host, vm, checkpoint, 0);
    assert!(disk.read_at(0, &mut buf).is_err());
    disk.read_at(0, &mut buf).unwrap();
}

#[test]
fn administrators_interfere_before_the_next_checkpoint() {
    let world = World::new();
    let host = &world.host;
    let vm = world.vm_with(&[8 * MIB, 4 * MIB]);
    let before = host.vm(vm).unwrap();
    for fault in [
        "resize",
        "swap-disks",
        "foreign-reference-point",
        "apply-user-checkpoint",
    ] {
        put(host, vm, fault, Some(1));
    }
    let checkpoint = freeze(host, vm);
    let after = host.vm(vm).unwrap();
    assert_eq!(
        after.disks[1].virtual_bytes,
        before.disks[0].virtual_bytes + 64 * MIB
    );
    assert_eq!(
        after.disks[0].virtual_disk_id,
        before.disks[1].virtual_disk_id
    );
    assert!(after.last_applied_checkpoint.is_some());
    assert_eq!(host.reference_points(vm).unwrap().len(), 1);
    let kinds: Vec<_> = host
        .checkpoints(vm)
        .unwrap()
        .iter()
        .map(|found| found.kind)
        .collect();
    assert_eq!(kinds, [CheckpointKind::User, CheckpointKind::Recovery]);
    let disk = open(host, vm, checkpoint, 1);
    assert_eq!(disk.size_bytes(), 72 * MIB);
}

#[test]
fn a_foreign_checkpoint_appears_and_blocks_ours() {
    let world = World::new();
    let vm = world.vm();
    put(&world.host, vm, "foreign-checkpoint", Some(2));
    let found = world.host.checkpoints(vm).unwrap();
    assert_eq!(found.len(), 1);
    assert_ne!(found[0].name, "ours");
    assert_eq!(found[0].kind, CheckpointKind::Recovery);
    world.host.clear_faults(vm).unwrap();
    assert_eq!(
        try_freeze(&world.host, vm).unwrap_err().kind(),
        HypervErrorKind::Failed
    );
    world.host.destroy_checkpoint(vm, found[0].id).unwrap();
    settle(&world.host, vm);
    put(&world.host, vm, "foreign-checkpoint", Some(1));
    assert_eq!(
        try_freeze(&world.host, vm).unwrap_err().kind(),
        HypervErrorKind::Failed
    );
}

#[test]
fn space_seems_low() {
    let world = World::new();
    let vm = world.vm();
    put(&world.host, vm, "low-space 4096", Some(1));
    let free = |host: &SimHost| host.volume_space(vm).unwrap()[0].free_bytes;
    assert_eq!(free(&world.host), 4096);
    assert!(free(&world.host) > 4096);
}

#[test]
fn a_vm_moves_away_at_a_step_and_comes_back() {
    let world = World::new();
    let host = &world.host;
    let vm = world.vm();
    put(host, vm, "move-away convert", Some(1));
    let checkpoint = freeze(host, vm);
    assert_eq!(
        try_convert(host, vm, checkpoint).unwrap_err().kind(),
        HypervErrorKind::NotFound
    );
    assert_eq!(host.vm(vm).unwrap_err().kind(), HypervErrorKind::NotFound);
    assert!(host.vms().unwrap().is_empty());
    assert!(host.show().unwrap().vms[0].away);
    host.clear_faults(vm).unwrap();
    convert(host, vm, checkpoint);
}

#[test]
fn a_busy_vm_is_free_after_some_calls() {
    let world = World::new();
    let vm = world.vm();
    put(&world.host, vm, "busy", Some(3));
    world.host.vm(vm).unwrap();
    for _ in 0..3 {
        let busy = try_freeze(&world.host, vm).unwrap_err();
        assert_eq!(
            (busy.kind(), busy.code()),
            (HypervErrorKind::Busy, Some(32775))
        );
    }
    freeze(&world.host, vm);
}

#[test]
fn faults_outlive_the_process_that_put_them_in() {
    let world = World::new();
    let vm = world.vm();
    put(&world.host, vm, "busy", Some(2));
    let other = world.reopen(5);
    assert_eq!(other.faults(vm).unwrap()[0].times_left, Some(2));
    assert!(try_freeze(&other, vm).is_err());
    assert_eq!(world.host.faults(vm).unwrap()[0].times_left, Some(1));
}

#[test]
fn faults_of_a_restore_need_no_vm() {
    let world = World::new();
    let fault = SimFault::JobFailsAt { step: Step::Import };
    world.host.add_host_fault(fault, Some(1)).unwrap();
    let folder = world.host.default_vm_folder("n").unwrap();
    let failed = world
        .host
        .import_planned(&[], &folder, "n", true)
        .unwrap_err();
    assert_eq!(failed.kind(), HypervErrorKind::Failed);
    let invalid = world
        .host
        .import_planned(&[], &folder, "n", true)
        .unwrap_err();
    assert_eq!(invalid.kind(), HypervErrorKind::Invalid);
}
