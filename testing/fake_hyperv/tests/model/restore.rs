//! Planned systems by WMI.

use std::path::{Path, PathBuf};

use fake_hyperv::Manners;
use hyperv::sim::{SimDisk, SimVm};
use hyperv::{HypervHost, NewDisk, VmId};
use windows_host::wmi::{EmbeddedSource, Value, WmiObject, key_of};

use crate::world::{MANAGEMENT, MIB, World};

const PLANNED: &str = "Msvm_PlannedComputerSystem";
const COMPONENT: &str = "Msvm_VirtualSystemSettingDataComponent";
const STORAGE: &str = "Msvm_StorageAllocationSettingData";
const CONNECTION: &str = "Msvm_EthernetPortAllocationSettingData";

/// Backs up the configuration of a VM and returns where its `.vmcx` lies.
fn configuration(world: &World, vm: VmId, folder: &Path) -> PathBuf {
    let snapshot = world.snapshot(vm);
    let checkpoint = world.host.checkpoints(vm).unwrap()[0].id;
    for file in world.host.configuration_files(vm, checkpoint).unwrap() {
        std::fs::write(folder.join(&file.name), &file.content).unwrap();
    }
    world.host.destroy_checkpoint(vm, checkpoint).unwrap();
    let name = snapshot.text("ConfigurationFile").unwrap();
    folder.join(Path::new(name).file_name().unwrap())
}

fn import(world: &World, vmcx: &Path, new_id: bool) -> WmiObject {
    world.call(
        MANAGEMENT,
        "ImportSystemDefinition",
        &[
            ("SystemDefinitionFile", vmcx.display().to_string().into()),
            ("SnapshotFolder", "".into()),
            ("GenerateNewSystemIdentifier", new_id.into()),
        ],
    )
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
    world.host.create_disk(path, &disk).unwrap();
}

fn modify(world: &World, object: &WmiObject, changes: &[(&str, Value)]) -> WmiObject {
    let source = EmbeddedSource::Instance(object.path().unwrap());
    let text = world.session.embedded(source, changes).unwrap();
    world.call(
        MANAGEMENT,
        "ModifyResourceSettings",
        &[("ResourceSettings", Value::texts([text]))],
    )
}

#[test]
fn a_definition_becomes_a_vm() {
    let world = World::new(Manners::default());
    let original = world
        .host
        .add_vm(&SimVm {
            pass_through: vec!["PhysicalDrive3".to_owned()],
            ..SimVm::new("dc01", vec![SimDisk::new(4 * MIB), SimDisk::new(4 * MIB)])
        })
        .unwrap();
    let staging = tempfile::tempdir().unwrap();
    let vmcx = configuration(&world, original, staging.path());
    assert_eq!(
        import(&world, &vmcx, false).u32("ReturnValue").unwrap(),
        32779
    );

    let job = world.done(&import(&world, &vmcx, true));
    let planned = world
        .associated(job.path().unwrap(), "Msvm_AffectedJobElement", PLANNED)
        .remove(0);
    assert_ne!(
        planned.text("Name").unwrap(),
        original.to_string().to_uppercase()
    );
    let class = "Msvm_VirtualSystemSettingData";
    let settings = world
        .associated(planned.path().unwrap(), "Msvm_SettingsDefineState", class)
        .remove(0);
    assert_eq!(
        settings.text("VirtualSystemType").unwrap(),
        "Microsoft:Hyper-V:System:Planned"
    );

    let folder = world.host.default_vm_folder("copy").unwrap();
    let source = EmbeddedSource::Instance(settings.path().unwrap());
    let changes = [
        ("ElementName", Value::text("copy")),
        ("ConfigurationDataRoot", folder.display().to_string().into()),
    ];
    let text = world.session.embedded(source, &changes).unwrap();
    world.done(&world.call(
        MANAGEMENT,
        "ModifySystemSettings",
        &[("SystemSettings", text.into())],
    ));

    let validated = |world: &World| {
        let parameters = [("PlannedSystem", planned.path().unwrap().into())];
        let (job, _) = world.follow(&world.call(MANAGEMENT, "ValidatePlannedSystem", &parameters));
        let errors = world
            .session
            .call(job.path().unwrap(), "GetErrorEx", &[])
            .unwrap();
        (
            job.u16("JobState").unwrap(),
            errors.texts("Errors").unwrap().len(),
        )
    };
    assert_eq!(validated(&world).0, 10, "the original's disks are in use");
    let files = world.associated(settings.path().unwrap(), COMPONENT, STORAGE);
    let path = folder.join("disk.vhdx");
    new_disk(&world, &path);
    world.done(&modify(
        &world,
        &files[0],
        &[("HostResource", Value::texts([path.display().to_string()]))],
    ));
    let removed = [("ResourceSettings", Value::texts([files[1].path().unwrap()]))];
    world.done(&world.call(MANAGEMENT, "RemoveResourceSettings", &removed));
    assert_eq!(
        world
            .associated(settings.path().unwrap(), COMPONENT, STORAGE)
            .len(),
        1
    );
    assert_eq!(
        validated(&world),
        (32768, 1),
        "the physical disk is a warning"
    );
    let wql = format!(
        "SELECT * FROM Msvm_ResourceAllocationSettingData WHERE InstanceID LIKE '{}%' AND ResourceSubType = 'Microsoft:Hyper-V:Physical Disk Drive'",
        settings.text("InstanceID").unwrap()
    );
    let physical = world.one(&wql);
    let removed = [("ResourceSettings", Value::texts([physical.path().unwrap()]))];
    world.done(&world.call(MANAGEMENT, "RemoveResourceSettings", &removed));
    assert_eq!(validated(&world), (7, 0));

    let connection = world
        .associated(settings.path().unwrap(), COMPONENT, CONNECTION)
        .remove(0);
    assert_eq!(
        connection.text("LastKnownSwitchName").unwrap(),
        "Default Switch"
    );
    world.done(&modify(
        &world,
        &connection,
        &[("HostResource", Value::Array(Vec::new()))],
    ));
    assert_eq!(validated(&world), (32768, 1), "an adapter hangs on nothing");
    world.done(&modify(
        &world,
        &connection,
        &[
            ("HostResource", Value::texts([switch(&world)])),
            ("EnabledState", 2u16.into()),
        ],
    ));

    let parameters = [("PlannedSystem", planned.path().unwrap().into())];
    let job = world.done(&world.call(MANAGEMENT, "RealizePlannedSystem", &parameters));
    let made = world.associated(
        job.path().unwrap(),
        "Msvm_AffectedJobElement",
        "Msvm_ComputerSystem",
    );
    let vm: VmId = key_of(made[0].path().unwrap(), "Name")
        .unwrap()
        .parse()
        .unwrap();
    let shown = world.host.vm(vm).unwrap();
    assert_eq!(shown.name, "copy");
    assert_eq!(shown.disks.len(), 1);
    assert_eq!(shown.disks[0].path, path);
    assert_eq!(
        shown.network_adapters[0].switch.as_deref(),
        Some("Default Switch")
    );
    assert!(world.query(&format!("SELECT * FROM {PLANNED}")).is_empty());
    let answer = world.session.call(
        made[0].path().unwrap(),
        "RequestStateChange",
        &[("RequestedState", Value::I32(2))],
    );
    world.done(&answer.unwrap());
    assert_eq!(world.system(vm).u16("EnabledState").unwrap(), 2);
}

fn switch(world: &World) -> String {
    world
        .one("SELECT * FROM Msvm_VirtualEthernetSwitch")
        .path
        .unwrap()
}

#[test]
fn an_adapter_without_a_connection_gets_one() {
    let world = World::new(Manners {
        disconnected_has_connection: false,
        ..Manners::default()
    });
    let vm = world.vm();
    let staging = tempfile::tempdir().unwrap();
    let vmcx = configuration(&world, vm, staging.path());
    let job = world.done(&import(&world, &vmcx, true));
    let planned = world
        .associated(job.path().unwrap(), "Msvm_AffectedJobElement", PLANNED)
        .remove(0);
    let class = "Msvm_VirtualSystemSettingData";
    let settings = world
        .associated(planned.path().unwrap(), "Msvm_SettingsDefineState", class)
        .remove(0);
    let connections = || world.associated(settings.path().unwrap(), COMPONENT, CONNECTION);
    let removed = [(
        "ResourceSettings",
        Value::texts([connections()[0].path().unwrap()]),
    )];
    world.done(&world.call(MANAGEMENT, "RemoveResourceSettings", &removed));
    assert!(connections().is_empty());
    let port = "Msvm_SyntheticEthernetPortSettingData";
    let port = world
        .associated(settings.path().unwrap(), COMPONENT, port)
        .remove(0);
    let changes = [
        ("ResourceType", Value::I32(33)),
        (
            "ResourceSubType",
            "Microsoft:Hyper-V:Ethernet Connection".into(),
        ),
        ("Parent", port.path().unwrap().into()),
        ("HostResource", Value::texts([switch(&world)])),
    ];
    let text = world
        .session
        .embedded(EmbeddedSource::Class(CONNECTION), &changes)
        .unwrap();
    let parameters = [
        ("AffectedConfiguration", settings.path().unwrap().into()),
        ("ResourceSettings", Value::texts([text])),
    ];
    world.done(&world.call(MANAGEMENT, "AddResourceSettings", &parameters));
    assert_eq!(connections().len(), 1);
    let again = world.call(MANAGEMENT, "AddResourceSettings", &parameters);
    assert_eq!(again.u32("ReturnValue").unwrap(), 4, "it has one");
    let parameters = [("AffectedSystem", planned.path().unwrap().into())];
    world.done(&world.call(MANAGEMENT, "DestroySystem", &parameters));
    assert!(world.host.planned_vms().unwrap().is_empty());
}

#[test]
fn what_cannot_be_imported_says_so() {
    let world = World::new(Manners::default());
    let (job, _) = world.follow(&import(&world, Path::new("/nothing/here.vmcx"), true));
    assert_eq!(job.u16("JobState").unwrap(), 10);
    assert!(job.text("ErrorDescription").unwrap().contains("0x80070002"));
}
