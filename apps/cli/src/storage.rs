//! Disks and volumes of this machine.

use std::sync::Arc;

use volume::{StorageLayout, VolumeHost};

use crate::failure::Failure;
use crate::world::World;

/// Returns what tells of disks and volumes.
pub fn layout(world: &World) -> Arc<dyn StorageLayout> {
    system::layout(world)
}

/// Returns what freezes volumes.
pub fn volume_host(world: &World) -> Result<Arc<dyn VolumeHost>, Failure> {
    system::volume_host(world)
}

#[cfg(windows)]
mod system {
    use std::sync::Arc;

    use volume::{StorageLayout, VolumeHost};
    use windows_host::volume::{VolumeLimits, VolumeParts, WindowsVolumeHost};
    use windows_host::vss::com::ComVss;
    use windows_host::wmi::com::ComNamespaces;

    use crate::failure::Failure;
    use crate::world::World;

    fn host(world: &World) -> Arc<WindowsVolumeHost> {
        Arc::new(WindowsVolumeHost::new(VolumeParts {
            namespaces: Arc::new(ComNamespaces::default()),
            vss: Arc::new(ComVss),
            clock: world.clock().clone(),
            // Somebody waits for the answer: what passes by itself is told, not waited out.
            limits: VolumeLimits {
                again: 0,
                ..VolumeLimits::default()
            },
        }))
    }

    pub(super) fn layout(world: &World) -> Arc<dyn StorageLayout> {
        host(world)
    }

    pub(super) fn volume_host(world: &World) -> Result<Arc<dyn VolumeHost>, Failure> {
        Ok(host(world))
    }
}

#[cfg(not(windows))]
mod system {
    use std::sync::Arc;

    use linux_host::LinuxStorage;
    use volume::{StorageLayout, VolumeHost};

    use crate::failure::{Failure, FailureKind};
    use crate::world::World;

    pub(super) fn layout(_: &World) -> Arc<dyn StorageLayout> {
        Arc::new(LinuxStorage::default())
    }

    pub(super) fn volume_host(_: &World) -> Result<Arc<dyn VolumeHost>, Failure> {
        Err(Failure::new(
            FailureKind::Unsupported,
            "volumes are frozen on Windows only, by VSS",
        ))
    }
}
