//! Killed after any step, the host opens again, loses nothing and leaves nothing.

use crate::world::*;
use disk::Changes;
use hyperv::sim::{SimDisk, SimHost, SimVm};
use hyperv::{CheckpointKind, HypervErrorKind, HypervHost, VmId};

/// Runs `deed` with a host that dies after 0, 1, 2… steps until it survives; after each death
/// `look` gets the host as another process finds it.
fn at_every_step(
    prepare: impl Fn(&World) -> VmId,
    deed: impl Fn(&SimHost, VmId) -> Result<(), hyperv::HypervError>,
    look: impl Fn(&World, &SimHost, VmId, u64),
) {
    for steps in 0.. {
        let world = World::new();
        let vm = prepare(&world);
        world.host.die_after(steps);
        match deed(&world.host, vm) {
            Ok(()) => {
                assert!(steps > 0, "there is something to die in");
                return;
            }
            Err(error) => assert_eq!(error.kind(), HypervErrorKind::Unavailable, "{error}"),
        }
        let found = world.reopen(100 + steps);
        look(&world, &found, vm, steps);
    }
}

/// Asserts that no file lies on the host that the host does not know.
fn nothing_is_left(host: &SimHost, vm: VmId) {
    let checkpoints = host.checkpoints(vm).unwrap().len();
    let depth = host.vm(vm).unwrap().disks[0].chain_depth as usize;
    let found = files(&host.folder().join("vms"));
    let count = |end: &str| found.iter().filter(|file| file.ends_with(end)).count();
    assert_eq!(count(".avhdx"), depth, "{found:?}");
    let snapshots = found
        .iter()
        .filter(|file| file.contains("Snapshots/"))
        .count();
    assert_eq!(snapshots, 3 * checkpoints, "{found:?}");
}

#[test]
fn dying_while_freezing() {
    let prepare = |world: &World| {
        let vm = world.vm();
        base(&world.host, vm);
        world.host.write(vm, 0, 0, &[1; 4096]).unwrap();
        vm
    };
    at_every_step(
        prepare,
        |host, vm| try_freeze(host, vm).map(drop),
        |_, host, vm, step| {
            let base = host.reference_points(vm).unwrap()[0].disks[0]
                .change_id
                .clone();
            for checkpoint in host.checkpoints(vm).unwrap() {
                assert_eq!(checkpoint.kind, CheckpointKind::Recovery);
                host.destroy_checkpoint(vm, checkpoint.id).unwrap();
            }
            settle(host, vm);
            nothing_is_left(host, vm);
            assert_eq!(live_content(host, vm, 0)[0], 1);
            assert_eq!(
                ranges(&changes(host, vm, &base)),
                [(0, 65_536)],
                "after step {step}"
            );
        },
    );
}

#[test]
fn dying_while_converting_and_merging() {
    let prepare = |world: &World| {
        let vm = world.vm();
        world.host.write(vm, 0, 0, &[1; 4096]).unwrap();
        freeze(&world.host, vm);
        world.host.write(vm, 0, 4096, &[2; 4096]).unwrap();
        world.host.write(vm, 0, 6 * MIB, &[3; 4096]).unwrap();
        vm
    };
    let deed = |host: &SimHost, vm| {
        let checkpoint = host.checkpoints(vm)?[0].id;
        try_convert(host, vm, checkpoint)?;
        while host.vm(vm)?.disks[0].chain_depth > 0 {}
        Ok(())
    };
    at_every_step(prepare, deed, |_, host, vm, step| {
        let seen = live_content(host, vm, 0);
        let check = |seen: &[u8]| {
            assert_eq!(
                (seen[0], seen[4096], seen[6 << 20]),
                (1, 2, 3),
                "after step {step}"
            );
        };
        check(&seen);
        // The guest goes on writing in the middle of it all.
        host.write(vm, 0, 8192, &[4; 512]).unwrap();
        let points = host.reference_points(vm).unwrap();
        let checkpoints = host.checkpoints(vm).unwrap();
        assert_eq!(
            points.len() + checkpoints.len(),
            1,
            "one or the other, after step {step}"
        );
        for checkpoint in checkpoints {
            let frozen = content(&*open(host, vm, checkpoint.id, 0));
            assert_eq!((frozen[0], frozen[4096], frozen[6 << 20]), (1, 0, 0));
            convert(host, vm, checkpoint.id);
        }
        settle(host, vm);
        nothing_is_left(host, vm);
        let seen = live_content(host, vm, 0);
        check(&seen);
        assert_eq!(seen[8192], 4);
        // What was written since the frozen instant is known, or known to be unknown.
        let base = host.reference_points(vm).unwrap()[0].disks[0]
            .change_id
            .clone();
        let answer = changes(host, vm, &base);
        assert_eq!(ranges(&answer), [(0, 65_536), (6 * MIB, 6 * MIB + 65_536)]);
    });
}

#[test]
fn dying_while_a_user_deletes_the_middle_of_a_chain() {
    let prepare = |world: &World| {
        let vm = world.vm();
        world.host.write(vm, 0, 0, &[1; 512]).unwrap();
        world.host.checkpoint(vm, "one").unwrap();
        world.host.write(vm, 0, 512, &[2; 512]).unwrap();
        world.host.checkpoint(vm, "two").unwrap();
        world.host.write(vm, 0, 1024, &[3; 512]).unwrap();
        vm
    };
    let deed = |host: &SimHost, vm| {
        let one = host.checkpoints(vm)?[0].id;
        host.delete_checkpoint(vm, one)?;
        while host.vm(vm)?.disks[0].chain_depth > 1 {}
        Ok(())
    };
    at_every_step(prepare, deed, |_, host, vm, step| {
        settle(host, vm);
        let seen = live_content(host, vm, 0);
        assert_eq!(
            (seen[0], seen[512], seen[1024]),
            (1, 2, 3),
            "after step {step}"
        );
        for checkpoint in host.checkpoints(vm).unwrap() {
            if checkpoint.name == "two" {
                host.apply_checkpoint(vm, checkpoint.id).unwrap();
                let seen = live_content(host, vm, 0);
                assert_eq!(
                    (seen[0], seen[512], seen[1024]),
                    (1, 2, 0),
                    "after step {step}"
                );
            }
        }
        nothing_is_left(host, vm);
    });
}

#[test]
fn dying_while_the_guest_writes_never_hides_a_write() {
    let prepare = |world: &World| {
        let vm = world.vm();
        base(&world.host, vm);
        vm
    };
    let deed = |host: &SimHost, vm| host.write_random(vm, 0, MIB / 4, 1).map(drop);
    at_every_step(prepare, deed, |_, host, vm, step| {
        let base = host.reference_points(vm).unwrap()[0].disks[0]
            .change_id
            .clone();
        let old = vec![0; 8 << 20];
        let new = live_content(host, vm, 0);
        let answer = changes(host, vm, &base);
        if let Changes::Ranges(ranges) = &answer {
            let missed = old
                .iter()
                .zip(&new)
                .enumerate()
                .find(|(offset, (old, new))| {
                    let byte = disk::ByteRange::at(*offset as u64, 1).unwrap();
                    old != new && !ranges.touches(byte)
                });
            assert_eq!(missed, None, "after step {step}");
        }
    });
}

#[test]
fn dying_while_a_checkpoint_is_applied() {
    let prepare = |world: &World| {
        let vm = world.vm();
        world.host.write(vm, 0, 0, &[1; 512]).unwrap();
        world.host.checkpoint(vm, "one").unwrap();
        base(&world.host, vm);
        world.host.write(vm, 0, 0, &[2; 512]).unwrap();
        vm
    };
    let deed = |host: &SimHost, vm| {
        let one = host.checkpoints(vm)?[0].id;
        host.apply_checkpoint(vm, one)
    };
    at_every_step(prepare, deed, |_, host, vm, step| {
        settle(host, vm);
        let applied = host.vm(vm).unwrap().last_applied_checkpoint.is_some();
        let seen = live_content(host, vm, 0)[0];
        assert_eq!(seen, if applied { 1 } else { 2 }, "after step {step}");
        nothing_is_left(host, vm);
        let base = host.reference_points(vm).unwrap()[0].disks[0]
            .change_id
            .clone();
        let known = matches!(changes(host, vm, &base), Changes::Ranges(_));
        assert_eq!(known, !applied, "after step {step}");
    });
}

#[test]
fn dying_while_a_vm_comes() {
    for steps in 0.. {
        let world = World::new();
        world.host.die_after(steps);
        let order = SimVm::new("new", vec![SimDisk::new(4 * MIB), SimDisk::new(4 * MIB)]);
        let added = world.host.add_vm(&order);
        let found = world.reopen(7);
        let vms = found.vms().unwrap();
        if vms.is_empty() {
            assert_eq!(files(&found.folder().join("vms")), Vec::<String>::new());
            found.add_vm(&order).unwrap();
        } else {
            assert_eq!(vms[0].disks.len(), 2);
            freeze(&found, vms[0].id);
        }
        if added.is_ok() {
            return;
        }
    }
}

#[test]
fn dying_while_a_vm_goes() {
    let deed = |host: &SimHost, vm| host.delete_vm(vm, false);
    at_every_step(World::vm, deed, |_, host, vm, step| {
        if host.vm(vm).is_ok() {
            assert!(
                live_content(host, vm, 0).iter().all(|&byte| byte == 0),
                "after step {step}"
            );
        } else {
            assert_eq!(files(&host.folder().join("vms")), Vec::<String>::new());
        }
    });
}
