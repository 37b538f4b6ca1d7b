//! UpdateRun: no check of transitions, so a late `running` overwrites how a run ended.

use serde_json::{Value, json};

use super::next_run::wall_text;
use super::{run_of, version_gate};
use crate::record::Call;
use crate::reply::Reply;
use crate::world::{BackupPoint, Now, OperationOrder, RunEvent, World};

/// Members that are no columns of their own.
const NO_COLUMNS: [&str; 8] = [
    "run_id",
    "status",
    "error_summary",
    "manifest_id",
    "log_ref",
    "stats_json",
    "hyperv_results",
    "agent_version",
];

const CHECKPOINT_ID_CHARS_MAX: usize = 64;

pub(super) fn update_run(world: &mut World, call: &Call, agent: usize, now: Now) -> Reply {
    let place = match run_of(world, &call.body["run_id"], agent) {
        Ok(place) => place,
        Err(refusal) => return refusal,
    };
    if let Err(refusal) = version_gate(world, call, agent) {
        return refusal;
    }
    let body = &call.body;
    let status = body["status"].as_str().unwrap_or_default();
    store(world, place, body, now);
    let run = &mut world.runs[place];
    let is_terminal = crate::world::is_terminal(status);
    let summary = body["error_summary"].as_str().unwrap_or_default().trim();
    let was_over = run.is_over();
    if !summary.is_empty() {
        run.error_summary = summary.chars().take(700).collect();
    }
    if !status.is_empty() {
        run.status = status.to_owned();
    }
    if !summary.is_empty() && !is_terminal && !was_over {
        // Whatever the agent meant: to the server this is a start that failed.
        run.status = "failed".to_owned();
        let id = run.id.clone();
        world
            .events
            .push(RunEvent::by_server(&id, "AGENT_START_FAILURE"));
    }
    record_results(world, place, &body["hyperv_results"]);
    if matches!(status, "success" | "warning") && world.runs[place].is_backup() {
        record_restore_points(world, place);
    }
    Reply::success(json!({}))
}

fn store(world: &mut World, place: usize, body: &Value, now: Now) {
    let run = &mut world.runs[place];
    run.last_heartbeat = now.since;
    run.last_heartbeat_at = wall_text(now);
    for (name, member) in body.as_object().into_iter().flatten() {
        if !NO_COLUMNS.contains(&name.as_str()) {
            run.columns.insert(name.clone(), member.clone());
        }
    }
    if let Some(stats) = body["stats_json"].as_object() {
        let stored = run.columns.entry("stats_json").or_insert_with(|| json!({}));
        merge(stored, &Value::Object(stats.clone()));
    }
    let manifest = ["log_ref", "manifest_id"]
        .iter()
        .find_map(|name| body[name].as_str());
    let manifest = manifest.or_else(|| body["stats_json"]["manifest_id"].as_str());
    if let Some(manifest) = manifest.filter(|manifest| !manifest.is_empty()) {
        run.manifest_id = manifest.to_owned();
    }
}

fn merge(stored: &mut Value, new: &Value) {
    match (stored, new) {
        (Value::Object(stored), Value::Object(new)) => {
            for (name, member) in new {
                merge(stored.entry(name.clone()).or_insert(Value::Null), member);
            }
        }
        (stored, new) => *stored = new.clone(),
    }
}

/// Stores what a run has of each VM. The first entry that the database refuses takes all that follow with
/// it, while the call succeeds.
fn record_results(world: &mut World, place: usize, results: &Value) {
    for result in results.as_array().into_iter().flatten() {
        let vm_id = result["vm_id"].as_u64().unwrap_or_default();
        let failed = result["error"]
            .as_str()
            .is_some_and(|error| !error.is_empty());
        if vm_id == 0 || failed {
            continue;
        }
        let checkpoint = result["checkpoint_id"].as_str().unwrap_or_default();
        let backup_type = result["backup_type"].as_str().unwrap_or_default();
        let is_refused = checkpoint.chars().count() > CHECKPOINT_ID_CHARS_MAX
            || !matches!(backup_type, "Full" | "Incremental")
            || result["warning_code"]
                .as_str()
                .is_some_and(|code| code.chars().count() > 64);
        let vm = world.vms.iter().position(|vm| vm.vm_id == vm_id);
        let (Some(vm), false) = (vm, is_refused) else {
            return;
        };
        if !checkpoint.is_empty() {
            world.vms[vm].checkpoint_id = Some(checkpoint.to_owned());
            world.vms[vm].rct_ids = result["rct_ids"].clone();
        }
        let newest = world
            .backup_points
            .iter()
            .rev()
            .find(|point| point.vm_id == vm_id);
        let parent = newest
            .map(|point| point.id)
            .filter(|_| backup_type == "Incremental");
        let manifests = &result["disk_manifests"];
        let primary = manifests
            .as_object()
            .and_then(|disks| disks.values().next());
        let point = BackupPoint {
            id: 0,
            vm_id,
            run_id: world.runs[place].id.clone(),
            backup_type: backup_type.to_owned(),
            manifest_id: primary
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            disk_manifests: manifests.clone(),
            parent,
            result: result.clone(),
        };
        let id = world.row();
        world.backup_points.push(BackupPoint { id, ..point });
    }
}

fn record_restore_points(world: &mut World, place: usize) {
    let run = &world.runs[place];
    let (run_id, engine) = (run.id.clone(), run.order["engine"].clone());
    let manifests: Vec<String> = match engine.as_str() {
        Some("hyperv") => {
            let points = world
                .backup_points
                .iter()
                .filter(|point| point.run_id == run_id);
            points.map(|point| point.manifest_id.clone()).collect()
        }
        _ => vec![run.manifest_id.clone()],
    };
    for manifest in manifests
        .into_iter()
        .filter(|manifest| !manifest.is_empty())
    {
        let is_known = world
            .restore_points
            .iter()
            .any(|(known, _)| *known == manifest);
        if !is_known {
            world.restore_points.push((manifest, run_id.clone()));
        }
    }
    let repository = world.runs[place]
        .order
        .get("repository_id")
        .and_then(Value::as_str);
    if let Some(repository_id) = repository.filter(|_| world.settings.operations_after_runs) {
        let repository_id = repository_id.to_owned();
        let tiers = json!({"hourly": 24, "daily": 30, "weekly": 8, "monthly": 12, "yearly": 3});
        for (op_type, effective_policy) in
            [("retention_apply", tiers), ("maintenance_quick", json!({}))]
        {
            world.queue_operation(OperationOrder {
                op_type: op_type.to_owned(),
                effective_policy,
                repository_id: repository_id.clone(),
                ..OperationOrder::default()
            });
        }
    }
}
