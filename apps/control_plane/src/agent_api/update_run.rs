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

/// So many results of VMs are looked at: ten times as many as Hyper-V runs VMs at once.
const RESULTS_MAX: usize = 10_000;

/// How much of what is wrong with a result is kept.
const REASON_CHARS_MAX: usize = 300;

/// Takes a run's state.
pub(super) async fn update_run(State(plane): State<SharedPlane>, call: AgentCall) -> Answer {
    let members = call.members()?;
    let run_id = uuid_of(&members, "run_id")?;
    let (update, results, unreadable) = read(&call, members)?;
    let (results, unreadable) = within_limit(results, unreadable);
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

/// Leaves out results beyond the limit, and says so. The run's end counts all the same.
fn within_limit(
    mut results: Vec<HypervResult>,
    mut unreadable: Vec<String>,
) -> (Vec<HypervResult>, Vec<String>) {
    let sent = results.len() + unreadable.len();
    results.truncate(RESULTS_MAX);
    unreadable.truncate(RESULTS_MAX - results.len());
    let left_out = sent - results.len() - unreadable.len();
    if left_out > 0 {
        let why = format!("{left_out} results beyond {RESULTS_MAX} were not looked at");
        // First, for a run keeps so many lines and no more.
        unreadable.insert(0, why);
    }
    (results, unreadable)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_beyond_the_limit_are_counted() {
        let result: HypervResult = serde_json::from_value(json!({
            "vm_id": 0, "vm_name": "web", "backup_type": "Full", "checkpoint_id": "", "rct_ids": {},
            "disk_manifests": {}, "total_bytes": 0, "changed_bytes": 0, "consistency_level": "Crash",
            "duration_seconds": 0, "warnings": [],
        }))
        .expect("a result");
        let odd = vec!["odd".to_owned(); 3];
        let few = within_limit(vec![result.clone(); RESULTS_MAX - 3], odd.clone());
        assert_eq!((few.0.len(), few.1.len()), (RESULTS_MAX - 3, 3));
        let (results, said) = within_limit(vec![result; RESULTS_MAX + 4], odd);
        assert_eq!(results.len(), RESULTS_MAX);
        assert_eq!(said, ["7 results beyond 10000 were not looked at"]);
    }
}
