//! `list_hyperv_vms` and `list_hyperv_vm_details`: what VMs there are, and their disks.

use backup::vm::MARK;
use hyperv::{
    Checkpoint, CheckpointKind, Controller, Generation, HypervHost, SharedHypervHost, Vm as HostVm,
    VmId, VmState,
};
use protocol::commands::ListVmDetails;
use protocol::reports::{Vm, VmDetail, VmDetails, VmDisk, VmLeftover, Vms};

use crate::parts::Parts;

/// Lists the host's VMs.
pub fn list(parts: &Parts) -> Result<Vms, String> {
    let here = vms_of(opened(parts)?.as_ref())?;
    Ok(here.iter().map(described).collect::<Vec<_>>().into())
}

/// Lists the disks of some VMs; of all, if none is named.
pub fn details(parts: &Parts, order: &ListVmDetails) -> Result<VmDetails, String> {
    let wanted: Vec<VmId> = order
        .vm_ids
        .iter()
        .filter_map(|id| id.trim().parse().ok())
        .collect();
    let is_wanted = |vm: &&HostVm| order.vm_ids.is_empty() || wanted.contains(&vm.id);
    let host = opened(parts)?;
    let here = vms_of(host.as_ref())?;
    let details = here.iter().filter(is_wanted).map(|vm| {
        let checkpoints = host.checkpoints(vm.id);
        if let Err(error) = &checkpoints {
            let name = &vm.name;
            parts.log.warn(&format!(
                "the checkpoints of {name} are not reported: failed to {error}"
            ));
        }
        let leftovers = checkpoints.ok();
        VmDetail {
            leftovers: leftovers.map(|them| them.iter().map(leftover).collect()),
            ..detailed(vm)
        }
    });
    Ok(details.collect::<Vec<_>>().into())
}

fn opened(parts: &Parts) -> Result<SharedHypervHost, String> {
    let host = parts.open_host();
    host.map_err(|error| format!("failed to open the Hyper-V host: {error}"))
}

fn vms_of(host: &dyn HypervHost) -> Result<Vec<HostVm>, String> {
    host.vms()
        .map_err(|error| format!("failed to list the host's VMs: {error}"))
}

fn leftover(checkpoint: &Checkpoint) -> VmLeftover {
    let kind = match checkpoint.kind {
        CheckpointKind::Recovery if checkpoint.name.starts_with(MARK) => "own",
        CheckpointKind::Recovery => "recovery",
        CheckpointKind::User => "user",
        CheckpointKind::Other => "other",
    };
    VmLeftover {
        kind: kind.to_owned(),
        name: checkpoint.name.clone(),
        created_at: checkpoint.created.to_string(),
    }
}

/// Returns a VM's id as Hyper-V writes it.
fn id(vm: &HostVm) -> String {
    vm.id.to_string().to_uppercase()
}

fn described(vm: &HostVm) -> Vm {
    Vm {
        id: id(vm),
        name: vm.name.clone(),
        state: match vm.state {
            VmState::Running => "Running".to_owned(),
            VmState::Off => "Off".to_owned(),
            VmState::Saved => "Saved".to_owned(),
            VmState::Paused => "Paused".to_owned(),
            VmState::Other(number) => format!("State {number}"),
        },
        generation: match vm.generation {
            Generation::One => 1,
            Generation::Two => 2,
        },
        cpu_count: vm.processors,
        memory_mb: vm.memory_bytes >> 20,
        integration_services: vm.guest.is_some(),
        is_linux: vm.guest.as_ref().is_some_and(|guest| !guest.windows),
        rct_enabled: vm.disks.iter().any(|disk| disk.tracked == Some(true)),
        disk_count: vm.disks.len(),
    }
}

fn detailed(vm: &HostVm) -> VmDetail {
    let disks = vm.disks.iter().map(|disk| {
        let path = disk.original_path.display().to_string();
        let is_vhd = path.to_lowercase().ends_with(".vhd");
        VmDisk {
            size_bytes: disk.virtual_bytes,
            used_bytes: std::fs::metadata(&disk.original_path).map_or(0, |it| it.len()),
            vhd_format: if is_vhd { "VHD" } else { "VHDX" }.to_owned(),
            rct_enabled: disk.tracked == Some(true),
            controller_type: match disk.controller {
                Controller::Ide => "IDE",
                Controller::Scsi => "SCSI",
                Controller::Pmem => "PMEM",
            }
            .to_owned(),
            path,
        }
    });
    VmDetail {
        id: id(vm),
        name: vm.name.clone(),
        disk_count: vm.disks.len(),
        disks: disks.collect(),
        leftovers: None,
    }
}
