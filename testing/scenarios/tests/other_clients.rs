//! Other clients in the same repository, among them one that deletes and collects without any margin.

#![expect(
    clippy::unwrap_used,
    reason = "in tests and their helpers a panic is the report"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backup::vm::{PointReport, Step};
use blob::Operation;
use foreign_client::ForeignClient;
use hyperv::VmId;
use point::{BackupType, Points};
use progress::Progress;
use scenarios::World;
use time_and_chance::{Chance, ManualClock, SystemClock};
use verify::{VerifyOptions, verify};

const MIB: u64 = 1 << 20;

/// A world with a point in `repo`.
fn world_with_a_point(seed: u64) -> (World, VmId, PointReport) {
    let world = World::new(seed);
    let vm = world.add_vm("vm", 64 * MIB);
    world.host.write_random(vm, 0, 4 * MIB, 1).unwrap();
    let report = world.back_up(vm, "repo").unwrap();
    (world, vm, report)
}

/// Asserts that the repository lists this point alone, that it is the disk as it was, and that
/// the second reader finds no fault with anything.
fn assert_only_point(world: &World, vm: VmId, report: &PointReport, context: &str) {
    let points = world.points("repo");
    assert_eq!(points.len(), 1, "{context}");
    assert!(
        points[&report.descriptor.point.to_string()] == world.disk(vm, 0),
        "{context}: the point is not the disk as it was"
    );
    assert_sound(world, context);
}

/// Asserts that the second reader finds no fault but what a client that was stopped may leave.
fn assert_sound(world: &World, context: &str) {
    let second =
        second_reader::SecondReader::open(&world.path("repo"), scenarios::PASSWORD).unwrap();
    assert_eq!(second.audit(), Vec::<String>::new(), "{context}");
}

/// Deletes a point and lets maintenance take all that no other snapshot needs, at once.
fn delete_and_collect(foreign: &ForeignClient, point_id: &str) {
    foreign.delete_snapshot(point_id).unwrap();
    foreign.full_maintenance().unwrap();
}

#[test]
fn a_base_that_is_deleted_and_collected_at_any_step_breaks_no_point() {
    let (world, vm, mut base) = world_with_a_point(40);
    let foreign = world.foreign_client("repo");
    for (round, step) in (2..).zip(Step::ALL) {
        world.host.write_random(vm, 0, MIB, round).unwrap();
        let report = world
            .back_up_until(vm, "repo", &|reached| {
                if reached == step {
                    delete_and_collect(&foreign, &base.point_id);
                }
                true
            })
            .unwrap();
        // The second reader would call what was collected too late a fault.
        foreign.full_maintenance().unwrap();
        assert_only_point(&world, vm, &report, &format!("{step:?}"));
        base = report;
    }
}

#[test]
fn a_base_that_is_deleted_and_collected_before_any_write_breaks_no_point() {
    let (world, vm, mut base) = world_with_a_point(41);
    let foreign = Arc::new(world.foreign_client("repo"));
    let mut writes = Vec::new();
    for round in 0.. {
        world.host.write_random(vm, 0, MIB, 2 + round).unwrap();
        let struck = Arc::new(AtomicBool::new(false));
        let hook = {
            let (foreign, struck) = (Arc::clone(&foreign), Arc::clone(&struck));
            let base = base.point_id.clone();
            move |number: usize, _: Operation, _: &str| {
                if number as u64 == round {
                    struck.store(true, Ordering::Relaxed);
                    delete_and_collect(&foreign, &base);
                }
            }
        };
        let report = world.back_up_hooked(vm, "repo", Box::new(hook)).unwrap();
        if !struck.load(Ordering::Relaxed) {
            break;
        }
        let context = format!("before write {round}");
        foreign.full_maintenance().unwrap();
        assert_only_point(&world, vm, &report, &context);
        writes.push(report.descriptor.backup_type());
        base = report;
    }
    assert!(
        writes.len() >= 8,
        "an increment has more writes: {writes:?}"
    );
    assert!(
        writes.contains(&BackupType::Incremental),
        "a base that vanishes late is replaced, not given up"
    );
}

#[test]
fn an_index_that_is_written_two_epochs_late_is_written_again() {
    let (world, vm, first) = world_with_a_point(46);
    let foreign = world.foreign_client("repo");
    let compacted = AtomicBool::new(false);
    let hook = move |_: usize, operation: Operation, name: &str| {
        let index = operation == Operation::Put && name.starts_with("xn");
        if index && !compacted.swap(true, Ordering::Relaxed) {
            // Whatever is written into this epoch from now on, nobody reads.
            for _ in 0..3 {
                foreign.compact_epochs().unwrap();
            }
        }
    };
    world.host.write_random(vm, 0, MIB, 2).unwrap();
    let report = world.back_up_hooked(vm, "repo", Box::new(hook)).unwrap();
    assert_eq!(report.descriptor.backup_type(), BackupType::Incremental);
    let points = world.points("repo");
    assert!(points.contains_key(&first.descriptor.point.to_string()));
    assert!(points[&report.descriptor.point.to_string()] == world.disk(vm, 0));
    assert_sound(&world, "two epochs late");
}

#[test]
fn maintenance_between_runs_changes_nothing_for_us() {
    let (world, vm, first) = world_with_a_point(42);
    let foreign = world.foreign_client("repo");
    let kept_open = world.repository("repo");
    let mut expected = vec![(first.descriptor.point.to_string(), world.disk(vm, 0))];
    // So many rounds that epochs are compacted one by one and to a range.
    for round in 0..12 {
        let text = format!("file of round {round}");
        let foreign_id = foreign
            .add_snapshot("/home", &[("text", text.as_bytes())])
            .unwrap();
        foreign.full_maintenance().unwrap();
        if round % 3 == 0 {
            foreign.compact_manifests().unwrap();
            world.host.write_random(vm, 0, MIB, 10 + round).unwrap();
            let report = world.back_up(vm, "repo").unwrap();
            assert_eq!(
                report.descriptor.backup_type(),
                BackupType::Incremental,
                "round {round}: {:?}",
                report.descriptor.disks[0].full_reason
            );
            expected.push((report.descriptor.point.to_string(), world.disk(vm, 0)));
        }
        let points = Points::load(&kept_open).unwrap();
        assert!(points.find(&foreign_id).is_ok(), "round {round}");
        foreign.delete_snapshot(&foreign_id).unwrap();
    }
    foreign.full_maintenance().unwrap();
    assert!(
        foreign
            .read()
            .unwrap()
            .active_indexes()
            .iter()
            .any(|blob| blob.starts_with("xr")),
        "the story compacts a range"
    );
    let points = world.points("repo");
    assert_eq!(points.len(), expected.len());
    for (point, disk) in expected {
        assert!(points[&point] == disk, "point {point}");
    }
    assert_sound(&world, "at the end");
    let options = VerifyOptions {
        data_percent: 100.0,
        seed: 1,
        readers: 2,
        points: Vec::new(),
        until: None,
    };
    let verification = verify(&world.repository("repo"), &options, &Progress::silent()).unwrap();
    assert!(verification.is_sound(), "{:?}", verification.damages);
    assert!(verification.read_contents > 0);
}

#[test]
fn a_pinned_base_has_a_new_manifest_and_still_serves() {
    let (world, vm, first) = world_with_a_point(43);
    let foreign = world.foreign_client("repo");
    let pinned = foreign.pin_snapshot(&first.point_id).unwrap();
    assert_ne!(pinned, first.point_id);
    foreign.full_maintenance().unwrap();
    world.host.write_random(vm, 0, MIB, 2).unwrap();
    let report = world.back_up(vm, "repo").unwrap();
    assert_eq!(report.descriptor.backup_type(), BackupType::Incremental);
    let points = world.points("repo");
    assert_eq!(points.len(), 2);
    assert!(points[&report.descriptor.point.to_string()] == world.disk(vm, 0));
    assert_sound(&world, "after a pin");
}

#[test]
fn what_was_collected_by_a_clock_ahead_of_ours_is_stored_again_and_found() {
    let (world, vm, first) = world_with_a_point(44);
    let ahead = ManualClock::at(SystemClock::new().now() + std::time::Duration::from_secs(1800));
    let foreign = ForeignClient::open(
        &world.path("repo"),
        scenarios::PASSWORD,
        ahead,
        Chance::from_seed(44),
    )
    .unwrap();
    delete_and_collect(&foreign, &first.point_id);
    assert!(world.points("repo").is_empty());
    // The same content comes again, younger by our clock than the tombstones that hide it.
    let report = world.back_up(vm, "repo").unwrap();
    assert_only_point(&world, vm, &report, "behind the watermark");
}

#[test]
fn two_of_us_write_into_one_repository_at_once() {
    let world = World::new(45);
    let vms = ["one", "two", "three"].map(|name| world.add_vm(name, 64 * MIB));
    world.repository("repo");
    for round in 0..4 {
        for (number, vm) in (0..).zip(vms) {
            // Half of what they write is the same, so that they race for it.
            world.host.write_random(vm, 0, 3 * MIB, round).unwrap();
            world
                .host
                .write_random(vm, 0, MIB, 100 * (number + 1) + round)
                .unwrap();
        }
        let reports = std::thread::scope(|scope| {
            let running = vms.map(|vm| {
                let world = &world;
                scope.spawn(move || world.back_up(vm, "repo").unwrap())
            });
            running.map(|run| run.join().unwrap())
        });
        let points = world.points("repo");
        for (vm, report) in vms.into_iter().zip(&reports) {
            assert!(
                points[&report.descriptor.point.to_string()] == world.disk(vm, 0),
                "round {round}, {}",
                report.descriptor.name
            );
            let wanted = if round == 0 {
                BackupType::Full
            } else {
                BackupType::Incremental
            };
            assert_eq!(report.descriptor.backup_type(), wanted);
        }
    }
    assert_sound(&world, "three writers");
}
