//! This machine's disks and volumes, as people choose sources from them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use disk::ByteRange;
use protocol::reports::{Disk as ToldDisk, Disks, Partition as ToldPartition};
use protocol::volumes::{ReportVolumes, Volume as ToldVolume, VolumeKind};
use volume::{Disk, Extent, Partition, PartitionTable, Volume, VolumeError};

use crate::parts::Parts;
use crate::ports::Ports;

/// What volumes of Windows have names that begin like.
const WINDOWS_NAME: &str = r"\\?\";

/// What volumes have names that begin like which Linux puts together: mostly LVM's.
const MAPPED_NAME: &str = "/dev/mapper/";

/// File systems of what is only read: discs, and images of programs.
const NEVER_WRITTEN: [&str; 6] = ["cdfs", "erofs", "iso9660", "romfs", "squashfs", "udf"];

/// So often it is looked whether disks are still being listed for somebody else.
const TURN_LOOK: Duration = Duration::from_millis(100);

/// Whose turn it is to enumerate disks. A device that hangs holds whoever asks for it, for ever if it must
/// be, so only one asks at a time. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Turn(Arc<AtomicBool>);

/// Somebody's turn, until it goes.
struct Taken<'t>(&'t AtomicBool);

impl Turn {
    fn take(&self) -> Option<Taken<'_>> {
        let is_taken = self.0.swap(true, Ordering::SeqCst);
        (!is_taken).then(|| Taken(&self.0))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Reports the volumes now and then until the service ends. For a thread of its own that nobody waits for.
pub fn keep_reported(parts: &Parts) {
    loop {
        if let Err(why) = report(parts) {
            parts.log.debug(&format!("{why}; again later"));
        }
        let pause = parts.ports.cadence.volumes;
        if parts.ports.clock.sleep(pause, &parts.stop).is_err() {
            return;
        }
    }
}

/// Reports the volumes; returns how many the control plane keeps.
pub fn report(parts: &Parts) -> Result<u64, String> {
    let (disks, volumes) = layout(parts)?;
    let call = ReportVolumes {
        volumes: told_volumes(&disks, &volumes),
    };
    let told = parts.plane.call(&call, &parts.stop);
    told.map_err(|error| format!("failed to report the volumes: {error}"))
}

/// Returns the disks.
pub fn disks(parts: &Parts) -> Result<Disks, String> {
    let (disks, volumes) = layout(parts)?;
    let told = disks.iter().map(|disk| told_disk(disk, &volumes));
    Ok(told.collect::<Vec<_>>().into())
}

fn layout(parts: &Parts) -> Result<(Vec<Disk>, Vec<Volume>), String> {
    let failed = |error: VolumeError| format!("failed to {error}");
    let _turn = turn(parts)?;
    let storage = &parts.ports.storage;
    let disks = storage.disks().map_err(failed)?;
    Ok((disks, storage.volumes().map_err(failed)?))
}

/// Waits for the turn to enumerate disks.
fn turn(parts: &Parts) -> Result<Taken<'_>, String> {
    let Ports {
        clock,
        cadence,
        enumerating,
        ..
    } = &parts.ports;
    let begun = clock.monotonic();
    loop {
        if let Some(taken) = enumerating.take() {
            return Ok(taken);
        }
        if clock.monotonic().saturating_sub(begun) >= cadence.turn {
            return Err("failed to list disks and volumes: a listing that was begun before does not end; look for a device of this machine that hangs".to_owned());
        }
        let slept = clock.sleep(TURN_LOOK, &parts.stop);
        slept.map_err(|stopped| format!("failed to list disks and volumes: {stopped}"))?;
    }
}

/// Returns what sources are chosen from: on Windows the volumes, elsewhere all that is a device.
fn told_volumes(disks: &[Disk], volumes: &[Volume]) -> Vec<ToldVolume> {
    let mut told = Vec::new();
    for disk in disks.iter().filter(|disk| !is_windows(disk)) {
        let path = disk.device.display().to_string();
        let volume = whole(disk).and_then(|it| volume_at(volumes, &it, &path));
        told.push(told_volume(
            path,
            VolumeKind::Disk,
            disk.total_bytes,
            volume,
        ));
        for partition in &disk.partitions {
            let path = partition_path(disk, partition, None);
            let volume = volume_at(volumes, &place(disk, partition), &path);
            let bytes = partition.range.bytes();
            told.push(told_volume(path, VolumeKind::Part, bytes, volume));
        }
    }
    for volume in volumes {
        if volume.name.starts_with(WINDOWS_NAME) {
            // What has no place in the tree of files holds nothing that people choose.
            for point in &volume.mount_points {
                let path = point.display().to_string();
                told.push(ToldVolume {
                    label: volume.label.clone().unwrap_or_default(),
                    ..told_volume(path, VolumeKind::Fixed, volume.total_bytes, Some(volume))
                });
            }
        } else if volume.name.starts_with(MAPPED_NAME) {
            let (path, bytes) = (volume.name.clone(), volume.total_bytes);
            told.push(told_volume(path, VolumeKind::Lvm, bytes, Some(volume)));
        }
    }
    told.retain(|it| it.size_bytes > 0);
    told
}

/// Returns a device, labelled with the place where it is mounted.
fn told_volume(
    path: String,
    kind: VolumeKind,
    size_bytes: u64,
    volume: Option<&Volume>,
) -> ToldVolume {
    ToldVolume {
        kind,
        label: volume.map_or_else(String::new, mount_point),
        size_bytes,
        free_bytes: volume
            .filter(|it| is_written(it))
            .and_then(|it| it.free_bytes),
        filesystem: volume
            .and_then(|it| it.file_system.clone())
            .unwrap_or_default(),
        unc_path: String::new(),
        is_network: false,
        path,
    }
}

/// Tells whether a volume is of a kind that is written to: the others are always full, and nobody is to be warned.
fn is_written(volume: &Volume) -> bool {
    let file_system = volume.file_system.as_deref().unwrap_or_default();
    !NEVER_WRITTEN
        .iter()
        .any(|kind| file_system.eq_ignore_ascii_case(kind))
}

fn told_disk(disk: &Disk, volumes: &[Volume]) -> ToldDisk {
    let partitions = disk.partitions.iter();
    ToldDisk {
        path: disk.device.display().to_string(),
        name: disk.name.clone(),
        model: disk.model.clone().unwrap_or_default(),
        serial: disk.serial.clone().unwrap_or_default(),
        bus_type: String::new(),
        partition_style: match disk.table {
            Some(PartitionTable::Gpt) => "gpt",
            Some(PartitionTable::Mbr) => "mbr",
            None => "",
        }
        .to_owned(),
        size_bytes: disk.total_bytes,
        partitions: partitions
            .map(|partition| told_partition(disk, partition, volumes))
            .collect(),
    }
}

fn told_partition(disk: &Disk, partition: &Partition, volumes: &[Volume]) -> ToldPartition {
    let device = partition_path(disk, partition, None);
    let volume = volume_at(volumes, &place(disk, partition), &device);
    let path = partition_path(disk, partition, volume);
    let mountpoint = volume.map_or_else(String::new, mount_point);
    ToldPartition {
        name: match path.strip_prefix("/dev/") {
            Some(name) => name.to_owned(),
            None => format!("Partition {}", partition.number),
        },
        start_bytes: partition.range.start(),
        size_bytes: partition.range.bytes(),
        filesystem: volume
            .and_then(|it| it.file_system.clone())
            .unwrap_or_default(),
        label: volume.and_then(|it| it.label.clone()).unwrap_or_default(),
        is_efi: mountpoint == "/boot/efi",
        is_system: mountpoint == "/",
        mountpoint,
        path,
        ..ToldPartition::default()
    }
}

/// Returns what a partition is opened by: on Windows the name of its volume, if it has one.
fn partition_path(disk: &Disk, partition: &Partition, volume: Option<&Volume>) -> String {
    if is_windows(disk) {
        return volume.map_or_else(String::new, |it| it.name.clone());
    }
    // `sda1`, but `nvme0n1p1`.
    let ends_in_a_digit = disk.name.ends_with(|last: char| last.is_ascii_digit());
    let between = if ends_in_a_digit { "p" } else { "" };
    format!("{}{between}{}", disk.device.display(), partition.number)
}

fn is_windows(disk: &Disk) -> bool {
    disk.device.to_string_lossy().starts_with(r"\\.\")
}

fn whole(disk: &Disk) -> Option<Extent> {
    Some(Extent {
        disk: disk.name.clone(),
        range: ByteRange::at(0, disk.total_bytes)?,
    })
}

fn place(disk: &Disk, partition: &Partition) -> Extent {
    Extent {
        disk: disk.name.clone(),
        range: partition.range,
    }
}

/// Returns the volume on a device at a place. Where file systems such as btrfs lie nobody tells, but they
/// are named for their device.
fn volume_at<'v>(volumes: &'v [Volume], place: &Extent, device: &str) -> Option<&'v Volume> {
    let lies_there = |it: &&Volume| it.extents.contains(place) || it.name == device;
    volumes.iter().find(lies_there)
}

/// Returns where a volume is mounted, or the first place of several.
fn mount_point(volume: &Volume) -> String {
    let first = volume.mount_points.first().map(|it| it.as_path());
    first.unwrap_or(Path::new("")).display().to_string()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn range(start: u64, bytes: u64) -> ByteRange {
        ByteRange::at(start, bytes).unwrap()
    }

    fn disk(device: &str, name: &str, table: Option<PartitionTable>) -> Disk {
        Disk {
            name: name.to_owned(),
            device: PathBuf::from(device),
            model: Some("Fast One".to_owned()),
            serial: None,
            total_bytes: 1000,
            logical_sector_bytes: 512,
            physical_sector_bytes: 4096,
            table,
            partitions: vec![
                Partition {
                    number: 1,
                    range: range(10, 90),
                },
                Partition {
                    number: 2,
                    range: range(100, 900),
                },
            ],
        }
    }

    fn volume(name: &str, point: &str, place: Option<(&str, ByteRange)>) -> Volume {
        Volume {
            name: name.to_owned(),
            mount_points: vec![PathBuf::from(point)],
            file_system: Some("NTFS".to_owned()),
            label: Some("Data".to_owned()),
            total_bytes: 900,
            free_bytes: Some(300),
            extents: place
                .into_iter()
                .map(|(disk, range)| Extent {
                    disk: disk.to_owned(),
                    range,
                })
                .collect(),
        }
    }

    #[test]
    fn windows_shows_its_volumes_and_what_lies_where_on_its_disks() {
        let name = "PhysicalDrive0";
        let disk = disk(&format!(r"\\.\{name}"), name, Some(PartitionTable::Gpt));
        let guid = r"\\?\Volume{0f}\";
        let volumes = [volume(guid, r"D:\", Some((name, range(100, 900))))];
        let told = told_volumes(std::slice::from_ref(&disk), &volumes);
        let [data] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!((&*data.path, &*data.label), (r"D:\", "Data"));
        assert_eq!((data.kind, data.size_bytes), (VolumeKind::Fixed, 900));
        assert_eq!(data.free_bytes, Some(300));
        let disc = Volume {
            file_system: Some("UDF".to_owned()),
            ..volumes[0].clone()
        };
        let told_disc = told_volumes(std::slice::from_ref(&disk), &[disc]);
        assert_eq!(told_disc[0].free_bytes, None);
        let told = told_disk(&disk, &volumes);
        assert_eq!(told.path, r"\\.\PhysicalDrive0");
        assert_eq!((&*told.model, &*told.partition_style), ("Fast One", "gpt"));
        let [first, second] = &told.partitions[..] else {
            panic!("{told:?}");
        };
        assert_eq!((&*first.name, &*first.path), ("Partition 1", ""));
        assert_eq!((second.start_bytes, second.size_bytes), (100, 900));
        assert_eq!((&*second.path, &*second.mountpoint), (guid, r"D:\"));
        assert_eq!((&*second.filesystem, &*second.label), ("NTFS", "Data"));
    }

    #[test]
    fn linux_shows_its_devices() {
        let disks = [
            disk("/dev/nvme0n1", "nvme0n1", None),
            disk("/dev/sda", "sda", None),
        ];
        let volumes = [
            volume("/dev/nvme0n1p2", "/", Some(("nvme0n1", range(100, 900)))),
            volume("/dev/mapper/vg-data", "/srv", None),
            volume("tank/data", "/tank", None),
            volume("/dev/sda1", "/btrfs", None),
            volume("/dev/loop3", "/snap/core", None),
            volume("/dev/md0", "/raid", None),
        ];
        let told = told_volumes(&disks, &volumes);
        let told: Vec<_> = told
            .iter()
            .map(|it| (&*it.path, it.kind, &*it.label))
            .collect();
        let expected = [
            ("/dev/nvme0n1", VolumeKind::Disk, ""),
            ("/dev/nvme0n1p1", VolumeKind::Part, ""),
            ("/dev/nvme0n1p2", VolumeKind::Part, "/"),
            ("/dev/sda", VolumeKind::Disk, ""),
            ("/dev/sda1", VolumeKind::Part, "/btrfs"),
            ("/dev/sda2", VolumeKind::Part, ""),
            ("/dev/mapper/vg-data", VolumeKind::Lvm, "/srv"),
        ];
        assert_eq!(told, expected);
        let told = told_disk(&disks[0], &volumes);
        assert_eq!(told.partitions[1].name, "nvme0n1p2");
        assert!(told.partitions[1].is_system);
    }
}
