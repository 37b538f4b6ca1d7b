//! Disks, partitions and volumes from the storage namespace of WMI, which every Windows since 2012
//! has.

use std::collections::BTreeMap;
use std::path::PathBuf;

use disk::ByteRange;
use volume::{Disk, Extent, Partition, PartitionTable, Volume, VolumeError, VolumeErrorKind};

use crate::wmi::{Namespaces, WmiError, WmiObject};

const NAMESPACE: &str = r"root\Microsoft\Windows\Storage";

/// What one look at the namespace gave.
pub(super) struct Layout {
    disks: Vec<WmiObject>,
    partitions: Vec<WmiObject>,
    volumes: Vec<WmiObject>,
}

impl Layout {
    /// Looks, with one question for each class.
    pub(super) fn ask(namespaces: &dyn Namespaces) -> Result<Self, VolumeError> {
        let ask = || {
            let session = namespaces.connect(NAMESPACE)?;
            Ok(Self {
                disks: session.query("SELECT * FROM MSFT_Disk")?,
                partitions: session.query("SELECT * FROM MSFT_Partition")?,
                volumes: session.query("SELECT * FROM MSFT_Volume")?,
            })
        };
        ask().map_err(failed)
    }

    /// Returns the disks, by their numbers.
    pub(super) fn disks(&self) -> Result<Vec<Disk>, VolumeError> {
        let disks = self.disks.iter().map(|disk| self.disk(disk));
        let mut disks: Vec<(u32, Disk)> = disks.collect::<Result<_, _>>().map_err(failed)?;
        disks.sort_by_key(|(number, _)| *number);
        Ok(disks.into_iter().map(|(_, disk)| disk).collect())
    }

    fn disk(&self, disk: &WmiObject) -> Result<(u32, Disk), WmiError> {
        let number = disk.u32("Number")?;
        let name = name_of(number);
        let mut partitions = Vec::new();
        for partition in &self.partitions {
            if partition.u32("DiskNumber")? == number {
                partitions.push(Partition {
                    number: partition.u32("PartitionNumber")?,
                    range: range(partition)?,
                });
            }
        }
        partitions.sort_by_key(|partition| partition.range.start());
        let found = Disk {
            device: PathBuf::from(format!(r"\\.\{name}")),
            name,
            model: text(disk, "FriendlyName")?,
            serial: text(disk, "SerialNumber")?,
            total_bytes: disk.u64("Size")?,
            logical_sector_bytes: disk.u32("LogicalSectorSize")?,
            physical_sector_bytes: disk.u32("PhysicalSectorSize")?,
            table: match disk.u16("PartitionStyle")? {
                1 => Some(PartitionTable::Mbr),
                2 => Some(PartitionTable::Gpt),
                _ => None,
            },
            partitions,
        };
        Ok((number, found))
    }

    /// Returns the volumes, by their names.
    pub(super) fn volumes(&self) -> Result<Vec<Volume>, VolumeError> {
        let volumes = self.volumes.iter().map(|volume| self.volume(volume));
        let volumes: BTreeMap<String, Volume> = volumes
            .map(|volume| volume.map(|volume| (volume.name.clone(), volume)))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        Ok(volumes.into_values().collect())
    }

    fn volume(&self, volume: &WmiObject) -> Result<Volume, WmiError> {
        let name = volume.text("Path")?.to_owned();
        let mut found = Volume {
            name,
            mount_points: Vec::new(),
            file_system: text(volume, "FileSystem")?,
            label: text(volume, "FileSystemLabel")?,
            total_bytes: volume.u64("Size")?,
            free_bytes: Some(volume.u64("SizeRemaining")?),
            extents: Vec::new(),
        };
        for partition in &self.partitions {
            let paths = partition.texts("AccessPaths")?;
            if !paths
                .iter()
                .any(|path| path.eq_ignore_ascii_case(&found.name))
            {
                continue;
            }
            found.extents.push(Extent {
                disk: name_of(partition.u32("DiskNumber")?),
                range: range(partition)?,
            });
            // Besides its name there are the folders in which it is mounted.
            let mounted = paths.iter().filter(|path| !path.starts_with(r"\\?\"));
            found.mount_points.extend(mounted.map(PathBuf::from));
        }
        Ok(found)
    }
}

/// Returns the name under which a disk is opened, behind `\\.\`.
fn name_of(number: u32) -> String {
    format!("PhysicalDrive{number}")
}

fn range(partition: &WmiObject) -> Result<ByteRange, WmiError> {
    let (offset, bytes) = (partition.u64("Offset")?, partition.u64("Size")?);
    ByteRange::at(offset, bytes).ok_or_else(|| {
        WmiError::shape(format!(
            "a partition of {bytes} bytes at {offset} is none that a disk can have"
        ))
    })
}

/// Returns text that says something.
fn text(object: &WmiObject, name: &str) -> Result<Option<String>, WmiError> {
    let found = object.optional_text(name)?.map(str::trim);
    Ok(found.filter(|text| !text.is_empty()).map(str::to_owned))
}

fn failed(error: WmiError) -> VolumeError {
    let kind = match error.code() {
        Some(0x8004_1003 | 0x8007_0005) => VolumeErrorKind::Denied,
        // No such namespace, no such class.
        Some(0x8004_100E | 0x8004_1010) => VolumeErrorKind::Unsupported,
        Some(0x8004_1013..=0x8004_1015 | 0x8007_06BA..=0x8007_06BE) => VolumeErrorKind::Unavailable,
        _ => VolumeErrorKind::Failed,
    };
    VolumeError::new(
        kind,
        "ask Windows' storage management for disks and volumes",
    )
    .caused_by(error)
}
