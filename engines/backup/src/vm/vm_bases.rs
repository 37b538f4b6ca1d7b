//! Points that VMs' next increments build on: what has to be known before one is deleted.
//!
//! A base is known on the machine that makes the backups, by its state folder. Elsewhere no point
//! is known as one, and the run that finds its base gone reads the disks in full.

use hyperv::VmId;
use point::Point;

use super::state::StateFolder;
use crate::error::{BackupError, BackupErrorKind};
use crate::run_lock::RunLock;

/// The bases of this machine's VMs in one repository.
pub struct VmBases {
    state: StateFolder,
    repository: String,
}

/// The hold on a VM whose base is about to go: no backup of it begins meanwhile.
pub struct HeldBase {
    _lock: RunLock,
}

impl VmBases {
    /// Returns the bases that a state folder knows in the repository with this unique id.
    pub fn new(state: StateFolder, repository: String) -> Self {
        Self { state, repository }
    }

    /// Returns the VM whose next increment builds on this point, if there is one.
    pub fn vm_on(&self, point: &Point<'_>) -> Result<Option<VmId>, BackupError> {
        let (Some(uuid), Some(vm)) = (point.point(), point.tag("vm-guid")) else {
            return Ok(None);
        };
        let Ok(vm) = vm.parse::<VmId>() else {
            return Ok(None);
        };
        let base = self.state.base(&self.repository, vm)?.base;
        Ok(base.filter(|base| base.point == uuid).map(|_| vm))
    }

    /// Takes hold of a VM; `None` if a backup of it is running.
    pub fn hold(&self, vm: VmId) -> Result<Option<HeldBase>, BackupError> {
        match self.state.lock(vm) {
            Ok(lock) => Ok(Some(HeldBase { _lock: lock })),
            Err(error) if error.kind() == BackupErrorKind::Locked => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Returns what to tell about a base that goes.
pub fn next_is_full(point: &Point<'_>, vm: VmId) -> String {
    let name = point.tag("vm-name").unwrap_or("?");
    format!(
        "the next backup of {name} ({vm}) reads its disks in full: it would have built on {}",
        point.id()
    )
}
