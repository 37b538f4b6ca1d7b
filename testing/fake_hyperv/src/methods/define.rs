//! VMs made of nothing but settings, and disks put into them (Hyper-V spec 2.5, 3.3, 3.4, 10.3).
//!
//! That these methods exist, their parameters and their family of codes are of high confidence; that
//! a VM of generation 1 comes with its two IDE controllers, and that a drive needs nothing but its
//! type, parent and address, and a file nothing but its type, drive and path, is of medium: what is
//! not said is filled in by the host. What we never ask for is not modelled, and not supported.

use std::path::PathBuf;

use hyperv::{Controller, Generation, VmId, VmState};
use windows_host::wmi::{Value, WmiObject};

use super::parameters::read;
use super::{Answer, Call, Task, Trouble};
use crate::failure::{self, Refusal};
use crate::jobs::{Done, Work};
use crate::world::Subject;

const SETTINGS: &str = "Msvm_VirtualSystemSettingData";
const RESOURCE: &str = "CIM_ResourceAllocationSettingData";
const DRIVE: &str = "Msvm_ResourceAllocationSettingData";
const STORAGE: &str = "Msvm_StorageAllocationSettingData";

/// The name of a VM for which none is given.
const UNNAMED: &str = "New Virtual Machine";

fn task(kind: u16, result: Option<&'static str>, work: Work) -> Answer {
    Answer::Job(Box::new(Task {
        kind,
        vm: None,
        result,
        merges: false,
        work,
    }))
}

/// Defines a VM that is off; what its settings do not say is the host's choice.
pub(super) fn define(call: &Call<'_>) -> Result<Answer, Trouble> {
    let parameters = &call.parameters;
    let is_modelled = parameters.texts("ResourceSettings").is_empty()
        && *parameters.value("ReferenceConfiguration") == Value::Null;
    if !is_modelled {
        return Err(Refusal::NotSupported.into());
    }
    let settings = read(
        call.model.schema(),
        SETTINGS,
        parameters.text("SystemSettings")?,
    )?;
    let said = |name: &str| match settings.value(name) {
        Value::Text(text) if !text.is_empty() => Some(text.as_str()),
        _ => None,
    };
    let is_of_a_vm = matches!(
        said("VirtualSystemType"),
        None | Some("Microsoft:Hyper-V:System:Realized")
    );
    // The host gives ids.
    if !is_of_a_vm || said("InstanceID").is_some() {
        return Err(Refusal::InvalidParameter.into());
    }
    let generation = match said("VirtualSystemSubType") {
        None | Some("Microsoft:Hyper-V:SubType:1") => Generation::One,
        Some("Microsoft:Hyper-V:SubType:2") => Generation::Two,
        Some(_) => return Err(Refusal::InvalidParameter.into()),
    };
    let name = said("ElementName").unwrap_or(UNNAMED).to_owned();
    let folder = said("ConfigurationDataRoot").map(PathBuf::from);
    let work: Work = Box::new(move |host| {
        let vm = host.define_vm(&name, generation, folder.as_deref())?;
        Ok(Done::made(Subject::Vm(vm)))
    });
    Ok(task(1, Some("ResultingSystem"), work))
}

/// Hangs a drive on a controller of a VM, or puts a file into such a drive.
pub(super) fn add_part(call: &Call<'_>, vm: VmId) -> Result<Answer, Trouble> {
    let [text] = call.parameters.texts("ResourceSettings")[..] else {
        return Err(Refusal::NotSupported.into());
    };
    let part = read(call.model.schema(), RESOURCE, text)?;
    let is = |class: &str, kind: i32, sub: &str| {
        part.is(class)
            && *part.value("ResourceType") == Value::I32(kind)
            && *part.value("ResourceSubType") == Value::text(sub)
    };
    if is(DRIVE, 17, "Microsoft:Hyper-V:Synthetic Disk Drive") {
        add_drive(call, vm, &part)
    } else if is(STORAGE, 31, "Microsoft:Hyper-V:Virtual Hard Disk") {
        add_file(call, vm, &part)
    } else {
        Err(Refusal::NotSupported.into())
    }
}

fn parent<'a>(call: &'a Call<'_>, part: &WmiObject) -> Result<&'a Subject, Trouble> {
    let Value::Text(path) = part.value("Parent") else {
        return Err(Refusal::InvalidParameter.into());
    };
    let at = call.world.object_at(path)?;
    Ok(&call.world.instances[at].subject)
}

/// Locations are 0 and 1 on IDE, 0 to 63 on SCSI; nothing is hung on IDE while the VM is on.
fn add_drive(call: &Call<'_>, vm: VmId, drive: &WmiObject) -> Result<Answer, Trouble> {
    let Subject::Controller(owner, kind, number) = *parent(call, drive)? else {
        return Err(Refusal::InvalidParameter.into());
    };
    let Value::Text(address) = drive.value("AddressOnParent") else {
        return Err(Refusal::InvalidParameter.into());
    };
    let locations = match kind {
        Controller::Ide => 2,
        Controller::Scsi | Controller::Pmem => 64,
    };
    let location = address.parse().ok().filter(|at| *at < locations);
    let location: u32 = location.ok_or(Refusal::InvalidParameter)?;
    let place = (kind, number, location);
    let truth = call.model.host.truth().map_err(failure::of_reading)?;
    let mut machines = truth.vms.iter().map(|known| &known.vm);
    let machine = machines.find(|known| known.id == vm);
    let machine = machine.ok_or(Refusal::Failed)?;
    let mut disks = machine.disks.iter();
    let is_taken =
        disks.any(|disk| (disk.controller, disk.controller_number, disk.location) == place);
    if owner != vm || is_taken {
        return Err(Refusal::InvalidParameter.into());
    }
    if kind == Controller::Ide && machine.state != VmState::Off {
        return Err(Refusal::InvalidState.into());
    }
    if !call.model.extras().empty_drives.insert((vm, place)) {
        return Err(Refusal::InvalidParameter.into());
    }
    let world = call.model.world()?;
    let made = world.of_subject(&Subject::EmptyDrive(vm, place));
    let made = made.map(|at| Value::from(world.path_of(at)));
    Ok(Answer::Done(vec![(
        "ResultingResourceSettings",
        Value::Array(made.into_iter().collect()),
    )]))
}

fn add_file(call: &Call<'_>, vm: VmId, file: &WmiObject) -> Result<Answer, Trouble> {
    let Subject::EmptyDrive(owner, place) = *parent(call, file)? else {
        return Err(Refusal::InvalidParameter.into());
    };
    let resources = file.texts("HostResource").unwrap_or_default();
    let [path] = resources[..] else {
        return Err(Refusal::InvalidParameter.into());
    };
    if owner != vm || path.is_empty() {
        return Err(Refusal::InvalidParameter.into());
    }
    let path = PathBuf::from(path);
    let work: Work = Box::new(move |host| {
        host.attach_disk(vm, &path, place)?;
        Ok(Done::default())
    });
    Ok(task(130, None, work))
}
