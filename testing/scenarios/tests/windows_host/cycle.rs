//! The whole cycle through Hyper-V's own classes: full, guest writes, increment, restore.
//!
//! The product's host for Windows runs here over the model of Hyper-V's provider and of virtdisk.

use backup::vm::{MARK, clean};
use fake_hyperv::{Manners, PointEntries};
use hyperv::sim::{SimDisk, SimFault, SimVm};
use hyperv::{HypervHost, RequestedConsistency};
use point::BackupType;
use time_and_chance::{Clock as _, StopSignal};

use crate::machine::{MIB, Machine};

#[test]
fn a_vm_is_backed_up_in_full_then_by_increments_and_comes_back_as_it_was() {
    let machine = Machine::new(1);
    let (world, sim) = (&machine.world, &machine.world.host);
    let disks = vec![SimDisk::new(24 * MIB + 512), SimDisk::new(8 * MIB)];
    let vm = sim.add_vm(&SimVm::new("web \"1\" 名前", disks)).unwrap();
    sim.write_random(vm, 0, 9 * MIB, 1).unwrap();
    sim.write_random(vm, 1, MIB, 2).unwrap();
    let full = machine.back_up(vm);
    assert_eq!(full.descriptor.backup_type(), BackupType::Full);
    assert_eq!(full.warnings, Vec::<String>::new());
    let mut expected = vec![(full.descriptor.point.to_string(), world.disk(vm, 0))];
    let mut last = full;
    for round in 3..6 {
        sim.write_random(vm, 0, MIB, round).unwrap();
        last = machine.back_up(vm);
        for disk in &last.descriptor.disks {
            assert_eq!(disk.full_reason, None, "round {round}");
            assert_eq!(disk.backup_type, BackupType::Incremental);
            assert_eq!(disk.read_bytes, disk.changed_bytes + disk.sample_bytes);
        }
        assert_eq!(last.warnings, Vec::<String>::new());
        expected.push((last.descriptor.point.to_string(), world.disk(vm, 0)));
    }
    let points = world.points("repo");
    for (point, disk) in &expected {
        assert!(points[point] == *disk, "point {point} differs");
    }
    world.assert_no_checkpoint(vm);
    let as_it_was = [world.disk(vm, 0), world.disk(vm, 1)];
    let beside = machine.restore(&last, true);
    assert!(beside.started, "{:?}", beside.warnings);
    assert_ne!(beside.id, vm);
    sim.delete_vm(vm, false).unwrap();
    let again = machine.restore(&last, false);
    assert_eq!(again.id, vm);
    for restored in [&beside, &again] {
        for (number, disk) in as_it_was.iter().enumerate() {
            assert!(
                world.disk(restored.id, number as u32) == *disk,
                "disk {number} differs"
            );
        }
        let shown = machine.host.vm(restored.id).unwrap();
        assert_eq!(shown.name, "web \"1\" 名前");
    }
    assert!(machine.host.planned_vms().unwrap().is_empty());
}

#[test]
fn lost_tracking_costs_a_full_read_of_that_disk_and_says_why() {
    let machine = Machine::new(2);
    let sim = &machine.world.host;
    let disks = vec![SimDisk::new(8 * MIB), SimDisk::new(8 * MIB)];
    let vm = sim.add_vm(&SimVm::new("lost", disks)).unwrap();
    sim.write_random(vm, 0, MIB, 1).unwrap();
    machine.back_up(vm);
    sim.add_fault(vm, SimFault::LoseTracking { code: 0xC03A_0022 }, Some(1))
        .unwrap();
    let report = machine.back_up(vm);
    let full: Vec<_> = report
        .descriptor
        .disks
        .iter()
        .map(|disk| disk.full_reason.as_deref())
        .collect();
    assert!(
        full[0].is_some_and(|reason| reason.contains("0xC03A0022")),
        "{full:?}"
    );
    assert_eq!(full[1], None);
    let next = machine.back_up(vm);
    assert_eq!(next.descriptor.backup_type(), BackupType::Incremental);
}

#[test]
fn increments_hold_every_write_where_hyperv_behaves_in_the_other_way() {
    let machine = Machine::with(
        3,
        Manners {
            jobs_work_first: false,
            jobs_wait_for_merge: true,
            checkpoint_keeps_ids: false,
            point_entries: PointEntries::Point,
            newer_changes_on_frozen_disks: true,
            information_is_like_reading: true,
            ..Manners::default()
        },
    );
    let (world, sim) = (&machine.world, &machine.world.host);
    let disks = vec![SimDisk::new(8 * MIB), SimDisk::new(4 * MIB)];
    let vm = sim.add_vm(&SimVm::new("other", disks)).unwrap();
    let mut expected = Vec::new();
    for round in 1..4 {
        sim.write_random(vm, 0, MIB, round).unwrap();
        let report = machine.back_up(vm);
        let wanted = if round == 1 {
            BackupType::Full
        } else {
            BackupType::Incremental
        };
        assert_eq!(
            report.descriptor.backup_type(),
            wanted,
            "round {round}: {report:?}"
        );
        expected.push((report.descriptor.point.to_string(), world.disk(vm, 0)));
    }
    let points = world.points("repo");
    for (point, disk) in &expected {
        assert!(points[point] == *disk, "point {point} differs");
    }
}

#[test]
fn what_a_dead_run_left_is_merged_although_an_export_left_merging_off() {
    for jobs_wait_for_merge in [true, false] {
        let machine = Machine::with(
            6,
            Manners {
                jobs_wait_for_merge,
                ..Manners::default()
            },
        );
        let sim = &machine.world.host;
        let vm = SimVm::new("left", vec![SimDisk::new(4 * MIB)]);
        let vm = sim.add_vm(&vm).unwrap();
        let host = &machine.host;
        let (how, stop) = (RequestedConsistency::Crash, StopSignal::new());
        let left = host.create_recovery_checkpoint(vm, how, MARK, &stop);
        let left = left.unwrap();
        machine.extras().merging_off.insert(vm);
        sim.add_fault(vm, SimFault::StuckMerge, None).unwrap();
        let (state, now) = (machine.world.state(), machine.clock.now());
        let cleaned = clean(host, &state, vm, now, false).unwrap();
        assert_eq!(cleaned.removed_checkpoints, [left]);
        assert!(machine.extras().merging_off.is_empty());
        machine.settle(vm);
    }
}
