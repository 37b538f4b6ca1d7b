//! The main job: full, guest writes, increment, and every point is the disk as it was.

#![expect(
    clippy::unwrap_used,
    reason = "in tests and their helpers a panic is the report"
)]

use point::BackupType;
use scenarios::World;

const MIB: u64 = 1 << 20;

#[test]
fn a_vm_grows_by_increments_and_every_point_is_the_disk_as_it_was() {
    let world = World::new(1);
    let vm = world.add_vm("web", 96 * MIB + 512);
    world.host.write_random(vm, 0, 24 * MIB, 1).unwrap();
    let mut expected = Vec::new();
    let full = world.back_up(vm, "repo").unwrap();
    assert_eq!(full.descriptor.backup_type(), BackupType::Full);
    assert_eq!(full.warnings, Vec::<String>::new());
    expected.push((full.descriptor.point.to_string(), world.disk(vm, 0)));
    for round in 2..5 {
        world.host.write_random(vm, 0, MIB, round).unwrap();
        let report = world.back_up(vm, "repo").unwrap();
        let disk = &report.descriptor.disks[0];
        assert_eq!(disk.full_reason, None);
        assert_eq!(
            disk.read_bytes,
            disk.changed_bytes + disk.sample_bytes,
            "nothing else is read"
        );
        assert!(disk.uploaded_bytes < 24 * MIB);
        expected.push((report.descriptor.point.to_string(), world.disk(vm, 0)));
    }
    let points = world.points("repo");
    assert_eq!(points.len(), expected.len());
    for (point, disk) in expected {
        assert!(points[&point] == disk, "point {point} differs");
    }
    world.assert_no_checkpoint(vm);
    let second =
        second_reader::SecondReader::open(&world.path("repo"), scenarios::PASSWORD).unwrap();
    assert_eq!(second.audit(), Vec::<String>::new());
}

#[test]
fn a_quiet_disk_costs_the_sample_and_nothing_else() {
    let world = World::new(2);
    let vm = world.add_vm("quiet", 64 * MIB);
    world.host.write_random(vm, 0, 16 * MIB, 1).unwrap();
    world.back_up(vm, "repo").unwrap();
    let report = world.back_up(vm, "repo").unwrap();
    let disk = &report.descriptor.disks[0];
    assert_eq!(
        (disk.backup_type, disk.changed_bytes),
        (BackupType::Incremental, 0)
    );
    assert_eq!(disk.read_bytes, disk.sample_bytes);
    assert!(disk.sample_bytes > 0);
    assert_eq!(disk.uploaded_bytes, 0);
}

const BOTH: [&str; 2] = ["first", "second"];

/// Points of two repositories, each with the disk as it was.
type Expected = [Vec<(String, Vec<u8>)>; 2];

/// Asserts that each repository lists these points, that each is the disk as it was, and that the
/// second reader finds no fault.
fn assert_points(world: &World, expected: &Expected) {
    for (repository, expected) in BOTH.into_iter().zip(expected) {
        let points = world.points(repository);
        assert_eq!(points.len(), expected.len(), "{repository}");
        for (point, disk) in expected {
            assert!(points[point] == *disk, "{repository}, point {point}");
        }
        let second =
            second_reader::SecondReader::open(&world.path(repository), scenarios::PASSWORD)
                .unwrap();
        assert_eq!(second.audit(), Vec::<String>::new(), "{repository}");
    }
}

#[test]
fn two_repositories_keep_a_base_each() {
    let world = World::new(3);
    let vm = world.add_vm("both", 64 * MIB);
    world.host.write_random(vm, 0, 8 * MIB, 1).unwrap();
    let mut expected = Expected::default();
    for round in 0..6 {
        for (place, repository) in BOTH.into_iter().enumerate() {
            let report = world.back_up(vm, repository).unwrap();
            let wanted = if round == 0 {
                BackupType::Full
            } else {
                BackupType::Incremental
            };
            assert_eq!(
                report.descriptor.backup_type(),
                wanted,
                "round {round} into {repository}: {:?}",
                report.descriptor.disks[0].full_reason
            );
            expected[place].push((report.descriptor.point.to_string(), world.disk(vm, 0)));
            let seed = 10 + 2 * round + place as u64;
            world.host.write_random(vm, 0, MIB, seed).unwrap();
        }
    }
    assert_points(&world, &expected);
    world.assert_no_checkpoint(vm);
}

#[test]
fn an_older_state_folder_costs_a_full_read_and_never_a_wrong_point() {
    let world = World::new(4);
    let vm = world.add_vm("state", 64 * MIB);
    world.host.write_random(vm, 0, 8 * MIB, 1).unwrap();
    let mut expected = Expected::default();
    let mut types = Vec::new();
    for round in 0..5 {
        for (place, repository) in BOTH.into_iter().enumerate() {
            let report = world.back_up(vm, repository).unwrap();
            types.push(report.descriptor.backup_type());
            expected[place].push((report.descriptor.point.to_string(), world.disk(vm, 0)));
            let seed = 10 + 2 * round + place as u64;
            world.host.write_random(vm, 0, MIB, seed).unwrap();
        }
        match round {
            0 => copy_folder(&world.path("state"), &world.path("older")),
            2 => {
                std::fs::remove_dir_all(world.path("state")).unwrap();
                std::fs::rename(world.path("older"), world.path("state")).unwrap();
            }
            _ => {}
        }
    }
    use BackupType::{Full, Incremental};
    // The older state's bases are gone from the host; after one full each, all is as ever.
    let rounds = [Full, Incremental, Incremental, Full, Incremental];
    assert_eq!(types, rounds.map(|round| [round; 2]).concat());
    assert_points(&world, &expected);
    world.assert_no_checkpoint(vm);
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
