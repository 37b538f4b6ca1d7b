//! Results of VMs: only whole ones, the first of each VM full, no manifest twice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Violation;
use crate::record::Recorded;
use crate::world::id_text;

const MANIFEST_CHARS: usize = 32;

pub(super) fn check(calls: &[Recorded]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut full = BTreeSet::new();
    let mut runs_of_manifests = BTreeMap::new();
    for recorded in calls
        .iter()
        .filter(|it| it.call.endpoint == "agent_update_run")
    {
        let run = id_text(&recorded.call.body["run_id"]);
        let results = recorded.call.body["hyperv_results"].as_array();
        let mut vms = BTreeSet::new();
        for result in results.into_iter().flatten() {
            let vm_id = result["vm_id"].as_u64().unwrap_or_default();
            let mut wrong = entry_faults(result);
            if vm_id != 0 && !vms.insert(vm_id) {
                wrong.push("a VM has two results".to_owned());
            }
            if !has_failed(result) {
                if result["backup_type"] == "Incremental" && !full.contains(&vm_id) {
                    wrong.push("the first point of a VM must be `Full`".to_owned());
                }
                if recorded.had_effect {
                    full.insert(vm_id);
                }
                for manifest in manifests(result) {
                    let of = runs_of_manifests
                        .entry(manifest.clone())
                        .or_insert_with(|| run.clone());
                    if *of != run {
                        wrong.push(format!("manifest {manifest} was another run's"));
                    }
                }
            }
            found.extend(
                wrong
                    .into_iter()
                    .map(|what| Violation::of(recorded, format!("VM {vm_id}: {what}"))),
            );
        }
    }
    found
}

fn entry_faults(result: &Value) -> Vec<String> {
    if has_failed(result) {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    let all = manifests(result);
    if all.is_empty() {
        wrong.push(
            "a result without `error` and without manifests is recorded as a whole point"
                .to_owned(),
        );
    }
    let is_manifest =
        |id: &String| id.len() == MANIFEST_CHARS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !all.iter().all(is_manifest) {
        wrong.push("a manifest's id is 32 hexadecimal digits".to_owned());
    }
    wrong
}

fn has_failed(result: &Value) -> bool {
    result["error"]
        .as_str()
        .is_some_and(|error| !error.is_empty())
}

fn manifests(result: &Value) -> Vec<String> {
    let disks = result["disk_manifests"].as_object().into_iter().flatten();
    let ids: BTreeSet<String> = disks
        .filter_map(|(_, id)| id.as_str().map(str::to_owned))
        .collect();
    ids.into_iter().collect()
}
