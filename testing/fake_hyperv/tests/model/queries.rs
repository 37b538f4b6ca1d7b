//! What is there, and how it is found.

use fake_hyperv::Manners;
use hyperv::sim::{SimDisk, SimGuest, SimVm};
use hyperv::{Generation, HypervHost, VmState};
use windows_host::wmi::{EmbeddedSource, Namespaces, Value, key_of};

use crate::world::{MIB, World};

fn code(result: Result<impl Sized, windows_host::wmi::WmiError>) -> Option<u32> {
    result.err().and_then(|error| error.code())
}

#[test]
fn vms_stand_beside_their_host_and_are_told_apart() {
    let world = World::new(Manners::default());
    assert_eq!(world.query("SELECT * FROM Msvm_ComputerSystem").len(), 1);
    let vm = world.vm();
    let rows = world.query(
        "SELECT Name, EnabledState FROM Msvm_ComputerSystem WHERE Caption = \"Virtual Machine\"",
    );
    assert_eq!(rows.len(), 1);
    let names: Vec<_> = rows[0].properties.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["Name", "EnabledState"]);
    assert_eq!(rows[0].path, None, "without all keys there is no path");
    assert_eq!(rows[0].text("Name").unwrap(), vm.to_string().to_uppercase());
    assert_eq!(rows[0].u16("EnabledState").unwrap(), 2);
    let system = world.system(vm);
    assert_eq!(system.numbers("OperationalStatus").unwrap(), [2]);
    assert_eq!(*system.value("OnTimeInMilliseconds"), Value::text("0"));
    assert_eq!(world.session.get(system.path().unwrap()).unwrap(), system);
    let relative = system.path().unwrap().split_once(':').unwrap().1;
    assert_eq!(world.session.get(relative).unwrap(), system);
}

#[test]
fn states_have_their_numbers_of_both_sets() {
    for (old, saved, paused) in [(false, 6, 9), (true, 32769, 32768)] {
        let world = World::new(Manners {
            old_state_numbers: old,
            ..Manners::default()
        });
        let vm = world.vm();
        for (state, number) in [
            (VmState::Off, 3),
            (VmState::Saved, saved),
            (VmState::Paused, paused),
            (VmState::Running, 2),
        ] {
            world.host.set_state(vm, state).unwrap();
            assert_eq!(world.system(vm).u16("EnabledState").unwrap(), number);
        }
    }
}

#[test]
fn what_is_wrong_with_a_query_has_its_code() {
    let world = World::new(Manners::default());
    let vm = world.vm();
    let query = |wql: &str| code(world.session.query(wql));
    assert_eq!(
        query("SELECT * FORM Msvm_ComputerSystem"),
        Some(0x8004_1017)
    );
    assert_eq!(query("SELECT * FROM Msvm_Nothing"), Some(0x8004_1010));
    assert_eq!(
        query("SELECT Nothing FROM Msvm_ComputerSystem"),
        Some(0x8004_1017)
    );
    assert_eq!(
        query("SELECT * FROM Msvm_ComputerSystem WHERE Nothing = 1"),
        Some(0x8004_1017)
    );
    let gone = r#"Msvm_ComputerSystem.CreationClassName="Msvm_ComputerSystem",Name="A""#;
    assert_eq!(
        query(&format!("ASSOCIATORS OF {{{gone}}}")),
        Some(0x8004_1002)
    );
    assert_eq!(code(world.session.get(gone)), Some(0x8004_1002));
    assert_eq!(
        code(world.session.get("Msvm_ComputerSystem")),
        Some(0x8004_103A)
    );
    assert_eq!(
        code(world.session.class_properties("Msvm_Nothing")),
        Some(0x8004_1010)
    );
    assert_eq!(
        code(world.namespaces.connect(r"root\MSCluster")),
        Some(0x8004_100E)
    );
    let system = world.system(vm);
    let call = |method: &str, parameters: &[(&str, Value)]| {
        world
            .session
            .call(system.path().unwrap(), method, parameters)
    };
    assert_eq!(code(call("Explode", &[])), Some(0x8004_102E));
    let wrong = [("RequestedState", Value::text("2"))];
    assert_eq!(code(call("RequestStateChange", &wrong)), Some(0x8004_1005));
    let unknown = [("State", Value::I32(2))];
    assert_eq!(
        code(call("RequestStateChange", &unknown)),
        Some(0x8004_102F)
    );
    let answer = call("RequestStateChange", &[]).unwrap();
    assert_eq!(answer.u32("ReturnValue").unwrap(), 32773);
}

#[test]
fn windows_tells_its_version() {
    let world = World::new(Manners::default());
    let cimv2 = world.namespaces.connect(r"\\.\root/cimv2").unwrap();
    let systems = cimv2
        .query("SELECT Version, CSName FROM Win32_OperatingSystem")
        .unwrap();
    assert_eq!(systems[0].text("Version").unwrap(), "10.0.20348");
    assert!(cimv2.query("SELECT * FROM Msvm_ComputerSystem").is_err());
}

#[test]
fn settings_and_parts_hang_together() {
    let world = World::new(Manners::default());
    let vm = world
        .host
        .add_vm(&SimVm {
            generation: Generation::One,
            guest: SimGuest::Linux,
            pass_through: vec!["PhysicalDrive3".to_owned()],
            ..SimVm::new("web", (0..5).map(|_| SimDisk::new(4 * MIB)).collect())
        })
        .unwrap();
    let system = world.system(vm);
    let class = "Msvm_VirtualSystemSettingData";
    let settings = world.associated(system.path().unwrap(), "Msvm_SettingsDefineState", class);
    assert_eq!(settings.len(), 1);
    let settings = &settings[0];
    assert_eq!(
        settings.text("VirtualSystemSubType").unwrap(),
        "Microsoft:Hyper-V:SubType:1"
    );
    let association = "Msvm_VirtualSystemSettingDataComponent";
    let parts = world.associated(
        settings.path().unwrap(),
        association,
        "CIM_ResourceAllocationSettingData",
    );
    let of = |class: &str, sub: &str| {
        let end = format!("Microsoft:Hyper-V:{sub}");
        let fits = |part: &&windows_host::wmi::WmiObject| {
            part.is(class) && part.text("ResourceSubType").unwrap() == end
        };
        parts.iter().filter(fits).collect::<Vec<_>>()
    };
    let resource = "Msvm_ResourceAllocationSettingData";
    assert_eq!(of(resource, "Emulated IDE Controller").len(), 2);
    assert_eq!(of(resource, "Synthetic SCSI Controller").len(), 1);
    let files = of("Msvm_StorageAllocationSettingData", "Virtual Hard Disk");
    assert_eq!(files.len(), 5);
    let disks = world.host.vm(vm).unwrap().disks;
    for (file, disk) in files.iter().zip(&disks) {
        assert_eq!(
            file.texts("HostResource").unwrap(),
            [disk.path.display().to_string()]
        );
        let drive = world.session.get(file.text("Parent").unwrap()).unwrap();
        assert_eq!(
            drive.u64("AddressOnParent").unwrap(),
            u64::from(disk.location)
        );
        let controller = world.session.get(drive.text("Parent").unwrap()).unwrap();
        let id = file.text("InstanceID").unwrap();
        assert!(
            id.starts_with(controller.text("InstanceID").unwrap()),
            "{id}"
        );
        assert!(id.ends_with(&format!(r"\{}\L", disk.location)), "{id}");
    }
    let physical = of(resource, "Physical Disk Drive");
    assert_eq!(physical.len(), 1);
    let drive = world
        .session
        .get(physical[0].texts("HostResource").unwrap()[0])
        .unwrap();
    assert_eq!(drive.text("ElementName").unwrap(), "PhysicalDrive3");
    let connection = of(
        "Msvm_EthernetPortAllocationSettingData",
        "Ethernet Connection",
    )[0];
    let switch = world
        .session
        .get(connection.texts("HostResource").unwrap()[0])
        .unwrap();
    assert_eq!(switch.text("ElementName").unwrap(), "Default Switch");
    let kvp = world.associated(
        system.path().unwrap(),
        "Msvm_SystemDevice",
        "Msvm_KvpExchangeComponent",
    );
    let items = kvp[0].texts("GuestIntrinsicExchangeItems").unwrap();
    assert!(
        items
            .iter()
            .any(|item| item.contains(">OSName<") && item.contains(">Debian GNU/Linux<"))
    );
    let memory = parts
        .iter()
        .find(|part| part.is("Msvm_MemorySettingData"))
        .unwrap();
    assert_eq!(memory.u64("VirtualQuantity").unwrap(), 4096);
}

#[test]
fn associations_are_objects_too() {
    let world = World::new(Manners::default());
    let vm = world.vm();
    let snapshot = world.snapshot(vm);
    let system = world.system(vm);
    let wql = format!(
        "REFERENCES OF {{{}}} WHERE ResultClass = Msvm_SnapshotOfVirtualSystem",
        system.path().unwrap()
    );
    let link = world.one(&wql);
    assert_eq!(link.text("Antecedent").unwrap(), system.path().unwrap());
    assert_eq!(link.text("Dependent").unwrap(), snapshot.path().unwrap());
    let all = world.query("SELECT * FROM Msvm_SnapshotOfVirtualSystem");
    assert_eq!(all, [link]);
    let id = key_of(snapshot.path().unwrap(), "InstanceID").unwrap();
    assert_eq!(id, snapshot.text("InstanceID").unwrap());
}

#[test]
fn embedded_texts_are_checked_as_they_are_made() {
    let world = World::new(Manners {
        server_2016: true,
        ..Manners::default()
    });
    let class = EmbeddedSource::Class("Msvm_VirtualSystemSnapshotSettingData");
    let make = |name: &str, value: Value| world.session.embedded(class, &[(name, value)]);
    assert!(make("ConsistencyLevel", Value::U8(1)).is_ok());
    assert_eq!(
        code(make("ConsistencyLevel", Value::I32(1))),
        Some(0x8004_1005)
    );
    assert_eq!(
        code(make("GuestBackupType", Value::U8(2))),
        Some(0x8004_1031)
    );
}

#[test]
fn an_overview_comes_in_one_call() {
    let world = World::new(Manners::default());
    world.vm();
    world.vm();
    let codes = Value::Array([1, 100].map(Value::I32).to_vec());
    let answer = world.call(
        crate::world::MANAGEMENT,
        "GetSummaryInformation",
        &[("RequestedInformation", codes)],
    );
    let Value::Array(rows) = answer.value("SummaryInformation") else {
        panic!("it is an array");
    };
    assert_eq!(rows.len(), 2);
    let Value::Object(row) = &rows[0] else {
        panic!("it is of objects");
    };
    assert_eq!(row.text("ElementName").unwrap(), "dc01");
}
