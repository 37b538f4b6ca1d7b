//! Disks and volumes as plain values.

use std::path::PathBuf;

use disk::ByteRange;
use serde::Serialize;

/// How a disk says where its partitions lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionTable {
    /// The table of old, for disks of up to 2 TiB.
    Mbr,
    /// The table of UEFI.
    Gpt,
}

/// A part of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// As the system counts them, mostly from 1.
    pub number: u32,
    /// Where it lies on its disk.
    pub range: ByteRange,
}

/// A physical disk of the machine, or what it takes for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The system's name, such as `PhysicalDrive0` or `sda`.
    pub name: String,
    /// What is opened to read it.
    pub device: PathBuf,
    /// What the maker calls it, if that is told.
    pub model: Option<String>,
    /// The maker's number of this very disk, if that is told.
    pub serial: Option<String>,
    /// How long it is.
    pub total_bytes: u64,
    /// The unit in which it is read and written.
    pub logical_sector_bytes: u32,
    /// The unit that is written at once underneath.
    pub physical_sector_bytes: u32,
    /// How it says where its partitions lie; none if it has no table, or if that is not told.
    pub table: Option<PartitionTable>,
    /// By where they begin.
    pub partitions: Vec<Partition>,
}

/// A place of a volume on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// The name of the disk.
    pub disk: String,
    /// Where on it.
    pub range: ByteRange,
}

/// A formatted part of one or several disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The name that stays the same wherever it is mounted: `\\?\Volume{GUID}\`, `/dev/sda1`.
    pub name: String,
    /// Where it is mounted; it may be nowhere.
    pub mount_points: Vec<PathBuf>,
    /// The name of its file system, such as `NTFS`; none if the system knows none on it.
    pub file_system: Option<String>,
    /// What people call it.
    pub label: Option<String>,
    /// How long it is.
    pub total_bytes: u64,
    /// What its file system has left, if that is told.
    pub free_bytes: Option<u64>,
    /// Where it lies. Empty if the system does not tell, as of volumes that a manager puts
    /// together.
    pub extents: Vec<Extent>,
}

impl Volume {
    /// Tells whether people mean this volume by `text`: its name or one of its mount points, with
    /// or without the separator at the end. Case counts where the system says so.
    pub fn is_called(&self, text: &str) -> bool {
        let plain = |it: &str| {
            let it = it.trim_end_matches(['\\', '/']);
            match cfg!(windows) {
                true => it.to_lowercase(),
                false => it.to_owned(),
            }
        };
        let wanted = plain(text);
        plain(&self.name) == wanted
            || self
                .mount_points
                .iter()
                .any(|point| plain(&point.to_string_lossy()) == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_found_by_name_and_by_mount_point() {
        let volume = Volume {
            name: "/dev/sda1".to_owned(),
            mount_points: vec![PathBuf::from("/"), PathBuf::from("/srv/data")],
            file_system: None,
            label: None,
            total_bytes: 1,
            free_bytes: None,
            extents: Vec::new(),
        };
        for name in ["/dev/sda1", "/", "/srv/data", "/srv/data/"] {
            assert!(volume.is_called(name), "{name}");
        }
        for name in ["/dev/sda", "/srv", "data"] {
            assert!(!volume.is_called(name), "{name}");
        }
    }
}
