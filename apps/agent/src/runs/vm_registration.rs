//! Making VMs known to the control plane that it has no row of (control-plane API 3.12): points of
//! VMs without a row are never listed there.

use hyperv::{Controller, Generation, Vm};
use protocol::WireId;
use protocol::hyperv_discover::{
    ControllerType, DiscoveredDisk, DiscoveredVm, HypervDiscover, VhdFormat,
};

use super::hyperv_choice::ChosenVm;
use crate::parts::Parts;

/// Registers those of a job's VMs that are new, and takes their rows over where the answer names
/// them. One at a time: an answer of one row belongs to the VM that was sent.
pub fn register_new(parts: &Parts, job_id: Option<&WireId>, chosen: &mut [ChosenVm]) {
    let Some(job_id) = job_id else { return };
    for it in chosen.iter_mut().filter(|it| it.number.0 == 0) {
        let call = HypervDiscover {
            job_id: job_id.clone(),
            vms: vec![discovered(&it.vm)],
        };
        match parts.plane.call(&call, &parts.stop) {
            Ok(registered) => {
                if let [only] = registered.vm_ids[..] {
                    it.number = only;
                }
            }
            Err(error) => parts.log.warn(&format!(
                "the VM {} could not be made known to the control plane, which will not list this backup: {error}",
                it.vm.name
            )),
        }
    }
}

/// Returns a VM as it is registered. Disks on controllers that the server has no word for are left
/// out.
fn discovered(vm: &Vm) -> DiscoveredVm {
    let disks: Vec<DiscoveredDisk> = vm
        .disks
        .iter()
        .filter_map(|disk| {
            let controller_type = match disk.controller {
                Controller::Scsi => ControllerType::Scsi,
                Controller::Ide => ControllerType::Ide,
                Controller::Pmem => return None,
            };
            let path = disk.original_path.display().to_string();
            let is_vhd = path.to_lowercase().ends_with(".vhd");
            let used = std::fs::metadata(&disk.original_path);
            Some(DiscoveredDisk {
                controller_type,
                controller_number: disk.controller_number.into(),
                controller_location: disk.location.into(),
                vhd_format: if is_vhd {
                    VhdFormat::Vhd
                } else {
                    VhdFormat::Vhdx
                },
                size_bytes: disk.virtual_bytes,
                used_bytes: used.map_or(0, |it| it.len()),
                rct_enabled: disk.tracked == Some(true),
                rct_id: String::new(),
                path,
            })
        })
        .collect();
    DiscoveredVm {
        id: vm.id.to_string().to_uppercase(),
        name: vm.name.clone(),
        generation: match vm.generation {
            Generation::One => 1,
            Generation::Two => 2,
        },
        is_linux: vm.guest.as_ref().is_some_and(|guest| !guest.windows),
        integration_services: vm.guest.is_some(),
        rct_enabled: disks.iter().any(|disk| disk.rct_enabled),
        disks,
    }
}
