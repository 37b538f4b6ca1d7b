//! Disks that are made, and planned VMs that become real.

use std::path::PathBuf;

use disk::Geometry;
use uuid::Uuid;

use super::{ContractWorld, content_of, freeze, settle};
use crate::{
    ConfigurationFile, DefinedDisk, HypervErrorKind, HypervHost, NewDisk, VmDefinition, VmId,
    vm_folder,
};

const MIB: u64 = 1 << 20;

/// What a backup of a small VM holds.
struct Backup {
    configuration: Vec<ConfigurationFile>,
    disks: Vec<(NewDisk, Vec<u8>)>,
}

fn back_up(world: &mut dyn ContractWorld, vm: VmId) -> Backup {
    let host = world.host();
    let checkpoint = freeze(&*host, vm);
    let configuration = host
        .configuration_files(vm, checkpoint)
        .expect("configuration files are there");
    let frozen = host
        .frozen_disks(vm, checkpoint)
        .expect("a checkpoint lists its disks");
    let disks = frozen.iter().map(|frozen| {
        let disk = host
            .open_frozen_disk(vm, checkpoint, frozen)
            .expect("a frozen disk can be opened");
        let new = NewDisk {
            geometry: disk.geometry(),
            block_bytes: None,
            virtual_disk_id: disk.virtual_disk_id(),
        };
        (new, content_of(&*disk))
    });
    let disks = disks.collect();
    host.destroy_checkpoint(vm, checkpoint)
        .expect("a checkpoint can be destroyed");
    settle(world, vm);
    Backup {
        configuration,
        disks,
    }
}

fn write_disks(host: &dyn HypervHost, backup: &Backup, folder: &std::path::Path) -> Vec<PathBuf> {
    let disks = backup
        .disks
        .iter()
        .enumerate()
        .map(|(number, (new, content))| {
            let path = folder.join(format!("disk{number}.vhdx"));
            let disk = host
                .create_disk(&path, new)
                .expect("a disk can be made in the VM's folder");
            assert_eq!(disk.size_bytes(), content.len() as u64);
            for (index, piece) in content.chunks(MIB as usize).enumerate() {
                if piece.iter().any(|&byte| byte != 0) {
                    disk.write_at(index as u64 * MIB, piece)
                        .expect("a new disk can be written");
                }
            }
            disk.flush().expect("a new disk can be made durable");
            path
        });
    disks.collect()
}

/// Makes a planned VM that nothing stands against a real one.
fn realise(host: &dyn HypervHost, planned: VmId) -> VmId {
    let messages = host
        .validate_planned(planned)
        .expect("a planned VM can be validated");
    assert!(
        messages.iter().all(|message| !message.fatal),
        "nothing is wrong: {messages:?}"
    );
    host.realise_planned(planned)
        .expect("a valid planned VM can be realised")
}

/// A VM restored from its configuration and disks comes back, under its own id after it was
/// deleted and under a new one beside itself, with the same content.
pub fn a_restored_vm_comes_back(world: &mut dyn ContractWorld) {
    let original = world.add_vm("contract restore", &[8 * MIB, 4 * MIB]);
    world.guest_write(original, 0, 0, &[1; 70_000]);
    world.guest_write(original, 0, 8 * MIB - 512, &[2; 512]);
    world.guest_write(original, 1, MIB, &[3; 4096]);
    let backup = back_up(world, original);
    for new_id in [true, false] {
        if !new_id {
            world.delete_vm(original);
        }
        let host = world.host();
        let name = format!("contract restored {new_id}");
        let folder = host
            .default_vm_folder(&name)
            .expect("there is a default folder");
        let paths = write_disks(&*host, &backup, &folder);
        let planned = host
            .import_planned(&backup.configuration, &folder, &name, new_id)
            .expect("a VM's own configuration can be imported");
        assert_eq!(
            planned.id == original,
            !new_id,
            "the id is the one asked for"
        );
        assert_eq!(planned.disks.len(), 2);
        let listed = host.planned_vms().expect("planned VMs are listed");
        assert!(listed.contains(&(planned.id, name.clone())));
        let lies_in = host
            .planned_folder(planned.id)
            .expect("a planned VM can be asked for its folder");
        assert!(
            lies_in.is_none_or(|it| vm_folder::holds(&folder, &it)),
            "its configuration lies where it was told to"
        );
        let paths: Vec<_> = paths.into_iter().map(Some).collect();
        host.set_planned_disks(planned.id, &paths)
            .expect("disks can be pointed to");
        let switches: Vec<_> = planned.network_adapters.iter().map(|_| None).collect();
        host.set_planned_switches(planned.id, &switches)
            .expect("adapters can be disconnected");
        let vm = realise(&*host, planned.id);
        assert_eq!(vm, planned.id);
        assert!(
            host.planned_vms()
                .expect("planned VMs are listed")
                .is_empty()
        );
        let shown = host.vm(vm).expect("the restored VM is here");
        assert_eq!(shown.name, name);
        assert!(shown.last_applied_checkpoint.is_none());
        assert_eq!(host.reference_points(vm).expect("points are listed"), []);
        host.start(vm).expect("a restored VM starts");
        let again = back_up(world, vm);
        for (number, (was, is)) in backup.disks.iter().zip(&again.disks).enumerate() {
            assert_eq!(was.0, is.0, "disk {number} is of the same make");
            assert!(was.1 == is.1, "disk {number} holds the same");
        }
    }
}

/// A VM whose configuration files are lost comes back from what was recorded of it: under a new id,
/// with the same hardware and content.
pub fn a_vm_without_configuration_comes_back(world: &mut dyn ContractWorld) {
    let original = world.add_vm("contract lost", &[8 * MIB, 4 * MIB]);
    world.guest_write(original, 0, MIB, &[4; 70_000]);
    let was = world.host().vm(original).expect("the VM is here");
    let mut backup = back_up(world, original);
    let host = world.host();
    backup
        .configuration
        .retain(|file| file.name == "settings.xml");
    let name = "contract found";
    let folder = host
        .default_vm_folder(name)
        .expect("there is a default folder");
    host.import_planned(&backup.configuration, &folder, name, true)
        .expect_err("there is nothing to import");
    let paths = write_disks(&*host, &backup, &folder);
    let disks = was
        .disks
        .iter()
        .zip(&paths)
        .map(|(disk, path)| DefinedDisk {
            controller: disk.controller,
            controller_number: disk.controller_number,
            location: disk.location,
            path: path.clone(),
        });
    let definition = VmDefinition {
        name: name.to_owned(),
        generation: was.generation,
        firmware: was.firmware.clone(),
        processors: was.processors,
        memory_bytes: was.memory_bytes,
        network_adapters: was.network_adapters.clone(),
        disks: disks.collect(),
    };
    let defined = host
        .define_planned(&definition, &backup.configuration, &folder)
        .expect("a VM can be defined anew");
    let planned = defined.planned;
    assert_ne!(planned.id, original, "it is another VM");
    let places: Vec<_> = planned
        .disks
        .iter()
        .map(|disk| (disk.controller, disk.controller_number, disk.location))
        .collect();
    let wanted: Vec<_> = definition
        .disks
        .iter()
        .map(|disk| (disk.controller, disk.controller_number, disk.location))
        .collect();
    assert_eq!(places, wanted, "the disks hang where they hung");
    let switches: Vec<_> = planned
        .network_adapters
        .iter()
        .map(|adapter| adapter.switch.clone())
        .collect();
    host.set_planned_switches(planned.id, &switches)
        .expect("adapters can be connected as they were");
    let vm = realise(&*host, planned.id);
    let is = host.vm(vm).expect("the restored VM is here");
    assert_eq!(is.name, name);
    assert_eq!(
        (is.generation, is.firmware, is.processors, is.memory_bytes),
        (
            was.generation,
            was.firmware,
            was.processors,
            was.memory_bytes
        )
    );
    assert_eq!(is.network_adapters.len(), was.network_adapters.len());
    for (is, was) in is.network_adapters.iter().zip(&was.network_adapters) {
        assert_eq!(is.switch, was.switch);
        // An address that the host gave is the host's to give again.
        let address = &is.mac_address;
        assert!(
            address.is_empty() || *address == was.mac_address,
            "{address}"
        );
    }
    host.start(vm).expect("a restored VM starts");
    let again = back_up(world, vm);
    for (number, (was, is)) in backup.disks.iter().zip(&again.disks).enumerate() {
        assert!(was.1 == is.1, "disk {number} holds the same");
    }
}

/// A VM cannot be imported under the id of one that is here.
pub fn the_same_id_is_refused_while_it_lives(world: &mut dyn ContractWorld) {
    let vm = world.add_vm("contract same id", &[4 * MIB]);
    let backup = back_up(world, vm);
    let host = world.host();
    let folder = host
        .default_vm_folder("contract twin")
        .expect("there is a default folder");
    let error = host
        .import_planned(&backup.configuration, &folder, "contract twin", false)
        .expect_err("a VM with this id is here");
    assert_eq!(error.kind(), HypervErrorKind::Invalid);
    assert!(
        host.planned_vms()
            .expect("planned VMs are listed")
            .is_empty()
    );
}

/// A planned VM whose disk files are not there is told so, and cannot be realised.
pub fn realising_without_disk_files_is_refused(world: &mut dyn ContractWorld) {
    let vm = world.add_vm("contract no files", &[4 * MIB]);
    let backup = back_up(world, vm);
    let host = world.host();
    let folder = host
        .default_vm_folder("contract void")
        .expect("there is a default folder");
    let planned = host
        .import_planned(&backup.configuration, &folder, "contract void", true)
        .expect("a VM's own configuration can be imported");
    host.set_planned_disks(planned.id, &[])
        .expect_err("there is one path for each disk");
    host.set_planned_disks(planned.id, &[Some(folder.join("nothing.vhdx"))])
        .expect("files may come later");
    let messages = host
        .validate_planned(planned.id)
        .expect("a planned VM can be validated");
    assert!(
        messages.iter().any(|message| message.fatal),
        "a missing disk is fatal"
    );
    host.realise_planned(planned.id)
        .expect_err("a disk is missing");
    host.abort_planned(planned.id)
        .expect("a planned VM can be given up");
}

/// A planned VM that was given up is gone, its disk files stay, and they can be removed; a disk
/// is never made over a file that is there.
pub fn a_planned_vm_can_be_given_up(world: &mut dyn ContractWorld) {
    let vm = world.add_vm("contract abort", &[4 * MIB]);
    let backup = back_up(world, vm);
    let host = world.host();
    let folder = host
        .default_vm_folder("contract given up")
        .expect("there is a default folder");
    let paths = write_disks(&*host, &backup, &folder);
    let new = NewDisk {
        geometry: Geometry {
            virtual_bytes: 4 * MIB,
            logical_sector_bytes: 512,
            physical_sector_bytes: 4096,
        },
        block_bytes: None,
        virtual_disk_id: Uuid::from_u128(77),
    };
    match host.create_disk(&paths[0], &new) {
        Ok(_) => panic!("a disk was made over a file that is there"),
        Err(error) => assert_eq!(error.kind(), HypervErrorKind::Invalid),
    }
    let planned = host
        .import_planned(&backup.configuration, &folder, "contract given up", true)
        .expect("a VM's own configuration can be imported");
    host.abort_planned(planned.id)
        .expect("a planned VM can be given up");
    let error = host.abort_planned(planned.id).expect_err("it is gone");
    assert_eq!(error.kind(), HypervErrorKind::NotFound);
    let error = host.planned_folder(planned.id).expect_err("it is gone");
    assert_eq!(error.kind(), HypervErrorKind::NotFound);
    assert!(
        host.planned_vms()
            .expect("planned VMs are listed")
            .is_empty()
    );
    for path in &paths {
        assert!(path.exists(), "disk files stay");
        host.remove_file(path)
            .expect("a file nobody uses can be removed");
        assert!(!path.exists());
    }
}
