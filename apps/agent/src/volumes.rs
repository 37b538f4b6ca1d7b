//! This machine's disks and volumes, as people choose sources from them.

use protocol::reports::Disks;
use protocol::volumes::{ReportVolumes, Volume};

use crate::control_plane::CallError;
use crate::parts::Parts;

/// Reports the volumes; returns how many the control plane keeps.
pub fn report(parts: &Parts) -> Result<u64, CallError> {
    let call = ReportVolumes { volumes: list() };
    parts.plane.call(&call, &parts.stop)
}

/// Returns the volumes.
pub fn list() -> Vec<Volume> {
    system::volumes()
}

/// Returns the disks.
pub fn disks() -> Result<Disks, String> {
    system::disks()
}

#[cfg(target_os = "linux")]
mod system {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use protocol::reports::{Disk, Disks, Partition};
    use protocol::volumes::{Volume, VolumeKind};

    const BLOCK_DEVICES: &str = "/sys/class/block";
    /// The kernel counts in these, whatever the disk does.
    const SECTOR_BYTES: u64 = 512;
    /// Devices that hold nothing of their own.
    const VIRTUAL: [&str; 5] = ["loop", "ram", "zram", "sr", "fd"];

    /// Where a device is mounted, and as what.
    type Mounts = BTreeMap<String, (String, String)>;

    pub(super) fn volumes() -> Vec<Volume> {
        let mounts = mounts();
        let volumes = devices().into_iter().filter_map(|name| {
            let path = format!("/dev/{name}");
            let mount = mounts.get(&path);
            Some(Volume {
                kind: kind(&name)?,
                label: mount.map_or_else(String::new, |(place, _)| place.clone()),
                size_bytes: size_bytes(&name),
                filesystem: mount.map_or_else(String::new, |(_, kind)| kind.clone()),
                unc_path: String::new(),
                is_network: false,
                path,
            })
        });
        volumes.filter(|it| it.size_bytes > 0).collect()
    }

    pub(super) fn disks() -> Result<Disks, String> {
        let mounts = mounts();
        let names = devices();
        let whole = names
            .iter()
            .filter(|name| matches!(kind(name), Some(VolumeKind::Disk)));
        let disks = whole.filter(|name| size_bytes(name) > 0).map(|name| Disk {
            path: format!("/dev/{name}"),
            name: name.clone(),
            model: attribute(name, "device/model"),
            serial: attribute(name, "device/serial"),
            bus_type: String::new(),
            partition_style: String::new(),
            size_bytes: size_bytes(name),
            partitions: names
                .iter()
                .filter(|part| Path::new(BLOCK_DEVICES).join(name).join(part).is_dir())
                .map(|part| partition(part, &mounts))
                .collect(),
        });
        Ok(disks.collect::<Vec<_>>().into())
    }

    fn partition(name: &str, mounts: &Mounts) -> Partition {
        let path = format!("/dev/{name}");
        let (mountpoint, filesystem) = mounts.get(&path).cloned().unwrap_or_default();
        Partition {
            name: name.to_owned(),
            start_bytes: attribute(name, "start").parse().unwrap_or(0) * SECTOR_BYTES,
            size_bytes: size_bytes(name),
            is_efi: mountpoint == "/boot/efi",
            is_system: mountpoint == "/",
            filesystem,
            mountpoint,
            path,
            ..Partition::default()
        }
    }

    fn devices() -> Vec<String> {
        let entries = fs::read_dir(BLOCK_DEVICES).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let is_virtual = |name: &String| {
            VIRTUAL.iter().any(|kind| {
                let number = name.strip_prefix(kind);
                number.is_some_and(|it| it.starts_with(|letter: char| letter.is_ascii_digit()))
            })
        };
        let mut names: Vec<String> = names.filter(|name| !is_virtual(name)).collect();
        names.sort();
        names
    }

    fn kind(name: &str) -> Option<VolumeKind> {
        if Path::new(BLOCK_DEVICES)
            .join(name)
            .join("partition")
            .exists()
        {
            return Some(VolumeKind::Part);
        }
        if name.starts_with("dm-") {
            let is_lvm = attribute(name, "dm/uuid").starts_with("LVM-");
            return is_lvm.then_some(VolumeKind::Lvm);
        }
        Some(VolumeKind::Disk)
    }

    fn size_bytes(name: &str) -> u64 {
        let sectors: u64 = attribute(name, "size").parse().unwrap_or(0);
        sectors.saturating_mul(SECTOR_BYTES)
    }

    fn attribute(name: &str, of: &str) -> String {
        let path = Path::new(BLOCK_DEVICES).join(name).join(of);
        fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    fn mounts() -> Mounts {
        let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let lines = text.lines().filter_map(|line| {
            let mut words = line.split(' ');
            let device = words.next()?.to_owned();
            let place = words.next()?.replace("\\040", " ");
            Some((device, (place, words.next()?.to_owned())))
        });
        lines
            .filter(|(device, _)| device.starts_with("/dev/"))
            .collect()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::path::Path;

    use protocol::reports::Disks;
    use protocol::volumes::{Volume, VolumeKind};

    pub(super) fn volumes() -> Vec<Volume> {
        let drives = ('A'..='Z').map(|letter| format!("{letter}:\\"));
        let volumes = drives.filter_map(|path| {
            let room = local_file::room(Path::new(&path)).ok()?;
            Some(Volume {
                kind: VolumeKind::Fixed,
                label: String::new(),
                size_bytes: room.total_bytes,
                filesystem: String::new(),
                unc_path: String::new(),
                is_network: false,
                path,
            })
        });
        volumes.collect()
    }

    pub(super) fn disks() -> Result<Disks, String> {
        Err("listing disks is not in this version on this system".to_owned())
    }
}
