//! The order of steps: stopped after any of them, the next run is right (DESIGN, promise 3).

#![expect(
    clippy::unwrap_used,
    reason = "in tests and their helpers a panic is the report"
)]

use backup::BackupErrorKind;
use backup::vm::Step;
use hyperv::{HypervHost, RequestedConsistency};
use image::ImageWriter;
use point::{BackupType, Points};
use progress::Progress;
use repo::Writer;
use scenarios::World;
use time_and_chance::{Chance, StopSignal};

const MIB: u64 = 1 << 20;

#[test]
fn stopped_after_any_step_of_an_increment_the_next_run_is_right() {
    for step in Step::ALL {
        let world = World::new(10);
        let vm = world.add_vm("crash", 64 * MIB);
        world.host.write_random(vm, 0, 8 * MIB, 1).unwrap();
        world.back_up(vm, "repo").unwrap();
        world.host.write_random(vm, 0, MIB, 2).unwrap();
        let died = world
            .back_up_until(vm, "repo", &|reached| reached != step)
            .unwrap_err();
        assert_eq!(died.kind(), BackupErrorKind::Killed, "{step:?}: {died}");
        let published = Step::ALL.iter().position(|it| *it == step)
            >= Step::ALL.iter().position(|it| *it == Step::PointPublished);
        assert_eq!(
            world.points("repo").len(),
            1 + usize::from(published),
            "{step:?}"
        );
        let at_crash = world.disk(vm, 0);

        world.host.write_random(vm, 0, MIB, 3).unwrap();
        let report = world.back_up(vm, "repo").unwrap();
        assert_eq!(
            report.descriptor.backup_type(),
            BackupType::Incremental,
            "{step:?}: {:?}",
            report.descriptor.disks[0].full_reason
        );
        let points = world.points("repo");
        assert!(
            points[&report.descriptor.point.to_string()] == world.disk(vm, 0),
            "{step:?}: the next point is wrong"
        );
        if published {
            assert!(
                points.values().any(|disk| *disk == at_crash),
                "{step:?}: the published point is wrong"
            );
        }
        world.assert_no_checkpoint(vm);
        assert_eq!(
            world.host.reference_points(vm).unwrap().len(),
            1,
            "{step:?}: one base is kept"
        );
    }
}

#[test]
fn stopped_after_any_step_of_a_first_full_the_next_run_is_right() {
    for step in Step::ALL {
        let world = World::new(11);
        let vm = world.add_vm("crash", 64 * MIB);
        world.host.write_random(vm, 0, 4 * MIB, 1).unwrap();
        world
            .back_up_until(vm, "repo", &|reached| reached != step)
            .unwrap_err();
        for round in 2..4 {
            world.host.write_random(vm, 0, MIB, round).unwrap();
            let report = world.back_up(vm, "repo").unwrap();
            assert!(
                world.points("repo")[&report.descriptor.point.to_string()] == world.disk(vm, 0),
                "{step:?}, round {round}"
            );
        }
        world.assert_no_checkpoint(vm);
    }
}

/// The order of an older agent: the base is sealed by a second checkpoint after the data was
/// read. Writes in between are in no later increment. The comparison these stories make must
/// catch it, or it proves nothing.
#[test]
fn the_known_bad_order_is_caught() {
    let world = World::new(12);
    let vm = world.add_vm("bad", 64 * MIB);
    world.host.write_random(vm, 0, 4 * MIB, 1).unwrap();
    let repo = world.repository("repo");
    let writer = Writer::new(&repo, 2).unwrap();
    let progress = Progress::silent();
    let stop = StopSignal::new();
    let chance = Chance::from_seed(1);
    let images = ImageWriter {
        writer: &writer,
        progress: &progress,
        disk_number: 0,
        compression: None,
        workers: 2,
        onlooker: None,
    };
    let take = || {
        world
            .host
            .create_recovery_checkpoint(vm, RequestedConsistency::Crash, "bad", &stop)
            .unwrap()
    };
    let open = |checkpoint| {
        let frozen = world.host.frozen_disks(vm, checkpoint).unwrap();
        world
            .host
            .open_frozen_disk(vm, checkpoint, &frozen[0])
            .unwrap()
    };

    let first = take();
    let source = open(first);
    let full = images.write(source.as_ref(), None, &chance).unwrap();
    drop(source);
    world.host.destroy_checkpoint(vm, first).unwrap();
    let lost = vec![0xAB; 64 << 10];
    world.host.write(vm, 0, 40 * MIB, &lost).unwrap();
    while world.host.merge_state(vm).unwrap() != hyperv::MergeState::Idle {}
    let second = take();
    let base = world
        .host
        .convert_to_reference_point(vm, second, &stop)
        .unwrap();
    while world.host.merge_state(vm).unwrap() != hyperv::MergeState::Idle {}

    let third = take();
    let source = open(third);
    let disk::Changes::Ranges(changes) = source.changes_since(&base.disks[0].change_id) else {
        panic!("the tracking answers");
    };
    writer.flush().unwrap();
    let increment = images
        .write(
            source.as_ref(),
            Some(&image::Base {
                object: full.object,
                changes,
            }),
            &chance,
        )
        .unwrap();
    writer.flush().unwrap();
    let image = image::ImageReader::open(&repo, &increment.object).unwrap();
    let mut stored = vec![0; lost.len()];
    disk::BlockRead::read_at(&image, 40 * MIB, &mut stored).unwrap();
    assert_ne!(
        stored, lost,
        "this order loses the write, and comparing contents shows it"
    );
}

#[test]
fn a_base_point_that_is_deleted_during_the_run_breaks_nothing() {
    for step in [
        Step::CheckpointJournaled,
        Step::DataStored,
        Step::DataSettled,
        Step::PointPublished,
    ] {
        let world = World::new(13);
        let vm = world.add_vm("base", 64 * MIB);
        world.host.write_random(vm, 0, 8 * MIB, 1).unwrap();
        let first = world.back_up(vm, "repo").unwrap();
        world.host.write_random(vm, 0, MIB, 2).unwrap();
        let report = world
            .back_up_until(vm, "repo", &|reached| {
                if reached == step {
                    let repo = world.repository("repo");
                    Points::withdraw(&Writer::new(&repo, 1).unwrap(), &first.point_id).unwrap();
                }
                true
            })
            .unwrap();
        let points = world.points("repo");
        assert_eq!(points.len(), 1, "{step:?}");
        assert!(
            points[&report.descriptor.point.to_string()] == world.disk(vm, 0),
            "{step:?}"
        );
    }
}

#[test]
fn packs_that_nobody_indexed_yet_may_vanish_at_any_step() {
    for step in [Step::DataStored, Step::DataSettled, Step::PointPublished] {
        let world = World::new(14);
        let vm = world.add_vm("packs", 64 * MIB);
        world.host.write_random(vm, 0, 8 * MIB, 1).unwrap();
        world.back_up(vm, "repo").unwrap();
        world.host.write_random(vm, 0, MIB, 2).unwrap();
        let known = packs(&world);
        let report = world
            .back_up_until(vm, "repo", &|reached| {
                if reached == step {
                    packs(&world)
                        .into_iter()
                        .filter(|pack| !known.contains(pack))
                        .for_each(|pack| std::fs::remove_file(pack).unwrap());
                }
                true
            })
            .unwrap();
        let points = world.points("repo");
        assert!(
            points[&report.descriptor.point.to_string()] == world.disk(vm, 0),
            "{step:?}"
        );
    }
}

/// Returns the files of all data packs.
fn packs(world: &World) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![world.path("repo").join("p")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                files.push(path)
            }
        }
    }
    files
}
