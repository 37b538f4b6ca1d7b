//! The room on the volumes that hold a VM's files (Hyper-V spec 12.4).

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

use hyperv::{HypervError, VmId, VolumeSpace};
use local_file::Room;

use super::errors::{file_error, wmi_error};
use super::provider::Provider;
use super::{discovery, disk_kinds};

/// Tells of the volumes of a machine.
pub trait Volumes: Send + Sync + Debug {
    /// Returns the room at `path`, which need not be there yet.
    fn room(&self, path: &Path) -> io::Result<Room>;
}

/// The volumes and shares that this machine's system tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemVolumes;

impl Volumes for SystemVolumes {
    fn room(&self, path: &Path) -> io::Result<Room> {
        let there = path.ancestors().find(|ancestor| ancestor.exists());
        local_file::room(there.unwrap_or(path))
    }
}

/// Returns the room in every folder that a VM's disks lie in or grow in. Folders stand for their
/// volumes: a share, a mounted folder and a cluster's volume are each asked as they are.
pub(super) fn of_vm(
    provider: &Provider,
    volumes: &dyn Volumes,
    vm: VmId,
) -> Result<Vec<VolumeSpace>, HypervError> {
    let wrong = |error| wmi_error(&format!("find the folders of VM {vm}"), error);
    let system = provider.system(vm)?;
    let own = discovery::own_settings(provider, vm, system.path().map_err(wrong)?)?;
    let components = provider.components(own.path().map_err(wrong)?)?;
    let mut folders: Vec<PathBuf> = Vec::new();
    for disk in disk_kinds::disks(&components)?.files {
        folders.extend(disk.path.parent().map(Path::to_owned));
    }
    for root in ["ConfigurationDataRoot", "SnapshotDataRoot"] {
        let named = own.optional_text(root).map_err(wrong)?;
        folders.extend(named.filter(|root| !root.is_empty()).map(PathBuf::from));
    }
    folders.sort();
    folders.dedup();
    let spaces = folders.iter().map(|folder| {
        let room = volumes.room(folder);
        let room = room.map_err(|error| file_error("look for the room at", folder, error))?;
        Ok(VolumeSpace {
            volume: folder.display().to_string(),
            free_bytes: room.free_bytes,
            total_bytes: room.total_bytes,
        })
    });
    spaces.collect()
}
