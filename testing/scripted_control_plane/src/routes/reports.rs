//! Volumes, VMs of a job, and the agent's own update.

use serde_json::{Value, json};

use crate::record::Call;
use crate::reply::Reply;
use crate::world::{World, id_text};

const VOLUMES_MAX: usize = 200;

pub(super) fn volumes(world: &mut World, call: &Call, agent: usize) -> Reply {
    let Some(volumes) = call.body["volumes"].as_array() else {
        return Reply::fail(400, "volumes is required");
    };
    let kept = volumes
        .iter()
        .take(VOLUMES_MAX)
        .cloned()
        .collect::<Vec<_>>();
    let count = kept.len();
    world.agents[agent].volumes = kept;
    Reply::success(json!({"count": count}))
}

pub(super) fn discover(world: &mut World, call: &Call) -> Reply {
    let job_id = &call.body["job_id"];
    if job_id.is_null() {
        return Reply::fail(400, "job_id is required");
    }
    let known = world
        .runs
        .iter()
        .find(|run| id_text(&run.job_id) == id_text(job_id));
    let Some(job_id) = known.map(|run| run.job_id.clone()) else {
        return Reply::fail(403, "Job not found");
    };
    let before = world.vms.len();
    let (mut updated, mut vm_ids) = (0, Vec::new());
    for vm in call.body["vms"].as_array().into_iter().flatten() {
        let (Some(guid), Some(name)) = (vm["id"].as_str(), vm["name"].as_str()) else {
            return Reply::fail(500, "Server error");
        };
        let rows_before = world.vms.len();
        world.register(&job_id, guid, name);
        updated += usize::from(world.vms.len() == rows_before);
        let is_this = |row: &&mut crate::world::Vm| {
            row.job_id == job_id && row.guid.eq_ignore_ascii_case(guid)
        };
        if let Some(row) = world.vms.iter_mut().find(is_this) {
            row.disks = vm["disks"].as_array().cloned().unwrap_or_default();
            vm_ids.push(Value::from(row.vm_id));
        }
    }
    let created = world.vms.len() - before;
    Reply::success(json!({"created": created, "updated": updated, "vm_ids": vm_ids}))
}

pub(super) fn update_progress(world: &mut World, call: &Call, agent: usize) -> Reply {
    let state = call.body["state"].as_str().unwrap_or_default();
    let is_known = matches!(
        state,
        "downloading" | "verifying" | "applying" | "restarting" | "failed"
    );
    if call.body["update_job_id"].is_null() || !is_known {
        return Reply::fail(400, "Invalid update progress");
    }
    if let Some(version) = call.body["agent_version"].as_str() {
        world.agents[agent].version = version.to_owned();
    }
    Reply::success(json!({}))
}
