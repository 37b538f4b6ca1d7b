//! What a system is to be made of, as `DefineSystem`, `DefinePlannedSystem`, `AddResourceSettings` and
//! `ModifyResourceSettings` are told (Hyper-V spec 3.3, 3.4 and 10.3).
//!
//! One reader for VMs and planned VMs. Types and subtypes, parents, and what is counted on IDE and
//! SCSI controllers are of high confidence; that what is not said is filled in by the host is of
//! medium. What we never ask for is not modelled, and not supported: drives on controllers of
//! persistent memory among that, of whose places the spec says nothing.

use std::path::PathBuf;

use hyperv::{Controller, Generation, NetworkAdapter, SECURE_BOOT, VmId};
use windows_host::wmi::{Value, WmiObject};

use super::parameters::read;
use super::{Call, Trouble};
use crate::extras::{MemorySettings, Place};
use crate::failure::Refusal;
use crate::world::Subject;

const SETTINGS: &str = "Msvm_VirtualSystemSettingData";
const ANY_RESOURCE: &str = "CIM_ResourceAllocationSettingData";
const RESOURCE: &str = "Msvm_ResourceAllocationSettingData";
const STORAGE: &str = "Msvm_StorageAllocationSettingData";
const CONNECTION: &str = "Msvm_EthernetPortAllocationSettingData";

/// `EnabledState` of a connection that leads nowhere.
const DISCONNECTED: i32 = 3;
/// The name of a system for which none is given.
const UNNAMED: &str = "New Virtual Machine";
/// All of a processor, in the units of its reservation and its limit (medium).
const WHOLE_PROCESSOR: u64 = 100_000;

/// A system to be defined.
#[derive(Debug)]
pub(super) struct NewSystem {
    pub name: String,
    pub generation: Generation,
    pub firmware: String,
    /// Where its files go; none if that is the host's choice.
    pub folder: Option<PathBuf>,
}

/// Reads the settings of a system that is to be of `kind`, the end of its `VirtualSystemType`. Hardware
/// is not taken along here: it is added afterwards.
pub(super) fn new_system(call: &Call<'_>, kind: &str) -> Result<NewSystem, Trouble> {
    let parameters = &call.parameters;
    let is_modelled = parameters.texts("ResourceSettings").is_empty()
        && *parameters.value("ReferenceConfiguration") == Value::Null;
    if !is_modelled {
        return Err(Refusal::NotSupported.into());
    }
    let text = parameters.text("SystemSettings")?;
    let settings = read(call.model.schema(), SETTINGS, text)?;
    let said = |name: &str| text_of(&settings, name);
    let is_of_kind =
        said("VirtualSystemType").is_none_or(|it| it == format!("Microsoft:Hyper-V:System:{kind}"));
    // The host gives ids.
    if !is_of_kind || said("InstanceID").is_some() {
        return Err(Refusal::InvalidParameter.into());
    }
    let generation = match said("VirtualSystemSubType") {
        None | Some("Microsoft:Hyper-V:SubType:1") => Generation::One,
        Some("Microsoft:Hyper-V:SubType:2") => Generation::Two,
        Some(_) => return Err(Refusal::InvalidParameter.into()),
    };
    // A second generation has it unless told otherwise.
    let is_secure = *settings.value("SecureBootEnabled") != Value::Bool(false);
    Ok(NewSystem {
        name: said("ElementName").unwrap_or(UNNAMED).to_owned(),
        generation,
        firmware: match generation {
            Generation::One => "BIOS".to_owned(),
            Generation::Two if is_secure => format!("UEFI, {SECURE_BOOT}"),
            Generation::Two => "UEFI".to_owned(),
        },
        folder: said("ConfigurationDataRoot").map(PathBuf::from),
    })
}

/// A part to be added to a system.
#[derive(Debug)]
pub(super) enum NewPart<'a> {
    ScsiController,
    /// A drive, where nothing hangs.
    Drive(Place),
    /// A file in a drive that has none.
    File {
        drive: &'a Subject,
        path: PathBuf,
    },
    Adapter(NetworkAdapter),
    /// A connection of an adapter that has none.
    Connection {
        adapter: &'a Subject,
        switch: Option<String>,
    },
}

/// Reads the parts that are to be added to a system.
pub(super) fn new_parts<'a>(call: &'a Call<'_>, system: VmId) -> Result<Vec<NewPart<'a>>, Trouble> {
    let texts = call.parameters.texts("ResourceSettings").into_iter();
    let parts = texts.map(|text| {
        let part = read(call.model.schema(), ANY_RESOURCE, text)?;
        new_part(call, system, &part)
    });
    parts.collect()
}

fn new_part<'a>(
    call: &'a Call<'_>,
    system: VmId,
    part: &WmiObject,
) -> Result<NewPart<'a>, Trouble> {
    let is = |class: &str, kind: i32, sub: &str| {
        part.is(class)
            && *part.value("ResourceType") == Value::I32(kind)
            && text_of(part, "ResourceSubType").and_then(|it| it.strip_prefix("Microsoft:Hyper-V:"))
                == Some(sub)
    };
    if is(RESOURCE, 6, "Synthetic SCSI Controller") {
        Ok(NewPart::ScsiController)
    } else if is(RESOURCE, 17, "Synthetic Disk Drive") {
        Ok(NewPart::Drive(place(call, system, part)?))
    } else if is(STORAGE, 31, "Virtual Hard Disk") {
        let (drive, path) = parent(call, part)?;
        let is_its = matches!(
            drive,
            Subject::EmptyDrive(of, _) | Subject::PlannedDisk(of, _) if *of == system
        );
        if !is_its || has_child(call, STORAGE, path) {
            return Err(Refusal::InvalidParameter.into());
        }
        Ok(NewPart::File {
            drive,
            path: file(part)?,
        })
    } else if is(
        "Msvm_SyntheticEthernetPortSettingData",
        10,
        "Synthetic Ethernet Port",
    ) || is(
        "Msvm_EmulatedEthernetPortSettingData",
        10,
        "Emulated Ethernet Port",
    ) {
        Ok(NewPart::Adapter(adapter(part)?))
    } else if is(CONNECTION, 33, "Ethernet Connection") {
        let (adapter, path) = parent(call, part)?;
        let is_its = matches!(adapter, Subject::PlannedAdapter(of, _) if *of == system);
        if !is_its || has_child(call, CONNECTION, path) {
            return Err(Refusal::InvalidParameter.into());
        }
        Ok(NewPart::Connection {
            adapter,
            switch: switch(call, part)?,
        })
    } else {
        Err(Refusal::NotSupported.into())
    }
}

/// Returns what a part hangs on, and its path.
fn parent<'a>(call: &'a Call<'_>, part: &WmiObject) -> Result<(&'a Subject, String), Trouble> {
    let path = text_of(part, "Parent").ok_or(Refusal::InvalidParameter)?;
    let at = call.world.object_at(path)?;
    Ok((&call.world.instances[at].subject, call.world.path_of(at)))
}

fn has_child(call: &Call<'_>, class: &str, parent: String) -> bool {
    let parent = Value::Text(parent);
    let mut instances = call.world.instances.iter();
    instances.any(|known| known.object.is(class) && *known.object.value("Parent") == parent)
}

/// Returns where a drive is to hang: at 0 or 1 on IDE, 0 to 63 on SCSI, where nothing hangs.
fn place(call: &Call<'_>, system: VmId, drive: &WmiObject) -> Result<Place, Trouble> {
    let (controller, path) = parent(call, drive)?;
    let (kind, number) = match *controller {
        Subject::Controller(of, kind, number) | Subject::PlannedController(of, kind, number)
            if of == system =>
        {
            (kind, number)
        }
        _ => return Err(Refusal::InvalidParameter.into()),
    };
    let places = match kind {
        Controller::Ide => 2,
        Controller::Scsi => 64,
        Controller::Pmem => return Err(Refusal::NotSupported.into()),
    };
    let location = text_of(drive, "AddressOnParent").and_then(|text| text.parse().ok());
    let location: u32 = location
        .filter(|at| *at < places)
        .ok_or(Refusal::InvalidParameter)?;
    let (path, address) = (Value::Text(path), Value::Text(location.to_string()));
    let is_taken = call.world.instances.iter().any(|known| {
        known.object.is(RESOURCE)
            && *known.object.value("Parent") == path
            && *known.object.value("AddressOnParent") == address
    });
    match is_taken {
        true => Err(Refusal::InvalidParameter.into()),
        false => Ok((kind, number, location)),
    }
}

/// Returns the only file that a resource names.
pub(super) fn file(resource: &WmiObject) -> Result<PathBuf, Refusal> {
    match resource.texts("HostResource").unwrap_or_default()[..] {
        [path] if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err(Refusal::InvalidParameter),
    }
}

/// Reads an adapter. An address is its own only if it is said to be; otherwise the host gives one.
fn adapter(port: &WmiObject) -> Result<NetworkAdapter, Refusal> {
    let is_its_own = *port.value("StaticMacAddress") == Value::Bool(true);
    let address = text_of(port, "Address").filter(|_| is_its_own);
    if is_its_own && !address.is_some_and(is_address) {
        return Err(Refusal::InvalidParameter);
    }
    Ok(NetworkAdapter {
        name: text_of(port, "ElementName")
            .unwrap_or("Network Adapter")
            .to_owned(),
        mac_address: address.unwrap_or_default().to_owned(),
        switch: None,
    })
}

/// Returns whether an adapter may keep this address for good.
fn is_address(text: &str) -> bool {
    let is_hex = text.len() == 12 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex && text.bytes().any(|digit| digit != b'0')
}

/// Returns the switch that a connection leads to.
pub(super) fn switch(call: &Call<'_>, connection: &WmiObject) -> Result<Option<String>, Trouble> {
    if *connection.value("EnabledState") == Value::I32(DISCONNECTED) {
        return Ok(None);
    }
    let resources = connection.texts("HostResource").unwrap_or_default();
    let Some(path) = resources.first().filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let at = call.world.object_at(path)?;
    match &call.world.instances[at].subject {
        Subject::Switch(name) => Ok(Some(name.clone())),
        _ => Err(Refusal::InvalidParameter.into()),
    }
}

/// Returns how many processors there are to be. What is reserved of them is not more than what they
/// are limited to, and that not more than all of them (low: the spec names no bounds).
pub(super) fn processors(object: &WmiObject) -> Result<u32, Refusal> {
    let reserved = number(object, "Reservation")?.unwrap_or(0);
    let limit = number(object, "Limit")?.unwrap_or(WHOLE_PROCESSOR);
    if reserved > limit || limit > WHOLE_PROCESSOR {
        return Err(Refusal::InvalidParameter);
    }
    let count = number(object, "VirtualQuantity")?.and_then(|count| u32::try_from(count).ok());
    count
        .filter(|count| *count > 0)
        .ok_or(Refusal::InvalidParameter)
}

/// Returns how much memory there is to be, in bytes, and how it may grow and shrink. What is reserved
/// is not more than what it starts with, and that not more than its limit (medium: the spec names no
/// bounds).
pub(super) fn memory(object: &WmiObject) -> Result<(u64, MemorySettings), Refusal> {
    let mib = number(object, "VirtualQuantity")?.filter(|mib| *mib > 0);
    let mib = mib.ok_or(Refusal::InvalidParameter)?;
    let bytes = mib.checked_mul(1 << 20).ok_or(Refusal::InvalidParameter)?;
    let settings = MemorySettings {
        is_dynamic: *object.value("DynamicMemoryEnabled") == Value::Bool(true),
        reservation_mib: number(object, "Reservation")?.unwrap_or(mib),
        limit_mib: number(object, "Limit")?.unwrap_or(mib),
        buffer_percent: small_number(object, "TargetMemoryBuffer"),
        weight: small_number(object, "Weight"),
    };
    match settings.reservation_mib <= mib && mib <= settings.limit_mib {
        true => Ok((bytes, settings)),
        false => Err(Refusal::InvalidParameter),
    }
}

/// Returns a uint64, which is text; none if it is not said.
fn number(object: &WmiObject, name: &str) -> Result<Option<u64>, Refusal> {
    let text = text_of(object, name);
    let number = text.map(|text| text.parse().map_err(|_| Refusal::InvalidParameter));
    number.transpose()
}

fn small_number(object: &WmiObject, name: &str) -> Option<u32> {
    match object.value(name) {
        Value::I32(number) => Some(number.cast_unsigned()),
        _ => None,
    }
}

fn text_of<'a>(object: &'a WmiObject, name: &str) -> Option<&'a str> {
    match object.value(name) {
        Value::Text(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}
