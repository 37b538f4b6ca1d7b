//! From what people write to a VM: its whole name in any case, or its GUID in any form.

use hyperv::{Vm, VmId};

use crate::failure::{Failure, FailureKind};

/// Finds the VM that `wanted` names.
///
/// # Errors
/// `VmNotFound`, or `WrongUsage` with the GUIDs if several have that name.
pub fn find<'a>(vms: &'a [Vm], wanted: &str) -> Result<&'a Vm, Failure> {
    if let Ok(id) = wanted.parse::<VmId>()
        && let Some(vm) = vms.iter().find(|vm| vm.id == id)
    {
        return Ok(vm);
    }
    let named: Vec<&Vm> = vms.iter().filter(|vm| is_same(&vm.name, wanted)).collect();
    match named[..] {
        [only] => Ok(only),
        [] => Err(Failure::new(
            FailureKind::VmNotFound,
            format!("the host has no VM named {wanted:?}"),
        )),
        _ => {
            let ids: Vec<String> = named.iter().map(|vm| vm.id.to_string()).collect();
            Err(Failure::wrong_usage(format!(
                "several VMs are named {wanted:?}; give the GUID: {}",
                ids.join(", ")
            )))
        }
    }
}

/// Returns whether two names are the same but for the case of their letters.
pub fn is_same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}
