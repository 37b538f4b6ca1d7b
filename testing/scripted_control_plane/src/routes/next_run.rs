//! NextRun: reclaim before claim, one run per call.

use std::time::Duration;

use serde_json::{Value, json};

use crate::reply::Reply;
use crate::world::{Now, World};

pub(super) fn next_run(world: &mut World, agent: usize, now: Now) -> Reply {
    let place = match reclaimable(world, agent, now) {
        Some(place) => Some((place, true)),
        None => claimable(world, agent).map(|place| (place, false)),
    };
    let Some((place, resume)) = place else {
        return Reply::json(200, &json!({"status": "no_run"}));
    };
    let agent_id = world.agents[agent].id.clone();
    let is_kept = !std::mem::take(&mut world.deliver_again);
    let run = &mut world.runs[place];
    if !resume {
        run.agent = Some(agent_id);
        run.claimed = Some(now.since);
        run.last_heartbeat = now.since;
        run.last_heartbeat_at = wall_text(now);
        if is_kept {
            run.status = "starting".to_owned();
        }
    }
    let mut order = Value::Object(run.order.clone());
    order["resume"] = json!(resume);
    order["last_heartbeat_at"] = match resume {
        true => json!(run.last_heartbeat_at),
        false => Value::Null,
    };
    if order["engine"] == "hyperv" && order["hyperv_vms"].is_null() {
        order["hyperv_vms"] = hyperv_vms(world, place);
    }
    Reply::success(json!({"run": order}))
}

fn is_for(world: &World, place: usize, agent: usize) -> bool {
    let run = &world.runs[place];
    let is_bound_to = |id: &String| *id == world.agents[agent].id;
    run.is_backup() && run.cancel_requested.is_none() && run.agent.as_ref().is_none_or(is_bound_to)
}

fn reclaimable(world: &World, agent: usize, now: Now) -> Option<usize> {
    let grace = Duration::from_secs(world.settings.reclaim_grace_secs);
    let watchdog = Duration::from_secs(world.settings.watchdog_secs);
    (0..world.runs.len()).find(|&place| {
        let run = &world.runs[place];
        let silent = now.since.saturating_sub(run.last_heartbeat);
        is_for(world, place, agent) && run.is_working() && silent > grace && silent < watchdog
    })
}

fn claimable(world: &World, agent: usize) -> Option<usize> {
    (0..world.runs.len())
        .find(|&place| is_for(world, place, agent) && world.runs[place].status == "queued")
}

/// The job's registered VMs; without any, GUIDs among the sources, which have no row.
fn hyperv_vms(world: &World, place: usize) -> Value {
    let run = &world.runs[place];
    let registered = world
        .vms
        .iter()
        .filter(|vm| vm.job_id == run.job_id && vm.backup_enabled);
    let registered: Vec<_> = registered
        .map(|vm| {
            json!({"vm_id": vm.vm_id, "vm_name": vm.name, "vm_guid": vm.guid,
                "last_checkpoint_id": vm.checkpoint_id, "last_rct_ids": vm.rct_ids})
        })
        .collect();
    if !registered.is_empty() {
        return json!(registered);
    }
    let sources = run.order["source_paths"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let guids = sources
        .iter()
        .filter_map(Value::as_str)
        .filter(|source| is_guid(source));
    let fallback: Vec<_> = guids
        .map(|guid| {
            json!({"vm_id": 0, "vm_name": guid, "vm_guid": guid, "last_checkpoint_id": null,
                "last_rct_ids": {}})
        })
        .collect();
    json!(fallback)
}

fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Returns the time as the server writes it: without zone.
pub(super) fn wall_text(now: Now) -> String {
    now.wall.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
