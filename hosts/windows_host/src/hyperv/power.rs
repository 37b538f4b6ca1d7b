//! Switching VMs on.

use hyperv::{HypervError, VmId};
use time_and_chance::StopSignal;

use super::errors::wmi_error;
use super::method::Change;
use super::provider::Provider;
use crate::wmi::Value;

/// `RequestedState`: running.
const RUNNING: u16 = 2;

/// Switches a VM on.
pub(super) fn start(provider: &Provider, vm: VmId) -> Result<(), HypervError> {
    let doing = format!("start VM {vm}");
    let system = provider.system(vm)?;
    let change = Change {
        doing: &doing,
        object: system.path().map_err(|error| wmi_error(&doing, error))?,
        method: "RequestStateChange",
        parameters: &[("RequestedState", Value::from(RUNNING))],
        limit: provider.beliefs.limits.other,
        is_cancelled_in_the_end: false,
        vm: Some(vm),
    };
    provider.change(change, &StopSignal::new())?;
    Ok(())
}
