//! Whether a VM's disks are being merged (Hyper-V spec 12).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyperv::{HypervError, MergeProgress, MergeState, OperationInProgress, VmId};

use super::errors::{virtual_disk_error, wmi_error};
use super::provider::Provider;
use super::{checkpoints, discovery, disk_facts, disk_kinds, merge_settings, settings};
use crate::virtdisk::VirtualDisks;

/// Merges that do not begin have been logged within this time.
const LOGGED_OF_LATE: Duration = Duration::from_hours(1);

/// So long after it was first seen a disk may wait for a merge that Hyper-V was told not to begin:
/// whoever told it so may be exporting the VM, and about to take that back.
const LET_AFTER: Duration = Duration::from_secs(30);

/// Since when disks have been seen waiting for their merges to begin.
///
/// A differencing file that no checkpoint owns is about to be merged or never will be; only time
/// tells one from the other (RH-18).
#[derive(Debug, Default)]
pub(super) struct MergeWatch {
    waiting: Mutex<HashMap<VmId, Waiting>>,
}

/// A VM whose disks wait.
#[derive(Debug)]
struct Waiting {
    since: Duration,
    /// Whether Hyper-V was told to merge them.
    is_told: bool,
}

impl MergeWatch {
    /// Notes that a VM's disks wait, and returns for how long they have.
    fn waiting(&self, vm: VmId, now: Duration) -> Duration {
        let mut waiting = self.lock();
        let waits = waiting.entry(vm).or_insert(Waiting {
            since: now,
            is_told: false,
        });
        now.saturating_sub(waits.since)
    }

    fn is_told(&self, vm: VmId) -> bool {
        self.lock().get(&vm).is_some_and(|waits| waits.is_told)
    }

    /// Notes that Hyper-V was told to merge the disks of a VM that waits.
    fn told(&self, vm: VmId) {
        if let Some(waits) = self.lock().get_mut(&vm) {
            waits.is_told = true;
        }
    }

    fn forget(&self, vm: VmId) {
        self.lock().remove(&vm);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<VmId, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells whether disks of a VM are being merged.
///
/// A merge that does not begin because Hyper-V was told not to merge the VM's disks is let begin
/// after a while (spec 12.3, the second remedy), unless the VM is being exported: whoever does that
/// told it so, and takes it back.
pub(super) fn state(
    provider: &Provider,
    virtual_disks: &dyn VirtualDisks,
    watch: &MergeWatch,
    vm: VmId,
) -> Result<MergeState, HypervError> {
    let wrong = |error| wmi_error(&format!("look at the merges of VM {vm}"), error);
    let system = provider.system(vm)?;
    let unowned = unowned(provider, virtual_disks, vm, system.path().map_err(wrong)?);
    let operation = settings::operation(&system).map_err(wrong)?;
    if operation == Some(OperationInProgress::MergingDisks) {
        watch.forget(vm);
        // That it runs is known, whatever there is to be seen of its files.
        return Ok(running(&unowned.unwrap_or_default()));
    }
    let unowned = unowned?;
    let Some(file) = unowned.first() else {
        watch.forget(vm);
        return Ok(MergeState::Idle);
    };
    if operation == Some(OperationInProgress::Exporting) {
        // It waits for the export; for a merge to begin it waits only after that.
        watch.forget(vm);
        return Ok(running(&unowned));
    }
    let waited = watch.waiting(vm, provider.clock.monotonic());
    if let Some(settings) = merge_settings::switched_off(provider, vm)? {
        let let_merge = || merge_settings::switch_on(provider, &settings, vm);
        return Ok(held_back(watch, vm, &unowned, waited, let_merge));
    }
    if waited < provider.beliefs.merge_begins_within {
        return Ok(running(&unowned));
    }
    Ok(MergeState::Stuck(format!(
        "{} belongs to no checkpoint and is not being merged; look for event 19100 in Hyper-V-VMMS-Admin, for an antivirus or filter driver on the volume, and at the rights of NT VIRTUAL MACHINE on the folder; moving the VM or restarting it merges it{}",
        file.display(),
        provider.logged(vm, LOGGED_OF_LATE)
    )))
}

/// Returns that a merge of these files runs. WMI does not tell how far it is; their lengths are what
/// is left.
fn running(files: &[PathBuf]) -> MergeState {
    let lengths = files
        .iter()
        .map(|file| std::fs::metadata(file).ok().map(|file| file.len()));
    let left_bytes = lengths.sum::<Option<u64>>();
    MergeState::Running(MergeProgress {
        percent: None,
        left_bytes: left_bytes.filter(|_| !files.is_empty()),
    })
}

/// Tells of a merge of these files that Hyper-V was told not to begin, and lets it begin once that
/// lasts.
fn held_back(
    watch: &MergeWatch,
    vm: VmId,
    unowned: &[PathBuf],
    waited: Duration,
    let_merge: impl FnOnce() -> Result<(), HypervError>,
) -> MergeState {
    if waited < LET_AFTER {
        return running(unowned);
    }
    let why = match watch.is_told(vm) {
        true => String::new(),
        false => match let_merge() {
            Ok(()) => {
                watch.told(vm);
                return running(unowned);
            }
            Err(error) => format!("; could not {error}"),
        },
    };
    MergeState::Stuck(format!(
        "{} waits to be merged, and Hyper-V was told not to merge the disks of this VM (Msvm_DiskMergeSettingData), and keeps to it{why}; restart the VM or the management service",
        unowned[0].display()
    ))
}

/// Returns the differencing files that no checkpoint asks for, one of each disk: each checkpoint
/// accounts for one file of each disk, and files that are no `.avhdx` are nobody's checkpoint.
fn unowned(
    provider: &Provider,
    virtual_disks: &dyn VirtualDisks,
    vm: VmId,
    system: &str,
) -> Result<Vec<PathBuf>, HypervError> {
    let own = discovery::own_settings(provider, vm, system)?;
    let path = own.path().map_err(|error| wmi_error("read a VM", error))?;
    let mut disks = disk_kinds::disks(&provider.components(path)?)?.files;
    disks.retain(|disk| is_checkpoint_file(&disk.path));
    if disks.is_empty() {
        return Ok(Vec::new());
    }
    let checkpoints = checkpoints::list(provider, vm)?.len();
    let mut unowned = Vec::new();
    for disk in disks {
        let is_unowned = checkpoints == 0 || {
            let facts = disk_facts::facts(provider, virtual_disks, &disk.path);
            let files = facts.map_err(virtual_disk_error)?.files;
            files.iter().filter(|file| is_checkpoint_file(file)).count() > checkpoints
        };
        if is_unowned {
            unowned.push(disk.path);
        }
    }
    Ok(unowned)
}

fn is_checkpoint_file(path: &Path) -> bool {
    let end = path.extension().unwrap_or_default();
    end.eq_ignore_ascii_case("avhdx") || end.eq_ignore_ascii_case("avhd")
}
