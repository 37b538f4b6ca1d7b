//! The whole cycle through Hyper-V's own classes: full, guest writes, increment, restore.
//!
//! The product's host for Windows runs here over the model of Hyper-V's provider and of virtdisk.

#![expect(
    clippy::unwrap_used,
    reason = "in tests and their helpers a panic is the report"
)]

use std::sync::Arc;

use backup::vm::{PointReport, VmBackup};
use fake_hyperv::virtdisk::FakeVirtualDisks;
use fake_hyperv::{FakeNamespaces, Manners, PointEntries};
use hyperv::sim::{SimDisk, SimFault, SimVm};
use hyperv::{HypervHost, VmId};
use point::{BackupType, Points};
use progress::Progress;
use repo::Writer;
use restore::RestoreOptions;
use restore::vm::{HostTarget, RestoredVm, to_host};
use scenarios::World;
use time_and_chance::{Chance, ManualClock, Timestamp};
use windows_host::hyperv::{Beliefs, Parts, SystemVolumes, WindowsHypervHost};

const MIB: u64 = 1 << 20;

/// A world whose host is seen as Windows shows it.
struct Machine {
    world: World,
    host: WindowsHypervHost,
}

impl Machine {
    fn new(seed: u64) -> Self {
        Self::with(seed, Manners::default())
    }

    fn with(seed: u64, manners: Manners) -> Self {
        let clock = ManualClock::at("2026-03-01T12:00:00Z".parse::<Timestamp>().unwrap());
        let world = World::with_manual_clock(seed, &clock);
        let sim = world.host.clone();
        let chance = Chance::from_seed(seed);
        let wmi = FakeNamespaces::new(sim.clone(), manners.clone(), clock.clone(), chance);
        let host = WindowsHypervHost::connect(Parts {
            namespaces: Arc::new(wmi),
            virtual_disks: Arc::new(FakeVirtualDisks::new(sim, manners)),
            volumes: Arc::new(SystemVolumes),
            clock,
            beliefs: Beliefs::default(),
        });
        Self {
            world,
            host: host.unwrap(),
        }
    }

    fn back_up(&self, vm: VmId) -> PointReport {
        let repo = self.world.repository("repo");
        let writer = Writer::new(&repo, 2).unwrap();
        let backup = VmBackup {
            host: &self.host,
            writer: &writer,
            state: &self.world.state(),
            options: &self.world.options,
            goes_on: &|_| true,
        };
        backup.run(vm, &Progress::silent()).unwrap()
    }

    fn restore(&self, report: &PointReport, new_id: bool) -> RestoredVm {
        let repo = self.world.repository("repo");
        let points = Points::load(&repo).unwrap();
        let point = points.by_point(report.descriptor.point).unwrap();
        let target = HostTarget {
            name: None,
            new_id,
            power_on: true,
        };
        let opened = point.open(&repo).unwrap();
        let options = RestoreOptions::default();
        to_host(
            &repo,
            &opened,
            &self.host,
            &target,
            &options,
            &Progress::silent(),
        )
        .unwrap()
    }
}

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
