//! What hosts say of themselves: volumes, and VMs that their agents found (contract 3.11 and 3.12).

use axum::extract::State;
use protocol::hyperv_discover::HypervDiscover;
use protocol::limit::VOLUMES_MAX;
use serde_json::{Value, json};

use crate::agent_api::call::{AgentCall, uuid_of};
use crate::agent_api::refusal::{Answer, Refusal, success};
use crate::live::What;
use crate::plane::SharedPlane;

/// So many VMs are taken at once.
const VMS_MAX: usize = 10_000;

/// Takes the list of volumes.
pub(super) async fn report_volumes(State(plane): State<SharedPlane>, call: AgentCall) -> Answer {
    let members = call.members()?;
    let listed = match members.get("volumes") {
        Some(Value::Array(listed)) => listed.as_slice(),
        None | Some(Value::Null) => &[],
        Some(_) => return Err(Refusal::invalid("volumes must be a list")),
    };
    // As they are, for kinds of volumes that we do not know are volumes too.
    let volumes: Vec<&Value> = listed
        .iter()
        .filter(|volume| volume["path"].is_string())
        .take(VOLUMES_MAX)
        .collect();
    let host = &call.host;
    plane
        .store
        .report_volumes(&host.id, json!(volumes).to_string(), plane.now_ms())
        .await?;
    plane.live.tell(&host.tenant_id, What::Host, &host.id);
    Ok(success(json!({"count": volumes.len()})))
}

/// Registers VMs of a job.
pub(super) async fn hyperv_discover(State(plane): State<SharedPlane>, call: AgentCall) -> Answer {
    let job_id = uuid_of(&call.members()?, "job_id")?;
    let found: HypervDiscover = call.read()?;
    let host = &call.host;
    let job = plane.store.job_of_host(&job_id, &host.id).await?;
    if job.is_none() {
        return Err(Refusal::new(403, "Job not found or unauthorized"));
    }
    if found.vms.len() > VMS_MAX {
        return Err(Refusal::invalid("there are too many VMs in one call"));
    }
    let (created, numbers) = plane
        .store
        .discover_vms(host, &found.vms, plane.now_ms())
        .await?;
    plane.live.tell(&host.tenant_id, What::Host, &host.id);
    Ok(success(json!({
        "created": created,
        "updated": numbers.len() - created,
        "vm_ids": numbers,
    })))
}
