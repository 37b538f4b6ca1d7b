//! The methods: parameters checked, the simulated host told, an answer with a number.

mod define;
mod guest;
mod hardware;
mod image;
mod job;
mod management;
mod parameters;
mod planned;
mod security;
mod snapshot;
mod summary;

use hyperv::sim::Step;
use hyperv::{HypervError, VmId};
use windows_host::wmi::{Value, WmiError, WmiObject};

use crate::failure::{self, Failure, JobError, Refusal};
use crate::jobs::{self, Done, Job, Work};
use crate::schema::Method;
use crate::session::Model;
use crate::world::{Properties, Subject, World, guid_text};
use parameters::Parameters;

/// A method's `ReturnValue` when it left a job running.
const JOB_STARTED: u32 = 4096;

/// What a method answers.
enum Answer {
    /// 0 and out-parameters.
    Done(Properties),
    /// 4096 and a job.
    Job(Box<Task>),
}

/// Something that takes long.
struct Task {
    /// `JobType`.
    kind: u16,
    /// The VM it is about, and how the simulated host calls the step; none for a restore's.
    vm: Option<(VmId, Step)>,
    /// The out-parameter that names the result.
    result: Option<&'static str>,
    /// Whether disks are merged behind it.
    merges: bool,
    work: Work,
}

/// A call of a method.
struct Call<'a> {
    model: &'a Model,
    world: &'a World<'a>,
    /// The object it is called on.
    target: &'a Subject,
    parameters: Parameters<'a>,
}

/// What stands in the way of an answer.
enum Trouble {
    Call(WmiError),
    Refused(Refusal),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<WmiError> for Trouble {
    fn from(error: WmiError) -> Self {
        Self::Call(error)
    }
}

/// Calls a method of an object.
pub(crate) fn call(
    model: &Model,
    world: &World<'_>,
    target: usize,
    method: &Method,
    given: &[(&str, Value)],
) -> Result<WmiObject, WmiError> {
    let call = Call {
        model,
        world,
        target: &world.instances[target].subject,
        parameters: Parameters::check(method, given)?,
    };
    let answer = answer(&call, &world.instances[target].object.class, method);
    let answered = answer.and_then(|answer| match answer {
        Answer::Done(properties) => Ok((0, properties)),
        Answer::Job(task) => run(model, *task),
    });
    let (code, properties) = match answered {
        Ok(answered) => answered,
        Err(Trouble::Call(error)) => return Err(error),
        Err(Trouble::Refused(refusal)) => (refusal.code(method.family, &model.manners), Vec::new()),
    };
    Ok(out_parameters(method, code, properties))
}

fn out_parameters(method: &Method, code: u32, properties: Properties) -> WmiObject {
    let mut out = WmiObject {
        class: "__PARAMETERS".to_owned(),
        ..WmiObject::default()
    };
    for parameter in method.parameters.iter().filter(|known| known.output) {
        out.set(&parameter.name, Value::Null);
    }
    for (name, value) in properties {
        out.set(name, value);
    }
    out.set("ReturnValue", Value::u32(code));
    out
}

fn answer(call: &Call<'_>, class: &str, method: &Method) -> Result<Answer, Trouble> {
    call.parameters.all_there()?;
    match (class, method.name.as_str()) {
        ("Msvm_VirtualSystemSnapshotService", "CreateSnapshot") => snapshot::create(call),
        ("Msvm_VirtualSystemSnapshotService", "DestroySnapshot") => snapshot::destroy(call),
        ("Msvm_VirtualSystemSnapshotService", "ConvertToReferencePoint") => snapshot::convert(call),
        ("Msvm_VirtualSystemReferencePointService", _) => snapshot::destroy_point(call),
        ("Msvm_VirtualSystemManagementService", name) => match name {
            "DefineSystem" => define::define(call),
            "ModifySystemSettings" => management::modify_system(call),
            "DestroySystem" => management::destroy(call),
            "GetSummaryInformation" => summary::get(call),
            "ModifyDiskMergeSettings" => management::modify_merge(call),
            "ModifyResourceSettings" => planned::modify_resources(call),
            "AddResourceSettings" => match *call.subject("AffectedConfiguration")? {
                Subject::PlannedSettings(planned) => planned::add_resources(call, planned),
                Subject::Settings(vm) => define::add_part(call, vm),
                _ => Err(Refusal::NotSupported.into()),
            },
            "RemoveResourceSettings" => planned::remove_resources(call),
            "DefinePlannedSystem" => define::define_planned(call),
            "ImportSystemDefinition" => planned::import(call),
            "ValidatePlannedSystem" => planned::validate(call),
            "RealizePlannedSystem" => planned::realise(call),
            _ => Err(Refusal::NotSupported.into()),
        },
        ("Msvm_ImageManagementService", _) => image::settings(call),
        ("Msvm_SecurityService", "GetKeyProtector") => security::get(call),
        ("Msvm_SecurityService", "SetKeyProtector") => security::set(call),
        ("Msvm_VssService", _) => guest::cluster(call),
        ("Msvm_ComputerSystem", "RequestStateChange") => management::request_state(call),
        ("Msvm_ConcreteJob", "GetError") => job::error(call),
        ("Msvm_ConcreteJob", "GetErrorEx") => job::errors(call),
        ("Msvm_ConcreteJob", "RequestStateChange") => job::request_state(call),
        _ => Err(Refusal::NotSupported.into()),
    }
}

impl Call<'_> {
    /// Returns what an object reference in a parameter leads to.
    fn subject(&self, name: &str) -> Result<&Subject, Trouble> {
        let path = self.parameters.text(name)?;
        let at = self.world.object_at(path)?;
        Ok(&self.world.instances[at].subject)
    }
}

/// Begins a task: as a job, or to its end if the manners have it.
fn run(model: &Model, task: Task) -> Result<(u32, Properties), Trouble> {
    let Task {
        kind,
        vm,
        result,
        merges,
        work,
    } = task;
    let now = model.clock.now();
    let id = guid_text(model.chance.uuid());
    let owner = vm.map(|(vm, _)| vm);
    let mut out = Vec::new();
    let mut job = if model.manners.jobs_work_first || model.manners.no_jobs {
        let worked = work(&model.host);
        if let Some(trouble) = refused_at_once(&worked) {
            return Err(trouble);
        }
        if let (Ok(worked), Some(name)) = (&worked, result)
            && (model.manners.no_jobs || model.manners.result_beside_job)
        {
            let world = model.world()?;
            let made = worked
                .affected
                .iter()
                .find_map(|made| world.of_subject(made));
            out.extend(made.map(|made| (name, world.path_of(made).into())));
        }
        // What is to be told of severe errors is told by a job: a number alone says nothing.
        let is_severe = |error: &JobError| error.severity >= failure::SEVERE;
        let went_well = worked
            .as_ref()
            .is_ok_and(|done| !done.errors.iter().any(is_severe));
        if model.manners.no_jobs && went_well {
            return Ok((0, out));
        }
        Job::behind(id, kind, owner, now, jobs::done(worked))
    } else {
        if let Some((vm, step)) = vm {
            let begun = model.host.begin(vm, step).map(|()| Done::default());
            if let Some(trouble) = refused_at_once(&begun) {
                return Err(trouble);
            }
        }
        Job::ahead(id, kind, owner, now, work)
    };
    job.waits_for_merge = merges && model.manners.jobs_wait_for_merge;
    let id = job.id.clone();
    model.jobs().push(job);
    out.push((
        "Job",
        windows_host::wmi::with_key("Msvm_ConcreteJob", "InstanceID", &id).into(),
    ));
    Ok((JOB_STARTED, out))
}

/// Returns what a method answers itself, without a job.
fn refused_at_once(worked: &Result<Done, HypervError>) -> Option<Trouble> {
    let error = worked.as_ref().err()?;
    match failure::of_method(error) {
        Failure::Call(error) => Some(Trouble::Call(error)),
        Failure::Refused(refusal) => Some(Trouble::Refused(refusal)),
        Failure::Job(_) | Failure::Vanished => None,
    }
}
