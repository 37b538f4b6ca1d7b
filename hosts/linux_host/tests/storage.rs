//! Disks and volumes of a recorded machine, and of this one.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is the failure report"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use linux_host::LinuxStorage;
use volume::StorageLayout as _;

fn put(root: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

#[test]
fn partitions_lie_on_disks_and_volumes_on_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let sys = folder.path().join("sys");
    put(
        &sys,
        &[
            ("block/sda/size", "2097152\n"),
            ("block/sda/device/model", "Fast Disk   \n"),
            ("block/sda/queue/logical_block_size", "512\n"),
            ("block/sda/queue/physical_block_size", "4096\n"),
            ("block/sda/sda2/partition", "2\n"),
            ("block/sda/sda2/start", "1050624\n"),
            ("block/sda/sda2/size", "1000000\n"),
            ("block/sda/sda1/partition", "1\n"),
            ("block/sda/sda1/start", "2048\n"),
            ("block/sda/sda1/size", "1048576\n"),
            // No device behind it, and a drive without a disk in it.
            ("block/loop0/size", "8\n"),
            ("block/sr0/size", "0\n"),
            ("block/sr0/device/model", "DVD\n"),
            ("block/dm-0/size", "4096\n"),
        ],
    );
    fs::create_dir_all(sys.join("dev/block")).unwrap();
    symlink("../../block/sda/sda1", sys.join("dev/block/8:1")).unwrap();
    symlink("../../block/dm-0", sys.join("dev/block/253:0")).unwrap();
    let mounts = folder.path().join("mountinfo");
    fs::write(
        &mounts,
        "27 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
         28 1 8:1 /home /home rw - ext4 /dev/sda1 rw\n\
         29 1 253:0 / /data rw - xfs /dev/mapper/data rw\n\
         22 27 0:21 / /proc rw - proc proc rw\n",
    )
    .unwrap();
    let storage = LinuxStorage::at(&sys, &mounts);

    let disks = storage.disks().unwrap();
    let [disk] = disks.as_slice() else {
        panic!("one disk: {disks:?}");
    };
    assert_eq!((disk.name.as_str(), disk.total_bytes), ("sda", 1 << 30));
    assert_eq!(disk.model.as_deref(), Some("Fast Disk"));
    assert_eq!(disk.physical_sector_bytes, 4096);
    let numbers: Vec<u32> = disk.partitions.iter().map(|it| it.number).collect();
    assert_eq!(numbers, [1, 2]);

    let volumes = storage.volumes().unwrap();
    let [data, root] = volumes.as_slice() else {
        panic!("two volumes: {volumes:?}");
    };
    assert_eq!(root.mount_points, [Path::new("/"), Path::new("/home")]);
    assert_eq!(root.total_bytes, 512 << 20);
    assert_eq!(root.extents[0].disk, "sda");
    assert_eq!(root.extents[0].range, disk.partitions[0].range);
    assert_eq!((data.total_bytes, data.extents.len()), (2 << 20, 0));
    assert!(data.is_called("/data"));
}

#[test]
fn this_machine_can_be_asked() {
    let storage = LinuxStorage::default();
    // A container may have neither; what there is makes sense.
    for disk in storage.disks().unwrap() {
        let ends = disk.partitions.iter().map(|it| it.range.end());
        assert!(ends.max().unwrap_or(0) <= disk.total_bytes, "{disk:?}");
    }
    storage.volumes().unwrap();
}
