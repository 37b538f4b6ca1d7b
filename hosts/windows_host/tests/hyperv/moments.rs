//! What administrators do at the wrong moment, and names that are hard to carry.

use hyperv::HypervErrorKind as Kind;
use hyperv::sim::{SimDisk, SimFault, SimVm};
use hyperv::{HypervHost, MergeState};

use crate::world::{MARK, MIB, World};

#[test]
fn names_are_carried_whatever_they_hold_and_two_vms_may_share_one() {
    let world = World::new();
    let long = "x".repeat(100);
    for name in [
        "twin",
        "twin",
        "\"quoted\" 'and' \\ back",
        "100 % [of] _all* ?",
        "Bücher 名前 \u{1F600}",
        &long,
    ] {
        let vm = world.vm(name);
        assert_eq!(world.host.vm(vm).unwrap().name, name);
        let checkpoint = world.freeze(vm).unwrap();
        let listed = world.host.checkpoints(vm).unwrap();
        assert_eq!((listed[0].id, &*listed[0].name), (checkpoint, MARK));
        world.host.destroy_checkpoint(vm, checkpoint).unwrap();
        world.settle(vm);
    }
    let all = world.host.vms().unwrap();
    assert_eq!(all.iter().filter(|vm| vm.name == "twin").count(), 2);
    for vm in &all {
        assert_eq!(
            vm,
            &world.host.vm(vm.id).unwrap(),
            "asked for alone and among all"
        );
    }
}

#[test]
fn a_vm_that_is_renamed_stays_itself() {
    let world = World::new();
    let vm = world.vm("before");
    let checkpoint = world.freeze(vm).unwrap();
    world.sim.rename_vm(vm, "after").unwrap();
    assert_eq!(world.host.vm(vm).unwrap().name, "after");
    assert_eq!(world.host.frozen_disks(vm, checkpoint).unwrap().len(), 1);
    world.host.destroy_checkpoint(vm, checkpoint).unwrap();
}

#[test]
fn a_vm_that_went_away_is_not_found() {
    let world = World::new();
    for deleted in [true, false] {
        let vm = world.vm("leaves");
        let checkpoint = world.freeze(vm).unwrap();
        match deleted {
            true => world.sim.delete_vm(vm, false).unwrap(),
            false => world
                .sim
                .add_fault(vm, SimFault::MoveAway { step: None }, None)
                .unwrap(),
        }
        let not_found = |kind: Kind, doing: &str| assert_eq!(kind, Kind::NotFound, "{doing}");
        not_found(world.host.vm(vm).unwrap_err().kind(), "look");
        not_found(
            world.host.frozen_disks(vm, checkpoint).unwrap_err().kind(),
            "disks",
        );
        not_found(
            world
                .host
                .destroy_checkpoint(vm, checkpoint)
                .unwrap_err()
                .kind(),
            "destroy",
        );
        not_found(world.host.merge_state(vm).unwrap_err().kind(), "merge");
        not_found(world.host.volume_space(vm).unwrap_err().kind(), "space");
        not_found(world.freeze(vm).unwrap_err().kind(), "freeze");
        assert!(world.host.vms().unwrap().iter().all(|known| known.id != vm));
    }
}

#[test]
fn a_disk_added_after_the_checkpoint_is_not_in_it() {
    let world = World::new();
    let vm = world.vm("grows");
    let checkpoint = world.freeze(vm).unwrap();
    world.sim.add_disk(vm, &SimDisk::new(4 * MIB)).unwrap();
    let disks = world.host.vm(vm).unwrap().disks;
    let frozen = world.host.frozen_disks(vm, checkpoint).unwrap();
    assert_eq!((disks.len(), frozen.len()), (2, 1));
    let place = (
        frozen[0].controller,
        frozen[0].controller_number,
        frozen[0].location,
    );
    assert_eq!(
        place,
        (
            disks[0].controller,
            disks[0].controller_number,
            disks[0].location
        )
    );
    assert_ne!(
        frozen[0].path, disks[0].path,
        "the checkpoint's own file, not the VM's present one"
    );
    let source = world
        .host
        .open_frozen_disk(vm, checkpoint, &frozen[0])
        .unwrap();
    assert_eq!(source.virtual_disk_id(), disks[0].virtual_disk_id);
}

#[test]
fn disks_that_cannot_be_captured_are_told() {
    let world = World::new();
    let mut vm = SimVm::new("mixed", vec![SimDisk::new(4 * MIB)]);
    vm.pass_through.push("LUN 7".to_owned());
    let mut shared = SimDisk::new(4 * MIB);
    shared.shared = true;
    vm.disks.push(shared);
    let vm = world.sim.add_vm(&vm).unwrap();
    let shown = world.host.vm(vm).unwrap();
    let shared: Vec<bool> = shown.disks.iter().map(|disk| disk.shared).collect();
    assert_eq!(shared, [false, true]);
    assert_eq!(shown.omitted_disks.len(), 1);
    assert_eq!(shown.omitted_disks[0].reason, "pass-through");
}

#[test]
fn a_merge_that_does_not_begin_is_stuck_after_a_while() {
    let world = World::new();
    let vm = world.vm("stuck");
    let checkpoint = world.freeze(vm).unwrap();
    world.sim.add_fault(vm, SimFault::StuckMerge, None).unwrap();
    world.host.destroy_checkpoint(vm, checkpoint).unwrap();
    let mut looks = 0;
    let why = loop {
        match world.host.merge_state(vm).unwrap() {
            MergeState::Running(_) => world.clock.advance(std::time::Duration::from_secs(30)),
            MergeState::Stuck(why) => break why,
            MergeState::Idle => panic!("it was never merged"),
        }
        looks += 1;
        assert!(looks < 100);
    };
    assert!(why.contains(".avhdx"), "{why}");
    assert!(looks > 1, "it is given time to begin");
    world.sim.clear_faults(vm).unwrap();
    world.settle(vm);
}

#[test]
fn tracking_that_is_lost_makes_ids_unknown_with_their_code() {
    let world = World::new();
    let vm = world.vm("tracking");
    let checkpoint = world.freeze(vm).unwrap();
    let frozen = world.host.frozen_disks(vm, checkpoint).unwrap();
    world
        .sim
        .add_fault(vm, SimFault::LoseTracking { code: 0xC03A_0022 }, Some(1))
        .unwrap();
    let source = world
        .host
        .open_frozen_disk(vm, checkpoint, &frozen[0])
        .unwrap();
    let id = source.change_id().unwrap().unwrap();
    let disk::Changes::Unknown(reason) = source.changes_since(&id) else {
        panic!("tracking was lost");
    };
    assert_eq!(reason.code, Some(0xC03A_0022));
}

#[test]
fn a_disk_file_that_is_gone_is_listed_and_hides_no_other_vm() {
    let world = World::new();
    let (broken, whole) = (world.vm("broken"), world.vm("whole"));
    let disk = world.host.vm(broken).unwrap().disks.remove(0);
    std::fs::remove_file(&disk.path).unwrap();
    let all = world.host.vms().unwrap();
    let of = |id| &all.iter().find(|vm| vm.id == id).unwrap().disks[0];
    assert_eq!(of(broken).path, disk.path);
    assert_eq!(
        of(broken).virtual_disk_id,
        uuid::Uuid::nil(),
        "nobody knows which disk it is"
    );
    assert_ne!(of(whole).virtual_disk_id, uuid::Uuid::nil());
}
