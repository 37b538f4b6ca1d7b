//! Whether Hyper-V was told not to merge the disks of a VM (Hyper-V spec 9.1, RH-4).

use hyperv::{HypervError, OperationInProgress, VmId};
use time_and_chance::StopSignal;

use super::errors::wmi_error;
use super::instance_id::InstanceId;
use super::method::Change;
use super::provider::{MANAGEMENT, Provider};
use super::settings;
use crate::wmi::{EmbeddedSource, Value, WmiObject};

const MERGE_SETTINGS: &str = "Msvm_DiskMergeSettingData";
/// `EnabledState` of a VM whose disks are not merged for now, and of any other.
const DISABLED: u16 = 0;
const ENABLED: u16 = 1;

/// Lets the disks of a VM be merged again where they were not to be, as an export leaves it, before a
/// checkpoint ends: the chain would stay locked otherwise, and grow (spec 9.1). While the VM is being
/// exported that is the exporter's to do.
///
/// That it may not work is no reason to keep the checkpoint; what stays is seen by its files.
pub(super) fn allow(provider: &Provider, vm: VmId) {
    if let Ok(Some(settings)) = switched_off(provider, vm)
        && !matches!(is_exported(provider, vm), Ok(true))
    {
        let _its_files_tell = switch_on(provider, &settings, vm);
    }
}

fn is_exported(provider: &Provider, vm: VmId) -> Result<bool, HypervError> {
    let operation = settings::operation(&provider.system(vm)?);
    let operation = operation
        .map_err(|error| wmi_error(&format!("look at what VM {vm} is busy with"), error))?;
    Ok(operation == Some(OperationInProgress::Exporting))
}

/// Returns the settings that keep the disks of a VM from being merged, if anything does.
pub(super) fn switched_off(
    provider: &Provider,
    vm: VmId,
) -> Result<Option<WmiObject>, HypervError> {
    let all = provider.all(MERGE_SETTINGS)?;
    Ok(all.into_iter().find(|object| says_off(object, vm)))
}

fn says_off(settings: &WmiObject, vm: VmId) -> bool {
    let id = settings.text("InstanceID").ok().and_then(InstanceId::parse);
    id.is_some_and(|id| id.owner == vm.0) && settings.u16("EnabledState") == Ok(DISABLED)
}

/// Lets the disks of a VM be merged again.
pub(super) fn switch_on(
    provider: &Provider,
    settings: &WmiObject,
    vm: VmId,
) -> Result<(), HypervError> {
    let doing = format!("let the disks of VM {vm} be merged");
    let path = settings.path().map_err(|error| wmi_error(&doing, error))?;
    let changes = [("EnabledState", Value::from(ENABLED))];
    let changed = provider.embedded(&doing, EmbeddedSource::Instance(path), &changes)?;
    let change = Change {
        doing: &doing,
        object: &provider.service(MANAGEMENT)?,
        method: "ModifyDiskMergeSettings",
        parameters: &[("SettingData", Value::Text(changed))],
        limit: provider.beliefs.limits.other,
        is_cancelled_in_the_end: false,
        vm: None,
    };
    provider.change(change, &StopSignal::new())?;
    Ok(())
}
