//! The main job: a VM in full, then its changes, then both points back, every way there is.

use std::fs;

use hyperv::VmState;
use hyperv::sim::SimDisk;
use serde_json::Value;

use super::machine::{MIB, Machine};
use crate::agent::assert_holds;

#[test]
fn a_vm_is_backed_up_in_full_then_by_what_changed_and_comes_back_byte_for_byte() {
    let machine = Machine::new();
    let agent = &machine.agent;
    assert!(agent.succeeds(["--help"]).contains("Hyper-V"));
    agent.succeeds(["sim", "add-vm", "host", "--name", "web", "--new", "24M"]);
    let vm = machine.host.show().unwrap().vms[0].vm.id;
    machine.host.add_disk(vm, &SimDisk::new(8 * MIB)).unwrap();
    let write = |bytes, seed| {
        let write = ["sim", "write", "host", "--vm", "web", "--random", bytes];
        agent.json(0, &[&write[..], &["--seed", seed]].concat())
    };
    write("6M", "1");
    assert_is_shown(&machine);

    let full = machine.backup_one(vm);
    assert_eq!(full["type"], "full", "{full}");
    assert_eq!(full["consistency"], "application", "{full}");
    let first = [machine.disk(vm, 0), machine.disk(vm, 1)];

    let written = write("300k", "2");
    let increment = machine.backup_one(vm);
    let second = [machine.disk(vm, 0), machine.disk(vm, 1)];
    assert_ne!(first[0], second[0]);
    assert_reads_what_changed(&increment, &written);
    machine.assert_clean(vm);

    for (point, disks) in [(&full, &first), (&increment, &second)] {
        for (number, bytes) in disks.iter().enumerate() {
            machine.assert_restores(point, number as u32, bytes);
        }
    }
    assert_restores_to_a_folder(&machine, &increment, &second[0]);
    assert_restores_to_the_host(&machine, &increment, &second);
    let verify = ["repo", "verify", "--repo", "repo", "--data", "100"];
    assert_eq!(agent.json(0, &verify)["points"], 2);
}

fn assert_is_shown(machine: &Machine) {
    let agent = &machine.agent;
    let listed = agent.json(0, &["host", "list"]);
    assert_eq!(listed["host"], "sim", "{listed}");
    assert_eq!(listed["vms"][0]["name"], "web", "{listed}");
    assert_eq!(listed["vms"][0]["disks"].as_array().unwrap().len(), 2);
    assert!(agent.succeeds(["host", "list"]).contains("web"));
    let shown = agent.json(0, &["host", "show", "WEB", "--host", "hyperv:"]);
    assert_eq!(shown["vm"]["disks"][0]["virtual_bytes"], 24 * MIB);
    assert_eq!(shown["checkpoints"], Value::Array(Vec::new()));
}

fn assert_reads_what_changed(increment: &Value, written: &Value) {
    assert_eq!(increment["type"], "incremental", "{increment}");
    let [first, second] = &increment["disks"].as_array().unwrap()[..] else {
        panic!("{increment}");
    };
    let bytes = |of: &Value, what: &str| of[what].as_u64().unwrap();
    for disk in [first, second] {
        assert_eq!(disk["type"], "incremental", "{disk}");
        let told = bytes(disk, "changed_bytes") + bytes(disk, "sample_bytes");
        assert_eq!(bytes(disk, "read_bytes"), told, "{disk}");
    }
    assert_eq!(second["changed_bytes"], 0, "{second}");
    // Chunks have 256 KiB, and a range of the guest may touch two.
    let ranges = written["ranges"].as_array().unwrap().len() as u64;
    let changed = bytes(first, "changed_bytes");
    assert!(changed >= bytes(written, "written_bytes"), "{first}");
    let most = bytes(written, "written_bytes") + ranges * (512 << 10);
    assert!(changed <= most, "{first} after {written}");
}

fn assert_restores_to_a_folder(machine: &Machine, point: &Value, disk: &[u8]) {
    let id = point["point_id"].as_str().unwrap();
    let restored = machine.agent.json(
        0,
        &["restore", "vm", id, "--repo", "repo", "--to", "restored"],
    );
    let file = restored["disks"][0]["path"].as_str().unwrap();
    let copy = ["sim", "add-vm", "host", "--name", "copy", "--disk", file];
    machine.agent.succeeds(copy);
    let dump = ["sim", "dump", "host", "--vm", "copy", "--disk", "0"];
    machine
        .agent
        .succeeds([&dump[..], &["--to", "copy.raw"]].concat());
    assert_holds(&machine.agent.path("copy.raw"), disk);
    machine
        .agent
        .succeeds(["sim", "delete-vm", "host", "--vm", "copy"]);
    assert!(fs::exists(machine.agent.path("restored/vm.json")).unwrap());
}

/// Restores onto this machine's Hyper-V: beside the VM that is there, and in its place.
fn assert_restores_to_the_host(machine: &Machine, point: &Value, disks: &[Vec<u8>; 2]) {
    let id = point["point_id"].as_str().unwrap();
    let to_host = ["restore", "vm", id, "--repo", "repo", "--host", "hyperv:"];
    let beside = ["--new-id", "--name", "beside", "--power-on"];
    let beside = machine.agent.json(0, &[&to_host[..], &beside].concat());
    assert_ne!(beside["guid"], point["guid"]);
    machine
        .agent
        .succeeds(["sim", "delete-vm", "host", "--vm", "web"]);
    let again = machine
        .agent
        .json(0, &[&to_host[..], &["--power-on"]].concat());
    assert_eq!(again["guid"], point["guid"]);
    for (restored, name) in [(&beside, "beside"), (&again, "web")] {
        assert_eq!(restored["started"], true, "{restored}");
        assert_eq!(restored["warnings"], Value::Array(Vec::new()));
        let vm = restored["guid"].as_str().unwrap().parse().unwrap();
        let view = machine.view(vm);
        assert_eq!((&*view.vm.name, view.vm.state), (name, VmState::Running));
        for (number, bytes) in disks.iter().enumerate() {
            assert!(machine.disk(vm, number as u32) == *bytes, "disk {number}");
        }
    }
    assert_eq!(machine.host.show().unwrap().planned, []);
}

#[test]
fn a_machine_without_hyperv_says_so() {
    let machine = Machine::new();
    let elsewhere = machine.agent.path("nothing");
    let mut command = machine.agent.command(["host", "list", "--json"]);
    let outcome = crate::agent::outcome(command.env("E3_FAKE_HYPERV", elsewhere));
    let answer: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(outcome.status, 1, "{answer}");
    assert_eq!(answer["error"]["kind"], "unsupported", "{answer}");
}
