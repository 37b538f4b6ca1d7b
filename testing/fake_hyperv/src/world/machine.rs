//! VMs, planned VMs and the host itself, with everything that hangs on them.

use hyperv::sim::{SimPlannedTruth, SimTruth, SimVmTruth};
use hyperv::{MergeState, VmState};
use windows_host::wmi::{Value, with_key};

use super::allocation::{self, Drive};
use super::security;
use super::settings::{self, Settings};
use super::{
    COMPONENT, DEPENDENCY, ELEMENT, Owner, Properties, Subject, World, guid_text, moment, network,
};
use crate::Manners;
use crate::embedded;
use crate::extras::{Extras, Place};

const VM: &str = "Msvm_ComputerSystem";
const PLANNED: &str = "Msvm_PlannedComputerSystem";

/// What `OperationalStatus[1]` says while disks are merged (Hyper-V spec 3.2).
const MERGING: u16 = 32772;

/// Adds the row of the host itself and returns it.
pub(super) fn add_host(world: &mut World<'_>, truth: &SimTruth) -> usize {
    let mut properties = system(VM, &truth.name.to_uppercase(), &truth.name);
    properties.extend([
        ("Caption", "Hosting Computer System".into()),
        ("Description", "Microsoft Hosting Computer System".into()),
        ("EnabledState", 2u16.into()),
        ("OperationalStatus", Value::Array(vec![2u16.into()])),
        ("HealthState", 5u16.into()),
    ]);
    world.add(VM, Subject::Thing, properties)
}

fn system(class: &str, name: &str, shown: &str) -> Properties {
    vec![
        ("CreationClassName", class.into()),
        ("Name", name.into()),
        ("ElementName", shown.into()),
        ("EnabledDefault", 2u16.into()),
    ]
}

/// Adds a VM, its settings, its checkpoints and its reference points.
pub(super) fn add_vm(
    world: &mut World<'_>,
    truth: &SimVmTruth,
    extras: &Extras,
    manners: &Manners,
) {
    let vm = &truth.vm;
    let name = guid_text(vm.id.0);
    let system = world.add(VM, Subject::Vm(vm.id), vm_properties(truth, manners));
    let owner = Owner::vm(vm.id);
    let mut of_checkpoints = Vec::new();
    for checkpoint in &truth.checkpoints {
        let settings = add_checkpoint(world, truth, checkpoint, extras, manners);
        world.link("Msvm_SnapshotOfVirtualSystem", DEPENDENCY, system, settings);
        of_checkpoints.push((checkpoint.checkpoint.id, settings));
    }
    let found = |id| of_checkpoints.iter().find(|(known, _)| Some(*known) == id);
    if let Some((_, settings)) = found(truth.parent) {
        let class = "Msvm_MostCurrentSnapshotInBranch";
        world.link(class, DEPENDENCY, system, *settings);
    }
    if let Some((_, settings)) = found(vm.last_applied_checkpoint) {
        world.link("Msvm_LastAppliedSnapshot", DEPENDENCY, system, *settings);
    }

    let settings = settings::add(
        world,
        Subject::Settings(vm.id),
        &Settings {
            owner,
            kind: "Microsoft:Hyper-V:System:Realized",
            system: name.clone(),
            name: vm.name.clone(),
            created: Some(vm.created),
            generation: vm.generation,
            version: vm.version.clone(),
            firmware: vm.firmware.clone(),
            folder: truth.folder.clone(),
            files: truth.configuration_files.clone(),
            parent: truth.parent.map(|parent| parent_path(parent.0)),
            saved: vm.state == VmState::Saved,
        },
    );
    world.link("Msvm_SettingsDefineState", ELEMENT, system, settings);
    let disks = vm.disks.iter().map(|disk| Drive {
        controller: disk.controller,
        number: disk.controller_number,
        location: disk.location,
        path: Some(disk.path.clone()),
        shared: disk.shared,
        subject: Subject::Thing,
    });
    let disks = disks.chain(empty_drives(vm, extras));
    let parts = allocation::Parts {
        owner,
        vm: Some(vm.id),
        planned: None,
        scsi_controllers: 1,
        generation: vm.generation,
        processors: vm.processors,
        memory_bytes: vm.memory_bytes,
        memory: extras.memory.get(&vm.id).copied(),
        disks: disks.collect(),
        pass_through: pass_through(&vm.omitted_disks, |_| Subject::Thing),
    };
    let mut added = allocation::add(world, &parts, manners);
    let adapters = network::Adapters {
        owner,
        now: &vm.network_adapters,
        before: &vm.network_adapters,
        adapter: &|_| Subject::Thing,
        subject: &|_| Subject::Thing,
    };
    added.extend(network::add_adapters(world, &adapters, manners));
    added.push(security::add(world, owner, vm.id, extras));
    link_parts(world, settings, &added);

    add_guest(world, truth, system);
    add_defaults(world, vm.id, system, extras);
    add_points(world, truth, system, manners);
}

/// Returns a VM's drives that no file is in, in their order.
fn empty_drives(vm: &hyperv::Vm, extras: &Extras) -> Vec<Drive> {
    let is_filled = |place: &Place| {
        let mut disks = vm.disks.iter();
        disks.any(|disk| (disk.controller, disk.controller_number, disk.location) == *place)
    };
    let all = extras.empty_drives.iter();
    let of_vm = all.filter(|(owner, place)| *owner == vm.id && !is_filled(place));
    let mut places: Vec<Place> = of_vm.map(|(_, place)| *place).collect();
    places.sort_unstable();
    let drives = places.into_iter().map(|place| Drive {
        controller: place.0,
        number: place.1,
        location: place.2,
        path: None,
        shared: false,
        subject: Subject::EmptyDrive(vm.id, place),
    });
    drives.collect()
}

fn parent_path(checkpoint: uuid::Uuid) -> String {
    let id = format!("Microsoft:{}", guid_text(checkpoint));
    with_key(settings::CLASS, "InstanceID", &id)
}

fn pass_through(
    omitted: &[hyperv::OmittedDisk],
    subject: impl Fn(&str) -> Subject,
) -> Vec<(String, Subject)> {
    let named = omitted
        .iter()
        .map(|disk| (disk.name.clone(), subject(&disk.name)));
    named.collect()
}

fn link_parts(world: &mut World<'_>, settings: usize, parts: &[usize]) {
    for &part in parts {
        let class = "Msvm_VirtualSystemSettingDataComponent";
        world.link(class, COMPONENT, settings, part);
    }
}

fn vm_properties(truth: &SimVmTruth, manners: &Manners) -> Properties {
    let vm = &truth.vm;
    let mut status: Vec<Value> = vec![2u16.into()];
    let mut said = vec!["Operating normally"];
    if matches!(truth.merge, MergeState::Running(_)) {
        status.push(MERGING.into());
        said.push("Merging disks");
    }
    let mut properties = system(VM, &guid_text(vm.id.0), &vm.name);
    properties.extend([
        ("Caption", "Virtual Machine".into()),
        ("Description", "Microsoft Virtual Machine".into()),
        ("InstallDate", moment(vm.created).into()),
        ("OperationalStatus", Value::Array(status)),
        ("StatusDescriptions", Value::texts(said)),
        ("HealthState", 5u16.into()),
        ("EnabledState", enabled_state(vm.state, manners).into()),
        ("RequestedState", 12u16.into()),
        ("TimeOfLastConfigurationChange", moment(vm.created).into()),
        ("TimeOfLastStateChange", moment(vm.created).into()),
        ("OnTimeInMilliseconds", Value::decimal(0u64)),
        ("ReplicationState", 0u16.into()),
        ("ReplicationHealth", 0u16.into()),
        ("ReplicationMode", 0u16.into()),
        ("NumberOfNumaNodes", 1u16.into()),
        ("EnhancedSessionModeState", 3u16.into()),
    ]);
    properties
}

fn enabled_state(state: VmState, manners: &Manners) -> u16 {
    match state {
        VmState::Running => 2,
        VmState::Off => 3,
        VmState::Saved if manners.old_state_numbers => 32769,
        VmState::Saved => 6,
        VmState::Paused if manners.old_state_numbers => 32768,
        VmState::Paused => 9,
        VmState::Other(number) => number,
    }
}

fn add_checkpoint(
    world: &mut World<'_>,
    truth: &SimVmTruth,
    checkpoint: &hyperv::sim::SimCheckpointTruth,
    extras: &Extras,
    manners: &Manners,
) -> usize {
    let vm = &truth.vm;
    let shown = &checkpoint.checkpoint;
    let owner = Owner::checkpoint(vm.id, shown.id, manners);
    let settings = settings::add(
        world,
        Subject::Checkpoint(vm.id, shown.id),
        &Settings {
            owner,
            kind: match shown.kind {
                hyperv::CheckpointKind::Recovery => "Microsoft:Hyper-V:Snapshot:Recovery",
                hyperv::CheckpointKind::User => "Microsoft:Hyper-V:Snapshot:Realized",
                hyperv::CheckpointKind::Other => "Microsoft:Hyper-V:Snapshot:Replica:Standard",
            },
            system: guid_text(shown.id.0),
            name: shown.name.clone(),
            created: Some(shown.created),
            generation: vm.generation,
            version: vm.version.clone(),
            firmware: vm.firmware.clone(),
            folder: truth.folder.clone(),
            files: checkpoint.configuration_files.clone(),
            parent: checkpoint.parent.map(|parent| parent_path(parent.0)),
            saved: false,
        },
    );
    let part = Subject::CheckpointPart(vm.id);
    let disks = checkpoint.disks.iter().map(|disk| Drive {
        controller: disk.controller,
        number: disk.controller_number,
        location: disk.location,
        path: disk.path.clone(),
        shared: false,
        subject: part.clone(),
    });
    let parts = allocation::Parts {
        owner,
        vm: None,
        planned: None,
        scsi_controllers: 1,
        generation: vm.generation,
        processors: vm.processors,
        memory_bytes: vm.memory_bytes,
        memory: extras.memory.get(&vm.id).copied(),
        disks: disks.collect(),
        pass_through: pass_through(&vm.omitted_disks, |_| part.clone()),
    };
    let mut added = allocation::add(world, &parts, manners);
    let adapters = network::Adapters {
        owner,
        now: &vm.network_adapters,
        before: &vm.network_adapters,
        adapter: &|_| part.clone(),
        subject: &|_| part.clone(),
    };
    added.extend(network::add_adapters(world, &adapters, manners));
    added.push(security::add(world, owner, vm.id, extras));
    link_parts(world, settings, &added);
    settings
}

/// Adds a planned VM with its settings and parts (Hyper-V spec 10.1).
pub(super) fn add_planned(
    world: &mut World<'_>,
    truth: &SimPlannedTruth,
    extras: &Extras,
    manners: &Manners,
) {
    let name = guid_text(truth.id.0);
    let mut properties = system(PLANNED, &name, &truth.name);
    properties.extend([
        ("Caption", "Virtual Machine".into()),
        ("EnabledState", 3u16.into()),
        ("OperationalStatus", Value::Array(vec![2u16.into()])),
        ("HealthState", 5u16.into()),
    ]);
    let system = world.add(PLANNED, Subject::Planned(truth.id), properties);
    let owner = Owner::vm(truth.id);
    let settings = settings::add(
        world,
        Subject::PlannedSettings(truth.id),
        &Settings {
            owner,
            kind: "Microsoft:Hyper-V:System:Planned",
            system: name,
            name: truth.name.clone(),
            created: None,
            generation: truth.generation,
            version: truth.version.clone(),
            firmware: truth.firmware.clone(),
            folder: truth.folder.clone(),
            files: Vec::new(),
            parent: None,
            saved: false,
        },
    );
    world.link("Msvm_SettingsDefineState", ELEMENT, system, settings);
    let disks = truth.disks.iter().enumerate().map(|(at, disk)| Drive {
        controller: disk.controller,
        number: disk.controller_number,
        location: disk.location,
        path: disk.path.clone(),
        shared: false,
        subject: Subject::PlannedDisk(truth.id, at),
    });
    let parts = allocation::Parts {
        owner,
        vm: None,
        planned: Some(truth.id),
        scsi_controllers: truth.scsi_controllers.unwrap_or(1),
        generation: truth.generation,
        processors: truth.processors,
        memory_bytes: truth.memory_bytes,
        memory: extras.memory.get(&truth.id).copied(),
        disks: disks.collect(),
        pass_through: pass_through(&truth.omitted_disks, |name| {
            Subject::PlannedPassThrough(truth.id, name.to_owned())
        }),
    };
    let mut added = allocation::add(world, &parts, manners);
    let adapters = network::Adapters {
        owner,
        now: &truth.network_adapters,
        before: &truth.original_adapters,
        adapter: &|at| Subject::PlannedAdapter(truth.id, at),
        subject: &|at| Subject::PlannedConnection(truth.id, at),
    };
    added.extend(network::add_adapters(world, &adapters, manners));
    added.push(security::add(world, owner, truth.id, extras));
    link_parts(world, settings, &added);
}

/// Adds what the guest tells of itself and whether it can be quiesced (Hyper-V spec 3.5).
fn add_guest(world: &mut World<'_>, truth: &SimVmTruth, system: usize) {
    let vm = &truth.vm;
    let name = guid_text(vm.id.0);
    let running = vm.state == VmState::Running;
    let guest = vm.guest.as_ref().filter(|_| running);
    let device = |class: &str, part: &str| -> Properties {
        vec![
            ("SystemCreationClassName", VM.into()),
            ("SystemName", name.as_str().into()),
            ("CreationClassName", class.into()),
            ("DeviceID", Owner::vm(vm.id).part_id(part).into()),
            ("EnabledState", 2u16.into()),
        ]
    };
    let mut items = Vec::new();
    if let Some(guest) = guest {
        let mut facts = vec![("OSName", guest.name.clone())];
        if guest.windows {
            facts.extend([
                ("OSPlatformId", "2".to_owned()),
                ("OSVersion", "10.0.20348".to_owned()),
                ("OSBuildNumber", "20348".to_owned()),
            ]);
        }
        facts.extend([
            ("ProcessorArchitecture", "9".to_owned()),
            ("FullyQualifiedDomainName", vm.name.clone()),
        ]);
        items = facts
            .into_iter()
            .map(|(name, value)| kvp_item(world, name, &value))
            .collect();
    }
    let contact: u16 = if guest.is_some() { 2 } else { 12 };
    let class = "Msvm_KvpExchangeComponent";
    let mut properties = device(class, "2A34B1C2-FD73-4043-8A5B-DD2159BC743F");
    properties.push(("ElementName", "Key-Value Pair Exchange".into()));
    properties.push(("OperationalStatus", Value::Array(vec![contact.into()])));
    properties.push(("GuestExchangeItems", Value::Array(Vec::new())));
    properties.push(("GuestIntrinsicExchangeItems", Value::Array(items)));
    let kvp = world.add(class, Subject::Thing, properties);
    world.link("Msvm_SystemDevice", COMPONENT, system, kvp);

    let class = "Msvm_VssComponent";
    let mut properties = device(class, "5CED1297-4598-4915-A5FC-AD21BB4D02A4");
    properties.push(("ElementName", "VSS".into()));
    properties.push(("OperationalStatus", Value::Array(vec![contact.into()])));
    let vss = world.add(class, Subject::Thing, properties);
    world.link("Msvm_SystemDevice", COMPONENT, system, vss);
    let class = "Msvm_VssService";
    let properties = vec![
        ("SystemCreationClassName", VM.into()),
        ("SystemName", name.as_str().into()),
        ("CreationClassName", class.into()),
        ("Name", "vss".into()),
        ("Started", running.into()),
    ];
    let service = world.add(class, Subject::GuestService(vm.id), properties);
    world.link("Msvm_RegisteredGuestService", DEPENDENCY, vss, service);
}

fn kvp_item(world: &World<'_>, name: &str, value: &str) -> Value {
    let class = world
        .schema
        .class("Msvm_KvpExchangeDataItem")
        .expect("the model knows its classes");
    let mut item = windows_host::wmi::WmiObject {
        class: class.name.clone(),
        ..Default::default()
    };
    item.set("Name", name);
    item.set("Data", value);
    item.set("Source", 2u16);
    embedded::write(class, &item).into()
}

/// Adds the default settings of exports and merges.
fn add_defaults(world: &mut World<'_>, vm: hyperv::VmId, system: usize, extras: &Extras) {
    let owner = Owner::vm(vm);
    let properties = vec![
        ("InstanceID", owner.part_id("Export").into()),
        ("CopySnapshotConfiguration", Value::U8(0)),
        ("CopyVmStorage", true.into()),
        ("CopyVmRuntimeInformation", true.into()),
        ("CreateVmExportSubdirectory", true.into()),
        ("BackupIntent", Value::U8(0)),
        ("CaptureLiveState", Value::U8(1)),
    ];
    let class = "Msvm_VirtualSystemExportSettingData";
    let export = world.add(class, Subject::Thing, properties);
    world.link("Msvm_SystemExportSettingData", ELEMENT, system, export);
    let merges = u16::from(!extras.merging_off.contains(&vm));
    let properties = vec![
        ("InstanceID", owner.part_id("DiskMerge").into()),
        ("EnabledState", merges.into()),
    ];
    let class = "Msvm_DiskMergeSettingData";
    let merge = world.add(class, Subject::MergeSettings(vm), properties);
    world.link("Msvm_ElementSettingData", ELEMENT, system, merge);
}

/// Adds the reference points (Hyper-V spec 5.1).
fn add_points(world: &mut World<'_>, truth: &SimVmTruth, system: usize, manners: &Manners) {
    let vm = truth.vm.id;
    for point in &truth.reference_points {
        let owner = match manners.point_entries {
            crate::PointEntries::Vm => Owner::vm(vm),
            crate::PointEntries::Point => Owner::point(vm),
        };
        let entries = point.disks.iter().map(|disk| {
            let controller = owner.controller_id(disk.controller, disk.controller_number, manners);
            format!(r"{controller}\{}\L", disk.location)
        });
        let end = match manners.points_have_ids_of_their_own {
            true => crate::manners::OWN_ID_END,
            false => "",
        };
        let ids = point.disks.iter();
        let ids = ids.map(|disk| format!("{}{end}", disk.change_id));
        let properties = vec![
            ("InstanceID", point.id.0.as_str().into()),
            ("VirtualSystemIdentifier", guid_text(vm.0).into()),
            ("ElementName", truth.vm.name.as_str().into()),
            (
                "ReferencePointType",
                if point.tracking { 2u16 } else { 1 }.into(),
            ),
            (
                "ConsistencyLevel",
                if point.application_level { 1u16 } else { 2 }.into(),
            ),
            ("HasAssociatedData", (!point.tracking).into()),
            ("VirtualDiskIdentifiers", Value::texts(entries)),
            ("ResilientChangeTrackingIdentifiers", Value::texts(ids)),
        ];
        let class = "Msvm_VirtualSystemReferencePoint";
        let subject = Subject::Point(vm, point.id.clone());
        let added = world.add(class, subject, properties);
        let class = "Msvm_ReferencePointOfVirtualSystem";
        world.link(class, DEPENDENCY, system, added);
    }
}
