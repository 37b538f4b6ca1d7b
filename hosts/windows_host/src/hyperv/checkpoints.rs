//! Checkpoints of a VM: listed, taken, named, destroyed (Hyper-V spec 4 and 12.2).

use std::collections::HashSet;

use hyperv::{
    Checkpoint, CheckpointId, HypervError, HypervErrorKind as Kind, RequestedConsistency, VmId,
    codes,
};
use time_and_chance::StopSignal;

use super::errors::wmi_error;
use super::instance_id::InstanceId;
use super::method::{Change, Failed};
use super::open_disks::OpenDisks;
use super::provider::{MANAGEMENT, Provider};
use super::settings::{self, SETTINGS};
use super::{guest_cluster, merge_settings};
use crate::wmi::{EmbeddedSource, Value, WmiObject, key_of};

/// The service that takes and ends checkpoints.
pub(super) const SNAPSHOTS: &str = "Msvm_VirtualSystemSnapshotService";
/// The class of how a checkpoint is to be taken.
pub(super) const SNAPSHOT_SETTINGS: &str = "Msvm_VirtualSystemSnapshotSettingData";
/// `SnapshotType` of a recovery snapshot.
const RECOVERY: u16 = 32768;
/// `GuestBackupType`: full, after which applications may truncate their logs, and copy.
const GUEST_FULL: u8 = 1;
const GUEST_COPY: u8 = 2;

/// Returns the settings of all checkpoints of a VM.
fn all(provider: &Provider, system: &str) -> Result<Vec<WmiObject>, HypervError> {
    provider.associated(system, "Msvm_SnapshotOfVirtualSystem", SETTINGS)
}

fn path(object: &WmiObject) -> Result<&str, HypervError> {
    object
        .path()
        .map_err(|error| wmi_error("read a checkpoint", error))
}

/// Returns the checkpoints of a VM.
pub(super) fn list(provider: &Provider, vm: VmId) -> Result<Vec<Checkpoint>, HypervError> {
    let system = provider.system(vm)?;
    all(provider, path(&system)?)?
        .iter()
        .map(settings::checkpoint)
        .collect()
}

/// Returns the settings of a checkpoint.
///
/// # Errors
/// `NotFound` if the VM is not here or has no such checkpoint.
pub(super) fn find(
    provider: &Provider,
    vm: VmId,
    checkpoint: CheckpointId,
) -> Result<WmiObject, HypervError> {
    let system = provider.system(vm)?;
    let found = all(provider, path(&system)?)?
        .into_iter()
        .find(|object| settings::owner(object) == Some(checkpoint.0));
    found.ok_or_else(|| {
        HypervError::new(
            Kind::NotFound,
            format!("find checkpoint {checkpoint} of VM {vm}: there is none"),
        )
    })
}

/// Returns the settings of a recovery checkpoint none of whose disks is open here, so that what ends
/// it can: its VM's disks may be merged.
///
/// # Errors
/// `Unsupported` for a checkpoint of another kind, which is not ours to end.
pub(super) fn find_endable(
    provider: &Provider,
    open_disks: &OpenDisks,
    doing: &str,
    vm: VmId,
    checkpoint: CheckpointId,
) -> Result<WmiObject, HypervError> {
    let object = find(provider, vm, checkpoint)?;
    if !settings::is_recovery(&object) {
        return Err(HypervError::new(
            Kind::Unsupported,
            format!("{doing}: it is no recovery checkpoint"),
        )
        .with_code(codes::NOT_SUPPORTED));
    }
    open_disks.check_closed(doing, checkpoint)?;
    merge_settings::allow(provider, vm);
    Ok(object)
}

/// Takes a recovery checkpoint and names it.
pub(super) fn create(
    provider: &Provider,
    vm: VmId,
    consistency: RequestedConsistency,
    mark: &str,
    stop: &StopSignal,
) -> Result<CheckpointId, HypervError> {
    let doing = format!("take a checkpoint of VM {vm}");
    let machine = provider.system(vm)?;
    let system = path(&machine)?;
    if consistency == RequestedConsistency::Application {
        guest_cluster::check(provider, vm, stop)?;
    }
    let before: HashSet<CheckpointId> = recovery_ids(&all(provider, system)?).collect();
    let settings = snapshot_settings(provider, &doing, consistency)?;
    let limits = &provider.beliefs.limits;
    let change = Change {
        doing: &doing,
        object: &provider.service(SNAPSHOTS)?,
        method: "CreateSnapshot",
        parameters: &[
            ("AffectedSystem", Value::text(system)),
            ("SnapshotSettings", Value::Text(settings)),
            ("SnapshotType", Value::from(RECOVERY)),
        ],
        limit: match consistency {
            RequestedConsistency::Application => limits.application_checkpoint,
            RequestedConsistency::Crash => limits.crash_checkpoint,
        },
        is_cancelled_in_the_end: true,
        vm: Some(vm),
    };
    let answer = match provider.change(change, stop) {
        Ok(answer) => answer,
        Err(failed) => {
            mark_what_was_left(provider, (vm, &machine), &before, &failed, mark);
            return Err(refused(provider, consistency, &doing, failed));
        }
    };
    let made = provider.made(&answer, "ResultingSnapshot", SETTINGS);
    let unseen = |error: HypervError| {
        HypervError::new(
            Kind::OutcomeUnknown,
            format!("{doing}: Hyper-V took one, which could not be looked for"),
        )
        .caused_by(error)
    };
    let after = all(provider, system).map_err(unseen)?;
    let fresh: Vec<&WmiObject> = after
        .iter()
        .filter(|object| settings::is_recovery(object))
        .filter(|object| {
            settings::owner(object).is_some_and(|id| !before.contains(&CheckpointId(id)))
        })
        .collect();
    let named = |object: &&&WmiObject| {
        let made = made.iter().filter_map(|path| owner_at(path));
        settings::owner(object).is_some_and(|id| made.into_iter().any(|known| known == id))
    };
    let only = match fresh.as_slice() {
        [one] => Some(*one),
        _ => None,
    };
    let taken = fresh.iter().find(named).copied().or(only);
    let Some((object, id)) = taken.and_then(|object| Some((object, settings::owner(object)?)))
    else {
        return Err(HypervError::new(
            Kind::OutcomeUnknown,
            format!("{doing}: Hyper-V took one and does not list it"),
        ));
    };
    // Hyper-V's own name stays if this fails, and the caller knows the checkpoint by its GUID.
    if let Ok(path) = path(object) {
        let _a_name_is_no_condition = rename(provider, path, mark);
    }
    Ok(CheckpointId(id))
}

fn recovery_ids(objects: &[WmiObject]) -> impl Iterator<Item = CheckpointId> + '_ {
    let recovery = objects
        .iter()
        .filter(|object| settings::is_recovery(object));
    recovery.filter_map(settings::owner).map(CheckpointId)
}

fn owner_at(path: &str) -> Option<uuid::Uuid> {
    let id = key_of(path, "InstanceID")?;
    InstanceId::parse(&id).map(|id| id.owner)
}

fn snapshot_settings(
    provider: &Provider,
    doing: &str,
    consistency: RequestedConsistency,
) -> Result<String, HypervError> {
    let level = match consistency {
        RequestedConsistency::Application => 1,
        RequestedConsistency::Crash => 2,
    };
    let mut properties = vec![
        ("ConsistencyLevel", Value::U8(level)),
        // Pass-through disks are left out, and every restore point says so.
        ("IgnoreNonSnapshottableDisks", Value::Bool(true)),
    ];
    // Server 2016 has no such property, and putting it would fail (RH-21).
    if provider.has_property(SNAPSHOT_SETTINGS, "GuestBackupType")? {
        let kind = match provider.beliefs.guests_may_truncate_logs {
            true => GUEST_FULL,
            false => GUEST_COPY,
        };
        properties.push(("GuestBackupType", Value::U8(kind)));
    }
    provider.embedded(doing, EmbeddedSource::Class(SNAPSHOT_SETTINGS), &properties)
}

/// Gives a checkpoint a name (spec 4.2).
fn rename(provider: &Provider, checkpoint: &str, name: &str) -> Result<(), HypervError> {
    let doing = format!("name a checkpoint {name}");
    let changes = [("ElementName", Value::text(name))];
    let settings = provider.embedded(&doing, EmbeddedSource::Instance(checkpoint), &changes)?;
    let change = Change {
        doing: &doing,
        object: &provider.service(MANAGEMENT)?,
        method: "ModifySystemSettings",
        parameters: &[("SystemSettings", Value::Text(settings))],
        limit: provider.beliefs.limits.other,
        is_cancelled_in_the_end: false,
        vm: None,
    };
    provider.change(change, &StopSignal::new())?;
    Ok(())
}

/// Marks what a failed attempt left behind, as far as it can be seen, so that the caller finds
/// it: a checkpoint that nobody knows would grow until an administrator sees it (spec 4.5).
///
/// A job that still tells what it made is believed. Where none does, the only new one with a name of
/// the host's own is it: of several none is, for others may be another product's, and so is every new
/// one if the VM was busy, which another product's checkpoint may be the reason of.
fn mark_what_was_left(
    provider: &Provider,
    (vm, system): (VmId, &WmiObject),
    before: &HashSet<CheckpointId>,
    failed: &Failed,
    mark: &str,
) {
    let kind = failed.error.kind();
    if failed.job.is_none() && kind != Kind::OutcomeUnknown {
        return;
    }
    let affected: Vec<_> = match &failed.job {
        Some(job) => provider.affected_by(job, SETTINGS).unwrap_or_default(),
        None => Vec::new(),
    };
    let affected: Vec<_> = affected
        .iter()
        .filter_map(|path| owner_at(path))
        .filter(|id| *id != vm.0)
        .collect();
    let listed = path(system).and_then(|system| all(provider, system));
    let mut new = listed.unwrap_or_default();
    new.retain(|object| {
        let id = settings::owner(object).map(CheckpointId);
        settings::is_recovery(object) && id.is_some_and(|id| !before.contains(&id))
    });
    if affected.is_empty() {
        let unnamed = system.text("ElementName").map(|name| format!("{name} - ("));
        new.retain(|object| match (&unnamed, object.text("ElementName")) {
            (Ok(unnamed), Ok(name)) => name.starts_with(unnamed),
            _ => false,
        });
        if kind == Kind::Busy || new.len() != 1 {
            return;
        }
    } else {
        new.retain(|object| settings::owner(object).is_some_and(|id| affected.contains(&id)));
    }
    for object in new {
        if let Ok(path) = object.path() {
            let _nothing_more_can_be_done = rename(provider, path, mark);
        }
    }
}

/// Returns the error of a checkpoint that was not taken. One for which the guest was to be
/// quiesced, and which failed for no reason that any code tells, failed because of the guest.
fn refused(
    provider: &Provider,
    consistency: RequestedConsistency,
    doing: &str,
    failed: Failed,
) -> HypervError {
    let quiesced = consistency == RequestedConsistency::Application;
    if !quiesced || failed.is_explained || !provider.beliefs.unexplained_failure_is_the_guests {
        return failed.error;
    }
    let code = failed.error.code();
    let error = HypervError::new(
        Kind::GuestRefused,
        format!("{doing}: Hyper-V could not quiesce the guest, as far as it tells"),
    )
    .caused_by(failed.error);
    match code {
        Some(code) => error.with_code(code),
        None => error,
    }
}

/// Removes a recovery checkpoint.
pub(super) fn destroy(
    provider: &Provider,
    open_disks: &OpenDisks,
    vm: VmId,
    checkpoint: CheckpointId,
) -> Result<(), HypervError> {
    let doing = format!("remove checkpoint {checkpoint} of VM {vm}");
    let object = find_endable(provider, open_disks, &doing, vm, checkpoint)?;
    let change = Change {
        doing: &doing,
        object: &provider.service(SNAPSHOTS)?,
        method: "DestroySnapshot",
        parameters: &[("AffectedSnapshot", Value::text(path(&object)?))],
        limit: provider.beliefs.limits.destroy,
        is_cancelled_in_the_end: false,
        vm: Some(vm),
    };
    match provider.change(change, &StopSignal::new()) {
        Ok(_) => Ok(()),
        // The end of the job was not seen, but that the checkpoint is gone is.
        Err(failed) if failed.error.kind() == Kind::OutcomeUnknown => {
            let left = list(provider, vm)?;
            match left.iter().any(|left| left.id == checkpoint) {
                true => Err(failed.error),
                false => Ok(()),
            }
        }
        Err(failed) => Err(failed.error),
    }
}
