//! VMs defined anew from what was recorded of them (Hyper-V spec 10.3).

use std::path::{Path, PathBuf};

use disk::Geometry;
use fake_hyperv::meddling::{ALWAYS, Meanwhile, Twist};
use fake_hyperv::{Manners, MemorySettings};
use hyperv::{
    ConfigurationFile, Controller, DefinedDisk, DefinedVm, Generation, HypervError,
    HypervErrorKind as Kind, HypervHost, NetworkAdapter, NewDisk, VmDefinition,
};
use uuid::Uuid;

use crate::world::{MIB, World};

const DEFINE: &str = "call DefinePlannedSystem";

fn disk_at(
    world: &World,
    folder: &Path,
    (controller, controller_number, location): (Controller, u32, u32),
) -> DefinedDisk {
    let path = folder.join(format!(
        "{controller:?}-{controller_number}-{location}.vhdx"
    ));
    let new = NewDisk {
        geometry: Geometry {
            virtual_bytes: MIB,
            logical_sector_bytes: 512,
            physical_sector_bytes: 4096,
        },
        block_bytes: None,
        virtual_disk_id: Uuid::from_u128(u128::from(controller_number * 100 + location) + 1),
    };
    world.host.create_disk(&path, &new).unwrap();
    DefinedDisk {
        controller,
        controller_number,
        location,
        path,
    }
}

fn adapter(name: &str, mac_address: &str, switch: Option<&str>) -> NetworkAdapter {
    NetworkAdapter {
        name: name.to_owned(),
        mac_address: mac_address.to_owned(),
        switch: switch.map(str::to_owned),
    }
}

struct Stage {
    world: World,
    folder: PathBuf,
}

impl Stage {
    fn new(manners: Manners) -> Self {
        let world = World::with(manners);
        let folder = world.host.default_vm_folder("again").unwrap();
        Self { world, folder }
    }

    fn definition(
        &self,
        generation: Generation,
        places: &[(Controller, u32, u32)],
    ) -> VmDefinition {
        let disks = places
            .iter()
            .map(|place| disk_at(&self.world, &self.folder, *place));
        VmDefinition {
            name: "again \"<1>\" & more".to_owned(),
            generation,
            firmware: match generation {
                Generation::One => "BIOS".to_owned(),
                Generation::Two => "UEFI".to_owned(),
            },
            processors: 6,
            memory_bytes: 3 << 30,
            network_adapters: vec![
                adapter("front", "00155D010203", Some("Default Switch")),
                adapter("back", "00155D010204", None),
            ],
            disks: disks.collect(),
        }
    }

    fn define(&self, definition: &VmDefinition) -> Result<DefinedVm, HypervError> {
        self.world
            .host
            .define_planned(definition, &[], &self.folder)
    }
}

#[test]
fn hardware_of_either_generation_is_as_it_was_recorded() {
    use Controller::{Ide, Scsi};
    let first = [(Ide, 0, 0), (Ide, 1, 1), (Scsi, 1, 5)];
    let second = [(Scsi, 0, 0), (Scsi, 2, 63), (Scsi, 3, 1)];
    let none: [(Controller, u32, u32); 0] = [];
    for (generation, places) in [
        (Generation::One, &first[..]),
        (Generation::Two, &second),
        (Generation::Two, &none),
    ] {
        for manners in [
            Manners::default(),
            Manners {
                no_jobs: true,
                scsi_number_in_ids: false,
                disconnected_has_connection: false,
                server_2016: true,
                ..Manners::default()
            },
            Manners {
                jobs_work_first: false,
                finished_job_looks: Some(1),
                imports_stay_in_their_folder: false,
                ..Manners::default()
            },
        ] {
            let stage = Stage::new(manners);
            let definition = stage.definition(generation, places);
            let planned = stage.define(&definition).unwrap().planned;
            let disks: Vec<_> = definition.disks.iter().map(|disk| disk.frozen()).collect();
            assert_eq!(planned.disks, disks);
            let host = &stage.world.host;
            let switches = planned.network_adapters.iter();
            let switches: Vec<_> = switches.map(|it| it.switch.clone()).collect();
            host.set_planned_switches(planned.id, &switches).unwrap();
            let messages = host.validate_planned(planned.id).unwrap();
            assert!(messages.iter().all(|told| !told.fatal), "{messages:?}");
            let vm = host.realise_planned(planned.id).unwrap();
            let shown = host.vm(vm).unwrap();
            assert_eq!(shown.name, definition.name);
            assert_eq!(
                (shown.generation, &shown.firmware),
                (definition.generation, &definition.firmware)
            );
            assert_eq!(
                (shown.processors, shown.memory_bytes),
                (definition.processors, definition.memory_bytes)
            );
            assert_eq!(shown.network_adapters, definition.network_adapters);
            let there: Vec<_> = shown
                .disks
                .iter()
                .map(|disk| (disk.controller, disk.controller_number, disk.location))
                .collect();
            assert_eq!(there, places);
        }
    }
}

#[test]
fn what_the_settings_tell_of_a_tpm_is_said_to_be_lost() {
    let world = World::new();
    let vm = world.vm("tpm");
    world.extras().key_protectors.insert(vm, vec![1; 64]);
    let checkpoint = world.freeze(vm).unwrap();
    let mut files = world.host.configuration_files(vm, checkpoint).unwrap();
    files.retain(|file| file.name == "settings.xml");
    let was = world.host.vm(vm).unwrap();
    let folder = world.host.default_vm_folder("again").unwrap();
    let definition = VmDefinition {
        name: was.name,
        generation: was.generation,
        firmware: was.firmware.clone(),
        processors: was.processors,
        memory_bytes: was.memory_bytes,
        network_adapters: was.network_adapters,
        disks: Vec::new(),
    };
    let defined = world.host.define_planned(&definition, &files, &folder);
    let defined = defined.unwrap();
    let left_out = defined.left_out.join("\n");
    assert!(left_out.contains("TPM"), "{left_out}");
    let realised = world.host.realise_planned(defined.planned.id).unwrap();
    assert_eq!(world.host.vm(realised).unwrap().firmware, was.firmware);
}

#[test]
fn memory_that_grows_and_an_address_that_the_host_gave_come_back_as_they_were_written_down() {
    let world = World::new();
    let vm = world.vm("grows");
    let was = world.host.vm(vm).unwrap();
    let mib = was.memory_bytes >> 20;
    let memory = MemorySettings {
        is_dynamic: true,
        reservation_mib: mib / 2,
        limit_mib: mib * 4,
        buffer_percent: Some(20),
        weight: Some(5000),
    };
    world.extras().memory.insert(vm, memory);
    let checkpoint = world.freeze(vm).unwrap();
    let mut files = world.host.configuration_files(vm, checkpoint).unwrap();
    files.retain(|file| file.name == "settings.xml");
    let folder = world.host.default_vm_folder("again").unwrap();
    let definition = VmDefinition {
        name: was.name,
        generation: was.generation,
        firmware: was.firmware,
        processors: was.processors,
        memory_bytes: was.memory_bytes,
        network_adapters: was.network_adapters.clone(),
        disks: Vec::new(),
    };
    let host = &world.host;
    let defined = host.define_planned(&definition, &files, &folder).unwrap();
    let [given] = &was.network_adapters[..] else {
        panic!("it has one adapter");
    };
    let left_out = defined.left_out.join("\n");
    assert!(left_out.contains(&given.mac_address), "{left_out}");
    let again = host.realise_planned(defined.planned.id).unwrap();
    let is = host.vm(again).unwrap();
    assert_eq!(is.memory_bytes, was.memory_bytes);
    assert_eq!(world.extras().memory.get(&again), Some(&memory));
    assert_eq!(is.network_adapters.len(), 1);
    assert_ne!(is.network_adapters[0].mac_address, given.mac_address);
}

#[test]
fn adapters_keep_switches_and_addresses_but_none_that_a_host_gave_or_never_was() {
    let stage = Stage::new(Manners::default());
    let mut definition = stage.definition(Generation::Two, &[]);
    let switch = Some("Default Switch");
    definition.network_adapters = vec![
        adapter("front", "00155D010203", switch),
        adapter("back", "00155D010204", None),
        adapter("new", "000000000000", switch),
        adapter("odd", "of old", None),
    ];
    let recorded = r#"<INSTANCE CLASSNAME="Msvm_SyntheticEthernetPortSettingData">
<PROPERTY NAME="Address" TYPE="string"><VALUE>00155D010203</VALUE></PROPERTY>
<PROPERTY NAME="StaticMacAddress" TYPE="boolean"><VALUE>FALSE</VALUE></PROPERTY>
</INSTANCE>"#;
    let files = [ConfigurationFile {
        name: "settings.xml".to_owned(),
        content: recorded.as_bytes().to_vec(),
    }];
    let host = &stage.world.host;
    let defined = host.define_planned(&definition, &files, &stage.folder);
    let defined = defined.unwrap();
    let expected = [
        adapter("front", "", switch),
        adapter("back", "00155D010204", None),
        adapter("new", "", switch),
        adapter("odd", "", None),
    ];
    assert_eq!(defined.planned.network_adapters, expected);
    let left_out = defined.left_out.join("\n");
    assert!(left_out.contains("00155D010203"), "{left_out}");
}

#[test]
fn a_definition_that_fails_halfway_leaves_no_planned_vm() {
    for call in [
        DEFINE,
        "call ModifyResourceSettings",
        "call AddResourceSettings",
    ] {
        let stage = Stage::new(Manners::default());
        let definition = stage.definition(Generation::Two, &[(Controller::Scsi, 0, 0)]);
        for code in [32768, 32769, 32773] {
            stage.world.meddler.twist(call, ALWAYS, Twist::Return(code));
            let error = stage.define(&definition).unwrap_err();
            assert_eq!(error.code(), Some(code), "{call}: {error}");
            stage.world.meddler.rest();
            assert!(stage.world.host.planned_vms().unwrap().is_empty(), "{call}");
        }
        stage.define(&definition).unwrap();
    }
}

#[test]
fn a_definition_that_nobody_saw_end_is_found_by_its_folder_alone() {
    let stage = Stage::new(Manners::default());
    let definition = stage.definition(Generation::Two, &[]);
    let (sim, same) = (stage.world.sim.clone(), definition.clone());
    let stranger = Meanwhile::new(move || {
        let folder = sim.default_vm_folder("stranger").unwrap();
        sim.define_planned(&same, &[], &folder).unwrap();
    });
    let meddler = &stage.world.meddler;
    meddler.twist(DEFINE, 1, Twist::Meanwhile(stranger));
    meddler.twist(DEFINE, 1, Twist::LoseAnswer(0x8007_06BE));
    let ours = stage.define(&definition).unwrap().planned.id;
    let truth = stage.world.sim.truth().unwrap();
    assert_eq!(truth.planned.len(), 2);
    for planned in &truth.planned {
        assert_eq!(planned.folder == stage.folder, planned.id == ours);
    }
}

#[test]
fn more_controllers_than_a_vm_can_have_are_refused() {
    let stage = Stage::new(Manners::default());
    let definition = stage.definition(Generation::Two, &[(Controller::Scsi, 4, 0)]);
    assert_eq!(stage.define(&definition).unwrap_err().kind(), Kind::Invalid);
    assert!(stage.world.host.planned_vms().unwrap().is_empty());
}
