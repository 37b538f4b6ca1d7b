//! A process that dies in the middle of a backup, as `taskkill /f` ends it.

use hyperv::VmId;
use hyperv::sim::SimView;

use super::machine::{MIB, Machine, has_checkpoint};

const DISK_BYTES: u64 = 32 * MIB;

/// Whether a disk of the host is attached: its content stands in a file then.
fn is_attached(machine: &Machine) -> bool {
    let attached = machine.host.folder().join("attached");
    let mut images = attached.read_dir().into_iter().flatten().flatten();
    images.any(|image| image.metadata().is_ok_and(|image| image.len() > 0))
}

/// Begins a backup and kills it once the host `fits`.
fn killed_when(machine: &Machine, fits: impl Fn(&SimView) -> bool) {
    let mut child = machine.spawn_backup(&["--all"]);
    let seen = machine.wait_for(&mut child, fits);
    child.kill().unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(seen && !ended.status.success(), "it was too fast: {said}");
}

#[test]
fn what_a_killed_backup_left_is_gone_after_the_next_run() {
    let machine = Machine::new();
    let vm = machine.add_vm("web", DISK_BYTES, DISK_BYTES / 2);
    // Before it could name its checkpoint, or note which it is.
    killed_when(&machine, |view| has_checkpoint(view, vm));
    assert_eq!(machine.view(vm).checkpoints.len(), 1);
    let cleaned = machine.agent.json(0, &["host", "clean"]);
    let removed = cleaned["vms"][0]["checkpoints"].as_array().unwrap();
    assert_eq!(removed.len(), 1, "{cleaned}");
    machine.assert_clean(vm);

    killed_when(&machine, |_| is_attached(&machine));
    machine.guest_writes(vm, MIB);
    let point = machine.backup_one(vm);
    machine.assert_restores(&point, 0, &machine.disk(vm, 0));
    assert_nothing_is_left(&machine, vm);

    machine.guest_writes(vm, MIB);
    killed_when(&machine, |_| is_attached(&machine));
    machine.guest_writes(vm, MIB);
    let point = machine.backup_one(vm);
    assert_eq!(point["type"], "incremental", "{point}");
    machine.assert_restores(&point, 0, &machine.disk(vm, 0));
    assert_nothing_is_left(&machine, vm);
}

fn assert_nothing_is_left(machine: &Machine, vm: VmId) {
    machine.assert_clean(vm);
    assert_eq!(machine.view(vm).reference_points.len(), 1);
    assert!(!is_attached(machine));
}
