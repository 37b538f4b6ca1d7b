//! Restores onto the simulated host: new disks, planned VMs, what is refused.

use disk::Geometry;
use hyperv::sim::{SimDisk, SimOptions, SimVm};
use hyperv::{HypervErrorKind, HypervHost, NewDisk, VmState, codes};
use uuid::Uuid;

use crate::world::*;

fn geometry(virtual_bytes: u64) -> Geometry {
    Geometry {
        virtual_bytes,
        logical_sector_bytes: 512,
        physical_sector_bytes: 4096,
    }
}

fn new_disk(virtual_bytes: u64) -> NewDisk {
    NewDisk {
        geometry: geometry(virtual_bytes),
        block_bytes: None,
        virtual_disk_id: Uuid::from_u128(4711),
    }
}

#[test]
fn sparse_files_are_refused_wherever_they_are_attached() {
    let world = World::new();
    let vm = world.vm();
    let path = world.host.vm(vm).unwrap().disks[0].path.clone();
    let source = world.outside("source.vhdx");
    std::fs::copy(&path, &source).unwrap();
    world.host.set_sparse_attribute(&source, true).unwrap();
    let order = SimVm::new("sparse", vec![SimDisk::copy_of(&source)]);
    assert_eq!(
        world.host.add_vm(&order).unwrap_err().code(),
        Some(codes::VHD_LIMITATION)
    );
    world.host.set_sparse_attribute(&source, false).unwrap();
    world.host.add_vm(&order).unwrap();

    let checkpoint = freeze(&world.host, vm);
    let configuration = world.host.configuration_files(vm, checkpoint).unwrap();
    let folder = world.host.default_vm_folder("restored").unwrap();
    let disk = folder.join("d.vhdx");
    drop(world.host.create_disk(&disk, &new_disk(8 * MIB)).unwrap());
    let planned = world
        .host
        .import_planned(&configuration, &folder, "restored", true)
        .unwrap()
        .id;
    world
        .host
        .set_planned_disks(planned, &[Some(disk.clone())])
        .unwrap();
    world.host.set_sparse_attribute(&disk, true).unwrap();
    let messages = world.host.validate_planned(planned).unwrap();
    assert!(
        messages
            .iter()
            .any(|message| message.fatal && message.text.contains("sparse"))
    );
    assert!(world.host.realise_planned(planned).is_err());
    world.host.set_sparse_attribute(&disk, false).unwrap();
    world.host.realise_planned(planned).unwrap();
    world.host.set_sparse_attribute(&disk, true).unwrap();
    assert_eq!(
        world.host.start(planned).unwrap_err().code(),
        Some(codes::VHD_LIMITATION)
    );
}

#[test]
fn a_disk_being_written_is_not_opened_by_anyone_else() {
    let world = World::new();
    let vm = world.vm();
    let checkpoint = freeze(&world.host, vm);
    let configuration = world.host.configuration_files(vm, checkpoint).unwrap();
    let folder = world.host.default_vm_folder("restored").unwrap();
    let path = folder.join("d.vhdx");
    let writer = world.host.create_disk(&path, &new_disk(8 * MIB)).unwrap();
    let planned = world
        .host
        .import_planned(&configuration, &folder, "restored", true)
        .unwrap()
        .id;
    world
        .host
        .set_planned_disks(planned, &[Some(path.clone())])
        .unwrap();
    assert!(
        world
            .host
            .validate_planned(planned)
            .unwrap()
            .iter()
            .any(|message| message.fatal)
    );
    assert_eq!(
        world.host.remove_file(&path).unwrap_err().kind(),
        HypervErrorKind::InUse
    );
    writer.write_at(0, &[1; 512]).unwrap();
    drop(writer);
    let messages = world.host.validate_planned(planned).unwrap();
    assert!(
        messages.iter().all(|message| !message.fatal),
        "{messages:?}"
    );
    let restored = world.host.realise_planned(planned).unwrap();
    assert_eq!(live_content(&world.host, restored, 0)[0], 1);
    let shown = world.host.vm(restored).unwrap();
    assert_eq!(shown.disks[0].virtual_disk_id, Uuid::from_u128(4711));
    assert_eq!(
        world.host.remove_file(&path).unwrap_err().kind(),
        HypervErrorKind::InUse
    );
}

#[test]
fn nothing_leaves_the_hosts_folder() {
    let world = World::new();
    let vm = world.vm();
    let checkpoint = freeze(&world.host, vm);
    let configuration = world.host.configuration_files(vm, checkpoint).unwrap();
    let inside = world.host.folder().join("vms");
    std::fs::create_dir(world.outside("elsewhere")).unwrap();
    let paths = [
        world.outside("x.vhdx"),
        inside.join("../../x.vhdx"),
        world.host.folder().join("host.json"),
        #[cfg(unix)]
        inside.join("link/x.vhdx"),
    ];
    #[cfg(unix)]
    std::os::unix::fs::symlink(world.outside("elsewhere"), inside.join("link")).unwrap();
    for path in paths {
        let refused = world
            .host
            .create_disk(&path, &new_disk(MIB))
            .map(|_| ())
            .unwrap_err();
        assert_eq!(refused.kind(), HypervErrorKind::Denied, "{path:?}");
        let refused = world.host.remove_file(&path).unwrap_err();
        assert_eq!(refused.kind(), HypervErrorKind::Denied, "{path:?}");
    }
    let refused = world
        .host
        .import_planned(&configuration, &world.outside("vm"), "n", true);
    assert_eq!(refused.unwrap_err().kind(), HypervErrorKind::Denied);
}

#[test]
fn a_newer_configuration_is_not_taken_by_an_older_host() {
    let new = World::new();
    let vm = new.vm();
    let checkpoint = freeze(&new.host, vm);
    let configuration = new.host.configuration_files(vm, checkpoint).unwrap();
    let old = World::with(SimOptions {
        configuration_version: "9.0".to_owned(),
        ..SimOptions::default()
    });
    let folder = old.host.default_vm_folder("n").unwrap();
    let refused = old
        .host
        .import_planned(&configuration, &folder, "n", false)
        .unwrap_err();
    assert_eq!(refused.kind(), HypervErrorKind::Unsupported);
}

#[test]
fn a_vm_moves_to_another_host_by_its_files() {
    let (from, to) = (
        World::new(),
        World::with(SimOptions {
            switches: vec!["LAN".to_owned()],
            ..SimOptions::default()
        }),
    );
    let vm = from.vm();
    let checkpoint = freeze(&from.host, vm);
    let configuration = from.host.configuration_files(vm, checkpoint).unwrap();
    let folder = to.host.default_vm_folder("dc01").unwrap();
    let path = folder.join("dc01.vhdx");
    drop(to.host.create_disk(&path, &new_disk(8 * MIB)).unwrap());
    let planned = to
        .host
        .import_planned(&configuration, &folder, "dc01", false)
        .unwrap();
    assert_eq!(planned.id, vm);
    assert_eq!(
        planned.network_adapters[0].switch.as_deref(),
        Some("Default Switch")
    );
    to.host.set_planned_disks(vm, &[Some(path)]).unwrap();
    let unknown = to
        .host
        .set_planned_switches(vm, &[Some("WAN".to_owned())])
        .unwrap_err();
    assert_eq!(unknown.kind(), HypervErrorKind::Invalid);
    to.host
        .set_planned_switches(vm, &[Some("LAN".to_owned())])
        .unwrap();
    assert!(to.host.validate_planned(vm).unwrap().is_empty());
    to.host.realise_planned(vm).unwrap();
    let there = to.host.vm(vm).unwrap();
    let here = from.host.vm(vm).unwrap();
    assert_eq!(there.network_adapters[0].switch.as_deref(), Some("LAN"));
    assert_eq!(
        there.network_adapters[0].mac_address,
        here.network_adapters[0].mac_address
    );
    assert_eq!(
        (there.state, &there.firmware),
        (VmState::Off, &here.firmware)
    );
}
