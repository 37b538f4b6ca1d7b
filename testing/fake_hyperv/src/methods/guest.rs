//! What the host asks a guest: whether it is a member of a failover cluster (Hyper-V spec 4.7;
//! medium).

use hyperv::VmState;
use windows_host::wmi::{Value, WmiObject};

use super::{Answer, Call, Trouble};
use crate::embedded;
use crate::failure::Refusal;
use crate::world::Subject;

const CLASS: &str = "Msvm_GuestClusterInformation";

/// Answers at once. A guest that is in no cluster tells one without an id (low: it may as well be
/// an error); one that does not run cannot be asked.
pub(super) fn cluster(call: &Call<'_>) -> Result<Answer, Trouble> {
    let Subject::GuestService(vm) = *call.target else {
        return Err(Refusal::NotSupported.into());
    };
    let truth = call
        .model
        .host
        .truth()
        .map_err(crate::failure::of_reading)?;
    let runs = |known: &hyperv::sim::SimVmTruth| {
        known.vm.id == vm && known.vm.state == VmState::Running && known.vm.guest.is_some()
    };
    if !truth.vms.iter().any(runs) {
        return Err(Refusal::InvalidState.into());
    }
    let known = call.model.extras().guest_clusters.get(&vm).cloned();
    let known = known.unwrap_or_default();
    let mut object = WmiObject {
        class: CLASS.to_owned(),
        ..WmiObject::default()
    };
    object.set("ClusterId", known.id.as_str());
    object.set("ClusterSize", if known.id.is_empty() { 0u16 } else { 2 });
    object.set(
        "SharedVirtualHardDiskPaths",
        Value::texts(known.shared_disks),
    );
    let schema = call.model.schema();
    let class = schema.class(CLASS).expect("the model knows its classes");
    let text = embedded::write(class, &object);
    Ok(Answer::Done(vec![("GuestClusterInformation", text.into())]))
}
