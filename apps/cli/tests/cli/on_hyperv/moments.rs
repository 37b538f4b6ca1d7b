//! What administrators do to a VM while its backup runs: always after its checkpoint was taken and
//! before its disks are opened, which takes as long as its job is looked at.

use std::process::Child;

use hyperv::VmId;
use hyperv::sim::{SimDisk, SimFault};
use serde_json::Value;

use super::machine::{MIB, Machine, has_checkpoint};

/// Backs up what `which` names and calls `meddle` as soon as `vm` has its checkpoint; returns the
/// document, and the exit status.
fn backup_while(
    machine: &Machine,
    which: &[&str],
    vm: VmId,
    meddle: impl FnOnce(),
) -> (Value, Option<i32>) {
    let mut child: Child = machine.spawn_backup(which);
    let seen = machine.wait_for(&mut child, |view| has_checkpoint(view, vm));
    assert!(seen, "the run ended without a checkpoint");
    meddle();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    let document = serde_json::from_slice(&ended.stdout);
    let document = document.unwrap_or_else(|error| panic!("{error}: {said}"));
    (document, ended.status.code())
}

#[test]
fn a_vm_that_is_renamed_and_gets_a_disk_meanwhile_is_backed_up_as_it_was_frozen() {
    let machine = Machine::new();
    let vm = machine.add_vm("before", 8 * MIB, 2 * MIB);
    let frozen = machine.disk(vm, 0);
    let (document, status) = backup_while(&machine, &["before"], vm, || {
        machine.host.rename_vm(vm, "after").unwrap();
        machine.host.add_disk(vm, &SimDisk::new(4 * MIB)).unwrap();
        machine.guest_writes(vm, MIB);
    });
    assert_eq!(status, Some(0), "{document}");
    let point = &document["vms"][0];
    assert_eq!(point["disks"].as_array().unwrap().len(), 1, "{document}");
    machine.assert_restores(point, 0, &frozen);

    let next = machine.backup(0, &["AFTER"])["vms"][0].clone();
    assert_eq!(next["name"], "after");
    let kinds = [0, 1].map(|disk| next["disks"][disk]["type"].clone());
    assert_eq!(kinds, ["incremental", "full"], "{next}");
    machine.assert_restores(&next, 0, &machine.disk(vm, 0));
    machine.assert_clean(vm);
}

#[test]
fn a_vm_that_is_deleted_or_moves_meanwhile_fails_alone() {
    let machine = Machine::new();
    let [goes, stays] = ["goes", "stays"].map(|name| machine.add_vm(name, 4 * MIB, MIB));
    let away = SimFault::MoveAway { step: None };
    let (document, status) = backup_while(&machine, &["--all"], goes, || {
        machine.host.add_fault(goes, away, None).unwrap();
    });
    assert_failed_alone(&document, status);
    // It is back, with the checkpoint that nobody could remove there.
    machine.host.clear_faults(goes).unwrap();
    let point = machine.backup_one(goes);
    machine.assert_restores(&point, 0, &machine.disk(goes, 0));
    machine.assert_clean(goes);

    let (document, status) = backup_while(&machine, &["--all"], goes, || {
        machine.host.delete_vm(goes, false).unwrap();
    });
    assert_failed_alone(&document, status);
    machine.assert_clean(stays);
    let rest = machine.backup(0, &["--all"]);
    assert_eq!(rest["vms"].as_array().unwrap().len(), 1, "{rest}");
}

/// The first VM failed since it is not here; the second has its point.
fn assert_failed_alone(document: &Value, status: Option<i32>) {
    assert_eq!(status, Some(3), "{document}");
    let [gone, there] = &document["vms"].as_array().unwrap()[..] else {
        panic!("{document}");
    };
    assert_eq!(gone["error"]["kind"], "host", "{document}");
    let told = gone["error"]["message"].as_str().unwrap();
    // Which call met it first is chance: one that asks for the VM, or one that asks about it.
    let says_so = ["0x80041002", "it is not on this host"];
    assert!(says_so.iter().any(|it| told.contains(it)), "{told}");
    assert!(there["point_id"].is_string(), "{document}");
}
