//! The real Linux behind the ports: its disks and volumes, from `/sys` and `/proc`.
//!
//! It freezes nothing: Linux has no one way to do so for every volume.

mod disks;
mod mounts;
mod sysfs;
mod volumes;

use std::path::{Path, PathBuf};

use volume::{Disk, StorageLayout, Volume, VolumeError, VolumeErrorKind};

/// The disks and volumes of this machine.
#[derive(Debug, Clone)]
pub struct LinuxStorage {
    sys: PathBuf,
    mounts: PathBuf,
}

impl Default for LinuxStorage {
    fn default() -> Self {
        Self::at(Path::new("/sys"), Path::new("/proc/self/mountinfo"))
    }
}

impl LinuxStorage {
    /// Looks into a tree like `/sys` and a file like `/proc/self/mountinfo`.
    pub fn at(sys: &Path, mounts: &Path) -> Self {
        Self {
            sys: sys.to_path_buf(),
            mounts: mounts.to_path_buf(),
        }
    }
}

impl StorageLayout for LinuxStorage {
    fn volumes(&self) -> Result<Vec<Volume>, VolumeError> {
        volumes::volumes(&self.sys, &self.mounts).map_err(|error| failed("list volumes", error))
    }

    fn disks(&self) -> Result<Vec<Disk>, VolumeError> {
        disks::disks(&self.sys).map_err(|error| failed("list disks", error))
    }
}

fn failed(doing: &str, error: std::io::Error) -> VolumeError {
    VolumeError::new(VolumeErrorKind::Failed, doing).caused_by(error)
}
