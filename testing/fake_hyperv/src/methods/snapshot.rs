//! Checkpoints and reference points (Hyper-V spec 4.1, 5.2, 12.2).

use hyperv::sim::{SimHost, Step};
use hyperv::{CheckpointKind, HypervError, HypervHost, RequestedConsistency, VmId};
use time_and_chance::StopSignal;
use windows_host::wmi::{Value, WmiObject};

use super::{Answer, Call, Task, Trouble};
use crate::failure::Refusal;
use crate::jobs::Done;
use crate::world::Subject;

const FULL: u32 = 2;
const DISK: u32 = 3;
/// Undocumented as a value of `SnapshotType`, used by Microsoft's own sample (spec 4.1).
const RECOVERY: u32 = 32768;

pub(super) fn create(call: &Call<'_>) -> Result<Answer, Trouble> {
    let Subject::Vm(vm) = *call.subject("AffectedSystem")? else {
        return Err(Refusal::InvalidParameter.into());
    };
    let class = "Msvm_VirtualSystemSnapshotSettingData";
    let schema = call.model.schema();
    let settings = call
        .parameters
        .embedded(schema, class, "SnapshotSettings")?;
    let name = new_name(call, vm);
    match call.parameters.number("SnapshotType")? {
        RECOVERY => create_recovery(call, vm, settings, name),
        FULL | DISK => Ok(task(70, vm, Step::Create, move |host| {
            let checkpoint = host.checkpoint(vm, &name)?;
            Ok(Done::made(Subject::Checkpoint(vm, checkpoint)))
        })),
        _ => Err(Refusal::InvalidParameter.into()),
    }
}

fn create_recovery(
    call: &Call<'_>,
    vm: VmId,
    settings: Option<WmiObject>,
    name: String,
) -> Result<Answer, Trouble> {
    let settings = settings.unwrap_or_default();
    let consistency = match settings.value("ConsistencyLevel") {
        Value::U8(1) | Value::Null => RequestedConsistency::Application,
        Value::U8(2) => RequestedConsistency::Crash,
        _ => return Err(Refusal::InvalidParameter.into()),
    };
    if !matches!(
        settings.value("GuestBackupType"),
        Value::Null | Value::U8(0..=2)
    ) {
        return Err(Refusal::InvalidParameter.into());
    }
    let ignores = *settings.value("IgnoreNonSnapshottableDisks") == Value::Bool(true);
    if !ignores && has_pass_through(call, vm) {
        return Err(Refusal::NotSupported.into());
    }
    let Answer::Job(mut task) = task(70, vm, Step::Create, move |host| {
        let stop = StopSignal::new();
        let checkpoint = host.create_recovery_checkpoint(vm, consistency, &name, &stop)?;
        Ok(Done::made(Subject::Checkpoint(vm, checkpoint)))
    }) else {
        return Err(Refusal::NotSupported.into());
    };
    task.result = Some("ResultingSnapshot");
    Ok(Answer::Job(task))
}

fn has_pass_through(call: &Call<'_>, vm: VmId) -> bool {
    let truth = call.model.host.truth();
    truth.is_ok_and(|truth| {
        let mut vms = truth.vms.iter();
        vms.any(|known| known.vm.id == vm && !known.vm.omitted_disks.is_empty())
    })
}

/// Returns the name that Hyper-V gives by itself.
fn new_name(call: &Call<'_>, vm: VmId) -> String {
    let vm = call.world.of_subject(&Subject::Vm(vm));
    let name = vm.map(|vm| call.world.instances[vm].object.value("ElementName").clone());
    let name = match name {
        Some(Value::Text(name)) => name,
        _ => String::new(),
    };
    format!("{name} - ({})", call.model.clock.now())
}

fn task(
    kind: u16,
    vm: VmId,
    step: Step,
    work: impl FnOnce(&SimHost) -> Result<Done, HypervError> + Send + 'static,
) -> Answer {
    Answer::Job(Box::new(Task {
        kind,
        vm: Some((vm, step)),
        result: None,
        merges: false,
        work: Box::new(work),
    }))
}

pub(super) fn destroy(call: &Call<'_>) -> Result<Answer, Trouble> {
    let Subject::Checkpoint(vm, checkpoint) = *call.subject("AffectedSnapshot")? else {
        return Err(Refusal::InvalidParameter.into());
    };
    Ok(merging(task(72, vm, Step::Destroy, move |host| {
        let all = host.truth()?.vms;
        let known = all.iter().flat_map(|vm| &vm.checkpoints);
        let mut known = known.map(|known| &known.checkpoint);
        let kind = known
            .find(|known| known.id == checkpoint)
            .map(|known| known.kind);
        // A user's checkpoint can be destroyed too, here as on the real host.
        match kind {
            Some(CheckpointKind::User) => host.delete_checkpoint(vm, checkpoint)?,
            _ => host.destroy_checkpoint(vm, checkpoint)?,
        }
        Ok(Done::default())
    })))
}

fn merging(answer: Answer) -> Answer {
    match answer {
        Answer::Job(mut task) => {
            task.merges = true;
            Answer::Job(task)
        }
        done => done,
    }
}

pub(super) fn convert(call: &Call<'_>) -> Result<Answer, Trouble> {
    let Subject::Checkpoint(vm, checkpoint) = *call.subject("AffectedSnapshot")? else {
        return Err(Refusal::InvalidParameter.into());
    };
    let class = "Msvm_VirtualSystemReferencePointSettingData";
    let schema = call.model.schema();
    call.parameters
        .embedded(schema, class, "ReferencePointSettings")?;
    let answer = merging(task(200, vm, Step::Convert, move |host| {
        let stop = StopSignal::new();
        let point = host.convert_to_reference_point(vm, checkpoint, &stop)?;
        Ok(Done::made(Subject::Point(vm, point.id)))
    }));
    Ok(match answer {
        Answer::Job(mut task) => {
            task.result = Some("ResultingReferencePoint");
            Answer::Job(task)
        }
        done => done,
    })
}

pub(super) fn destroy_point(call: &Call<'_>) -> Result<Answer, Trouble> {
    let Subject::Point(vm, point) = call.subject("AffectedReferencePoint")?.clone() else {
        return Err(Refusal::InvalidParameter.into());
    };
    Ok(task(202, vm, Step::DestroyReferencePoint, move |host| {
        host.destroy_reference_point(vm, &point)?;
        Ok(Done::default())
    }))
}
