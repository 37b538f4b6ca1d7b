//! Settings and states of systems (Hyper-V spec 4.2, 9.1, 10.1).

use std::path::Path;

use hyperv::sim::{SimFault, Step};
use hyperv::{HypervError, HypervHost, VmId, VmState};
use windows_host::wmi::{Value, WmiObject};

use super::parameters::read;
use super::{Answer, Call, Task, Trouble};
use crate::failure::{self, Failure, Refusal};
use crate::jobs::{Done, Work};
use crate::world::Subject;

const SETTINGS: &str = "Msvm_VirtualSystemSettingData";

/// Returns what the `InstanceID` of an embedded instance names (spec 2.3).
pub(super) fn named<'a>(call: &'a Call<'_>, object: &WmiObject) -> Result<&'a Subject, Trouble> {
    let Value::Text(id) = object.value("InstanceID") else {
        return Err(Refusal::InvalidParameter.into());
    };
    let path = windows_host::wmi::with_key(&object.class, "InstanceID", id);
    let at = call.world.object_at(&path)?;
    Ok(&call.world.instances[at].subject)
}

/// Renames answer at once; what moves files is a job.
pub(super) fn modify_system(call: &Call<'_>) -> Result<Answer, Trouble> {
    let text = call.parameters.text("SystemSettings")?;
    let settings = read(call.model.schema(), SETTINGS, text)?;
    let Value::Text(name) = settings.value("ElementName").clone() else {
        return Err(Refusal::InvalidParameter.into());
    };
    let host = &call.model.host;
    match *named(call, &settings)? {
        Subject::Checkpoint(vm, checkpoint) => {
            at_once(host.rename_checkpoint(vm, checkpoint, &name))
        }
        Subject::Settings(vm) => at_once(host.rename_vm(vm, &name)),
        Subject::PlannedSettings(planned) => Ok(modify_planned(planned, name, &settings)),
        _ => Err(Refusal::InvalidParameter.into()),
    }
}

fn modify_planned(planned: VmId, name: String, settings: &WmiObject) -> Answer {
    let folder = match settings.value("ConfigurationDataRoot") {
        Value::Text(folder) => Some(folder.clone()),
        _ => None,
    };
    Answer::Job(Box::new(Task {
        kind: 2,
        vm: None,
        result: None,
        merges: false,
        work: Box::new(move |host| {
            host.rename_planned(planned, &name)?;
            if let Some(folder) = folder {
                host.move_planned(planned, Path::new(&folder))?;
            }
            Ok(Done::default())
        }),
    }))
}

/// Returns the answer of what takes no job: its failures are numbers only.
pub(super) fn at_once(result: Result<(), HypervError>) -> Result<Answer, Trouble> {
    let Err(error) = result else {
        return Ok(Answer::Done(Vec::new()));
    };
    Err(match failure::of_method(&error) {
        Failure::Call(error) => Trouble::Call(error),
        Failure::Refused(refusal) => Trouble::Refused(refusal),
        Failure::Job(_) | Failure::Vanished => Trouble::Refused(Refusal::Failed),
    })
}

/// Real systems go with their settings; disk files stay.
pub(super) fn destroy(call: &Call<'_>) -> Result<Answer, Trouble> {
    let work: Work = match *call.subject("AffectedSystem")? {
        Subject::Planned(planned) => Box::new(move |host| {
            host.abort_planned(planned)?;
            Ok(Done::default())
        }),
        Subject::Vm(vm) => Box::new(move |host| {
            host.delete_vm(vm, true)?;
            Ok(Done::default())
        }),
        _ => return Err(Refusal::InvalidParameter.into()),
    };
    Ok(Answer::Job(Box::new(Task {
        kind: 6,
        vm: None,
        result: None,
        merges: false,
        work,
    })))
}

/// Switches a VM on or off, saves or pauses it (spec 3.2 for the numbers).
pub(super) fn request_state(call: &Call<'_>) -> Result<Answer, Trouble> {
    let Subject::Vm(vm) = *call.target else {
        return Err(Refusal::NotSupported.into());
    };
    let wanted = match call.parameters.number("RequestedState")? {
        2 => VmState::Running,
        3 => VmState::Off,
        6 | 32769 => VmState::Saved,
        9 | 32768 => VmState::Paused,
        _ => return Err(Refusal::InvalidParameter.into()),
    };
    Ok(Answer::Job(Box::new(Task {
        kind: if wanted == VmState::Running { 11 } else { 12 },
        vm: Some((vm, Step::Start)),
        result: None,
        merges: false,
        work: Box::new(move |host| {
            match wanted {
                VmState::Running => host.start(vm)?,
                other => host.set_state(vm, other)?,
            }
            Ok(Done::default())
        }),
    })))
}

/// Switches merging off and on again (spec 9.1, RH-4; medium). While it is off, a merge that
/// becomes due stands still; switching it on takes the VM's faults away with that.
pub(super) fn modify_merge(call: &Call<'_>) -> Result<Answer, Trouble> {
    let text = call.parameters.text("SettingData")?;
    let class = "Msvm_DiskMergeSettingData";
    let settings = read(call.model.schema(), class, text)?;
    let Subject::MergeSettings(vm) = *named(call, &settings)? else {
        return Err(Refusal::InvalidParameter.into());
    };
    let host = &call.model.host;
    match settings.value("EnabledState") {
        Value::I32(0) => {
            if call.model.extras().merging_off.insert(vm) {
                return at_once(host.add_fault(vm, SimFault::StuckMerge, None));
            }
        }
        Value::I32(1) => {
            if call.model.extras().merging_off.remove(&vm) {
                return at_once(host.clear_faults(vm));
            }
        }
        _ => return Err(Refusal::InvalidParameter.into()),
    }
    Ok(Answer::Done(Vec::new()))
}
