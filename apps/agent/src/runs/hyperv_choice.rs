//! Which VMs of a host a run backs up: a pure function of what the run says and what is there.

use backup::vm::SELF_TEST_VM;
use hyperv::{Vm, VmId};
use protocol::identifier::VmNumber;
use protocol::next_run::Run;

/// A VM to be backed up.
#[derive(Debug, Clone, PartialEq)]
pub struct ChosenVm {
    /// The VM.
    pub vm: Vm,
    /// The server's row of it; 0 if it has none.
    pub number: VmNumber,
    /// Whether the server has a point of it that an increment may stand on, in its eyes.
    pub has_point_there: bool,
}

/// A VM that was asked for and is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingVm {
    /// What it is called in the order.
    pub name: String,
    /// The server's row of it.
    pub number: VmNumber,
    /// Why it is not there.
    pub why: String,
}

/// What is chosen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice {
    /// VMs to be backed up.
    pub chosen: Vec<ChosenVm>,
    /// VMs that cannot be.
    pub missing: Vec<MissingVm>,
}

/// A VM as an order names it.
struct Wanted {
    name: String,
    guid: Option<VmId>,
    number: VmNumber,
    has_point_there: bool,
}

/// Returns which VMs a run backs up.
pub fn choose(run: &Run, here: &[Vm]) -> Choice {
    let config = &run.hyperv_config;
    let is_excluded = |vm: &Vm| config.exclude_vms.iter().any(|named| names(named, vm));
    let known = registered(run);
    let mut choice = Choice::default();
    if config.backup_all_vms {
        // What a self-test makes for itself comes and goes.
        let is_own = |vm: &Vm| vm.name.starts_with(SELF_TEST_VM);
        for vm in here.iter().filter(|vm| !is_excluded(vm) && !is_own(vm)) {
            let registered = known.iter().find(|it| it.guid == Some(vm.id));
            choice.chosen.push(ChosenVm {
                vm: vm.clone(),
                number: registered.map_or(VmNumber(0), |it| it.number),
                has_point_there: registered.is_some_and(|it| it.has_point_there),
            });
        }
        return choice;
    }
    let wanted = match known.is_empty() {
        true => unregistered(run),
        false => known,
    };
    for wanted in wanted {
        let found = here.iter().find(|vm| match wanted.guid {
            Some(guid) => vm.id == guid,
            None => names(&wanted.name, vm),
        });
        match found {
            Some(vm) if is_excluded(vm) => {}
            Some(vm) if choice.chosen.iter().any(|it| it.vm.id == vm.id) => {}
            Some(vm) => choice.chosen.push(ChosenVm {
                vm: vm.clone(),
                number: wanted.number,
                has_point_there: wanted.has_point_there,
            }),
            None if config
                .exclude_vms
                .iter()
                .any(|it| it.eq_ignore_ascii_case(&wanted.name)) => {}
            None => choice.missing.push(MissingVm {
                why: "it is not on this host: it was deleted, or moved to another".to_owned(),
                name: wanted.name,
                number: wanted.number,
            }),
        }
    }
    choice
}

/// Returns the VMs that the server has registered for the job.
fn registered(run: &Run) -> Vec<Wanted> {
    let wanted = run.hyperv_vms.iter().map(|vm| Wanted {
        guid: guid(&vm.vm_guid),
        name: match vm.vm_name.as_str() {
            "" => vm.vm_guid.clone(),
            name => name.to_owned(),
        },
        number: vm.vm_id,
        has_point_there: vm
            .last_checkpoint_id
            .as_ref()
            .is_some_and(|id| !id.is_empty()),
    });
    wanted.collect()
}

/// Returns the VMs that the job's configuration or its sources name.
fn unregistered(run: &Run) -> Vec<Wanted> {
    let named = match run.hyperv_config.vms.is_empty() {
        true => run.sources(),
        false => run.hyperv_config.vms.clone(),
    };
    let wanted = named.into_iter().map(|name| Wanted {
        guid: guid(&name),
        name,
        number: VmNumber(0),
        has_point_there: false,
    });
    wanted.collect()
}

fn guid(text: &str) -> Option<VmId> {
    text.trim().parse().ok()
}

/// Returns whether a text names a VM: by its GUID in any form, or by its whole name in any case.
fn names(text: &str, vm: &Vm) -> bool {
    match guid(text) {
        Some(guid) => guid == vm.id,
        None => text.trim().to_lowercase() == vm.name.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const GUIDS: [&str; 4] = [
        "11111111-0000-4000-8000-000000000001",
        "AAAAAAAA-0000-4000-8000-000000000002",
        "33333333-0000-4000-8000-000000000003",
        "44444444-0000-4000-8000-000000000004",
    ];

    fn here() -> Vec<Vm> {
        let own = format!("{SELF_TEST_VM}1");
        let names = ["web", "Db", "mail", &own];
        names
            .iter()
            .zip(GUIDS)
            .map(|(name, guid)| Vm::bare(guid.parse().unwrap(), name))
            .collect()
    }

    fn choice(run: Value) -> (Vec<(String, u64, bool)>, Vec<String>) {
        let mut whole = json!({"run_id": "r", "engine": "hyperv"});
        for (name, value) in run.as_object().unwrap() {
            whole[name] = value.clone();
        }
        let run: Run = serde_json::from_value(whole).unwrap();
        let choice = choose(&run, &here());
        let chosen = choice.chosen.into_iter();
        (
            chosen
                .map(|it| (it.vm.name, it.number.0, it.has_point_there))
                .collect(),
            choice.missing.into_iter().map(|it| it.name).collect(),
        )
    }

    fn row(number: u64, name: &str, guid: &str, pointer: Value) -> Value {
        json!({"vm_id": number, "vm_name": name, "vm_guid": guid, "last_checkpoint_id": pointer})
    }

    #[test]
    fn registered_vms_are_found_by_their_guid_whatever_they_are_called_now() {
        let rows = json!([
            row(7, "old name", &GUIDS[1].to_lowercase(), json!("2C1D")),
            row(
                8,
                "gone",
                "99999999-0000-4000-8000-000000000009",
                Value::Null
            ),
        ]);
        let (chosen, missing) = choice(json!({"hyperv_config": {}, "hyperv_vms": rows}));
        assert_eq!(chosen, [("Db".to_owned(), 7, true)]);
        assert_eq!(missing, ["gone"]);
    }

    #[test]
    fn all_means_all_but_those_that_are_excluded_or_a_self_tests() {
        let rows = json!([row(7, "web", GUIDS[0], json!(""))]);
        let config = json!({"backup_all_vms": "1", "exclude_vms": ["DB"]});
        let (chosen, missing) = choice(json!({"hyperv_config": config, "hyperv_vms": rows}));
        assert_eq!(
            chosen,
            [("web".to_owned(), 7, false), ("mail".to_owned(), 0, false)]
        );
        assert!(missing.is_empty());
        let config = json!({"exclude_vms": [GUIDS[0]]});
        let rows = json!([row(7, "web", GUIDS[0], Value::Null)]);
        let (chosen, missing) = choice(json!({"hyperv_config": config, "hyperv_vms": rows}));
        assert!(chosen.is_empty() && missing.is_empty());
    }

    #[test]
    fn guids_among_the_sources_are_vms_without_a_row() {
        let (chosen, missing) = choice(json!({
            "hyperv_config": [], "source_paths": [GUIDS[2], "nobody"],
        }));
        assert_eq!(chosen, [("mail".to_owned(), 0, false)]);
        assert_eq!(missing, ["nobody"]);
        let (chosen, _) = choice(json!({
            "source_path": format!("{}, {}", GUIDS[0], GUIDS[0].to_uppercase()),
        }));
        assert_eq!(chosen, [("web".to_owned(), 0, false)]);
    }
}
