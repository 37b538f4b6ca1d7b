//! VMs and what belongs to them, in few round trips: each class is asked for once and joined in
//! memory, so that a hundred VMs cost no more calls than one (Hyper-V spec 3).

use std::collections::HashMap;

use hyperv::{CheckpointId, HypervError, OmittedDisk, VirtualDisk, Vm, VmId};
use uuid::Uuid;

use super::chains::ChainFacts;
use super::disk_kinds::{self, FileDisk};
use super::errors::{VHD_SHARED, wmi_error};
use super::instance_id::{InstanceId, guid_text};
use super::network::{self, ADAPTERS, CONNECTION, SWITCH, Switches};
use super::provider::{COMPUTER_SYSTEM, Provider};
use super::{disk_facts, guest, settings};
use crate::virtdisk::{Container, VirtualDisks};
use crate::wmi::{WmiObject, key_of};

const GUEST: &str = "Msvm_KvpExchangeComponent";
const LAST_APPLIED: &str = "Msvm_LastAppliedSnapshot";
/// The classes of a configuration's parts that matter here.
const PARTS: [&str; 8] = [
    "Msvm_ResourceAllocationSettingData",
    "Msvm_StorageAllocationSettingData",
    "Msvm_SyntheticFcPortSettingData",
    "Msvm_ProcessorSettingData",
    "Msvm_MemorySettingData",
    CONNECTION,
    ADAPTERS[0],
    ADAPTERS[1],
];

/// The objects that one VM is read from.
struct VmObjects<'a> {
    system: &'a WmiObject,
    settings: &'a WmiObject,
    components: &'a [WmiObject],
    guest: Option<&'a WmiObject>,
    last_applied: Option<CheckpointId>,
}

/// Returns all VMs.
pub(super) fn vms(
    provider: &Provider,
    virtual_disks: &dyn VirtualDisks,
) -> Result<Vec<Vm>, HypervError> {
    let systems = provider.all(COMPUTER_SYSTEM)?;
    provider.check_sight(&systems)?;
    let mut own_settings: HashMap<Uuid, WmiObject> = HashMap::new();
    for object in provider.all(settings::SETTINGS)? {
        if let Some(owner) = settings::owner(&object).filter(|_| settings::is_realised(&object)) {
            own_settings.insert(owner, object);
        }
    }
    let mut parts: HashMap<Uuid, Vec<WmiObject>> = HashMap::new();
    for class in PARTS {
        // A class is asked for with all that inherit from it, which are asked for themselves.
        for object in provider
            .all(class)?
            .into_iter()
            .filter(|object| object.is(class))
        {
            let owner = object.text("InstanceID").ok().and_then(InstanceId::parse);
            if let Some(owner) = owner {
                parts.entry(owner.owner).or_default().push(object);
            }
        }
    }
    let guests = by_system(provider.all(GUEST)?);
    let last_applied = last_applied(&provider.all(LAST_APPLIED)?);
    let switches = Switches::of(&provider.all(SWITCH)?)?;
    let mut vms = Vec::new();
    for system in &systems {
        let Some(id) = settings::vm_id(system) else {
            continue;
        };
        // A VM that is being made or deleted has no settings yet or any more.
        let Some(own) = own_settings.get(&id.0) else {
            continue;
        };
        let objects = VmObjects {
            system,
            settings: own,
            components: parts.get(&id.0).map_or(&[], Vec::as_slice),
            guest: guests.get(&id.0),
            last_applied: last_applied.get(&id.0).copied(),
        };
        vms.push(read(provider, virtual_disks, id, &objects, &switches)?);
    }
    Ok(vms)
}

/// Returns one VM.
pub(super) fn vm(
    provider: &Provider,
    virtual_disks: &dyn VirtualDisks,
    id: VmId,
) -> Result<Vm, HypervError> {
    let system = provider.system(id)?;
    let system_path = path(&system)?;
    let own = own_settings(provider, id, system_path)?;
    let components = provider.components(path(&own)?)?;
    let guests = by_system(provider.matching(GUEST, "SystemName", &guid_text(id.0))?);
    let applied = provider.associated(system_path, LAST_APPLIED, settings::SETTINGS)?;
    let switches = Switches::of(&provider.all(SWITCH)?)?;
    let objects = VmObjects {
        system: &system,
        settings: &own,
        components: &components,
        guest: guests.get(&id.0),
        last_applied: applied.first().and_then(settings::owner).map(CheckpointId),
    };
    read(provider, virtual_disks, id, &objects, &switches)
}

/// Returns the settings a VM runs with.
pub(super) fn own_settings(
    provider: &Provider,
    id: VmId,
    system_path: &str,
) -> Result<WmiObject, HypervError> {
    let found = provider.associated(system_path, "Msvm_SettingsDefineState", settings::SETTINGS)?;
    found.into_iter().next().ok_or_else(|| {
        HypervError::new(
            hyperv::HypervErrorKind::NotFound,
            format!("find the settings of VM {id}: it has none; it may be being deleted"),
        )
    })
}

fn path(object: &WmiObject) -> Result<&str, HypervError> {
    object.path().map_err(|error| wmi_error("read a VM", error))
}

/// Sorts objects by the VM whose GUID they name as `SystemName`.
fn by_system(objects: Vec<WmiObject>) -> HashMap<Uuid, WmiObject> {
    let named = objects.into_iter().filter_map(|object| {
        let id = Uuid::parse_str(object.text("SystemName").ok()?).ok()?;
        Some((id, object))
    });
    named.collect()
}

/// Reads the associations between VMs and the checkpoints last applied to them.
fn last_applied(associations: &[WmiObject]) -> HashMap<Uuid, CheckpointId> {
    let pairs = associations.iter().filter_map(|association| {
        let vm = key_of(association.text("Dependent").ok()?, "Name")?;
        let checkpoint = key_of(association.text("Antecedent").ok()?, "InstanceID")?;
        let checkpoint = InstanceId::parse(&checkpoint)?.owner;
        Some((Uuid::parse_str(&vm).ok()?, CheckpointId(checkpoint)))
    });
    pairs.collect()
}

fn read(
    provider: &Provider,
    virtual_disks: &dyn VirtualDisks,
    id: VmId,
    objects: &VmObjects<'_>,
    switches: &Switches,
) -> Result<Vm, HypervError> {
    let doing = format!("read VM {id}");
    let wrong = |error| wmi_error(&doing, error);
    let name = objects.system.optional_text("ElementName").map_err(wrong)?;
    let found = disk_kinds::disks(objects.components)?;
    let mut disks = Vec::new();
    let mut omitted: Vec<OmittedDisk> = found.omitted;
    for disk in found.files {
        disks.push(virtual_disk(provider, virtual_disks, &disk));
    }
    omitted.sort_by(|a, b| a.name.cmp(&b.name));
    let adapters = network::adapters(objects.components, switches)?;
    Ok(Vm {
        id,
        name: name.unwrap_or_default().to_owned(),
        generation: settings::generation(objects.settings).map_err(wrong)?,
        version: objects.settings.text("Version").map_err(wrong)?.to_owned(),
        state: settings::state(objects.system).map_err(wrong)?,
        operation: settings::operation(objects.system).map_err(wrong)?,
        guest: objects.guest.and_then(guest::system),
        firmware: settings::firmware(objects.settings).map_err(wrong)?,
        processors: settings::processors(objects.components).map_err(wrong)?,
        memory_bytes: settings::memory_bytes(objects.components).map_err(wrong)?,
        network_adapters: adapters
            .into_iter()
            .map(|adapter| adapter.adapter)
            .collect(),
        disks,
        omitted_disks: omitted,
        created: settings::created(objects.settings).map_err(wrong)?,
        last_applied_checkpoint: objects.last_applied,
    })
}

/// Returns a disk as the port shows it. One whose files cannot be asked is listed all the same,
/// without an identity: opening it tells why, and fails its VM alone.
fn virtual_disk(
    provider: &Provider,
    virtual_disks: &dyn VirtualDisks,
    disk: &FileDisk,
) -> VirtualDisk {
    let asked = disk_facts::facts(provider, virtual_disks, &disk.path);
    let refused_as_shared = asked.as_ref().is_err_and(|error| error.code == VHD_SHARED);
    let facts: Option<ChainFacts> = asked.ok();
    let facts = facts.as_ref();
    let is_set = facts.is_some_and(|facts| facts.container == Container::VhdSet);
    VirtualDisk {
        controller: disk.place.controller,
        controller_number: disk.place.number,
        location: disk.place.location,
        path: disk.path.clone(),
        original_path: facts.map_or(&*disk.path, ChainFacts::root).to_owned(),
        virtual_disk_id: facts.map_or(Uuid::nil(), |facts| facts.virtual_disk_id),
        virtual_bytes: facts.map_or(0, |facts| facts.geometry.virtual_bytes),
        block_bytes: facts.map_or(0, |facts| facts.block_bytes),
        logical_sector_bytes: facts.map_or(512, |facts| facts.geometry.logical_sector_bytes),
        physical_sector_bytes: facts.map_or(512, |facts| facts.geometry.physical_sector_bytes),
        tracked: facts.and_then(|facts| facts.tracked),
        shared: disk.shared || is_set || refused_as_shared,
        chain_depth: facts.map_or(0, ChainFacts::depth),
    }
}
