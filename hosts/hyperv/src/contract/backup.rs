//! Checkpoints, frozen disks, changes and reference points.

use disk::{ChangeId, Changes, DiskSource};
use time_and_chance::{Chance, StopSignal};
use uuid::Uuid;

use super::{ContractWorld, content_of, differing_bytes, freeze, recovery_checkpoints, settle};
use crate::{CheckpointId, HypervErrorKind, HypervHost, ReferencePoint, ReferencePointId, VmId};

const MIB: u64 = 1 << 20;

fn open_all(host: &dyn HypervHost, vm: VmId, checkpoint: CheckpointId) -> Vec<Box<dyn DiskSource>> {
    host.frozen_disks(vm, checkpoint)
        .expect("a checkpoint lists its disks")
        .iter()
        .map(|disk| {
            host.open_frozen_disk(vm, checkpoint, disk)
                .expect("a frozen disk can be opened")
        })
        .collect()
}

fn convert(host: &dyn HypervHost, vm: VmId, checkpoint: CheckpointId) -> ReferencePoint {
    host.convert_to_reference_point(vm, checkpoint, &StopSignal::new())
        .expect("a recovery checkpoint with closed disks can be converted")
}

/// A VM is listed once, with its disks, whether asked for all or for one.
pub fn vms_are_discovered(world: &mut dyn ContractWorld) {
    let vm = world.add_vm("contract discovery", &[8 * MIB, 4 * MIB]);
    let host = world.host();
    let all = host.vms().expect("VMs are listed");
    let listed: Vec<_> = all.iter().filter(|listed| listed.id == vm).collect();
    assert_eq!(listed.len(), 1, "a VM is listed once");
    let one = host.vm(vm).expect("a VM that is listed can be looked at");
    assert_eq!(one.name, "contract discovery");
    let sizes: Vec<_> = one.disks.iter().map(|disk| disk.virtual_bytes).collect();
    assert_eq!(sizes, [8 * MIB, 4 * MIB]);
    let places =
        |disk: &crate::VirtualDisk| (disk.controller, disk.controller_number, disk.location);
    assert!(
        one.disks.is_sorted_by_key(places),
        "disks are listed by their places"
    );
    for disk in &one.disks {
        assert_eq!(
            disk.path, disk.original_path,
            "without checkpoints there is one file"
        );
        assert_eq!(disk.chain_depth, 0);
        assert_ne!(disk.virtual_disk_id, Uuid::nil(), "a disk has an identity");
    }
    assert_eq!(host.checkpoints(vm).expect("checkpoints are listed"), []);
    let space = host.volume_space(vm).expect("the room on volumes is known");
    assert!(!space.is_empty(), "a VM with files lies on a volume");
}

/// What a checkpoint holds does not change while the guest writes (RH-11).
pub fn a_frozen_disk_stands_still(world: &mut dyn ContractWorld) {
    let vm = world.add_vm("contract frozen", &[8 * MIB]);
    world.guest_write(vm, 0, 12_288, &[1; 9000]);
    let host = world.host();
    let checkpoint = freeze(&*host, vm);
    let disk = open_all(&*host, vm, checkpoint).remove(0);
    let before = content_of(&*disk);
    assert!(before[12_288..21_288].iter().all(|&byte| byte == 1));
    drop(disk);
    world.guest_write(vm, 0, 0, &[2; 65_536]);
    world.guest_write(vm, 0, 5 * MIB, &[3; 4096]);
    let disk = open_all(&*host, vm, checkpoint).remove(0);
    assert!(content_of(&*disk) == before, "a frozen disk stands still");
    drop(disk);
    convert(&*host, vm, checkpoint);
    settle(world, vm);
    // After the merge nothing that the guest wrote is lost.
    let checkpoint = freeze(&*host, vm);
    let disk = open_all(&*host, vm, checkpoint).remove(0);
    let after = content_of(&*disk);
    assert!(after[..65_536].iter().all(|&byte| byte == 2));
    assert!(
        after[5 << 20..(5 << 20) + 4096]
            .iter()
            .all(|&byte| byte == 3)
    );
    drop(disk);
    host.destroy_checkpoint(vm, checkpoint)
        .expect("a checkpoint can be destroyed");
    settle(world, vm);
}

/// Changes cover every write between a base and the frozen instant, over many rounds, with
/// several bases at once.
pub fn changes_cover_every_write(world: &mut dyn ContractWorld) {
    const ROUNDS: u64 = 6;
    let sizes = [8 * MIB, 6 * MIB];
    let vm = world.add_vm("contract changes", &sizes);
    let host = world.host();
    let chance = Chance::from_seed(0xC0FFEE);
    let mut points: Vec<(Vec<ChangeId>, Vec<Vec<u8>>)> = Vec::new();
    for round in 0..ROUNDS {
        random_writes(world, vm, &sizes, &chance);
        let checkpoint = freeze(&*host, vm);
        // These are after the instant: no answer has to name them, no content may hold them.
        random_writes(world, vm, &sizes, &chance);
        let disks = open_all(&*host, vm, checkpoint);
        let contents: Vec<_> = disks.iter().map(|disk| content_of(&**disk)).collect();
        let mut ids = Vec::new();
        for (number, disk) in disks.iter().enumerate() {
            let id = disk.change_id().expect("the tracking state is known");
            ids.push(id.expect("a disk under a recovery checkpoint is tracked"));
            for (bases, old) in &points {
                let Changes::Ranges(ranges) = disk.changes_since(&bases[number]) else {
                    panic!("round {round}: a base that a reference point pins is known");
                };
                if let Some(missed) = differing_bytes(&old[number], &contents[number])
                    .find(|byte| !ranges.touches(*byte))
                {
                    panic!("round {round}, disk {number}: the change at {missed:?} is not named");
                }
            }
        }
        drop(disks);
        convert(&*host, vm, checkpoint);
        settle(world, vm);
        points.push((ids, contents));
    }
}

fn random_writes(world: &mut dyn ContractWorld, vm: VmId, sizes: &[u64], chance: &Chance) {
    for _ in 0..8 {
        let disk = chance.below(sizes.len() as u64) as usize;
        let sectors = 1 + chance.below(300);
        let first = chance.below(sizes[disk] / 512 - sectors);
        let mut bytes = vec![0; sectors as usize * 512];
        chance.fill(&mut bytes);
        world.guest_write(vm, disk, first * 512, &bytes);
    }
}

/// Where nothing was written, nothing changed: an empty set, not "unknown" and not everything.
pub fn a_quiet_disk_has_an_empty_change_set(world: &mut dyn ContractWorld) {
    let vm = world.add_vm("contract quiet", &[8 * MIB]);
    let host = world.host();
    world.guest_write(vm, 0, 0, &[9; 4096]);
    let first = freeze(&*host, vm);
    let base = open_all(&*host, vm, first)
        .remove(0)
        .change_id()
        .expect("the tracking state is known")
        .expect("a disk under a recovery checkpoint is tracked");
    convert(&*host, vm, first);
    settle(world, vm);
    let second = freeze(&*host, vm);
    let disk = open_all(&*host, vm, second).remove(0);
    let Changes::Ranges(ranges) = disk.changes_since(&base) else {
        panic!("a base that a reference point pins is known");
    };
    assert!(ranges.is_empty(), "a quiet disk has no changes: {ranges:?}");
    drop(disk);
    host.destroy_checkpoint(vm, second)
        .expect("a checkpoint can be destroyed");
    settle(world, vm);
}

/// An id that names nothing is answered with a code, never with ranges.
pub fn an_unknown_id_is_unknown(world: &mut dyn ContractWorld) {
    let vm = world.add_vm("contract unknown", &[4 * MIB]);
    let host = world.host();
    let checkpoint = freeze(&*host, vm);
    let disk = open_all(&*host, vm, checkpoint).remove(0);
    for base in [
        "",
        "rctX:0:0:0",
        "rctX:5a7c0ffe-0000-4000-8000-000000000000:x:00000000",
    ] {
        match disk.changes_since(&ChangeId::new(base)) {
            Changes::Unknown(reason) => assert!(reason.code.is_some(), "a refusal has a code"),
            Changes::Ranges(_) => panic!("\"{base}\" names no instant"),
        }
    }
    drop(disk);
    host.destroy_checkpoint(vm, checkpoint)
        .expect("a checkpoint can be destroyed");
}

/// A user's checkpoint can neither be converted nor destroyed as a backup's.
pub fn only_recovery_checkpoints_are_converted(world: &mut dyn ContractWorld) {
    let vm = world.add_vm("contract user", &[4 * MIB]);
    let host = world.host();
    let checkpoint = world.user_checkpoint(vm);
    host.convert_to_reference_point(vm, checkpoint, &StopSignal::new())
        .expect_err("a user's checkpoint cannot be converted");
    let left = host.checkpoints(vm).expect("checkpoints are listed");
    assert!(
        left.iter().any(|left| left.id == checkpoint),
        "a user's checkpoint stays"
    );
    assert_eq!(host.reference_points(vm).expect("points are listed"), []);
}

/// While one of its disks is open, a checkpoint can be neither converted nor destroyed (RH-19).
pub fn an_open_disk_blocks_conversion(world: &mut dyn ContractWorld) {
    let vm = world.add_vm("contract open", &[4 * MIB, 4 * MIB]);
    let host = world.host();
    let checkpoint = freeze(&*host, vm);
    let mut disks = open_all(&*host, vm, checkpoint);
    let twice = open_all(&*host, vm, checkpoint);
    drop(twice);
    drop(disks.remove(0));
    let error = host
        .convert_to_reference_point(vm, checkpoint, &StopSignal::new())
        .expect_err("a disk is open");
    assert_eq!(error.kind(), HypervErrorKind::InUse);
    let error = host
        .destroy_checkpoint(vm, checkpoint)
        .expect_err("a disk is open");
    assert_eq!(error.kind(), HypervErrorKind::InUse);
    assert_eq!(recovery_checkpoints(&*host, vm).len(), 1);
    drop(disks);
    convert(&*host, vm, checkpoint);
    assert_eq!(recovery_checkpoints(&*host, vm), []);
    settle(world, vm);
}

/// One recovery checkpoint per VM at a time.
pub fn a_second_recovery_checkpoint_is_refused(world: &mut dyn ContractWorld) {
    let vm = world.add_vm("contract second", &[4 * MIB]);
    let host = world.host();
    let checkpoint = freeze(&*host, vm);
    host.create_recovery_checkpoint(
        vm,
        crate::RequestedConsistency::Crash,
        "contract",
        &StopSignal::new(),
    )
    .expect_err("there is one already");
    let found = recovery_checkpoints(&*host, vm);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].id, checkpoint);
    assert_eq!(found[0].name, "contract", "a checkpoint carries its mark");
    host.destroy_checkpoint(vm, checkpoint)
        .expect("a checkpoint can be destroyed");
}

/// A reference point lists every tracked disk, each with the id read from the frozen disk (RH-1).
pub fn reference_points_list_every_tracked_disk(world: &mut dyn ContractWorld) {
    let vm = world.add_vm("contract points", &[4 * MIB, 8 * MIB]);
    let host = world.host();
    let checkpoint = freeze(&*host, vm);
    let mut expected: Vec<(Uuid, ChangeId)> = open_all(&*host, vm, checkpoint)
        .iter()
        .map(|disk| {
            let id = disk.change_id().expect("the tracking state is known");
            (disk.virtual_disk_id(), id.expect("the disk is tracked"))
        })
        .collect();
    let point = convert(&*host, vm, checkpoint);
    assert!(point.tracking, "the point is of the change tracking kind");
    assert!(
        point.application_level,
        "level 1 was asked for and obtained"
    );
    let mut listed: Vec<_> = point
        .disks
        .iter()
        .map(|disk| (disk.virtual_disk_id, disk.change_id.clone()))
        .collect();
    listed.sort_by_key(|(disk, _)| *disk);
    expected.sort_by_key(|(disk, _)| *disk);
    if world.points_have_the_frozen_ids() {
        assert_eq!(listed, expected);
    } else {
        let disks =
            |ids: &[(Uuid, ChangeId)]| ids.iter().map(|(disk, _)| *disk).collect::<Vec<_>>();
        assert_eq!(disks(&listed), disks(&expected));
    }
    let points = host.reference_points(vm).expect("points are listed");
    assert_eq!(points, std::slice::from_ref(&point));
    host.destroy_reference_point(vm, &point.id)
        .expect("a point can be destroyed");
    assert_eq!(host.reference_points(vm).expect("points are listed"), []);
    settle(world, vm);
}

/// After a checkpoint was destroyed and merged, nothing of it is left.
pub fn a_destroyed_checkpoint_leaves_nothing(world: &mut dyn ContractWorld) {
    let vm = world.add_vm("contract destroy", &[4 * MIB]);
    let host = world.host();
    let checkpoint = freeze(&*host, vm);
    let files = host
        .configuration_files(vm, checkpoint)
        .expect("configuration files are there");
    assert!(!files.is_empty());
    assert!(files.iter().all(|file| !file.content.is_empty()));
    assert!(
        files
            .iter()
            .any(|file| file.name.to_lowercase().ends_with(".vmcx"))
    );
    let during = host.vm(vm).expect("the VM is here").disks.remove(0);
    assert_ne!(
        during.path, during.original_path,
        "the guest writes to a new file"
    );
    assert_eq!(during.chain_depth, 1);
    world.guest_write(vm, 0, 0, &[7; 512]);
    host.destroy_checkpoint(vm, checkpoint)
        .expect("a checkpoint can be destroyed");
    assert_eq!(host.checkpoints(vm).expect("checkpoints are listed"), []);
    assert_eq!(host.reference_points(vm).expect("points are listed"), []);
    settle(world, vm);
    let after = host.vm(vm).expect("the VM is here").disks.remove(0);
    assert_eq!(after.path, after.original_path, "the chain is flat again");
    assert_eq!(after.chain_depth, 0);
    assert!(!during.path.exists(), "the differencing file is gone");
}

/// Asking for what is not there is `NotFound`, so that callers can tell it from failure.
pub fn what_is_gone_is_not_found(world: &mut dyn ContractWorld) {
    let vm = world.add_vm("contract gone", &[4 * MIB]);
    let host = world.host();
    let nobody = Uuid::from_u128(0xDEAD_BEEF);
    let not_found = |error: crate::HypervError| assert_eq!(error.kind(), HypervErrorKind::NotFound);
    not_found(host.vm(VmId(nobody)).expect_err("there is no such VM"));
    let checkpoint = CheckpointId(nobody);
    not_found(
        host.frozen_disks(vm, checkpoint)
            .expect_err("there is no such checkpoint"),
    );
    not_found(
        host.destroy_checkpoint(vm, checkpoint)
            .expect_err("there is no such checkpoint"),
    );
    let point = ReferencePointId("Microsoft:nothing".to_owned());
    not_found(
        host.destroy_reference_point(vm, &point)
            .expect_err("there is no such point"),
    );
    world.delete_vm(vm);
    not_found(host.vm(vm).expect_err("the VM was deleted"));
    assert!(
        host.vms()
            .expect("VMs are listed")
            .iter()
            .all(|listed| listed.id != vm)
    );
}
