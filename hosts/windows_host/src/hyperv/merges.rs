//! Whether a VM's disks are being merged (Hyper-V spec 12).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyperv::{HypervError, MergeState, OperationInProgress, VmId};

use super::errors::{virtual_disk_error, wmi_error};
use super::provider::Provider;
use super::{checkpoints, discovery, disk_facts, disk_kinds, merge_settings, settings};
use crate::virtdisk::VirtualDisks;

/// Merges that do not begin have been logged within this time.
const LOGGED_OF_LATE: Duration = Duration::from_hours(1);

/// Since when disks have been seen waiting for their merges to begin.
///
/// A differencing file that no checkpoint owns is about to be merged or never will be; only time
/// tells one from the other (RH-18).
#[derive(Debug, Default)]
pub(super) struct MergeWatch {
    waiting_since: Mutex<HashMap<VmId, Duration>>,
}

impl MergeWatch {
    /// Notes that a VM's disks wait, and returns for how long they have.
    fn waiting(&self, vm: VmId, now: Duration) -> Duration {
        let mut waiting = self
            .waiting_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        now.saturating_sub(*waiting.entry(vm).or_insert(now))
    }

    fn forget(&self, vm: VmId) {
        let mut waiting = self
            .waiting_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&vm);
    }
}

/// Tells whether disks of a VM are being merged.
pub(super) fn state(
    provider: &Provider,
    virtual_disks: &dyn VirtualDisks,
    watch: &MergeWatch,
    vm: VmId,
) -> Result<MergeState, HypervError> {
    let wrong = |error| wmi_error(&format!("look at the merges of VM {vm}"), error);
    let system = provider.system(vm)?;
    if settings::operation(&system).map_err(wrong)? == Some(OperationInProgress::MergingDisks) {
        watch.forget(vm);
        return Ok(MergeState::Running(None));
    }
    let Some(file) = unowned(provider, virtual_disks, vm, system.path().map_err(wrong)?)? else {
        watch.forget(vm);
        return Ok(MergeState::Idle);
    };
    if merge_settings::is_off(provider, vm)? {
        return Ok(MergeState::Stuck(format!(
            "{} waits to be merged, and Hyper-V was told not to merge the disks of this VM (Msvm_DiskMergeSettingData); restart the VM or the management service",
            file.display()
        )));
    }
    if watch.waiting(vm, provider.clock.monotonic()) < provider.beliefs.merge_begins_within {
        return Ok(MergeState::Running(None));
    }
    Ok(MergeState::Stuck(format!(
        "{} belongs to no checkpoint and is not being merged; look for event 19100 in Hyper-V-VMMS-Admin, for an antivirus or filter driver on the volume, and at the rights of NT VIRTUAL MACHINE on the folder; moving the VM or restarting it merges it{}",
        file.display(),
        provider.logged(vm, LOGGED_OF_LATE)
    )))
}

/// Returns a differencing file that no checkpoint asks for: each checkpoint accounts for one
/// file of each disk, and files that are no `.avhdx` are nobody's checkpoint.
fn unowned(
    provider: &Provider,
    virtual_disks: &dyn VirtualDisks,
    vm: VmId,
    system: &str,
) -> Result<Option<PathBuf>, HypervError> {
    let own = discovery::own_settings(provider, vm, system)?;
    let path = own.path().map_err(|error| wmi_error("read a VM", error))?;
    let disks = disk_kinds::disks(&provider.components(path)?)?.files;
    if !disks.iter().any(|disk| is_checkpoint_file(&disk.path)) {
        return Ok(None);
    }
    let checkpoints = checkpoints::list(provider, vm)?.len();
    for disk in disks.iter().filter(|disk| is_checkpoint_file(&disk.path)) {
        if checkpoints == 0 {
            return Ok(Some(disk.path.clone()));
        }
        let facts = disk_facts::facts(provider, virtual_disks, &disk.path);
        let files = facts.map_err(virtual_disk_error)?.files;
        if files.iter().filter(|file| is_checkpoint_file(file)).count() > checkpoints {
            return Ok(Some(disk.path.clone()));
        }
    }
    Ok(None)
}

fn is_checkpoint_file(path: &std::path::Path) -> bool {
    let end = path.extension().unwrap_or_default();
    end.eq_ignore_ascii_case("avhdx") || end.eq_ignore_ascii_case("avhd")
}
