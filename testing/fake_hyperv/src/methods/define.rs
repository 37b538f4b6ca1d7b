//! VMs made of nothing but settings, and disks put into them (Hyper-V spec 2.5, 3.3, 3.4, 10.3).
//!
//! That these methods exist, their parameters and their family of codes are of high confidence; that
//! a VM of generation 1 comes with its two IDE controllers, and that a drive needs nothing but its
//! type, parent and address, and a file nothing but its type, drive and path, is of medium.

use hyperv::{Controller, HypervHost as _, VmDefinition, VmId, VmState};
use windows_host::wmi::Value;

use super::hardware::{self, NewPart};
use super::{Answer, Call, Task, Trouble};
use crate::extras::Place;
use crate::failure::{self, Refusal};
use crate::jobs::{Done, Work};
use crate::world::Subject;

/// What a planned system has if nobody says otherwise.
const PROCESSORS: u32 = 1;
const MEMORY_BYTES: u64 = 1 << 30;

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
    let new = hardware::new_system(call, "Realized")?;
    let work: Work = Box::new(move |host| {
        let vm = host.define_vm(&new.name, new.generation, new.folder.as_deref())?;
        Ok(Done::made(Subject::Vm(vm)))
    });
    Ok(task(1, Some("ResultingSystem"), work))
}

/// Defines a planned system with processors and memory of the usual size and nothing else.
pub(super) fn define_planned(call: &Call<'_>) -> Result<Answer, Trouble> {
    let new = hardware::new_system(call, "Planned")?;
    let work: Work = Box::new(move |host| {
        let folder = match new.folder {
            Some(folder) => folder,
            None => host.default_vm_folder(&new.name)?,
        };
        let definition = VmDefinition {
            name: new.name,
            generation: new.generation,
            firmware: new.firmware,
            processors: PROCESSORS,
            memory_bytes: MEMORY_BYTES,
            network_adapters: Vec::new(),
            disks: Vec::new(),
        };
        let planned = host.define_planned(&definition, &[], &folder)?.planned.id;
        Ok(Done::made(Subject::Planned(planned)))
    });
    Ok(task(4, Some("ResultingSystem"), work))
}

/// Hangs a drive on a controller of a VM, or puts a file into such a drive: one at a time.
pub(super) fn add_part(call: &Call<'_>, vm: VmId) -> Result<Answer, Trouble> {
    match &hardware::new_parts(call, vm)?[..] {
        [NewPart::Drive(place)] => add_drive(call, vm, *place),
        [NewPart::File { drive, path }] => {
            let Subject::EmptyDrive(_, place) = **drive else {
                return Err(Refusal::InvalidParameter.into());
            };
            let path = path.clone();
            let work: Work = Box::new(move |host| {
                host.attach_disk(vm, &path, place)?;
                Ok(Done::default())
            });
            Ok(task(130, None, work))
        }
        _ => Err(Refusal::NotSupported.into()),
    }
}

/// Nothing is hung on IDE while the VM is on.
fn add_drive(call: &Call<'_>, vm: VmId, place: Place) -> Result<Answer, Trouble> {
    let truth = call.model.host.truth().map_err(failure::of_reading)?;
    let mut machines = truth.vms.iter().map(|known| &known.vm);
    let machine = machines.find(|known| known.id == vm);
    let machine = machine.ok_or(Refusal::Failed)?;
    if place.0 == Controller::Ide && machine.state != VmState::Off {
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
