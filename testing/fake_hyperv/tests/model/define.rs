//! VMs defined by WMI, and disks put into them.

use std::path::Path;

use fake_hyperv::Manners;
use hyperv::sim::{PlannedPart, SimDisk, SimVm};
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
    define_by(world, "DefineSystem", properties)
}

fn define_by(world: &World, method: &str, properties: &[(&str, Value)]) -> WmiObject {
    let settings = embedded(world, SETTINGS, properties);
    let parameters = [("SystemSettings", Value::Text(settings))];
    world.call(MANAGEMENT, method, &parameters)
}

/// Defines a planned system of a generation and returns its id and the path of its settings.
fn planned(world: &World, generation: u32) -> (VmId, String) {
    let sub = format!("Microsoft:Hyper-V:SubType:{generation}");
    let properties = [("VirtualSystemSubType", Value::Text(sub))];
    world.done(&define_by(world, "DefinePlannedSystem", &properties));
    let id = world.host.planned_vms().unwrap().pop().unwrap().0;
    let of_it = format!(
        "SELECT * FROM {SETTINGS} WHERE VirtualSystemIdentifier = '{}'",
        id.to_string().to_uppercase()
    );
    (id, world.one(&of_it).path().unwrap().to_owned())
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
    parts_of(world, &settings(world, vm), sub)
}

fn parts_of(world: &World, settings: &str, sub: &str) -> Vec<String> {
    let parts = world.query(&format!(
        "ASSOCIATORS OF {{{settings}}} WHERE AssocClass = {COMPONENT}"
    ));
    let parts = parts
        .iter()
        .filter(|part| part.text("ResourceSubType") == Ok(sub));
    parts.map(|part| part.path().unwrap().to_owned()).collect()
}

fn add(world: &World, vm: VmId, part: String) -> WmiObject {
    add_to(world, &settings(world, vm), part)
}

fn add_to(world: &World, settings: &str, part: String) -> WmiObject {
    world.call(
        MANAGEMENT,
        "AddResourceSettings",
        &[
            ("AffectedConfiguration", settings.into()),
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

#[test]
fn vms_and_planned_systems_are_told_of_in_the_same_words() {
    let world = World::new(Manners::default());
    let folder = world.host.default_vm_folder("made").unwrap();
    let vm = defined(&world, "made", &folder);
    let (_, planned) = planned(&world, 1);
    for (method, kind) in [
        ("DefineSystem", "Planned"),
        ("DefinePlannedSystem", "Realized"),
    ] {
        let kind = format!("Microsoft:Hyper-V:System:{kind}");
        let answer = define_by(&world, method, &[("VirtualSystemType", kind.into())]);
        assert_ne!(number(&answer), 4096, "{method}");
        let id = "Microsoft:5A7C0FFE-0000-4000-8000-000000000000";
        let answer = define_by(&world, method, &[("InstanceID", id.into())]);
        assert_ne!(number(&answer), 4096, "{method}");
    }

    let drive = "Microsoft:Hyper-V:Synthetic Disk Drive";
    for (settings, another_s) in [
        (settings(&world, vm), &planned),
        (planned.clone(), &settings(&world, vm)),
    ] {
        let ide = "Microsoft:Hyper-V:Emulated IDE Controller";
        let controller = parts_of(&world, &settings, ide).remove(0);
        let stranger = parts_of(&world, another_s, ide).remove(0);
        let add_drive = |parent: &str, location: &str, kind: i32| {
            let properties = [
                ("ResourceType", Value::I32(kind)),
                ("ResourceSubType", drive.into()),
                ("Parent", parent.into()),
                ("AddressOnParent", location.into()),
            ];
            let part = embedded(&world, DRIVE, &properties);
            number(&add_to(&world, &settings, part))
        };
        for location in ["2", "64", "", "first"] {
            assert_eq!(add_drive(&controller, location, 17), 4, "{location:?}");
        }
        assert_eq!(add_drive(&stranger, "0", 17), 4);
        assert_eq!(add_drive(&settings, "0", 17), 4);
        assert_eq!(add_drive(&controller, "0", 31), 1, "no type of a drive");
        assert!([0, 4096].contains(&add_drive(&controller, "0", 17)));
        let drives = || parts_of(&world, &settings, drive);
        for _ in 0..10 {
            if !drives().is_empty() {
                break;
            }
            world.query("SELECT * FROM Msvm_ConcreteJob");
        }
        let there = drives().remove(0);
        assert_eq!(add_drive(&controller, "0", 17), 4, "something hangs there");
        for (kind, files) in [
            (17, vec!["disk.vhdx"]),
            (31, vec![]),
            (31, vec![""]),
            (31, vec!["a", "b"]),
        ] {
            let properties = [
                ("ResourceType", Value::I32(kind)),
                (
                    "ResourceSubType",
                    "Microsoft:Hyper-V:Virtual Hard Disk".into(),
                ),
                ("Parent", there.as_str().into()),
                ("HostResource", Value::texts(files)),
            ];
            let part = embedded(&world, STORAGE, &properties);
            let answer = number(&add_to(&world, &settings, part));
            assert_eq!(answer, if kind == 31 { 4 } else { 1 });
        }
    }
}

#[test]
fn places_on_controllers_are_as_many_as_the_spec_says_and_none_where_it_says_nothing() {
    let world = World::new(Manners::default());
    let (id, settings) = planned(&world, 2);
    let pmem = PlannedPart::Drive {
        controller: Controller::Pmem,
        number: 0,
        location: 0,
    };
    let parts = vec![PlannedPart::ScsiController, pmem];
    world.host.furnish_planned(id, parts).unwrap();
    for (controller, location, expected) in [
        ("Synthetic SCSI Controller", "63", 4096),
        ("Synthetic SCSI Controller", "64", 4),
        ("Persistent Memory Controller", "1", 1),
    ] {
        let sub = format!("Microsoft:Hyper-V:{controller}");
        let parent = parts_of(&world, &settings, &sub).remove(0);
        let properties = [
            ("ResourceType", Value::I32(17)),
            (
                "ResourceSubType",
                "Microsoft:Hyper-V:Synthetic Disk Drive".into(),
            ),
            ("Parent", parent.into()),
            ("AddressOnParent", location.into()),
        ];
        let part = embedded(&world, DRIVE, &properties);
        let answer = number(&add_to(&world, &settings, part));
        assert_eq!(answer, expected, "{controller} {location}");
    }
}

#[test]
fn an_adapter_has_an_address_of_its_own_only_if_it_is_told_so() {
    let world = World::new(Manners::default());
    let (id, settings) = planned(&world, 2);
    for (address, is_its_own, expected) in [
        ("00155D010203", true, 4096),
        ("00155D010203", false, 4096),
        ("00155D0102", true, 4),
        ("000000000000", true, 4),
        ("", true, 4),
    ] {
        let properties = [
            ("ResourceType", Value::I32(10)),
            (
                "ResourceSubType",
                "Microsoft:Hyper-V:Synthetic Ethernet Port".into(),
            ),
            ("Address", address.into()),
            ("StaticMacAddress", is_its_own.into()),
        ];
        let part = embedded(&world, "Msvm_SyntheticEthernetPortSettingData", &properties);
        let answer = number(&add_to(&world, &settings, part));
        assert_eq!(answer, expected, "{address:?} {is_its_own}");
    }
    let truth = world.host.truth().unwrap();
    let planned = truth.planned.iter().find(|known| known.id == id).unwrap();
    let adapters = planned.network_adapters.iter();
    let addresses: Vec<_> = adapters.map(|it| it.mac_address.as_str()).collect();
    assert_eq!(addresses, ["00155D010203", ""]);
}

#[test]
fn memory_and_processors_lie_between_what_is_reserved_and_their_limit() {
    let world = World::new(Manners::default());
    let (id, settings) = planned(&world, 2);
    let change = |sub: &str, [quantity, reserved, limit]: [u64; 3]| {
        let part = parts_of(&world, &settings, sub).remove(0);
        let properties = [
            ("VirtualQuantity", Value::decimal(quantity)),
            ("Reservation", Value::decimal(reserved)),
            ("Limit", Value::decimal(limit)),
        ];
        let source = EmbeddedSource::Instance(&part);
        let text = world.session.embedded(source, &properties).unwrap();
        let parameters = [("ResourceSettings", Value::texts([text]))];
        number(&world.call(MANAGEMENT, "ModifyResourceSettings", &parameters))
    };
    let memory = "Microsoft:Hyper-V:Memory";
    for refused in [
        [0, 0, 4096],
        [1024, 2048, 4096],
        [4096, 512, 2048],
        [u64::MAX, 0, u64::MAX],
    ] {
        assert_eq!(change(memory, refused), 4, "{refused:?}");
    }
    assert_eq!(change(memory, [2048, 512, 4096]), 4096);
    let processors = "Microsoft:Hyper-V:Processor";
    for refused in [
        [0, 0, 100_000],
        [2, 60_000, 50_000],
        [2, 0, 100_001],
        [1 << 40, 0, 100_000],
    ] {
        assert_eq!(change(processors, refused), 4, "{refused:?}");
    }
    assert_eq!(change(processors, [2, 10_000, 50_000]), 4096);
    let truth = world.host.truth().unwrap();
    let planned = truth.planned.iter().find(|known| known.id == id).unwrap();
    assert_eq!((planned.processors, planned.memory_bytes), (2, 2 << 30));
}
