//! VMs defined by WMI, and disks put into them.

use std::path::Path;

use fake_hyperv::Manners;
use hyperv::sim::{SimDisk, SimVm};
use hyperv::{Controller, Generation, HypervHost as _, NewDisk, VmId, VmState};
use windows_host::wmi::{EmbeddedSource, Value, WmiObject, key_of};

use crate::world::{MANAGEMENT, MIB, World};

const SETTINGS: &str = "Msvm_VirtualSystemSettingData";
const COMPONENT: &str = "Msvm_VirtualSystemSettingDataComponent";
const DRIVE: &str = "Msvm_ResourceAllocationSettingData";
const STORAGE: &str = "Msvm_StorageAllocationSettingData";

fn embedded(world: &World, class: &str, properties: &[(&str, Value)]) -> String {
    let class = EmbeddedSource::Class(class);
    world.session.embedded(class, properties).unwrap()
}

fn define(world: &World, properties: &[(&str, Value)]) -> WmiObject {
    let settings = embedded(world, SETTINGS, properties);
    let parameters = [("SystemSettings", Value::Text(settings))];
    world.call(MANAGEMENT, "DefineSystem", &parameters)
}

/// Defines a VM of this name and returns its id.
fn defined(world: &World, name: &str, folder: &Path) -> VmId {
    let answer = define(
        world,
        &[
            ("ElementName", name.into()),
            ("VirtualSystemSubType", "Microsoft:Hyper-V:SubType:1".into()),
            ("ConfigurationDataRoot", folder.display().to_string().into()),
        ],
    );
    let job = world.done(&answer);
    let class = "Msvm_ComputerSystem";
    let made = world.associated(job.path().unwrap(), "Msvm_AffectedJobElement", class);
    let id = key_of(made[0].path().unwrap(), "Name").unwrap();
    VmId(uuid::Uuid::parse_str(&id).unwrap())
}

fn settings(world: &World, vm: VmId) -> String {
    let system = world.system(vm);
    let path = system.path().unwrap();
    let settings = world.associated(path, "Msvm_SettingsDefineState", SETTINGS);
    settings[0].path().unwrap().to_owned()
}

/// Returns the paths of a VM's parts of a kind.
fn parts(world: &World, vm: VmId, sub: &str) -> Vec<String> {
    let parts = world.query(&format!(
        "ASSOCIATORS OF {{{}}} WHERE AssocClass = {COMPONENT}",
        settings(world, vm)
    ));
    let parts = parts
        .iter()
        .filter(|part| part.text("ResourceSubType") == Ok(sub));
    parts.map(|part| part.path().unwrap().to_owned()).collect()
}

fn add(world: &World, vm: VmId, part: String) -> WmiObject {
    world.call(
        MANAGEMENT,
        "AddResourceSettings",
        &[
            ("AffectedConfiguration", settings(world, vm).into()),
            ("ResourceSettings", Value::texts([part])),
        ],
    )
}

fn add_drive(world: &World, vm: VmId, controller: &str, location: &str) -> WmiObject {
    let drive = embedded(
        world,
        DRIVE,
        &[
            ("ResourceType", Value::I32(17)),
            (
                "ResourceSubType",
                "Microsoft:Hyper-V:Synthetic Disk Drive".into(),
            ),
            ("Parent", controller.into()),
            ("AddressOnParent", location.into()),
        ],
    );
    add(world, vm, drive)
}

fn add_file(world: &World, vm: VmId, drive: &str, path: &Path) -> WmiObject {
    let file = embedded(
        world,
        STORAGE,
        &[
            ("ResourceType", Value::I32(31)),
            (
                "ResourceSubType",
                "Microsoft:Hyper-V:Virtual Hard Disk".into(),
            ),
            ("Parent", drive.into()),
            ("HostResource", Value::texts([path.display().to_string()])),
        ],
    );
    add(world, vm, file)
}

fn number(answer: &WmiObject) -> u32 {
    answer.u32("ReturnValue").unwrap()
}

fn ide(world: &World, vm: VmId) -> String {
    let found = parts(world, vm, "Microsoft:Hyper-V:Emulated IDE Controller");
    assert_eq!(found.len(), 2, "generation 1 comes with two");
    found[0].clone()
}

fn new_disk(world: &World, path: &Path) {
    let disk = NewDisk {
        geometry: disk::Geometry {
            virtual_bytes: 4 * MIB,
            logical_sector_bytes: 512,
            physical_sector_bytes: 4096,
        },
        block_bytes: None,
        virtual_disk_id: uuid::Uuid::from_u128(7),
    };
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    world.host.create_disk(path, &disk).unwrap();
}

#[test]
fn a_vm_is_defined_given_a_disk_and_destroyed() {
    let world = World::new(Manners::default());
    let folder = world.host.default_vm_folder("made").unwrap();
    let disk = folder.join("disk.vhdx");
    new_disk(&world, &disk);
    let vm = defined(&world, "made", &folder);
    let shown = world.host.vm(vm).unwrap();
    assert_eq!(
        (shown.name.as_str(), shown.generation, shown.state),
        ("made", Generation::One, VmState::Off)
    );
    let controller = ide(&world, vm);
    let answer = add_drive(&world, vm, &controller, "1");
    assert_eq!(number(&answer), 0);
    let drive = answer.texts("ResultingResourceSettings").unwrap()[0].to_owned();
    let drives = parts(&world, vm, "Microsoft:Hyper-V:Synthetic Disk Drive");
    assert_eq!(drives, std::slice::from_ref(&drive));
    world.done(&add_file(&world, vm, &drive, &disk));
    let shown = world.host.vm(vm).unwrap();
    let place = shown
        .disks
        .iter()
        .map(|disk| (disk.controller, disk.controller_number, disk.location));
    assert_eq!(place.collect::<Vec<_>>(), [(Controller::Ide, 0, 1)]);
    // The drive is no longer empty, and its place taken.
    assert_eq!(number(&add_file(&world, vm, &drive, &disk)), 4);
    assert_eq!(number(&add_drive(&world, vm, &controller, "1")), 4);

    let system = world.system(vm).path().unwrap().to_owned();
    let parameters = [("AffectedSystem", Value::Text(system))];
    world.done(&world.call(MANAGEMENT, "DestroySystem", &parameters));
    assert_eq!(world.host.vms().unwrap(), []);
    assert!(disk.exists(), "disk files stay");
}

#[test]
fn what_is_not_said_of_a_vm_is_the_hosts_choice_and_what_is_wrong_is_refused() {
    let world = World::new(Manners::default());
    world.done(&define(&world, &[]));
    let made = &world.host.vms().unwrap()[0];
    assert_eq!(made.name, "New Virtual Machine");
    assert_eq!(made.generation, Generation::One);
    for (name, value) in [
        ("VirtualSystemSubType", "Microsoft:Hyper-V:SubType:3"),
        ("VirtualSystemType", "Microsoft:Hyper-V:System:Planned"),
        (
            "InstanceID",
            "Microsoft:5A7C0FFE-0000-4000-8000-000000000000",
        ),
    ] {
        assert_eq!(
            number(&define(&world, &[(name, value.into())])),
            4,
            "{name}"
        );
    }
    let nothing = world.call(MANAGEMENT, "DefineSystem", &[]);
    assert_eq!(number(&nothing), 4);
    let garbled = [("SystemSettings", Value::text("<INSTANCE"))];
    assert_eq!(number(&world.call(MANAGEMENT, "DefineSystem", &garbled)), 4);
    assert_eq!(world.host.vms().unwrap().len(), 1);
}

#[test]
fn drives_and_files_that_fit_nowhere_are_refused() {
    let world = World::new(Manners::default());
    let folder = world.host.default_vm_folder("made").unwrap();
    let vm = defined(&world, "made", &folder);
    let controller = ide(&world, vm);
    for location in ["2", "", "first"] {
        let answer = add_drive(&world, vm, &controller, location);
        assert_eq!(number(&answer), 4, "{location:?}");
    }
    let other = SimVm {
        generation: Generation::One,
        ..SimVm::new("runs", vec![SimDisk::new(4 * MIB)])
    };
    let other = world.host.add_vm(&other).unwrap();
    let another_s = ide(&world, other);
    assert_eq!(number(&add_drive(&world, vm, &another_s, "1")), 4);
    // It is on.
    assert_eq!(number(&add_drive(&world, other, &another_s, "1")), 32775);

    assert_eq!(number(&add_drive(&world, vm, &controller, "0")), 0);
    let drive = &parts(&world, vm, "Microsoft:Hyper-V:Synthetic Disk Drive")[0];
    let missing = folder.join("missing.vhdx");
    let (job, _) = world.follow(&add_file(&world, vm, drive, &missing));
    assert_eq!(job.u16("JobState"), Ok(10));
    let used = world.host.vm(other).unwrap().disks[0].path.clone();
    let (job, _) = world.follow(&add_file(&world, vm, drive, &used));
    assert_eq!(job.u16("JobState"), Ok(10));
    let said = job.text("ErrorDescription").unwrap();
    assert!(said.contains("0x80070020"), "{said}");
    assert_eq!(world.host.vm(vm).unwrap().disks, []);
}
