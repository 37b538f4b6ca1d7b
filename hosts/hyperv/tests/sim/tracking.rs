//! When change tracking answers, and when it must not.

use crate::world::*;
use disk::{ChangeId, Changes};
use hyperv::codes;
use hyperv::sim::{SimDisk, SimHost, SimOptions, SimVm};
use hyperv::{HypervHost, VmId};

/// Something that happens to a VM between two backups.
type Event = fn(&World, VmId);

fn rct_file(host: &SimHost, vm: VmId) -> std::path::PathBuf {
    let root = host.vm(vm).unwrap().disks[0].original_path.clone();
    root.with_extension("vhdx.rct")
}

#[test]
fn tracking_survives_what_it_should() {
    let events: [(&str, Event); 6] = [
        ("nothing", |_, _| {}),
        ("another process opens the host", |world, _| {
            drop(world.reopen(9))
        }),
        ("a rename", |world, vm| {
            world.host.rename_vm(vm, "other").unwrap()
        }),
        ("a user checkpoint that stays", |world, vm| {
            world.host.checkpoint(vm, "mine").unwrap();
        }),
        ("a user checkpoint that goes", |world, vm| {
            let checkpoint = world.host.checkpoint(vm, "mine").unwrap();
            world.host.write(vm, 0, 4 * MIB, &[8; 512]).unwrap();
            world.host.delete_checkpoint(vm, checkpoint).unwrap();
            settle(&world.host, vm);
        }),
        ("another product's backup", |world, vm| {
            let checkpoint = world.host.add_foreign_checkpoint(vm).unwrap();
            world.host.write(vm, 0, 4 * MIB, &[8; 512]).unwrap();
            world.host.destroy_checkpoint(vm, checkpoint).unwrap();
            settle(&world.host, vm);
        }),
    ];
    for (name, event) in events {
        let world = World::new();
        let vm = world.vm();
        let base = base(&world.host, vm);
        world.host.write(vm, 0, 100_000, &[1; 10]).unwrap();
        event(&world, vm);
        world.host.write(vm, 0, 3 * MIB, &[2; 10]).unwrap();
        let answer = ranges(&changes(&world.host, vm, &base));
        let mut expected = vec![(65_536, 131_072), (3 * MIB, 3 * MIB + 65_536)];
        if name.contains("goes") || name.contains("product") {
            expected.push((4 * MIB, 4 * MIB + 65_536));
        }
        assert_eq!(answer, expected, "after {name}");
    }
}

#[test]
fn tracking_ids_die_when_they_should_and_a_new_base_works() {
    let events: [(&str, u32, Event); 7] = [
        ("resize", codes::TRACKING_INVALID_ID, |world, vm| {
            world.host.resize_disk(vm, 0, 16 * MIB).unwrap();
        }),
        (
            "a user checkpoint applied",
            codes::TRACKING_INVALID_ID,
            |world, vm| {
                let checkpoint = world.host.checkpoint(vm, "mine").unwrap();
                world.host.apply_checkpoint(vm, checkpoint).unwrap();
            },
        ),
        (
            "the tracking file lost",
            codes::TRACKING_MISSING,
            |world, vm| {
                std::fs::remove_file(rct_file(&world.host, vm)).unwrap();
            },
        ),
        (
            "the tracking file damaged",
            codes::TRACKING_INCONSISTENT_FILE,
            |world, vm| {
                let path = rct_file(&world.host, vm);
                let mut bytes = std::fs::read(&path).unwrap();
                bytes[20] ^= 1;
                std::fs::write(&path, bytes).unwrap();
            },
        ),
        (
            "an older tracking file put back",
            codes::TRACKING_INCONSISTENT_FILE,
            |world, vm| {
                let path = rct_file(&world.host, vm);
                let old = std::fs::read(&path).unwrap();
                world.host.write(vm, 0, 0, &[1; 512]).unwrap();
                std::fs::write(&path, old).unwrap();
            },
        ),
        (
            "the disk written offline",
            codes::TRACKING_CHANGED_OFFLINE,
            |world, vm| {
                world.host.set_state(vm, hyperv::VmState::Off).unwrap();
                let path = world.host.vm(vm).unwrap().disks[0].path.clone();
                let bytes = std::fs::read(&path).unwrap();
                std::fs::write(&path, bytes).unwrap();
                world.host.set_state(vm, hyperv::VmState::Running).unwrap();
            },
        ),
        (
            "the point destroyed",
            codes::TRACKING_INVALID_ID,
            |world, vm| {
                for point in world.host.reference_points(vm).unwrap() {
                    world.host.destroy_reference_point(vm, &point.id).unwrap();
                }
            },
        ),
    ];
    for (name, expected, event) in events {
        let world = World::new();
        let vm = world.vm();
        let old = base(&world.host, vm);
        event(&world, vm);
        assert_eq!(
            code(&changes(&world.host, vm, &old)),
            expected,
            "after {name}"
        );
        let new = base(&world.host, vm);
        world.host.write(vm, 0, 0, &[1; 512]).unwrap();
        assert_eq!(
            ranges(&changes(&world.host, vm, &new)),
            [(0, 65_536)],
            "after {name}"
        );
        assert_eq!(
            code(&changes(&world.host, vm, &old)),
            expected,
            "for good after {name}"
        );
    }
}

#[test]
fn swapped_disks_keep_their_own_history() {
    let world = World::new();
    let vm = world.vm_with(&[8 * MIB, 4 * MIB]);
    let before: Vec<_> = world
        .host
        .vm(vm)
        .unwrap()
        .disks
        .iter()
        .map(|disk| disk.virtual_disk_id)
        .collect();
    let base = base(&world.host, vm);
    world.host.swap_disks(vm, 0, 1).unwrap();
    let after: Vec<_> = world
        .host
        .vm(vm)
        .unwrap()
        .disks
        .iter()
        .map(|disk| disk.virtual_disk_id)
        .collect();
    assert_eq!(after, [before[1], before[0]]);
    let checkpoint = freeze(&world.host, vm);
    let moved = open(&world.host, vm, checkpoint, 1);
    assert_eq!(ranges(&moved.changes_since(&base)), []);
    let other = open(&world.host, vm, checkpoint, 0);
    assert_eq!(
        code(&other.changes_since(&base)),
        codes::TRACKING_INVALID_ID
    );
}

#[test]
fn a_copy_of_a_disk_has_no_history() {
    let world = World::new();
    let vm = world.vm();
    let base = base(&world.host, vm);
    let path = world.host.vm(vm).unwrap().disks[0].path.clone();
    let copy = world
        .host
        .add_vm(&SimVm::new("copy", vec![SimDisk::copy_of(path)]))
        .unwrap();
    assert_eq!(world.host.vm(copy).unwrap().disks[0].tracked, Some(false));
    assert_eq!(
        code(&changes(&world.host, copy, &base)),
        codes::TRACKING_INVALID_ID
    );
}

#[test]
fn untracked_disks_say_so() {
    let world = World::new();
    let old_format = SimDisk {
        trackable: false,
        ..SimDisk::new(4 * MIB)
    };
    let vhd = world
        .host
        .add_vm(&SimVm::new("vhd", vec![old_format]))
        .unwrap();
    let ancient = SimVm {
        version: Some("5.0".to_owned()),
        ..SimVm::new("ancient", vec![SimDisk::new(4 * MIB)])
    };
    let ancient = world.host.add_vm(&ancient).unwrap();
    for vm in [vhd, ancient] {
        let checkpoint = freeze(&world.host, vm);
        let disk = open(&world.host, vm, checkpoint, 0);
        assert_eq!(disk.change_id().unwrap(), None);
        let changes = disk.changes_since(&ChangeId::new("x"));
        assert_eq!(code(&changes), codes::VHD_INVALID_TYPE);
        drop(disk);
        let point = convert(&world.host, vm, checkpoint);
        assert!(point.disks.is_empty(), "a point lists tracked disks only");
    }
}

#[test]
fn tracking_starts_with_the_first_recovery_checkpoint() {
    let world = World::new();
    let vm = world.vm();
    world.host.checkpoint(vm, "mine").unwrap();
    assert_eq!(world.host.vm(vm).unwrap().disks[0].tracked, Some(false));
    base(&world.host, vm);
    assert_eq!(world.host.vm(vm).unwrap().disks[0].tracked, Some(true));
}

#[test]
fn granularity_is_the_hosts_choice() {
    let world = World::with(SimOptions {
        tracking_block_bytes: 4096,
        ..SimOptions::default()
    });
    let vm = world.vm();
    let base = base(&world.host, vm);
    world.host.write(vm, 0, 8192, &[1; 1]).unwrap();
    assert_eq!(ranges(&changes(&world.host, vm, &base)), [(8192, 12_288)]);
}

#[test]
fn a_huge_thin_disk_is_cheap() {
    const TIB: u64 = 1 << 40;
    let world = World::new();
    let vm = world.vm_with(&[2 * TIB]);
    let first = base(&world.host, vm);
    let written = world.host.write_random(vm, 0, 4 * MIB, 7).unwrap();
    let checkpoint = freeze(&world.host, vm);
    let disk = open(&world.host, vm, checkpoint, 0);
    assert_eq!(disk.size_bytes(), 2 * TIB);
    let Changes::Ranges(changed) = disk.changes_since(&first) else {
        panic!("a pinned base is known");
    };
    assert!(covers(&Changes::Ranges(changed.clone()), &written));
    assert!(
        changed.total_bytes() < 64 * MIB,
        "changes are rounded, not blown up"
    );
    let mut present = 0;
    let mut from = 0;
    while let Some(range) = disk.next_allocated(from).unwrap() {
        present += range.bytes();
        from = range.end();
    }
    assert!(
        (4 * MIB..64 << 30).contains(&present),
        "{present} bytes are allocated"
    );
    let raw = world.outside("raw");
    drop(disk);
    convert(&world.host, vm, checkpoint);
    world.host.dump(vm, 0, &raw).unwrap();
    assert_eq!(world.host.write_from_raw(vm, 0, &raw).unwrap(), []);
    world.host.write(vm, 0, TIB, &[5; 512]).unwrap();
    let back = world.host.write_from_raw(vm, 0, &raw).unwrap();
    assert_eq!(back.len(), 1);
    assert_eq!((back[0].start(), back[0].end()), (TIB, TIB + 4096));
}

#[test]
fn tracking_begun_after_an_offline_change_lasts() {
    let world = World::new();
    let vm = world.vm();
    base(&world.host, vm);
    let path = world.host.vm(vm).unwrap().disks[0].path.clone();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let ids = |world: &World| -> Vec<ChangeId> {
        let points = world.host.reference_points(vm).unwrap();
        points
            .iter()
            .map(|point| point.disks[0].change_id.clone())
            .collect()
    };
    world.host.add_foreign_reference_point(vm).unwrap();
    let begun = ids(&world)[1].clone();
    world.host.write(vm, 0, 0, &[1; 512]).unwrap();
    world.host.add_foreign_reference_point(vm).unwrap();
    assert_eq!(ranges(&changes(&world.host, vm, &begun)), [(0, 65_536)]);
    assert_eq!(ranges(&changes(&world.host, vm, &ids(&world)[2])), []);
}
