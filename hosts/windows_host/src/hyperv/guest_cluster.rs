//! Guests that are members of a failover cluster: not to be backed up one by one from their hosts
//! (Hyper-V spec 4.7).

use std::time::Duration;

use hyperv::{HypervError, HypervErrorKind as Kind, VmId};
use time_and_chance::StopSignal;
use uuid::Uuid;

use super::embedded::Embedded;
use super::instance_id::guid_text;
use super::method::Change;
use super::provider::Provider;

const GUEST_SERVICE: &str = "Msvm_VssService";
/// How long a guest may take to tell.
const LIMIT: Duration = Duration::from_mins(1);

/// Refuses a VM whose guest says that it is a member of a failover cluster. A guest that says
/// nothing is taken for none: the disks that such a cluster shares through Hyper-V are seen
/// without it.
///
/// # Errors
/// `Unsupported`, with the cluster's id.
pub(super) fn check(provider: &Provider, vm: VmId, stop: &StopSignal) -> Result<(), HypervError> {
    let Some(cluster) = cluster_of(provider, vm, stop) else {
        return Ok(());
    };
    Err(HypervError::new(
        Kind::Unsupported,
        format!(
            "take a checkpoint of VM {vm}: its guest is a member of a failover cluster ({cluster}), whose nodes cannot be backed up one by one from their hosts with their applications quiesced; back it up inside the guests, or this VM alone with --consistency crash"
        ),
    ))
}

/// Asks a guest for the id of its cluster.
fn cluster_of(provider: &Provider, vm: VmId, stop: &StopSignal) -> Option<String> {
    let found = provider.matching(GUEST_SERVICE, "SystemName", &guid_text(vm.0));
    let found = found.ok()?;
    let question = Change {
        doing: "ask the guest for its failover cluster",
        object: found.first()?.path().ok()?,
        method: "QueryGuestClusterInformation",
        parameters: &[],
        limit: LIMIT,
        is_cancelled_in_the_end: true,
        vm: None,
    };
    let answer = provider.ask_by_job(question, stop).ok()?;
    let told = Embedded::read(answer.out.value("GuestClusterInformation"));
    let id = told.text("ClusterId")?.trim();
    let is_none = id.is_empty() || Uuid::parse_str(id).is_ok_and(|id| id.is_nil());
    Some(id.to_owned()).filter(|_| !is_none)
}
