//! VMs into folders.

use std::collections::BTreeMap;
use std::path::Path;

use hyperv::{CheckpointId, Consistency, Controller, Generation, VmId};
use kopia::directory::{DirectoryEntry, DirectorySummary, EntryType};
use kopia::object_id::ObjectId;
use kopia::snapshot::{SnapshotManifest, SnapshotSource, SnapshotStats};
use point::{
    BackupType, DESCRIPTOR_VERSION, DiskDescriptor, NewPoint, OpenPoint, Points, VmDescriptor,
};
use progress::Progress;
use restore::{RestoreErrorKind, disk, vm};
use snapshot::{Snapshots, TreeWriter};
use time_and_chance::Timestamp;
use uuid::Uuid;

use crate::world::{StopAtFirstPiece, TestDisk, World, names_in, options};

const MIB: u64 = 1 << 20;

pub fn descriptor(guid: VmId, name: &str, disks: Vec<DiskDescriptor>) -> VmDescriptor {
    VmDescriptor {
        descriptor_version: DESCRIPTOR_VERSION,
        point: Uuid::from_u128(0xB),
        run: Uuid::from_u128(0xC),
        name: name.into(),
        guid,
        generation: Generation::Two,
        version: "10.0".into(),
        firmware: "UEFI".into(),
        processors: 2,
        memory_bytes: 1 << 30,
        network_adapters: Vec::new(),
        checkpoint: CheckpointId(Uuid::from_u128(0xD)),
        frozen_at: Timestamp::from_second(1_780_000_000).unwrap(),
        consistency: Consistency::Application,
        consistency_reason: String::new(),
        disks,
        omitted_disks: Vec::new(),
    }
}

pub fn disk_descriptor(number: u32, location: u32, path: &str) -> DiskDescriptor {
    DiskDescriptor {
        number,
        file: format!("{number}-disk.vhdx"),
        virtual_disk_id: Uuid::from_u128(0xD15C),
        virtual_bytes: 8 * MIB,
        logical_sector_bytes: 512,
        physical_sector_bytes: 4096,
        source_block_bytes: 2 << 20,
        controller: Controller::Scsi,
        controller_number: 0,
        location,
        original_path: path.into(),
        change_id: None,
        backup_type: BackupType::Full,
        full_reason: None,
        read_bytes: 0,
        sample_bytes: 0,
        changed_bytes: 0,
        uploaded_bytes: 0,
        chunk_bytes: 256 << 10,
    }
}

/// Publishes a point and returns its manifest's id.
pub fn publish(
    world: &World,
    descriptor: VmDescriptor,
    disks: Vec<(ObjectId, u64)>,
    configuration: Vec<(String, Vec<u8>)>,
) -> String {
    let now = Timestamp::from_second(1_790_000_000).unwrap();
    let mut point =
        NewPoint::store(&world.writer, "host", descriptor, disks, configuration, now).unwrap();
    let id = point.publish(&world.writer).unwrap();
    world.writer.flush().unwrap();
    id
}

/// A VM with two disks of one name and a third.
fn publish_vm(world: &World, paths: [&str; 3]) -> String {
    let mut disks = Vec::new();
    let mut objects = Vec::new();
    for (number, path) in (0u32..).zip(paths) {
        let source = TestDisk::new(8 * MIB, 512);
        source.fill(MIB * u64::from(number), 100_000);
        objects.push(world.store_disk(&source));
        disks.push(disk_descriptor(number, number, path));
    }
    let configuration = vec![
        ("a.vmcx".to_owned(), b"vmcx".to_vec()),
        ("a.vmgs".to_owned(), vec![9; 5000]),
    ];
    publish(
        world,
        descriptor(VmId(Uuid::from_u128(0xA)), "web", disks),
        objects,
        configuration,
    )
}

const PATHS: [&str; 3] = [r"C:\a\disk.vhdx", r"D:\b\Disk.vhdx", "/srv/data.vhdx"];

fn open(world: &World, id: &str) -> OpenPoint {
    Points::load(&world.repo)
        .unwrap()
        .find(id)
        .unwrap()
        .open(&world.repo)
        .unwrap()
}

fn restore(
    world: &World,
    id: &str,
    folder: &Path,
    overwrite: bool,
    progress: &Progress,
) -> Result<Vec<restore::RestoredDisk>, restore::RestoreError> {
    vm::to_folder(
        &world.repo,
        &open(world, id),
        folder,
        &options(overwrite),
        progress,
    )
}

#[test]
fn a_vm_comes_back_with_disks_configuration_and_description() {
    let world = World::new();
    let id = publish_vm(&world, PATHS);
    let folder = world.folder.path().join("new/vm");
    let disks = restore(&world, &id, &folder, false, &Progress::silent()).unwrap();
    assert_eq!(
        names_in(&folder),
        [
            "0-disk.vhdx",
            "1-Disk.vhdx",
            "config",
            "data.vhdx",
            "vm.json"
        ]
    );
    assert_eq!(names_in(&folder.join("config")), ["a.vmcx", "a.vmgs"]);
    assert_eq!(
        std::fs::read(folder.join("config/a.vmgs")).unwrap(),
        vec![9; 5000]
    );
    let described: VmDescriptor =
        serde_json::from_slice(&std::fs::read(folder.join("vm.json")).unwrap()).unwrap();
    assert_eq!(described.name, "web");
    let numbers: Vec<u32> = disks.iter().map(|disk| disk.number).collect();
    assert_eq!(numbers, [0, 1, 2]);
    for disk in &disks {
        let source = TestDisk::new(8 * MIB, 512);
        source.fill(MIB * u64::from(disk.number), 100_000);
        let file = vhdx::Chain::open(vec![std::fs::File::open(&disk.path).unwrap()]).unwrap();
        let mut bytes = vec![0; 8 * MIB as usize];
        file.read_at(0, &mut bytes).unwrap();
        assert!(bytes == source.disk.to_vec(), "disk {}", disk.number);
    }
}

#[test]
fn any_file_that_is_there_ends_a_restore_before_it_begins() {
    for name in ["1-Disk.vhdx", "vm.json", "config/a.vmcx"] {
        let world = World::new();
        let id = publish_vm(&world, PATHS);
        let folder = world.folder.path();
        std::fs::create_dir(folder.join("config")).unwrap();
        std::fs::write(folder.join(name), b"precious").unwrap();
        let error = restore(&world, &id, folder, false, &Progress::silent()).unwrap_err();
        assert_eq!(error.kind(), RestoreErrorKind::Exists, "{name}: {error}");
        assert_eq!(std::fs::read(folder.join(name)).unwrap(), b"precious");
        assert!(!folder.join("0-disk.vhdx").exists(), "nothing was written");
        restore(&world, &id, folder, true, &Progress::silent()).unwrap();
        assert_ne!(std::fs::read(folder.join(name)).unwrap(), b"precious");
    }
}

#[test]
fn a_stopped_or_failed_restore_leaves_nothing_not_even_its_folder() {
    let world = World::new();
    let id = publish_vm(&world, PATHS);
    let folder = world.folder.path().join("new/vm");
    let error = restore(&world, &id, &folder, false, &StopAtFirstPiece::progress()).unwrap_err();
    assert_eq!(error.kind(), RestoreErrorKind::Stopped);
    assert!(world.names().is_empty());
    let point = open(&world, &id);
    world.lose_data();
    vm::to_folder(
        &world.repo,
        &point,
        &folder,
        &options(false),
        &Progress::silent(),
    )
    .unwrap_err();
    assert!(world.names().is_empty());
}

#[test]
fn names_from_a_point_stay_in_the_folder() {
    for path in ["..", "a\0b.vhdx", "/../.."] {
        let world = World::new();
        let id = publish_vm(&world, [path, PATHS[1], PATHS[2]]);
        let folder = world.folder.path().join("vm");
        match restore(&world, &id, &folder, false, &Progress::silent()) {
            Ok(disks) => assert!(
                disks
                    .iter()
                    .all(|disk| disk.path.parent() == Some(&*folder)),
                "{disks:?}"
            ),
            Err(error) => assert_eq!(error.kind(), RestoreErrorKind::Damaged, "{path:?}: {error}"),
        }
        assert!(world.names().is_empty() || world.names() == ["vm"]);
    }
}

#[test]
fn the_simulated_hosts_own_folder_is_refused() {
    let world = World::new();
    let id = publish_vm(&world, PATHS);
    std::fs::create_dir(world.folder.path().join("vms")).unwrap();
    std::fs::write(world.folder.path().join("host.json"), b"{}").unwrap();
    let error = restore(
        &world,
        &id,
        &world.folder.path().join("vms/x"),
        false,
        &Progress::silent(),
    )
    .unwrap_err();
    assert_eq!(error.kind(), RestoreErrorKind::TargetUnsuited);
}

fn publish_root(world: &World, entry_type: EntryType, name: &str, object: ObjectId) -> String {
    let time = Timestamp::from_second(1_780_000_000).unwrap();
    let manifest = SnapshotManifest {
        id: String::new(),
        source: SnapshotSource {
            host: "h".into(),
            user_name: "u".into(),
            path: "/vms/disk.vhdx".into(),
        },
        description: String::new(),
        start_time: time,
        end_time: time,
        stats: SnapshotStats::default(),
        incomplete: String::new(),
        root_entry: Some(DirectoryEntry {
            name: name.into(),
            entry_type,
            mode: 0o644,
            size: 0,
            mtime: time,
            uid: 0,
            gid: 0,
            object,
            summary: Some(DirectorySummary::default()),
            other: BTreeMap::new(),
        }),
        tags: BTreeMap::new(),
        storage_stats: None,
        pins: Vec::new(),
        other: BTreeMap::new(),
    };
    let published = Snapshots::publish(&world.writer, &manifest).unwrap();
    let id = published.id().to_owned();
    world.writer.flush().unwrap();
    id
}

#[test]
fn the_disks_of_a_point_are_found_whoever_made_it() {
    let world = World::new();
    let ours = publish_vm(&world, PATHS);
    let (object, _) = world.store_disk(&TestDisk::new(MIB, 512));
    let older = publish_root(&world, EntryType::File, "disk.vhdx", object);
    let mut tree = TreeWriter::new(&world.writer, world.repo.clock().now());
    let hosts = tree.file("hosts", b"127.0.0.1").unwrap();
    let etc = tree.folder("etc", vec![hosts]).unwrap();
    let files = publish_root(&world, EntryType::Directory, "etc", etc.object);
    let container = tree.stored_file("Web.VHDX", object, MIB);
    let of_container = tree.folder("", vec![container]).unwrap();
    let in_folder = publish_root(&world, EntryType::Directory, "", of_container.object);
    let points = Points::load(&world.repo).unwrap();
    let disks = |id: &str| disk::disk_objects(&world.repo, &points.find(id).unwrap());
    let found: Vec<_> = disks(&ours)
        .unwrap()
        .into_iter()
        .map(|(number, name, _)| (number, name))
        .collect();
    assert_eq!(
        found,
        [
            (0, "0-disk.vhdx".into()),
            (1, "1-Disk.vhdx".into()),
            (2, "data.vhdx".into())
        ]
    );
    assert_eq!(disks(&older).unwrap(), [(0, "disk.vhdx".into(), object)]);
    assert_eq!(disks(&in_folder).unwrap(), [(0, "Web.VHDX".into(), object)]);
    assert_eq!(
        disks(&files).unwrap_err().kind(),
        RestoreErrorKind::Unsupported
    );
}
