//! Trouble on the host: what fails, what falls back, and that nothing is ever made up.

#![expect(
    clippy::unwrap_used,
    reason = "in tests and their helpers a panic is the report"
)]

use std::sync::Arc;

use backup::BackupErrorKind;
use backup::vm::{ConsistencyPolicy, Step, VmBackup};
use blob::{BlobErrorKind, Faulty, FilesystemStore, Operation, Rule, Strike};
use hyperv::sim::{SimDisk, SimFault, SimVm};
use hyperv::{Consistency, HypervErrorKind, HypervHost, RequestedConsistency, VmState};
use point::BackupType;
use progress::Progress;
use repo::Writer;
use scenarios::World;
use time_and_chance::{Chance, StopSignal, SystemClock};

const MIB: u64 = 1 << 20;

fn world_with_a_point(seed: u64) -> (World, hyperv::VmId) {
    let world = World::new(seed);
    let vm = world.add_vm("vm", 64 * MIB);
    world.host.write_random(vm, 0, 8 * MIB, 1).unwrap();
    world.back_up(vm, "repo").unwrap();
    world.host.write_random(vm, 0, MIB, 2).unwrap();
    (world, vm)
}

fn fault(words: &[&str]) -> SimFault {
    SimFault::parse(words).unwrap()
}

#[test]
fn doubtful_tracking_means_a_full_read_with_its_reason() {
    for (words, expected) in [
        (&["lose-tracking"][..], "0xC03A0030"),
        (&["resize"], "resized"),
        (&["apply-user-checkpoint"], "checkpoint was applied"),
    ] {
        let (world, vm) = world_with_a_point(20);
        world.host.add_fault(vm, fault(words), Some(1)).unwrap();
        let report = world.back_up(vm, "repo").unwrap();
        let disk = &report.descriptor.disks[0];
        let reason = disk.full_reason.clone().unwrap_or_default();
        assert!(reason.contains(expected), "{words:?}: {reason:?}");
        assert!(
            world.points("repo")[&report.descriptor.point.to_string()] == world.disk(vm, 0),
            "{words:?}"
        );
    }
}

#[test]
fn partial_and_unsorted_answers_are_put_together() {
    let (world, vm) = world_with_a_point(21);
    world
        .host
        .add_fault(vm, fault(&["partial-answers"]), Some(1))
        .unwrap();
    let report = world.back_up(vm, "repo").unwrap();
    assert_eq!(report.descriptor.backup_type(), BackupType::Incremental);
    assert!(world.points("repo")[&report.descriptor.point.to_string()] == world.disk(vm, 0));
}

#[test]
fn what_cannot_be_read_fails_the_vm_and_publishes_nothing() {
    let (world, vm) = world_with_a_point(22);
    let everything = (64 * MIB).to_string();
    world
        .host
        .add_fault(
            vm,
            fault(&["unreadable", &format!("0-{everything}")]),
            Some(1),
        )
        .unwrap();
    let error = world.back_up(vm, "repo").unwrap_err();
    assert!(matches!(error.kind(), BackupErrorKind::Image(_)), "{error}");
    assert_eq!(world.points("repo").len(), 1);
    world.assert_no_checkpoint(vm);
    let report = world.back_up(vm, "repo").unwrap();
    assert_eq!(
        report.descriptor.backup_type(),
        BackupType::Incremental,
        "the old base stood"
    );
}

#[test]
fn a_guest_that_refuses_is_told_of_or_fails_as_the_operator_chose() {
    let (mut world, vm) = world_with_a_point(23);
    let first = world.back_up(vm, "repo").unwrap();
    assert_eq!(first.descriptor.consistency, Consistency::Application);
    world
        .host
        .add_fault(
            vm,
            fault(&["no-app-consistency", "leaving-checkpoint"]),
            Some(1),
        )
        .unwrap();
    let report = world.back_up(vm, "repo").unwrap();
    assert_eq!(report.descriptor.consistency, Consistency::Crash);
    assert!(!report.descriptor.consistency_reason.is_empty());
    world.options.consistency = ConsistencyPolicy::RequireApplication;
    world
        .host
        .add_fault(vm, fault(&["no-app-consistency"]), Some(1))
        .unwrap();
    assert_eq!(
        world.back_up(vm, "repo").unwrap_err().kind(),
        BackupErrorKind::Consistency
    );
    world.assert_no_checkpoint(vm);
}

#[test]
fn a_vm_that_is_off_is_offline() {
    let (world, vm) = world_with_a_point(24);
    world.host.set_state(vm, VmState::Off).unwrap();
    let report = world.back_up(vm, "repo").unwrap();
    assert_eq!(report.descriptor.consistency, Consistency::Offline);
}

#[test]
fn jobs_that_fail_or_vanish_leave_nothing_and_lose_nothing() {
    let steps = [
        "create",
        "open",
        "read",
        "configuration",
        "convert",
        "destroy-reference-point",
    ];
    for step in steps {
        for words in [
            vec!["job-fails-at", step],
            vec!["outcome-unknown-at", step],
            vec!["outcome-unknown-at", step, "undone"],
        ] {
            let (world, vm) = world_with_a_point(25);
            if world.host.add_fault(vm, fault(&words), Some(1)).is_err() {
                continue;
            }
            // Whether this run succeeds depends on the step; what counts is what it leaves.
            let _ = world.back_up(vm, "repo");
            world.host.write_random(vm, 0, MIB, 3).unwrap();
            let report = world.back_up(vm, "repo").unwrap();
            assert!(
                world.points("repo")[&report.descriptor.point.to_string()] == world.disk(vm, 0),
                "{words:?}"
            );
            world.assert_no_checkpoint(vm);
        }
    }
}

#[test]
fn another_products_checkpoint_is_left_alone_and_told_of() {
    let (world, vm) = world_with_a_point(26);
    world.host.add_foreign_checkpoint(vm).unwrap();
    let error = world.back_up(vm, "repo").unwrap_err();
    assert_eq!(error.kind(), BackupErrorKind::Locked);
    assert!(error.to_string().contains("another product"), "{error}");
    assert_eq!(world.host.checkpoints(vm).unwrap().len(), 1);
}

#[test]
fn a_checkpoint_that_a_dead_run_came_not_to_name_is_removed_and_nobody_elses() {
    let (world, vm) = world_with_a_point(26);
    let died = world.back_up_until(vm, "repo", &|step| step != Step::Announced);
    assert_eq!(died.unwrap_err().kind(), BackupErrorKind::Killed);
    // The host goes on with what was asked of it, and gives the checkpoint a name of its own.
    take_unnamed(&world, vm);
    let report = world.back_up(vm, "repo").unwrap();
    assert_eq!(report.descriptor.backup_type(), BackupType::Incremental);
    world.assert_no_checkpoint(vm);
    // This one no run of ours announced.
    take_unnamed(&world, vm);
    let error = world.back_up(vm, "repo").unwrap_err();
    assert_eq!(error.kind(), BackupErrorKind::Locked);
}

/// Takes a recovery checkpoint that carries the name that the host gives.
fn take_unnamed(world: &World, vm: hyperv::VmId) {
    let name = world.host.vm(vm).unwrap().name;
    let name = format!("{name} - (3/1/2026 - 12:00:04 PM)");
    let (crash, stop) = (RequestedConsistency::Crash, StopSignal::new());
    let taken = world
        .host
        .create_recovery_checkpoint(vm, crash, &name, &stop);
    taken.unwrap();
}

#[test]
fn a_checkpoint_that_was_refused_is_not_mistaken_for_what_another_product_took_meanwhile() {
    let (world, vm) = world_with_a_point(32);
    let refused = world.back_up_until(vm, "repo", &|step| {
        if step == Step::Announced {
            take_unnamed(&world, vm);
            let fails = fault(&["job-fails-at", "create"]);
            world.host.add_fault(vm, fails, Some(1)).unwrap();
        }
        true
    });
    let kind = refused.unwrap_err().kind();
    assert_eq!(kind, BackupErrorKind::Host(HypervErrorKind::Failed));
    assert_eq!(world.host.checkpoints(vm).unwrap().len(), 1);
    let next = world.back_up(vm, "repo").unwrap_err();
    assert_eq!(next.kind(), BackupErrorKind::Locked);
}

#[test]
fn a_full_volume_refuses_to_begin() {
    let (world, vm) = world_with_a_point(27);
    world
        .host
        .add_fault(vm, fault(&["low-space"]), Some(1))
        .unwrap();
    assert_eq!(
        world.back_up(vm, "repo").unwrap_err().kind(),
        BackupErrorKind::Space
    );
    world.assert_no_checkpoint(vm);
}

#[test]
fn disks_that_come_go_and_swap_places_are_right() {
    let world = World::new(28);
    let vm = world
        .host
        .add_vm(&SimVm::new(
            "disks",
            vec![SimDisk::new(64 * MIB), SimDisk::new(32 * MIB)],
        ))
        .unwrap();
    world.host.write_random(vm, 0, 4 * MIB, 1).unwrap();
    world.host.write_random(vm, 1, 2 * MIB, 2).unwrap();
    world.back_up(vm, "repo").unwrap();
    world.host.swap_disks(vm, 0, 1).unwrap();
    let report = world.back_up(vm, "repo").unwrap();
    assert!(
        report
            .descriptor
            .disks
            .iter()
            .all(|disk| disk.full_reason.is_none()),
        "identity, not place, counts"
    );
    assert!(world.points("repo")[&report.descriptor.point.to_string()] == world.disk(vm, 0));
    world.host.add_disk(vm, &SimDisk::new(16 * MIB)).unwrap();
    let report = world.back_up(vm, "repo").unwrap();
    let reasons: Vec<_> = report
        .descriptor
        .disks
        .iter()
        .map(|disk| disk.full_reason.as_deref())
        .collect();
    assert_eq!(reasons, [None, None, Some("the disk is new")]);
}

#[test]
fn a_user_checkpoint_between_runs_is_read_through() {
    let (world, vm) = world_with_a_point(29);
    world.host.checkpoint(vm, "mine").unwrap();
    world.host.write_random(vm, 0, MIB, 5).unwrap();
    let report = world.back_up(vm, "repo").unwrap();
    assert!(world.points("repo")[&report.descriptor.point.to_string()] == world.disk(vm, 0));
    assert_eq!(
        world.host.checkpoints(vm).unwrap().len(),
        1,
        "the user's checkpoint stays"
    );
}

#[test]
fn what_fails_after_publication_is_a_warning_and_the_next_run_is_right() {
    for step in ["reference-points", "convert", "destroy"] {
        let (world, vm) = world_with_a_point(30);
        let report = world
            .back_up_until(vm, "repo", &|reached| {
                if reached == Step::PointPublished {
                    for words in [["job-fails-at", step], ["job-fails-at", "convert"]] {
                        world.host.add_fault(vm, fault(&words), Some(1)).unwrap();
                    }
                }
                true
            })
            .unwrap_or_else(|error| panic!("{step}: the point is published: {error}"));
        assert!(!report.warnings.is_empty(), "{step}");
        world.host.write_random(vm, 0, MIB, 3).unwrap();
        let next = world.back_up(vm, "repo").unwrap();
        let points = world.points("repo");
        assert!(points.contains_key(&report.descriptor.point.to_string()));
        assert!(
            points[&next.descriptor.point.to_string()] == world.disk(vm, 0),
            "{step}"
        );
        world.assert_no_checkpoint(vm);
    }
}

/// VMs of one run share a writer: what one could not publish must not come with what the next does.
#[test]
fn a_point_whose_publication_failed_is_not_published_by_the_next_vm() {
    let world = World::new(31);
    let vms = ["first", "second"].map(|name| world.add_vm(name, 32 * MIB));
    for vm in vms {
        world.host.write_random(vm, 0, MIB, 1).unwrap();
    }
    world.repository("repo");
    let store = FilesystemStore::open(world.path("repo"), Chance::from_system()).unwrap();
    let faulty = Arc::new(Faulty::new(
        Arc::new(store),
        SystemClock::new(),
        StopSignal::new(),
    ));
    let repo = world.open_repository(faulty.clone());
    let (writer, state) = (Writer::new(&repo, 2).unwrap(), world.state());
    let refused = Rule::on(Operation::Put, Strike::Fail(BlobErrorKind::Denied)).named("xn");
    let run = |vm, refuse: bool| {
        let goes_on = |step| {
            if refuse && step == Step::DataSettled {
                faulty.add(refused.clone());
            }
            true
        };
        let backup = VmBackup {
            host: &world.host,
            writer: &writer,
            state: &state,
            options: &world.options,
            goes_on: &goes_on,
        };
        backup.run(vm, &Progress::silent())
    };
    let error = run(vms[0], true).unwrap_err();
    assert!(matches!(error.kind(), BackupErrorKind::Repo(_)), "{error}");
    let report = run(vms[1], false).unwrap();
    let listed: Vec<String> = world.points("repo").into_keys().collect();
    assert_eq!(listed, [report.descriptor.point.to_string()]);
}
