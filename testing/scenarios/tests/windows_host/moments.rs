//! What administrators do at the wrong moment, and names that are hard to carry, from a backup to
//! its restore.

use backup::BackupErrorKind;
use backup::vm::{Step, run_all};
use fake_hyperv::{Cluster, Manners};
use hyperv::sim::{SimDisk, SimFault, SimVm};
use hyperv::{HypervErrorKind as Kind, HypervHost};
use point::BackupType;
use progress::Progress;
use repo::Writer;

use crate::machine::{MIB, Machine, some};

#[test]
fn names_that_are_hard_to_carry_come_back_and_twins_are_kept_apart() {
    let machine = Machine::new(10);
    let sim = &machine.world.host;
    let long = "ü".repeat(100);
    let names = [
        "twin",
        "twin",
        "\"quoted\" 'and' \\ back",
        "100 % [of] _all* ?",
        "Bücher 名前 \u{1F600}",
        &long,
    ];
    let mut reports = Vec::new();
    for (number, name) in names.into_iter().enumerate() {
        let vm = machine.world.add_vm(name, 4 * MIB);
        sim.write_random(vm, 0, MIB, number as u64).unwrap();
        let full = machine.back_up(vm);
        sim.write_random(vm, 0, MIB, 100 + number as u64).unwrap();
        let report = machine.back_up(vm);
        assert_eq!(full.warnings, Vec::<String>::new(), "{name}");
        assert_eq!(report.descriptor.backup_type(), BackupType::Incremental);
        assert_eq!(report.descriptor.name, name);
        machine.assert_holds(&report, vm, name);
        reports.push((vm, report));
    }
    for (vm, report) in &reports {
        let restored = machine.restore(report, true);
        assert_eq!(
            machine.host.vm(restored.id).unwrap().name,
            report.descriptor.name
        );
        let (was, is) = (
            machine.world.disk(*vm, 0),
            machine.world.disk(restored.id, 0),
        );
        assert!(was == is, "{}", report.descriptor.name);
    }
}

#[test]
fn a_vm_that_is_renamed_at_any_step_stays_itself() {
    let machine = Machine::new(11);
    let sim = &machine.world.host;
    let vm = machine.world.add_vm("name", 4 * MIB);
    machine.back_up(vm);
    for step in some(Step::ALL, 1) {
        let name = format!("after {step:?}");
        sim.write_random(vm, 0, MIB, 7).unwrap();
        let report = machine.try_back_up(vm, &|at| {
            if at == step {
                sim.rename_vm(vm, &name).unwrap();
            }
        });
        let report = report.unwrap();
        machine.assert_holds(&report, vm, &name);
        assert_eq!(report.descriptor.backup_type(), BackupType::Incremental);
        let next = machine.back_up(vm);
        assert_eq!(next.descriptor.name, name);
        machine.world.assert_no_checkpoint(vm);
    }
}

/// A VM goes away at a step: its own backup fails with words that say so, or its point stands,
/// whole; others go on.
fn goes_away(step: Step, deleted: bool, manners: Manners) {
    let machine = Machine::with(12, manners);
    machine.extras().cluster = Some(Cluster {
        name: "CLU".to_owned(),
        ..Cluster::default()
    });
    let sim = &machine.world.host;
    let vm = machine.world.add_vm("goes", 4 * MIB);
    let other = machine.world.add_vm("stays", 4 * MIB);
    sim.write_random(vm, 0, MIB, 1).unwrap();
    machine.back_up(vm);
    sim.write_random(vm, 0, MIB, 2).unwrap();
    let before = machine.world.disk(vm, 0);
    let outcome = machine.try_back_up(vm, &|at| {
        if at != step {
            return;
        }
        match deleted {
            // While its disks are read, that is refused, here as on the real host.
            true => drop(sim.delete_vm(vm, false)),
            false => {
                let moved = SimFault::MoveAway { step: None };
                sim.add_fault(vm, moved, None).unwrap();
                let owners = [(vm, "HV-02".to_owned())].into();
                machine.extras().cluster.as_mut().unwrap().owners = owners;
            }
        }
    });
    let what = format!("{step:?}, deleted: {deleted}");
    match outcome {
        Err(error) => {
            assert_eq!(
                error.kind(),
                BackupErrorKind::Host(Kind::NotFound),
                "{what}: {error}"
            );
            let text = error.to_string();
            let words = if deleted { "not on this host" } else { "HV-02" };
            assert!(text.contains(words), "{what}: {text}");
        }
        Ok(report) => {
            assert!(
                machine.stored(&report, 0) == before,
                "{what}: the point is another"
            );
        }
    }
    let report = machine.back_up(other);
    machine.assert_holds(&report, other, &what);
    if deleted {
        return;
    }
    // It comes back, with the checkpoint that was left.
    sim.clear_faults(vm).unwrap();
    sim.write_random(vm, 0, MIB, 3).unwrap();
    let report = machine.back_up(vm);
    machine.assert_holds(&report, vm, &what);
    machine.world.assert_no_checkpoint(vm);
    machine.settle(vm);
}

#[test]
fn a_vm_that_moves_away_at_any_step_fails_alone_and_is_backed_up_right_when_it_is_back() {
    for step in some(Step::ALL, 1) {
        goes_away(step, false, Manners::default());
    }
}

#[test]
fn a_vm_that_is_deleted_at_any_step_fails_alone() {
    for step in some(Step::ALL, 1) {
        let manners = Manners {
            jobs_work_first: false,
            ..Manners::default()
        };
        goes_away(step, true, manners);
    }
}

#[test]
fn a_disk_that_is_added_meanwhile_is_in_the_next_point() {
    for step in some(Step::ALL, 1) {
        let machine = Machine::new(13);
        let sim = &machine.world.host;
        let vm = machine.world.add_vm("grows", 4 * MIB);
        sim.write_random(vm, 0, MIB, 1).unwrap();
        machine.back_up(vm);
        sim.write_random(vm, 0, MIB, 2).unwrap();
        let before = machine.world.disk(vm, 0);
        let report = machine.try_back_up(vm, &|at| {
            if at == step {
                sim.add_disk(vm, &SimDisk::new(2 * MIB)).unwrap();
                sim.write_random(vm, 1, MIB, 3).unwrap();
            }
        });
        // A checkpoint that was taken after it has it; one before does not.
        let report = report.unwrap();
        let holds = report.contents.len();
        let expected = if step == Step::Announced { 2 } else { 1 };
        assert_eq!(holds, expected, "{step:?}");
        let told = &report.descriptor.omitted_disks;
        let is_seen = matches!(step, Step::CheckpointTaken | Step::CheckpointJournaled);
        assert_eq!(told.len(), usize::from(is_seen), "{step:?}: {told:?}");
        assert!(machine.stored(&report, 0) == before, "{step:?}");
        let next = machine.back_up(vm);
        assert_eq!(next.contents.len(), 2, "{step:?}");
        machine.assert_holds(&next, vm, &format!("{step:?}"));
        assert_eq!(
            next.descriptor.disks[0].backup_type,
            BackupType::Incremental
        );
    }
}

#[test]
fn a_shared_disk_refuses_its_vm_and_may_be_left_out_by_name() {
    let mut machine = Machine::new(14);
    let mut shared = SimDisk::new(2 * MIB);
    shared.shared = true;
    let disks = vec![SimDisk::new(4 * MIB), shared];
    let member = machine.world.host.add_vm(&SimVm::new("member", disks));
    let member = member.unwrap();
    let error = machine.try_back_up(member, &|_| ()).unwrap_err();
    assert_eq!(error.kind(), BackupErrorKind::Unsupported);
    let file = machine.host.vm(member).unwrap().disks[1].path.clone();
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(error.to_string().contains(&name), "{error}");
    machine.world.options.exclude_disks = vec![name.clone()];
    let report = machine.back_up(member);
    assert_eq!(report.contents.len(), 1);
    let omitted = &report.descriptor.omitted_disks[0];
    assert_eq!(omitted.name, name);
    assert!(omitted.reason.contains("--exclude-disk"), "{omitted:?}");
    machine.assert_holds(&report, member, "the other disk");
}

#[test]
fn a_guest_clusters_node_fails_alone_with_its_reason() {
    let machine = Machine::new(15);
    let node = machine.world.add_vm("node", 2 * MIB);
    let single = machine.world.add_vm("single", 2 * MIB);
    let cluster = fake_hyperv::GuestCluster {
        id: "SQL-CLUSTER".to_owned(),
        shared_disks: Vec::new(),
    };
    machine.extras().guest_clusters.insert(node, cluster);
    let writer = Writer::new(machine.repository(), 2).unwrap();
    let backup = backup::vm::VmBackup {
        host: &machine.host,
        writer: &writer,
        state: &machine.world.state(),
        options: &machine.world.options,
        goes_on: &|_| true,
    };
    let vms = machine.host.vms().unwrap();
    let outcomes = run_all(&backup, &vms, 1, &Progress::silent(), &|_, _| {});
    for outcome in outcomes {
        match outcome.result {
            Ok(_) => assert_eq!(outcome.vm, single),
            Err(error) => {
                assert_eq!(outcome.vm, node);
                assert_eq!(error.kind(), BackupErrorKind::Host(Kind::Unsupported));
                assert!(error.to_string().contains("SQL-CLUSTER"), "{error}");
            }
        }
    }
}
