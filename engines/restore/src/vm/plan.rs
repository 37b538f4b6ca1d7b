//! What restoring a VM to a host takes, decided from facts alone (Hyper-V spec 10.1, 10.2).

use std::path::PathBuf;

use hyperv::{
    Controller, DefinedDisk, FrozenDisk, Generation, HypervError, HypervErrorKind, NetworkAdapter,
    Vm, VmDefinition, VmId, codes,
};
use point::{DiskDescriptor, VmDescriptor};

use crate::error::{RestoreError, RestoreErrorKind};

/// Refuses to restore over a VM that is there.
pub(super) fn check_id(id: VmId, new_id: bool, here: &[Vm]) -> Result<(), RestoreError> {
    match here.iter().find(|vm| vm.id == id) {
        Some(vm) if !new_id => Err(RestoreError::new(
            RestoreErrorKind::Exists,
            format!(
                "restore VM {id}: it is on this host, named {}; --new-id restores a copy beside it, or remove it first",
                vm.name
            ),
        )),
        _ => Ok(()),
    }
}

/// Returns the name that the VM shall have, and a warning if others have it too.
pub(super) fn name(
    wanted: Option<&str>,
    original: &str,
    here: &[Vm],
) -> Result<(String, Option<String>), RestoreError> {
    let name = wanted.unwrap_or(original);
    if name.trim().is_empty() {
        return Err(RestoreError::new(
            RestoreErrorKind::Unsupported,
            "restore a VM without a name; give one with --name",
        ));
    }
    let taken = here
        .iter()
        .filter(|vm| vm.name.to_lowercase() == name.to_lowercase())
        .count();
    let warning = (taken > 0).then(|| {
        format!(
            "there are now {} VMs named {name} on this host; --name gives another",
            taken + 1
        )
    });
    Ok((name.to_owned(), warning))
}

/// Finds the file of each disk of the imported configuration by where it hangs; warns of disks
/// without a file, which are taken away, and of files without a place.
pub(super) fn disk_paths(
    planned: &[FrozenDisk],
    restored: &[(&DiskDescriptor, PathBuf)],
) -> (Vec<Option<PathBuf>>, Vec<String>) {
    let mut warnings = Vec::new();
    let mut used = vec![false; restored.len()];
    let paths = planned
        .iter()
        .map(|disk| {
            let place = (disk.controller, disk.controller_number, disk.location);
            let found = restored
                .iter()
                .position(|(disk, _)| {
                    (disk.controller, disk.controller_number, disk.location) == place
                })
                .filter(|found| !std::mem::replace(&mut used[*found], true));
            if found.is_none() {
                warnings.push(format!(
                    "the disk at {} is not in the point ({}): the VM comes back without it",
                    place_text(place),
                    disk.original_path.display()
                ));
            }
            found.map(|found| restored[found].1.clone())
        })
        .collect();
    for ((disk, path), _) in restored.iter().zip(&used).filter(|(_, used)| !**used) {
        let place = (disk.controller, disk.controller_number, disk.location);
        warnings.push(format!(
            "disk {} was restored to {}, but the VM's configuration has no disk at {}: attach it by hand",
            disk.number,
            path.display(),
            place_text(place)
        ));
    }
    (paths, warnings)
}

/// Returns whether a VM whose configuration could not be imported may be defined anew (Hyper-V spec
/// 10.3): where the configuration is at fault, or the host cannot take it. Not where another VM has
/// its id, the host may take it another time, nobody knows what became of the import, somebody ended
/// it, or it was what followed on it that failed.
pub(super) fn may_be_defined(why: &HypervError) -> bool {
    use HypervErrorKind::{Failed, Invalid, Unsupported};
    let is_at_fault = matches!(why.kind(), Failed | Invalid | Unsupported);
    why.is_of_configuration() && is_at_fault && !why.code().is_some_and(codes::is_of_another_vm)
}

/// Returns what a VM is defined from: what its point says of it, and the files its disks are in now.
pub(super) fn definition(
    name: &str,
    vm: &VmDescriptor,
    restored: &[(&DiskDescriptor, PathBuf)],
) -> VmDefinition {
    let disks = restored.iter().map(|(disk, path)| DefinedDisk {
        controller: disk.controller,
        controller_number: disk.controller_number,
        location: disk.location,
        path: path.clone(),
    });
    VmDefinition {
        name: name.to_owned(),
        generation: vm.generation,
        firmware: vm.firmware.clone(),
        processors: vm.processors,
        memory_bytes: vm.memory_bytes,
        network_adapters: vm.network_adapters.clone(),
        disks: disks.collect(),
    }
}

/// Says what became of a VM that was defined anew, and what of the original did not come along.
pub(super) fn told_of_definition(
    vm: &VmDescriptor,
    why: &HypervError,
    is_copy: bool,
    left_out: Vec<String>,
) -> Vec<String> {
    let mut lost = Vec::new();
    if !is_copy {
        lost.push(format!("its GUID {}", vm.guid));
    }
    lost.push(format!("its configuration version {}", vm.version));
    lost.push(match vm.generation {
        Generation::One => "its boot order".to_owned(),
        Generation::Two => "what its firmware remembered, such as the boot order".to_owned(),
    });
    lost.push("VLANs, limits and other settings of its network connections".to_owned());
    lost.extend(left_out);
    vec![
        format!(
            "the VM's configuration could not be imported (failed to {why}): a new VM was defined from what the point records of its processors, memory, firmware, disks and network adapters"
        ),
        format!(
            "not taken over: {}; look at its settings before it is used",
            lost.join("; ")
        ),
    ]
}

fn place_text((controller, number, location): (Controller, u32, u32)) -> String {
    let kind = match controller {
        Controller::Ide => "IDE",
        Controller::Scsi => "SCSI",
        Controller::Pmem => "persistent-memory",
    };
    format!("{kind} controller {number}, location {location}")
}

/// Refuses a switch that this host has not.
pub(super) fn check_switch(wanted: &str, here: &[String]) -> Result<(), RestoreError> {
    match find_switch(wanted, here) {
        Some(_) => Ok(()),
        None => Err(RestoreError::new(
            RestoreErrorKind::NotFound,
            format!(
                "connect the VM: this host has no switch named {wanted}; it has {}",
                match here {
                    [] => "none".to_owned(),
                    here => here.join(", "),
                }
            ),
        )),
    }
}

fn find_switch<'s>(wanted: &str, here: &'s [String]) -> Option<&'s String> {
    let same = here.iter().find(|switch| *switch == wanted);
    same.or_else(|| {
        here.iter()
            .find(|switch| switch.to_lowercase() == wanted.to_lowercase())
    })
}

/// Finds a switch of this host for each adapter: the one that is wanted for all, else by the name of the
/// one it last hung on.
pub(super) fn switches(
    adapters: &[NetworkAdapter],
    for_all: Option<&str>,
    here: &[String],
) -> (Vec<Option<String>>, Vec<String>) {
    let mut warnings = Vec::new();
    let switches = adapters
        .iter()
        .map(|adapter| {
            let wanted = for_all.or(adapter.switch.as_deref())?;
            let found = find_switch(wanted, here);
            if found.is_none() {
                warnings.push(format!(
                    "network adapter {} is not connected: this host has no switch named {wanted}",
                    adapter.name
                ));
            }
            found.cloned()
        })
        .collect();
    (switches, warnings)
}

#[cfg(test)]
mod tests {
    use point::BackupType;
    use uuid::Uuid;

    use super::*;

    fn vm(id: u128, name: &str) -> Vm {
        Vm::bare(VmId(Uuid::from_u128(id)), name)
    }

    #[test]
    fn a_vm_that_is_here_is_only_restored_beside_itself() {
        let here = [vm(1, "web"), vm(2, "mail")];
        for (id, new_id, refused) in [
            (1, false, true),
            (1, true, false),
            (3, false, false),
            (3, true, false),
        ] {
            let result = check_id(VmId(Uuid::from_u128(id)), new_id, &here);
            assert_eq!(result.is_err(), refused, "VM {id}, new id {new_id}");
            if let Err(error) = result {
                assert_eq!(error.kind(), RestoreErrorKind::Exists);
                assert!(error.to_string().contains("--new-id"), "{error}");
            }
        }
    }

    #[test]
    fn a_name_is_the_wanted_one_and_sharing_it_is_warned_of() {
        let here = [vm(1, "web")];
        for (wanted, original, expected, warned) in [
            (None, "mail", "mail", false),
            (None, "WEB", "WEB", true),
            (Some("copy"), "web", "copy", false),
            (Some("Web"), "mail", "Web", true),
        ] {
            let (name, warning) = name(wanted, original, &here).unwrap();
            assert_eq!((&*name, warning.is_some()), (expected, warned));
        }
        assert!(name(Some(" "), "mail", &here).is_err());
    }

    fn place(controller: Controller, number: u32, location: u32) -> FrozenDisk {
        FrozenDisk {
            controller,
            controller_number: number,
            location,
            path: "old".into(),
            original_path: "old".into(),
        }
    }

    fn disk(
        number: u32,
        controller: Controller,
        controller_number: u32,
        location: u32,
    ) -> DiskDescriptor {
        DiskDescriptor {
            number,
            file: format!("{number}-disk.vhdx"),
            virtual_disk_id: Uuid::from_u128(7),
            virtual_bytes: 1 << 20,
            logical_sector_bytes: 512,
            physical_sector_bytes: 4096,
            source_block_bytes: 1 << 20,
            controller,
            controller_number,
            location,
            original_path: "disk.vhdx".to_owned(),
            change_id: None,
            backup_type: BackupType::Full,
            full_reason: None,
            read_bytes: 0,
            sample_bytes: 0,
            changed_bytes: 0,
            uploaded_bytes: 0,
            chunk_bytes: 256 << 10,
        }
    }

    #[test]
    fn only_a_configuration_that_is_at_fault_is_replaced() {
        use HypervErrorKind as Kind;
        for (kind, code, may) in [
            (Kind::Invalid, None, true),
            (Kind::Invalid, Some(codes::INVALID_PARAMETER), true),
            (Kind::Unsupported, Some(codes::NOT_SUPPORTED), true),
            (Kind::Failed, Some(codes::FAILED), true),
            (Kind::Failed, Some(codes::FILE_NOT_FOUND), true),
            (Kind::Invalid, Some(codes::FILE_IN_USE), false),
            (Kind::Invalid, Some(codes::FILE_EXISTS), false),
            (Kind::Invalid, Some(codes::ALREADY_EXISTS), false),
            (Kind::OutcomeUnknown, None, false),
            (Kind::Busy, None, false),
            (Kind::Denied, None, false),
            (Kind::Full, None, false),
            (Kind::InUse, None, false),
            (Kind::Unavailable, None, false),
            (Kind::Stopped, None, false),
        ] {
            let error = || {
                let error = HypervError::new(kind, "import");
                match code {
                    Some(code) => error.with_code(code),
                    None => error,
                }
            };
            let refused = error().of_configuration();
            assert_eq!(may_be_defined(&refused), may, "{kind:?} {code:?}");
            assert!(!may_be_defined(&error()), "{kind:?} {code:?}");
        }
    }

    #[test]
    fn disks_find_their_files_by_where_they_hang() {
        use Controller::{Ide, Scsi};
        let (a, b, c) = (disk(0, Ide, 0, 0), disk(1, Scsi, 0, 1), disk(2, Scsi, 1, 0));
        let restored = [(&a, "a".into()), (&b, "b".into()), (&c, "c".into())];
        type Row<'a> = (&'a [FrozenDisk], &'a [Option<&'a str>], usize);
        let table: [Row<'_>; 5] = [
            (
                &[place(Scsi, 1, 0), place(Ide, 0, 0), place(Scsi, 0, 1)],
                &[Some("c"), Some("a"), Some("b")],
                0,
            ),
            // A pass-through disk is in the configuration and not in the point.
            (
                &[
                    place(Ide, 0, 0),
                    place(Ide, 0, 1),
                    place(Scsi, 0, 1),
                    place(Scsi, 1, 0),
                ],
                &[Some("a"), None, Some("b"), Some("c")],
                1,
            ),
            // One disk is nowhere in the configuration.
            (
                &[place(Ide, 0, 0), place(Scsi, 0, 1)],
                &[Some("a"), Some("b")],
                1,
            ),
            // No file is given to two disks.
            (
                &[
                    place(Ide, 0, 0),
                    place(Ide, 0, 0),
                    place(Scsi, 0, 1),
                    place(Scsi, 1, 0),
                ],
                &[Some("a"), None, Some("b"), Some("c")],
                1,
            ),
            (&[], &[], 3),
        ];
        for (planned, expected, warned) in table {
            let (paths, warnings) = disk_paths(planned, &restored);
            let expected: Vec<Option<PathBuf>> = expected
                .iter()
                .map(|path| path.map(PathBuf::from))
                .collect();
            assert_eq!(paths, expected);
            assert_eq!(warnings.len(), warned, "{warnings:?}");
        }
    }

    #[test]
    fn adapters_find_their_switch_by_name_or_hang_on_none() {
        let adapter = |switch: Option<&str>| NetworkAdapter {
            name: "nic".to_owned(),
            mac_address: "00155D000000".to_owned(),
            switch: switch.map(str::to_owned),
        };
        let adapters = [
            adapter(Some("LAN")),
            adapter(None),
            adapter(Some("DMZ")),
            adapter(Some("lan")),
        ];
        let here = ["lan".to_owned(), "LAN".to_owned()];
        let (found, warnings) = switches(&adapters, None, &here);
        assert_eq!(
            found,
            [Some("LAN".to_owned()), None, None, Some("lan".to_owned())]
        );
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("DMZ"), "{warnings:?}");
        let (found, _) = switches(&adapters[..1], None, &["Lan".to_owned()]);
        assert_eq!(found, [Some("Lan".to_owned())]);
    }
}
