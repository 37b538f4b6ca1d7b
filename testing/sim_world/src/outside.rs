//! What guests, administrators, other products and bad luck do to a machine, before, between
//! and during the runs of the agent.

use std::sync::Arc;

use hyperv::sim::{SimDisk, SimFault, SimHost, SimVmView, Step};
use hyperv::{HypervHost, VirtualDisk, VmState};
use time_and_chance::Chance;

use crate::truth::Machine;

const MIB: u64 = 1 << 20;
const WRITE_SECTORS_MAX: u64 = 160;
const DISKS_MAX: usize = 3;
/// Longer than one slot, so that whole slots can be taken over unread.
const DISK_BYTES: [u64; 4] = [MIB, 3 * MIB + 4096, 33 * MIB, 40 * MIB + 8192];

/// Returns the machine as its host shows it, without letting anything go on there.
pub(crate) fn look(host: &SimHost, machine: &Machine) -> Option<SimVmView> {
    let view = host.show().expect("the host can be shown");
    view.vms.into_iter().find(|view| view.vm.id == machine.vm)
}

/// Lets one thing happen, and says what it was. What the host refuses does not happen.
pub(crate) fn disturb(host: &SimHost, machine: &mut Machine, chance: &Chance) -> String {
    let Some(view) = look(host, machine) else {
        return "nothing: the machine is gone".to_owned();
    };
    let disks = view.vm.disks;
    match chance.below(40) {
        0..18 => write(host, machine, &disks, chance),
        18..20 => take_checkpoint(host, machine),
        20 => apply_checkpoint(host, machine, chance),
        21..23 => delete_checkpoint(host, machine, chance),
        23 => add_disk(host, machine, chance),
        24 => remove_disk(host, machine, &disks, chance),
        25 => resize_disk(host, machine, &disks, chance),
        26 => swap_disks(host, machine, &disks, chance),
        27 => set_state(host, machine, chance),
        28 => foreign_checkpoint(host, machine),
        29..32 => foreign_ends(host, machine),
        32 => {
            let _ = host.add_foreign_reference_point(machine.vm);
            "a foreign reference point appears".to_owned()
        }
        33..38 => add_fault(host, machine, chance),
        _ => {
            host.clear_faults(machine.vm).unwrap();
            "faults are cleared".to_owned()
        }
    }
}

fn pick<'a, T>(from: &'a [T], chance: &Chance) -> Option<(usize, &'a T)> {
    let number = chance.below(from.len().max(1) as u64) as usize;
    from.get(number).map(|found| (number, found))
}

fn key(disk: &VirtualDisk) -> String {
    disk.original_path.display().to_string()
}

fn write(host: &SimHost, machine: &mut Machine, disks: &[VirtualDisk], chance: &Chance) -> String {
    let Some((number, disk)) = pick(disks, chance) else {
        return "nothing: there is no disk".to_owned();
    };
    let sector = u64::from(disk.logical_sector_bytes);
    let sectors = disk.virtual_bytes / sector;
    let length = (1 + chance.below(WRITE_SECTORS_MAX)).min(sectors);
    let offset = chance.below(sectors - length + 1) * sector;
    let mut bytes = vec![0; (length * sector) as usize];
    // Zeros too: what becomes empty must come back empty.
    if chance.below(4) > 0 {
        chance.fill(&mut bytes);
    }
    let done = host.write(machine.vm, number as u32, offset, &bytes);
    if done.is_ok() {
        machine.write(&key(disk), offset, &bytes);
    }
    format!("the guest writes {length} sectors to disk {number} at {offset}: {done:?}")
}

fn take_checkpoint(host: &SimHost, machine: &mut Machine) -> String {
    let done = host.checkpoint(machine.vm, "mine");
    if let Ok(id) = done {
        machine.checkpoints.push((id, machine.disks.clone()));
    }
    format!("a user checkpoint is taken: {done:?}")
}

fn apply_checkpoint(host: &SimHost, machine: &mut Machine, chance: &Chance) -> String {
    let Some(id) = pick(&machine.checkpoints, chance).map(|(_, (id, _))| *id) else {
        return "nothing: there is no checkpoint to apply".to_owned();
    };
    let done = host.apply_checkpoint(machine.vm, id);
    if done.is_ok() {
        machine.apply(id);
    }
    format!("a user checkpoint is applied: {done:?}")
}

fn delete_checkpoint(host: &SimHost, machine: &mut Machine, chance: &Chance) -> String {
    let Some((number, id)) = pick(&machine.checkpoints, chance).map(|(at, (id, _))| (at, *id))
    else {
        return "nothing: there is no checkpoint to delete".to_owned();
    };
    let done = host.delete_checkpoint(machine.vm, id);
    if done.is_ok() {
        machine.checkpoints.remove(number);
    }
    format!("a user checkpoint is deleted: {done:?}")
}

/// Adds an empty disk.
pub(crate) fn add_disk(host: &SimHost, machine: &mut Machine, chance: &Chance) -> String {
    let bytes = DISK_BYTES[chance.below(DISK_BYTES.len() as u64) as usize];
    if machine.disks.len() >= DISKS_MAX {
        return "nothing: there are disks enough".to_owned();
    }
    let done = host.add_disk(machine.vm, &SimDisk::new(bytes));
    if let Ok(number) = done {
        let view = look(host, machine).expect("the machine is there");
        let disk = key(&view.vm.disks[number as usize]);
        machine
            .disks
            .insert(disk, Arc::new(vec![0; bytes as usize]));
    }
    format!("a disk of {bytes} bytes is added: {done:?}")
}

fn remove_disk(
    host: &SimHost,
    machine: &mut Machine,
    disks: &[VirtualDisk],
    chance: &Chance,
) -> String {
    let Some((number, disk)) = pick(disks, chance).filter(|_| disks.len() > 1) else {
        return "nothing: the last disk stays".to_owned();
    };
    let done = host.remove_disk(machine.vm, number as u32);
    if done.is_ok() {
        machine.disks.remove(&key(disk));
    }
    format!("disk {number} is removed: {done:?}")
}

fn resize_disk(
    host: &SimHost,
    machine: &mut Machine,
    disks: &[VirtualDisk],
    chance: &Chance,
) -> String {
    let Some((number, disk)) = pick(disks, chance) else {
        return "nothing: there is no disk".to_owned();
    };
    let sectors = 1 + chance.below(disk.virtual_bytes / 4096 * 2);
    let bytes = (sectors * 4096).min(48 * MIB);
    let done = host.resize_disk(machine.vm, number as u32, bytes);
    if done.is_ok() {
        let content = machine
            .disks
            .get_mut(&key(disk))
            .expect("the disk is known");
        Arc::make_mut(content).resize(bytes as usize, 0);
    }
    format!("disk {number} is resized to {bytes} bytes: {done:?}")
}

fn swap_disks(host: &SimHost, machine: &Machine, disks: &[VirtualDisk], chance: &Chance) -> String {
    let (one, other) = (chance.below(3) as u32, chance.below(3) as u32);
    if one == other || one.max(other) as usize >= disks.len() {
        return "nothing: there are no two disks to swap".to_owned();
    }
    let done = host.swap_disks(machine.vm, one, other);
    format!("disks {one} and {other} swap places: {done:?}")
}

fn set_state(host: &SimHost, machine: &Machine, chance: &Chance) -> String {
    let states = [
        VmState::Running,
        VmState::Running,
        VmState::Off,
        VmState::Saved,
        VmState::Paused,
    ];
    let state = states[chance.below(states.len() as u64) as usize];
    let done = host.set_state(machine.vm, state);
    format!("the machine is {state:?}: {done:?}")
}

fn foreign_checkpoint(host: &SimHost, machine: &mut Machine) -> String {
    let done = host.add_foreign_checkpoint(machine.vm);
    machine.foreign.extend(done.as_ref().ok());
    format!("another product takes a checkpoint: {done:?}")
}

/// The other product takes its checkpoints away.
pub(crate) fn foreign_ends(host: &SimHost, machine: &mut Machine) -> String {
    for id in machine.foreign.clone() {
        let _ = host.destroy_checkpoint(machine.vm, id);
    }
    // Whether a job did its work is not always told; what is shown counts.
    if let Some(view) = look(host, machine) {
        machine
            .foreign
            .retain(|id| view.checkpoints.iter().any(|known| known.id == *id));
    }
    format!(
        "another product ends; {} of its checkpoints stay",
        machine.foreign.len()
    )
}

fn add_fault(host: &SimHost, machine: &Machine, chance: &Chance) -> String {
    let step = Step::ALL[chance.below(Step::ALL.len() as u64) as usize];
    let at_step = Some(step).filter(|_| chance.below(2) == 0);
    let start = chance.below(8) * MIB;
    let faults = [
        SimFault::LoseTracking { code: 0xC03A_0030 },
        SimFault::NoAppConsistency {
            leave_checkpoint: chance.below(2) == 0,
        },
        SimFault::StuckMerge,
        SimFault::JobFailsAt { step },
        SimFault::JobFailsAt { step },
        SimFault::OutcomeUnknownAt { step, done: true },
        SimFault::OutcomeUnknownAt { step, done: false },
        SimFault::LowSpace { free_bytes: 4096 },
        SimFault::MoveAway { step: at_step },
        SimFault::Busy { step: at_step },
        SimFault::Unreadable {
            start,
            end: start + MIB,
            disk: None,
        },
        SimFault::PartialAnswers,
        SimFault::PartialAnswers,
    ];
    let fault = faults[chance.below(faults.len() as u64) as usize].clone();
    let times = 1 + chance.below(3) as u32;
    let words = fault.to_string();
    let done = host.add_fault(machine.vm, fault, Some(times));
    format!("the fault {words} waits for {times} calls: {done:?}")
}
