//! Volumes: what is mounted from a device, and where that lies.

use std::fs;
use std::io;
use std::path::Path;

use disk::ByteRange;
use volume::{Extent, Volume};

use crate::{disks, mounts, sysfs};

/// Returns the volumes, by name. What nobody has mounted is a partition and no volume.
pub fn volumes(sys: &Path, mountinfo: &Path) -> io::Result<Vec<Volume>> {
    let mut volumes: Vec<Volume> = Vec::new();
    for mount in mounts::mounts(&fs::read_to_string(mountinfo)?) {
        if let Some(known) = volumes.iter_mut().find(|it| it.name == mount.source) {
            known.mount_points.push(mount.point);
            continue;
        }
        // Mounted over, or out of our reach: then its room is not known.
        let room = local_file::room(&mount.point).ok();
        let folder = sys.join("dev/block").join(&mount.device);
        let bytes = match folder.join("size").exists() {
            true => Some(sysfs::units(&folder.join("size"))?),
            // File systems over several devices have numbers of their own.
            false => room.map(|room| room.total_bytes),
        };
        volumes.push(Volume {
            name: mount.source,
            mount_points: vec![mount.point],
            file_system: Some(mount.file_system),
            label: None,
            total_bytes: bytes.unwrap_or_default(),
            free_bytes: room.map(|room| room.free_bytes),
            extents: extent(&folder)?.into_iter().collect(),
        });
    }
    volumes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(volumes)
}

/// Returns where a device lies on a disk: as its partition, or as the whole of it. Of mappings
/// and arrays that is not told.
fn extent(folder: &Path) -> io::Result<Option<Extent>> {
    // What stands in `/sys/dev/block` leads to the device's own folder.
    let Ok(folder) = folder.canonicalize() else {
        return Ok(None);
    };
    let name = |folder: &Path| {
        let name = folder.file_name();
        name.map(|name| name.to_string_lossy().into_owned())
    };
    if folder.join("partition").exists() {
        let disk = folder.parent().and_then(name);
        let range = disks::range(&folder)?;
        return Ok(disk.map(|disk| Extent { disk, range }));
    }
    if !folder.join("device").exists() {
        return Ok(None);
    }
    let range = ByteRange::at(0, sysfs::units(&folder.join("size"))?);
    let found = name(&folder).zip(range);
    Ok(found.map(|(disk, range)| Extent { disk, range }))
}
