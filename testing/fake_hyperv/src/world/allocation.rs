//! Disks, drives and controllers, processors and memory of settings (Hyper-V spec 3.4).

use std::path::PathBuf;

use hyperv::{Controller, Generation, VmId};
use windows_host::wmi::Value;

use super::{Owner, Properties, Subject, World};
use crate::Manners;
use crate::extras::MemorySettings;

const RESOURCE: &str = "Msvm_ResourceAllocationSettingData";
const STORAGE: &str = "Msvm_StorageAllocationSettingData";

/// A drive with a disk file.
#[derive(Debug)]
pub(super) struct Drive {
    pub controller: Controller,
    pub number: u32,
    pub location: u32,
    /// None if its file was taken away: the drive stays.
    pub path: Option<PathBuf>,
    pub shared: bool,
    pub subject: Subject,
}

/// What settings consist of.
#[derive(Debug)]
pub(super) struct Parts {
    pub owner: Owner,
    /// The planned VM whose they are, if they are one's.
    pub planned: Option<VmId>,
    /// How many SCSI controllers there are at least.
    pub scsi_controllers: u32,
    pub generation: Generation,
    pub processors: u32,
    pub memory_bytes: u64,
    /// What else was said of the memory.
    pub memory: Option<MemorySettings>,
    pub disks: Vec<Drive>,
    /// The VM whose settings they are, as they are now: drives can be hung on its controllers.
    pub vm: Option<VmId>,
    pub pass_through: Vec<(String, Subject)>,
}

/// Adds all of it and returns what was added.
pub(super) fn add(world: &mut World<'_>, parts: &Parts, manners: &Manners) -> Vec<usize> {
    let mut added = add_processors_and_memory(world, parts);
    let controllers = add_controllers(world, parts, manners);
    added.extend(controllers.iter().map(|(_, _, at)| *at));
    for disk in &parts.disks {
        let parent = controllers
            .iter()
            .find(|(kind, number, _)| (*kind, *number) == (disk.controller, disk.number))
            .map(|(_, _, at)| world.path_of(*at));
        added.extend(add_drive(world, parts.owner, disk, parent, manners));
    }
    added.extend(add_pass_through(world, parts, &controllers, manners));
    added
}

fn resource(id: String, kind: u16, sub: &str, name: &str) -> Properties {
    vec![
        ("InstanceID", id.into()),
        ("ElementName", name.into()),
        ("ResourceType", kind.into()),
        ("ResourceSubType", sub.into()),
        ("ConsumerVisibility", 3u16.into()),
        ("PoolID", "".into()),
    ]
}

fn add_processors_and_memory(world: &mut World<'_>, parts: &Parts) -> Vec<usize> {
    let id = parts
        .owner
        .part_id(r"B637F346-6A0E-4DEC-AF52-BD70CB80A21D\0");
    let mut properties = resource(id, 3, "Microsoft:Hyper-V:Processor", "Processor");
    properties.push(("VirtualQuantity", Value::decimal(parts.processors)));
    properties.push(("AllocationUnits", "count".into()));
    let subject = parts
        .planned
        .map_or(Subject::Thing, Subject::PlannedProcessors);
    let processors = world.add("Msvm_ProcessorSettingData", subject, properties);
    let id = parts.owner.part_id("4764334D-E001-4176-82EE-5594EC9B530E");
    let mut properties = resource(id, 4, "Microsoft:Hyper-V:Memory", "Memory");
    properties.push(("VirtualQuantity", Value::decimal(parts.memory_bytes >> 20)));
    properties.push(("AllocationUnits", "byte * 2^20".into()));
    properties.push(("VirtualQuantityUnits", "byte * 2^20".into()));
    let dynamic = parts.memory.is_some_and(|memory| memory.is_dynamic);
    properties.push(("DynamicMemoryEnabled", dynamic.into()));
    if let Some(memory) = parts.memory {
        properties.push(("Reservation", Value::decimal(memory.reservation_mib)));
        properties.push(("Limit", Value::decimal(memory.limit_mib)));
        let small = |number: Option<u32>| number.map_or(Value::Null, Value::u32);
        properties.push(("TargetMemoryBuffer", small(memory.buffer_percent)));
        properties.push(("Weight", small(memory.weight)));
    }
    let subject = parts.planned.map_or(Subject::Thing, Subject::PlannedMemory);
    let memory = world.add("Msvm_MemorySettingData", subject, properties);
    vec![processors, memory]
}

/// Adds the controllers that are there: two of IDE in generation 1, and every one in use.
fn add_controllers(
    world: &mut World<'_>,
    parts: &Parts,
    manners: &Manners,
) -> Vec<(Controller, u32, usize)> {
    let mut wanted: Vec<(Controller, u32)> = match parts.generation {
        Generation::One => vec![(Controller::Ide, 0), (Controller::Ide, 1)],
        Generation::Two => Vec::new(),
    };
    wanted.extend((0..parts.scsi_controllers).map(|number| (Controller::Scsi, number)));
    for disk in &parts.disks {
        // Those before it are there too: they are numbered by their order.
        wanted.extend((0..=disk.number).map(|number| (disk.controller, number)));
    }
    wanted.sort_unstable();
    wanted.dedup();
    let added = wanted.into_iter().map(|(kind, number)| {
        let (resource_type, sub, name) = match kind {
            Controller::Ide => (
                5,
                "Microsoft:Hyper-V:Emulated IDE Controller",
                "IDE Controller",
            ),
            Controller::Scsi => (
                6,
                "Microsoft:Hyper-V:Synthetic SCSI Controller",
                "SCSI Controller",
            ),
            Controller::Pmem => (
                1,
                "Microsoft:Hyper-V:Persistent Memory Controller",
                "Persistent Memory Controller",
            ),
        };
        let id = parts.owner.controller_id(kind, number, manners);
        let mut properties = resource(id, resource_type, sub, name);
        // IDE controllers tell their number, SCSI ones do not.
        if kind == Controller::Ide {
            properties.push(("Address", number.to_string().into()));
        }
        let subject = match (parts.planned, parts.vm) {
            (Some(planned), _) => Subject::PlannedController(planned, kind, number),
            (None, Some(vm)) => Subject::Controller(vm, kind, number),
            (None, None) => Subject::Thing,
        };
        (kind, number, world.add(RESOURCE, subject, properties))
    });
    added.collect()
}

fn add_drive(
    world: &mut World<'_>,
    owner: Owner,
    disk: &Drive,
    parent: Option<String>,
    manners: &Manners,
) -> Vec<usize> {
    let controller = owner.controller_id(disk.controller, disk.number, manners);
    let id = format!(r"{controller}\{}", disk.location);
    let name = "Hard Drive";
    let drive = format!(r"{id}\D");
    let mut properties = resource(drive, 17, "Microsoft:Hyper-V:Synthetic Disk Drive", name);
    properties.push(("Parent", parent.map_or(Value::Null, Value::Text)));
    properties.push(("AddressOnParent", disk.location.to_string().into()));
    let drive = world.add(RESOURCE, disk.subject.clone(), properties);
    let Some(path) = &disk.path else {
        return vec![drive];
    };
    let file = format!(r"{id}\L");
    let name = "Hard Disk Image";
    let mut properties = resource(file, 31, "Microsoft:Hyper-V:Virtual Hard Disk", name);
    properties.extend([
        ("Parent", world.path_of(drive).into()),
        ("HostResource", Value::texts([path.display().to_string()])),
        ("PersistentReservationsSupported", disk.shared.into()),
        ("Access", 3u16.into()),
        ("CachingMode", 0u16.into()),
        ("SnapshotId", "".into()),
        ("IgnoreFlushes", false.into()),
        ("WriteHardeningMethod", 0u16.into()),
        ("Limit", Value::decimal(1u64)),
    ]);
    let file = world.add(STORAGE, disk.subject.clone(), properties);
    vec![drive, file]
}

/// Adds drives of physical disks, behind the files on the first SCSI controller.
fn add_pass_through(
    world: &mut World<'_>,
    parts: &Parts,
    controllers: &[(Controller, u32, usize)],
    manners: &Manners,
) -> Vec<usize> {
    let on_first = |disk: &&Drive| (disk.controller, disk.number) == (Controller::Scsi, 0);
    let places = parts
        .disks
        .iter()
        .filter(on_first)
        .map(|disk| disk.location + 1);
    let first = places.max().unwrap_or_default();
    let parent = controllers
        .iter()
        .find(|(kind, number, _)| (*kind, *number) == (Controller::Scsi, 0))
        .map(|(_, _, at)| world.path_of(*at));
    let mut added = Vec::new();
    for (location, (name, subject)) in (first..).zip(&parts.pass_through) {
        let physical = add_physical_disk(world, name, location);
        let controller = parts.owner.controller_id(Controller::Scsi, 0, manners);
        let id = format!(r"{controller}\{location}\D");
        let mut properties = resource(
            id,
            17,
            "Microsoft:Hyper-V:Physical Disk Drive",
            "Hard Drive",
        );
        properties.push(("Parent", parent.clone().map_or(Value::Null, Value::Text)));
        properties.push(("AddressOnParent", location.to_string().into()));
        properties.push(("HostResource", Value::texts([physical])));
        added.push(world.add(RESOURCE, subject.clone(), properties));
    }
    added
}

/// Adds a disk of the host, unless it is there, and returns its path.
fn add_physical_disk(world: &mut World<'_>, name: &str, number: u32) -> String {
    const CLASS: &str = "Msvm_DiskDrive";
    let id = format!(r"Microsoft:353B3BE8-310C-4CF4-839E-4E1B14616136\{name}");
    let known = world.instances.iter().position(|known| {
        known.object.is(CLASS) && known.object.value("DeviceID") == &Value::text(&id)
    });
    let at = known.unwrap_or_else(|| {
        let host = world.host.clone();
        world.add(
            CLASS,
            Subject::Thing,
            vec![
                ("SystemCreationClassName", "Msvm_ComputerSystem".into()),
                ("SystemName", host.into()),
                ("CreationClassName", CLASS.into()),
                ("DeviceID", id.into()),
                ("ElementName", name.into()),
                ("DriveNumber", Value::u32(number)),
                ("DiskIsOffline", true.into()),
            ],
        )
    });
    world.path_of(at)
}
