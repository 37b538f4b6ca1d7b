//! Disks: what of `/sys/block` has a device behind it, which loops, memory and mappings have not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use disk::ByteRange;
use volume::{Disk, Partition};

use crate::sysfs;

/// Returns the disks, by name.
pub fn disks(sys: &Path) -> io::Result<Vec<Disk>> {
    let mut disks = Vec::new();
    for entry in fs::read_dir(sys.join("block"))? {
        let entry = entry?;
        let folder = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let total_bytes = sysfs::units(&folder.join("size"))?;
        // An empty drive has a device and no length.
        if folder.join("device").exists() && total_bytes > 0 {
            disks.push(disk(&folder, name, total_bytes)?);
        }
    }
    disks.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(disks)
}

fn disk(folder: &Path, name: String, total_bytes: u64) -> io::Result<Disk> {
    let sector = |file: &str| -> io::Result<u32> {
        let bytes = sysfs::required(&folder.join("queue").join(file))?;
        u32::try_from(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
    };
    let device = folder.join("device");
    let mut partitions = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some(number) = sysfs::number(&path.join("partition"))? {
            partitions.push(Partition {
                number: u32::try_from(number).map_err(|_| io::ErrorKind::InvalidData)?,
                range: range(&path)?,
            });
        }
    }
    partitions.sort_by_key(|partition| partition.range.start());
    Ok(Disk {
        device: PathBuf::from("/dev").join(&name),
        name,
        model: sysfs::text(&device.join("model"))?,
        serial: sysfs::text(&device.join("serial"))?,
        total_bytes,
        logical_sector_bytes: sector("logical_block_size")?,
        physical_sector_bytes: sector("physical_block_size")?,
        table: None,
        partitions,
    })
}

/// Returns where a partition lies on its disk.
pub fn range(folder: &Path) -> io::Result<ByteRange> {
    let start = sysfs::units(&folder.join("start"))?;
    let bytes = sysfs::units(&folder.join("size"))?;
    ByteRange::at(start, bytes).ok_or_else(|| {
        let message = format!("{} is no partition that a disk can have", folder.display());
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}
