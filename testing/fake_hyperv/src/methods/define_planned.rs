//! Planned systems defined anew, and the hardware that is added to them (Hyper-V spec 10.3; high for
//! the methods, medium for what a system has to begin with).

use std::path::PathBuf;

use hyperv::sim::{PlannedPart, SimHost};
use hyperv::{Controller, Generation, HypervHost, NetworkAdapter, SECURE_BOOT, VmDefinition};
use windows_host::wmi::{Value, WmiObject};

use super::parameters::read;
use super::{Answer, Call, Task, Trouble};
use crate::failure::Refusal;
use crate::jobs::Done;
use crate::world::Subject;

const SETTINGS: &str = "Msvm_VirtualSystemSettingData";
const ADAPTERS: [&str; 2] = [
    "Msvm_SyntheticEthernetPortSettingData",
    "Msvm_EmulatedEthernetPortSettingData",
];
const RESOURCE: &str = "Msvm_ResourceAllocationSettingData";
const SCSI_CONTROLLER: &str = "Microsoft:Hyper-V:Synthetic SCSI Controller";
const DRIVE: &str = "Microsoft:Hyper-V:Synthetic Disk Drive";

/// What a system has if nobody says otherwise.
const PROCESSORS: u32 = 1;
const MEMORY_BYTES: u64 = 1 << 30;

/// Defines a planned system with processors and memory of the usual size and nothing else; the hardware is
/// added to it afterwards, for here it is not taken along.
pub(super) fn define(call: &Call<'_>) -> Result<Answer, Trouble> {
    if !call.parameters.texts("ResourceSettings").is_empty()
        || *call.parameters.value("ReferenceConfiguration") != Value::Null
    {
        return Err(Refusal::NotSupported.into());
    }
    let text = call.parameters.text("SystemSettings")?;
    let settings = read(call.model.schema(), SETTINGS, text)?;
    let definition = definition(&settings)?;
    let folder = text_of(&settings, "ConfigurationDataRoot").map(PathBuf::from);
    let work = move |host: &SimHost| {
        let folder = match folder {
            Some(folder) => folder,
            None => host.default_vm_folder(&definition.name)?,
        };
        let planned = host.define_planned(&definition, &[], &folder)?.planned.id;
        Ok(Done::made(Subject::Planned(planned)))
    };
    Ok(Answer::Job(Box::new(Task {
        kind: 4,
        vm: None,
        result: Some("ResultingSystem"),
        merges: false,
        work: Box::new(work),
    })))
}

fn definition(settings: &WmiObject) -> Result<VmDefinition, Refusal> {
    let generation = match text_of(settings, "VirtualSystemSubType") {
        None | Some("Microsoft:Hyper-V:SubType:1") => Generation::One,
        Some("Microsoft:Hyper-V:SubType:2") => Generation::Two,
        Some(_) => return Err(Refusal::InvalidParameter),
    };
    // A second generation has it unless told otherwise.
    let is_secure = *settings.value("SecureBootEnabled") != Value::Bool(false);
    let firmware = match generation {
        Generation::One => "BIOS".to_owned(),
        Generation::Two if is_secure => format!("UEFI, {SECURE_BOOT}"),
        Generation::Two => "UEFI".to_owned(),
    };
    Ok(VmDefinition {
        name: text_of(settings, "ElementName")
            .unwrap_or("New Virtual Machine")
            .to_owned(),
        generation,
        firmware,
        processors: PROCESSORS,
        memory_bytes: MEMORY_BYTES,
        network_adapters: Vec::new(),
        disks: Vec::new(),
    })
}

fn text_of<'a>(object: &'a WmiObject, name: &str) -> Option<&'a str> {
    match object.value(name) {
        Value::Text(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// Returns what an instance adds to a planned system; none if it is no hardware that stands for
/// itself.
pub(super) fn part(call: &Call<'_>, object: &WmiObject) -> Result<Option<PlannedPart>, Trouble> {
    if ADAPTERS.iter().any(|class| object.is(class)) {
        let address = text_of(object, "Address").unwrap_or_default();
        if *object.value("StaticMacAddress") == Value::Bool(true) && !is_address(address) {
            return Err(Refusal::InvalidParameter.into());
        }
        return Ok(Some(PlannedPart::NetworkAdapter(NetworkAdapter {
            name: text_of(object, "ElementName")
                .unwrap_or("Network Adapter")
                .to_owned(),
            mac_address: address.to_owned(),
            switch: None,
        })));
    }
    if !object.is(RESOURCE) {
        return Ok(None);
    }
    match text_of(object, "ResourceSubType") {
        Some(SCSI_CONTROLLER) => Ok(Some(PlannedPart::ScsiController)),
        Some(DRIVE) => {
            let parent = text_of(object, "Parent").ok_or(Refusal::InvalidParameter)?;
            let parent = call.world.object_at(parent)?;
            let Subject::PlannedController(_, controller, number) =
                call.world.instances[parent].subject
            else {
                return Err(Refusal::InvalidParameter.into());
            };
            let location = text_of(object, "AddressOnParent").and_then(|text| text.parse().ok());
            let location = location.filter(|location| *location < places(controller));
            Ok(Some(PlannedPart::Drive {
                controller,
                number,
                location: location.ok_or(Refusal::InvalidParameter)?,
            }))
        }
        _ => Err(Refusal::NotSupported.into()),
    }
}

/// Returns whether an adapter may keep this address for good.
fn is_address(text: &str) -> bool {
    let is_hex = text.len() == 12 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex && text.bytes().any(|digit| digit != b'0')
}

/// Returns how many drives a controller holds.
fn places(controller: Controller) -> u32 {
    match controller {
        Controller::Ide => 2,
        Controller::Scsi => 64,
        Controller::Pmem => 128,
    }
}

/// Returns what a change of a planned system's processors or memory comes to.
pub(super) fn size(subject: &Subject, object: &WmiObject) -> Result<PlannedPart, Refusal> {
    let quantity = text_of(object, "VirtualQuantity").and_then(|text| text.parse::<u64>().ok());
    let quantity = quantity.ok_or(Refusal::InvalidParameter)?;
    match subject {
        Subject::PlannedProcessors(_) => u32::try_from(quantity)
            .map(PlannedPart::Processors)
            .map_err(|_| Refusal::InvalidParameter),
        _ => Ok(PlannedPart::Memory(quantity << 20)),
    }
}
