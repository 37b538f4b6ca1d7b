//! Restores: planned systems from an import to a VM (Hyper-V spec 10.1).

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use hyperv::sim::{PlannedPart, SimHost};
use hyperv::{ConfigurationFile, HypervError, HypervErrorKind, HypervHost, VmId, codes};
use windows_host::wmi::Value;

use super::hardware::{self, NewPart};
use super::management::named;
use super::parameters::read;
use super::{Answer, Call, Task, Trouble};
use crate::extras::MemorySettings;
use crate::failure::{JobError, Refusal, SEVERE, WARNING};
use crate::jobs::{Done, Work};
use crate::world::Subject;

const RESOURCE: &str = "CIM_ResourceAllocationSettingData";
const STORAGE: &str = "Msvm_StorageAllocationSettingData";

fn task(kind: u16, result: Option<&'static str>, work: Work) -> Answer {
    Answer::Job(Box::new(Task {
        kind,
        vm: None,
        result,
        merges: false,
        work,
    }))
}

/// Imports the definition at a path; the files of the same stem beside it belong to it.
pub(super) fn import(call: &Call<'_>) -> Result<Answer, Trouble> {
    let path = PathBuf::from(call.parameters.text("SystemDefinitionFile")?);
    let new_id = *call.parameters.value("GenerateNewSystemIdentifier") == Value::Bool(true);
    let stays = call.model.manners.imports_stay_in_their_folder;
    let work = move |host: &SimHost| {
        let files = definition(&path)?;
        let folder = path.parent().filter(|_| stays);
        let planned = host.import_definition(&files, folder, new_id)?;
        Ok(Done::made(Subject::Planned(planned.id)))
    };
    Ok(task(61, Some("ImportedSystem"), Box::new(work)))
}

fn definition(path: &Path) -> Result<Vec<ConfigurationFile>, HypervError> {
    let mut files = Vec::new();
    for end in ["vmcx", "vmrs", "vmgs"] {
        let path = path.with_extension(end);
        let content = match fs::read(&path) {
            Ok(content) => content,
            Err(_) if end != "vmcx" => continue,
            Err(error) => {
                let message = format!("read {}", path.display());
                return Err(HypervError::new(HypervErrorKind::Failed, message)
                    .with_code(codes::FILE_NOT_FOUND)
                    .caused_by(error));
            }
        };
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        files.push(ConfigurationFile {
            name: name.to_owned(),
            content,
        });
    }
    Ok(files)
}

/// What a call changes of one planned VM.
#[derive(Default)]
struct Changes {
    disks: Vec<(usize, Option<PathBuf>)>,
    switches: Vec<(usize, Option<String>)>,
    pass_through: Vec<String>,
    parts: Vec<PlannedPart>,
    memory: Option<MemorySettings>,
}

impl Changes {
    fn apply(self, host: &SimHost, planned: VmId) -> Result<(), HypervError> {
        if !self.parts.is_empty() {
            host.furnish_planned(planned, self.parts)?;
        }
        if !self.disks.is_empty() {
            host.set_some_planned_disks(planned, &self.disks)?;
        }
        if !self.switches.is_empty() {
            let planned_vms = host.truth()?.planned.into_iter();
            let mut known = planned_vms.filter(|known| known.id == planned);
            let adapters = known.next().map(|known| known.network_adapters);
            let adapters = adapters.unwrap_or_default().into_iter();
            let mut switches: Vec<_> = adapters.map(|adapter| adapter.switch).collect();
            for (at, switch) in self.switches {
                if let Some(place) = switches.get_mut(at) {
                    *place = switch;
                }
            }
            host.set_planned_switches(planned, &switches)?;
        }
        for name in self.pass_through {
            host.remove_planned_omitted_disk(planned, &name)?;
        }
        Ok(())
    }
}

/// Changes of one call, all of one planned VM.
fn collect(
    changes: &mut Option<(VmId, Changes)>,
    planned: VmId,
    add: impl FnOnce(&mut Changes),
) -> Result<(), Refusal> {
    let (known, changes) = changes.get_or_insert_with(|| (planned, Changes::default()));
    if *known != planned {
        return Err(Refusal::InvalidParameter);
    }
    add(changes);
    Ok(())
}

fn change(call: &Call<'_>, changes: Option<(VmId, Changes)>, kind: u16) -> Result<Answer, Trouble> {
    let (planned, changes) = changes.ok_or(Refusal::InvalidParameter)?;
    // The simulated host knows of no memory that grows and shrinks: it is noted at once.
    if let Some(memory) = changes.memory {
        call.model.extras().memory.insert(planned, memory);
    }
    let work = move |host: &SimHost| {
        changes.apply(host, planned)?;
        Ok(Done::default())
    };
    Ok(task(kind, None, Box::new(work)))
}

pub(super) fn modify_resources(call: &Call<'_>) -> Result<Answer, Trouble> {
    let mut changes = None;
    for text in call.parameters.texts("ResourceSettings") {
        let object = read(call.model.schema(), RESOURCE, text)?;
        match *named(call, &object)? {
            Subject::PlannedDisk(planned, at) if object.is(STORAGE) => {
                let path = hardware::file(&object)?;
                collect(&mut changes, planned, |changes| {
                    changes.disks.push((at, Some(path)));
                })?;
            }
            Subject::PlannedConnection(planned, at) => {
                let switch = hardware::switch(call, &object)?;
                collect(&mut changes, planned, |changes| {
                    changes.switches.push((at, switch))
                })?;
            }
            Subject::PlannedProcessors(planned) => {
                let part = PlannedPart::Processors(hardware::processors(&object)?);
                collect(&mut changes, planned, |changes| changes.parts.push(part))?;
            }
            Subject::PlannedMemory(planned) => {
                let (bytes, settings) = hardware::memory(&object)?;
                collect(&mut changes, planned, |changes| {
                    changes.parts.push(PlannedPart::Memory(bytes));
                    changes.memory = Some(settings);
                })?;
            }
            // Nothing else of them can be changed here, nor anything of VMs.
            _ => return Err(Refusal::NotSupported.into()),
        }
    }
    change(call, changes, 160)
}

/// Adds hardware to a planned system.
pub(super) fn add_resources(call: &Call<'_>, system: VmId) -> Result<Answer, Trouble> {
    let parts = hardware::new_parts(call, system)?;
    if parts.is_empty() {
        return Err(Refusal::InvalidParameter.into());
    }
    let mut changes = Changes::default();
    for part in parts {
        match part {
            NewPart::ScsiController => changes.parts.push(PlannedPart::ScsiController),
            NewPart::Drive((controller, number, location)) => {
                changes.parts.push(PlannedPart::Drive {
                    controller,
                    number,
                    location,
                });
            }
            NewPart::Adapter(adapter) => changes.parts.push(PlannedPart::NetworkAdapter(adapter)),
            NewPart::File { drive, path } => {
                let Subject::PlannedDisk(_, at) = *drive else {
                    return Err(Refusal::InvalidParameter.into());
                };
                changes.disks.push((at, Some(path)));
            }
            NewPart::Connection { adapter, switch } => {
                let Subject::PlannedAdapter(_, at) = *adapter else {
                    return Err(Refusal::InvalidParameter.into());
                };
                changes.switches.push((at, switch));
            }
        }
    }
    change(call, Some((system, changes)), 130)
}

pub(super) fn remove_resources(call: &Call<'_>) -> Result<Answer, Trouble> {
    let mut changes = None;
    for path in call.parameters.texts("ResourceSettings") {
        let at = call.world.object_at(path)?;
        match call.world.instances[at].subject.clone() {
            Subject::PlannedDisk(planned, at) => {
                collect(&mut changes, planned, |changes| {
                    changes.disks.push((at, None))
                })?;
            }
            Subject::PlannedConnection(planned, at) => {
                collect(&mut changes, planned, |changes| {
                    changes.switches.push((at, None))
                })?;
            }
            Subject::PlannedPassThrough(planned, name) => {
                collect(&mut changes, planned, |changes| {
                    changes.pass_through.push(name)
                })?;
            }
            _ => return Err(Refusal::NotSupported.into()),
        }
    }
    change(call, changes, 131)
}

fn planned_system(call: &Call<'_>) -> Result<VmId, Trouble> {
    match *call.subject("PlannedSystem")? {
        Subject::Planned(planned) => Ok(planned),
        _ => Err(Refusal::InvalidParameter.into()),
    }
}

/// What stands in the way makes the job fail; warnings stand beside its success (spec 10.1).
pub(super) fn validate(call: &Call<'_>) -> Result<Answer, Trouble> {
    let planned = planned_system(call)?;
    let work = move |host: &SimHost| {
        let messages = host.validate_planned(planned)?;
        let errors = messages.into_iter().map(|message| JobError {
            code: None,
            severity: if message.fatal { SEVERE } else { WARNING },
            about: message.text,
            refusal: None,
        });
        Ok(Done {
            errors: errors.collect(),
            ..Done::default()
        })
    };
    Ok(task(140, None, Box::new(work)))
}

pub(super) fn realise(call: &Call<'_>) -> Result<Answer, Trouble> {
    let planned = planned_system(call)?;
    let work = move |host: &SimHost| Ok(Done::made(Subject::Vm(host.realise_planned(planned)?)));
    Ok(task(141, Some("ResultingSystem"), Box::new(work)))
}
