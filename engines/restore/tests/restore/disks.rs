//! Disks into files: every byte is there, and nothing half ever is.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use ::disk::{BlockRead, DiskSource};
use image::ImageReader;
use kopia::object_id::ObjectId;
use progress::Progress;
use restore::{DiskFormat, RestoreError, RestoreErrorKind, RestoredDisk, disk};
use vhdx::Chain;

use crate::world::{StopAtFirstPiece, TestDisk, World, options, stopped};

const MIB: u64 = 1 << 20;

fn to_file(
    world: &World,
    object: &ObjectId,
    name: &str,
    format: DiskFormat,
    overwrite: bool,
) -> Result<RestoredDisk, RestoreError> {
    let file = world.folder.path().join(name);
    disk::to_file(
        &world.repo,
        object,
        0,
        &file,
        format,
        &options(overwrite),
        &Progress::silent(),
    )
}

/// Asserts that `qemu-img`, where it is installed, finds the same disk in both files.
fn assert_qemu_agrees(vhdx: &Path, raw: &Path) {
    let run = |arguments: &[&str], files: &[&Path]| {
        let output = Command::new("qemu-img")
            .args(arguments)
            .args(files)
            .output();
        match output {
            Ok(output) => assert!(output.status.success(), "{arguments:?}: {output:?}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
        }
    };
    run(&["check", "-q", "-f", "vhdx"], &[vhdx]);
    run(&["compare", "-q", "-f", "vhdx", "-F", "raw"], &[vhdx, raw]);
}

/// A small disk with data, zeros and a hole in it.
fn small_disk() -> TestDisk {
    let source = TestDisk::new(70 * MIB + 512, 512);
    source.fill(0, 5000);
    source.fill(5 * MIB - 100, 300_000);
    source.fill(40 * MIB, 9 * MIB as usize);
    source.fill(70 * MIB, 512);
    source
}

#[test]
fn a_disk_comes_back_as_vhdx_and_as_raw() {
    let dense = TestDisk::new(9 * MIB, 512);
    dense.fill(0, 9 * MIB as usize);
    let sectors_4096 = TestDisk::new(33 * MIB + 4096, 4096);
    sectors_4096.fill(33 * MIB, 4096);
    let odd = TestDisk::new(3 * MIB + 512 * 7, 512);
    odd.fill(3 * MIB - 512, 512 * 8);
    let zero = TestDisk::new(64 * MIB, 512);
    for (name, source) in [
        ("dense", dense),
        ("sectors", sectors_4096),
        ("odd", odd),
        ("zero", zero),
        ("small", small_disk()),
    ] {
        let world = World::new();
        let (object, _) = world.store_disk(&source);
        let restored = to_file(&world, &object, "disk.vhdx", DiskFormat::Vhdx, false).unwrap();
        to_file(&world, &object, "disk.raw", DiskFormat::Raw, false).unwrap();
        let size = BlockRead::size_bytes(&source);
        assert_eq!(
            (restored.number, restored.virtual_bytes),
            (0, size),
            "{name}"
        );
        let content = source.disk.to_vec();
        let raw = std::fs::read(world.folder.path().join("disk.raw")).unwrap();
        assert!(raw == content, "{name}: the raw file is the disk");

        let vhdx = world.folder.path().join("disk.vhdx");
        let file = Chain::open(vec![File::open(&vhdx).unwrap()]).unwrap();
        let metadata = file.metadata();
        assert_eq!(
            metadata.virtual_disk_id,
            source.virtual_disk_id(),
            "{name}: the identity is kept"
        );
        assert_eq!(metadata.logical_sector_bytes, source.sector_bytes, "{name}");
        assert_eq!(metadata.physical_sector_bytes, 4096, "{name}");
        assert_eq!(metadata.virtual_size_bytes, size, "{name}");
        let mut bytes = vec![0; size as usize];
        file.read_at(0, &mut bytes).unwrap();
        assert!(bytes == content, "{name}: the VHDX holds the disk");
        // qemu-img does not read disks with sectors of 4096 bytes.
        if source.sector_bytes == 512 {
            assert_qemu_agrees(&vhdx, &restored.path.with_file_name("disk.raw"));
        }
        assert_eq!(
            world.names(),
            ["disk.raw", "disk.vhdx"],
            "{name}: nothing else is left"
        );
    }
}

#[test]
fn zeros_take_no_room() {
    let source = TestDisk::new(256 * MIB, 512);
    source.fill(100 * MIB, 4096);
    let world = World::new();
    let (object, _) = world.store_disk(&source);
    let restored = to_file(&world, &object, "disk.vhdx", DiskFormat::Vhdx, false).unwrap();
    assert_eq!(
        restored.written_bytes,
        64 << 10,
        "zeros are left out in units of 64 KiB"
    );
    let len = restored.path.metadata().unwrap().len();
    assert!(len <= 8 * MIB, "one block of 2 MiB and the front: {len}");
    let restored = to_file(&world, &object, "disk.raw", DiskFormat::Raw, false).unwrap();
    assert_eq!(restored.path.metadata().unwrap().len(), 256 * MIB);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        assert!(
            restored.path.metadata().unwrap().blocks() * 512 <= MIB,
            "the rest is a hole"
        );
    }
}

#[test]
fn an_existing_file_is_kept_unless_overwriting_is_asked_for() {
    let world = World::new();
    let (object, _) = world.store_disk(&small_disk());
    let target = world.folder.path().join("disk.vhdx");
    std::fs::write(&target, b"precious").unwrap();
    for format in [DiskFormat::Vhdx, DiskFormat::Raw] {
        let error = to_file(&world, &object, "disk.vhdx", format, false).unwrap_err();
        assert_eq!(error.kind(), RestoreErrorKind::Exists);
        assert!(error.to_string().contains("--overwrite"), "{error}");
        assert_eq!(std::fs::read(&target).unwrap(), b"precious");
    }
    to_file(&world, &object, "disk.vhdx", DiskFormat::Raw, true).unwrap();
    assert!(std::fs::read(&target).unwrap() == small_disk().disk.to_vec());
    assert_eq!(world.names(), ["disk.vhdx"]);
}

#[test]
fn a_stopped_restore_leaves_nothing() {
    let world = World::new();
    let (object, _) = world.store_disk(&small_disk());
    let target = world.folder.path().join("disk");
    for format in [DiskFormat::Vhdx, DiskFormat::Raw] {
        for progress in [stopped(), StopAtFirstPiece::progress()] {
            let error = disk::to_file(
                &world.repo,
                &object,
                0,
                &target,
                format,
                &options(false),
                &progress,
            )
            .unwrap_err();
            assert_eq!(error.kind(), RestoreErrorKind::Stopped);
            assert!(world.names().is_empty(), "{:?}", world.names());
        }
    }
}

#[test]
fn a_restore_whose_data_is_lost_leaves_nothing_and_keeps_what_was_there() {
    let world = World::new();
    let (object, _) = world.store_disk(&small_disk());
    let target = world.folder.path().join("disk.raw");
    std::fs::write(&target, b"precious").unwrap();
    world.lose_data();
    let error = to_file(&world, &object, "disk.raw", DiskFormat::Raw, true).unwrap_err();
    assert!(
        matches!(
            error.kind(),
            RestoreErrorKind::Damaged | RestoreErrorKind::Repo(_)
        ),
        "{:?}: {error}",
        error.kind()
    );
    assert_eq!(world.names(), ["disk.raw"]);
    assert_eq!(std::fs::read(&target).unwrap(), b"precious");
}

#[test]
fn an_object_that_is_no_disk_is_refused() {
    let world = World::new();
    let object = world
        .writer
        .write_object(&mut repo::Encoder::new(None), None, &[7; 10_000], 4 << 20)
        .unwrap();
    world.writer.flush().unwrap();
    let error = to_file(&world, &object, "disk.vhdx", DiskFormat::Vhdx, false).unwrap_err();
    assert_eq!(error.kind(), RestoreErrorKind::Damaged);
    assert!(world.names().is_empty());
}

#[test]
fn a_container_that_somebody_else_stored_is_restored_too() {
    let world = World::new();
    let source = small_disk();
    let (object, _) = world.store_disk(&source);
    to_file(&world, &object, "container.vhdx", DiskFormat::Vhdx, false).unwrap();
    let container = std::fs::read(world.folder.path().join("container.vhdx")).unwrap();
    let stored = world
        .writer
        .write_object(&mut repo::Encoder::new(None), None, &container, 3_000_001)
        .unwrap();
    world.writer.flush().unwrap();
    let reader = ImageReader::open(&world.repo, &stored).unwrap();
    assert_eq!(reader.virtual_disk_id(), source.virtual_disk_id());
    to_file(&world, &stored, "disk.raw", DiskFormat::Raw, false).unwrap();
    assert!(std::fs::read(world.folder.path().join("disk.raw")).unwrap() == source.disk.to_vec());
}

#[test]
fn a_place_without_a_folder_is_refused() {
    let world = World::new();
    let (object, _) = world.store_disk(&TestDisk::new(MIB, 512));
    let error = to_file(
        &world,
        &object,
        "no/such/disk.vhdx",
        DiskFormat::Vhdx,
        false,
    )
    .unwrap_err();
    assert_eq!(error.kind(), RestoreErrorKind::TargetUnsuited);
}
