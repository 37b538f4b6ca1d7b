//! Commands and operations: each that was handed out is completed once, and where people wait, soon.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Timeline, Violation};
use crate::record::Recorded;
use crate::world::{Command, World, id_text};

/// Members of what discovery commands find, and how long people wait for it.
const DISCOVERY: [(&str, &[&str], u64); 6] = [
    (
        "browse_directory",
        &["path", "parent", "entries", "error"],
        10,
    ),
    (
        "browse_snapshot",
        &["path", "parent", "entries", "error"],
        10,
    ),
    (
        "fetch_log_tail",
        &["path", "truncated", "retrieved_at", "content"],
        10,
    ),
    ("list_disks", &["disks", "count"], 30),
    ("list_hyperv_vms", &["vms", "count"], 30),
    ("list_hyperv_vm_details", &["details", "count"], 30),
];

pub(super) fn check(calls: &[Recorded], world: &World, timeline: &Timeline) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut completed: BTreeMap<(&str, String), &Recorded> = BTreeMap::new();
    for recorded in calls {
        let endpoint = recorded.call.endpoint.as_str();
        let (key, id) = match endpoint {
            "agent_complete_command" | "agent_report_browse" => ("command", "command_id"),
            "agent_complete_repo_operation" => ("operation", "operation_id"),
            _ => continue,
        };
        let id = id_text(&recorded.call.body[id]);
        let mut wrong = Vec::new();
        if key == "command" {
            wrong.extend(command_faults(&id, recorded, world, timeline));
        }
        if let Some(earlier) = completed.get(&(key, id.clone())) {
            let may = !earlier.was_acknowledged() || timeline.is_killed(earlier.at, recorded.at);
            if !may {
                wrong.push("it is completed a second time".to_owned());
            }
        }
        let is_known = completed
            .get(&(key, id.clone()))
            .is_some_and(|earlier| earlier.was_acknowledged());
        if !is_known {
            completed.insert((key, id.clone()), recorded);
        }
        found.extend(
            wrong
                .into_iter()
                .map(|what| Violation::of(recorded, format!("{key} {id}: {what}"))),
        );
    }
    found
}

fn command_faults(
    id: &str,
    recorded: &Recorded,
    world: &World,
    timeline: &Timeline,
) -> Vec<String> {
    let command = world
        .commands
        .iter()
        .find(|command| command.id.to_string() == id);
    let Some(command) = command else {
        return vec!["there is no such command".to_owned()];
    };
    let Some(delivered) = command
        .delivered
        .filter(|delivered| *delivered <= recorded.at)
    else {
        return vec!["it was not handed out".to_owned()];
    };
    if recorded.call.endpoint != "agent_report_browse" {
        return Vec::new();
    }
    report_faults(command, delivered, recorded, timeline)
}

fn report_faults(
    command: &Command,
    delivered: Duration,
    recorded: &Recorded,
    timeline: &Timeline,
) -> Vec<String> {
    let kind = DISCOVERY.iter().find(|(name, ..)| *name == command.name);
    let Some((_, members, seconds)) = kind else {
        return vec![format!("`{}` is not completed by a report", command.name)];
    };
    let mut wrong = Vec::new();
    let waited = recorded.at.saturating_sub(delivered);
    if waited > Duration::from_secs(*seconds) && !timeline.breaks(delivered, recorded.at) {
        wrong.push(format!(
            "people waited for {} seconds, and no longer than {seconds}",
            waited.as_secs()
        ));
    }
    let result = recorded
        .call
        .unpacked
        .as_ref()
        .and_then(|result| result.as_object());
    let missing = members
        .iter()
        .filter(|name| !result.is_some_and(|result| result.contains_key(**name)));
    wrong.extend(missing.map(|name| format!("the result has no `{name}`")));
    let names = result.into_iter().flat_map(|result| result.keys());
    let unknown = names.filter(|name| !members.contains(&name.as_str()));
    wrong.extend(unknown.map(|name| format!("the result's `{name}` is not in the contract")));
    wrong
}
