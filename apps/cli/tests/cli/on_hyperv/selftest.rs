//! The self-test as the unmodified executable carries it out, whole and killed.

use std::fs;

use hyperv::VmId;
use hyperv::sim::SimView;
use serde_json::Value;

use super::machine::{MANNERS, MIB, Machine, SLOW_JOBS, has_checkpoint};
use crate::agent::outcome;

const OWN_VM: &str = "e3 selftest VM ";

/// Returns the arguments of a self-test that does not wait, however full the disk is.
fn self_test<'a>(which: &[&'a str]) -> Vec<&'a str> {
    let always = ["--report", "report.md", "--min-free-gib", "0"];
    let at_once = ["--settle-seconds", "0"];
    [&["hyperv", "selftest"][..], which, &always, &at_once].concat()
}

/// Carries a self-test out, on a host whose methods leave no jobs; returns its report.
fn report(machine: &Machine, which: &[&str]) -> Value {
    report_in("no-jobs", machine, which)
}

/// Carries a self-test out in the model's `manners`; returns its report.
pub fn report_in(manners: &str, machine: &Machine, which: &[&str]) -> Value {
    let mut command = machine.agent.command(self_test(which));
    let outcome = outcome(command.arg("--json").env(MANNERS, manners));
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let report = document["report"].clone();
    assert_eq!(report["undone"], true, "{report}");
    assert_eq!(report["ended_early"], Value::Null, "{report}");
    let written = fs::read(machine.agent.path("report.md.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), report);
    report
}

/// Returns what became of a claim.
pub fn verdict<'a>(report: &'a Value, id: &str) -> &'a str {
    let mut answers = report["answers"].as_array().unwrap().iter();
    let answer = answers.find(|answer| answer["id"] == id).unwrap();
    answer["verdict"].as_str().unwrap()
}

/// Begins a self-test and kills it once the host `fits`.
fn killed_when(machine: &Machine, which: &[&str], fits: impl Fn(&SimView) -> bool) {
    let mut child = machine.spawn(&self_test(which), SLOW_JOBS);
    let seen = machine.wait_for(&mut child, fits);
    child.kill().unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(seen && !ended.status.success(), "it was too fast: {said}");
}

/// Returns the VM that a self-test has made for itself.
fn own_vm(view: &SimView) -> Option<VmId> {
    let mut vms = view.vms.iter();
    let own = vms.find(|view| view.vm.name.starts_with(OWN_VM));
    own.map(|view| view.vm.id)
}

/// Returns the names of all VMs, and of the folders in which their files lie.
pub fn vms_and_folders(machine: &Machine) -> (Vec<String>, Vec<String>) {
    let vms = machine.host.show().unwrap().vms.into_iter();
    let entries = fs::read_dir(machine.host.folder().join("vms")).unwrap();
    let mut folders: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    (vms.map(|view| view.vm.name).collect(), folders)
}

#[test]
fn a_vm_that_is_named_answers_and_is_left_as_it_was() {
    let machine = Machine::new();
    let vm = machine.add_vm("web", 8 * MIB, MIB);
    let before = (vms_and_folders(&machine), machine.disk(vm, 0));
    let report = report(&machine, &["--vm", "web", "--yes"]);
    for id in ["RH-1a", "RH-5a", "RH-11", "RH-14", "RH-17a", "RH-25b", "C2"] {
        assert_eq!(verdict(&report, id), "confirmed", "{id}: {report}");
    }
    machine.assert_clean(vm);
    assert_eq!(machine.view(vm).reference_points, []);
    assert_eq!((vms_and_folders(&machine), machine.disk(vm, 0)), before);
}

#[test]
fn without_a_vm_it_makes_one_and_takes_it_away() {
    let machine = Machine::new();
    let vm = machine.add_vm("web", 8 * MIB, MIB);
    let before = vms_and_folders(&machine);
    let report = report(&machine, &[]);
    let name = report["vm"]["name"].as_str().unwrap();
    assert!(name.starts_with(OWN_VM), "{report}");
    for id in ["RH-1a", "RH-9", "RH-11", "RH-17a", "RH-22a", "RH-25b"] {
        assert_eq!(verdict(&report, id), "confirmed", "{id}: {report}");
    }
    assert_eq!(vms_and_folders(&machine), before);
    machine.assert_clean(vm);
}

#[test]
fn what_a_killed_self_test_left_of_its_own_vm_is_gone_after_a_cleaning() {
    let machine = Machine::new();
    machine.add_vm("web", 8 * MIB, MIB);
    let before = vms_and_folders(&machine);
    // Its checkpoint may bear no name yet.
    killed_when(&machine, &[], |view| {
        own_vm(view).is_some_and(|own| has_checkpoint(view, own))
    });
    let left = own_vm(&machine.host.show().unwrap()).unwrap();
    let cleaned = machine.agent.json(0, &["host", "clean"]);
    let removed = &cleaned["self_test_vms"]["removed"];
    assert_eq!(*removed, serde_json::json!([left]), "{cleaned}");
    assert_eq!(vms_and_folders(&machine), before);
}

#[test]
fn what_a_killed_self_test_left_is_gone_after_the_next() {
    if std::env::var_os("E3_TEST_LONG").is_none() {
        return;
    }
    let machine = Machine::new();
    let vm = machine.add_vm("web", 8 * MIB, MIB);
    let before = vms_and_folders(&machine);
    // When its VM is there and nothing else.
    killed_when(&machine, &[], |view| own_vm(view).is_some());
    report(&machine, &[]);
    assert_eq!(vms_and_folders(&machine), before);

    // While it holds a checkpoint of somebody's VM.
    killed_when(&machine, &["--vm", "web", "--yes"], |view| {
        has_checkpoint(view, vm)
    });
    report(&machine, &["--vm", "web", "--yes"]);
    machine.assert_clean(vm);
    assert_eq!(machine.view(vm).reference_points, []);
    assert_eq!(vms_and_folders(&machine), before);
}

#[test]
fn trouble_with_its_own_vm_keeps_nothing_else_from_being_cleaned() {
    let machine = Machine::new();
    let vm = machine.add_vm("web", 8 * MIB, MIB);
    killed_when(&machine, &["--vm", "web", "--yes"], |view| {
        has_checkpoint(view, vm)
    });
    let own = machine.agent.path("state").join("selftest/own.json");
    fs::write(&own, b"{\"name\": \"e3 se").unwrap();
    let cleaned = machine.agent.json(3, &["host", "clean"]);
    let told = cleaned["self_test_vms"]["error"]["message"].as_str();
    assert!(told.unwrap().contains("own.json"), "{cleaned}");
    let removed = cleaned["vms"][0]["checkpoints"].as_array().unwrap();
    assert_eq!(removed.len(), 1, "{cleaned}");
    fs::remove_file(own).unwrap();
    machine.assert_clean(vm);
}
