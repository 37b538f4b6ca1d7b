//! UpdateRun (contract 3.2 and 5).

use axum::extract::State;
use protocol::hyperv_results::HypervResult;
use protocol::limit::shortened;
use protocol::update_run::UpdateRun;
use serde_json::{Map, Value, json};

use crate::agent_api::call::{AgentCall, seen, uuid_of};
use crate::agent_api::refusal::{Answer, Refusal, success};
use crate::live::What;
use crate::plane::SharedPlane;
use crate::store::runs::{NotTheRuns, Report};

/// How much of what is wrong with a result is kept.
const REASON_CHARS_MAX: usize = 300;

/// Takes a run's state.
pub(super) async fn update_run(State(plane): State<SharedPlane>, call: AgentCall) -> Answer {
    let members = call.members()?;
    let run_id = uuid_of(&members, "run_id")?;
    let (update, results, unreadable) = read(&call, members)?;
    call.pass_gate(&plane, &update.program.version).await?;
    seen(&plane, &call.host, &update.program).await?;
    let report = Report {
        update: &update,
        results: &results,
        unreadable: &unreadable,
    };
    let now = plane.now_ms();
    let updated = plane
        .store
        .update_run(&run_id, &call.host, &report, now)
        .await?
        .map_err(not_the_runs)?;
    let tenant_id = &call.host.tenant_id;
    plane.live.tell(tenant_id, What::Run, &run_id);
    if updated.has_work {
        plane.live.tell(tenant_id, What::HostWork, &call.host.id);
    }
    if updated.recorded > 0 {
        plane.live.tell(tenant_id, What::Host, &call.host.id);
    }
    Ok(success(json!({})))
}

/// Returns why an agent may not speak of a run.
pub(super) fn not_the_runs(not: NotTheRuns) -> Refusal {
    Refusal::new(
        403,
        match not {
            NotTheRuns::Unknown => "Run not found or unauthorized",
            NotTheRuns::OtherHost => "Run not assigned to this agent",
        },
    )
}

/// Reads an update, the results of VMs one by one, so that one that makes no sense costs neither the others nor the
/// run's end.
fn read(
    call: &AgentCall,
    mut members: Map<String, Value>,
) -> Result<(UpdateRun, Vec<HypervResult>, Vec<String>), Refusal> {
    // As a whole first, for then the disks of a result have their order.
    if let Ok(mut update) = call.read::<UpdateRun>() {
        let results = std::mem::take(&mut update.hyperv_results);
        return Ok((update, results, Vec::new()));
    }
    let listed = match members.remove("hyperv_results") {
        Some(Value::Array(listed)) => listed,
        Some(Value::Object(listed)) => listed.into_iter().map(|(_, result)| result).collect(),
        _ => Vec::new(),
    };
    let update = serde_json::from_value(Value::Object(members))
        .map_err(|error| Refusal::invalid(format!("The update cannot be read: {error}")))?;
    let (mut results, mut unreadable) = (Vec::new(), Vec::new());
    for result in listed {
        let name = result["vm_name"].as_str().unwrap_or("a VM").to_owned();
        match serde_json::from_value(result) {
            Ok(result) => results.push(result),
            Err(error) => {
                let why = format!("{name}: its result cannot be read: {error}");
                unreadable.push(shortened(&why, REASON_CHARS_MAX));
            }
        }
    }
    Ok((update, results, unreadable))
}
