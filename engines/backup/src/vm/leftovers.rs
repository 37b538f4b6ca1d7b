//! What a run that died left on a VM, and how it goes away (Hyper-V spec 12).

use hyperv::{
    Checkpoint, CheckpointId, CheckpointKind, HypervErrorKind, HypervHost, ReferencePointId,
    VirtualDisk, Vm, VmId,
};
use time_and_chance::Timestamp;

use super::announced::{Announced, is_one_being_made};
use super::increment_base::Base;
use super::state::{BaseFile, Converting, JournalEntry, StateFolder};
use crate::error::{BackupError, BackupErrorKind, host_error};

/// The beginning of every name we give to a checkpoint.
pub const MARK: &str = "e3-backup-agent backup";
/// The beginning of the name of every VM that a self-test makes for itself.
pub const SELF_TEST_VM: &str = "e3 selftest VM ";
/// A foreign recovery checkpoint younger than this means that another product is at work.
const FOREIGN_AT_WORK_SECONDS: i64 = 24 * 3600;
/// More reference points of ours than this on one VM are worth a word.
const REFERENCE_POINTS_MAX: usize = 4;
/// So is one older than this.
const REFERENCE_POINT_AGE_MAX_SECONDS: i64 = 35 * 86_400;

/// What was found and done on a VM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Checkpoints of ours that were removed (or would be, in a dry run).
    pub removed_checkpoints: Vec<CheckpointId>,
    /// Reference points of ours that were removed (or would be).
    pub removed_reference_points: Vec<ReferencePointId>,
    /// Recovery checkpoints that are not ours: left alone.
    pub foreign_checkpoints: Vec<String>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// Whether another product seems to be backing the VM up right now.
    pub another_product_at_work: bool,
}

/// Finds and removes what dead runs of ours left on a VM; foreign things are only told of.
///
/// The caller holds the VM's lock, so whatever the journal names belongs to nobody alive.
pub fn clean(
    host: &dyn HypervHost,
    state: &StateFolder,
    vm: VmId,
    now: Timestamp,
    dry_run: bool,
) -> Result<Leftovers, BackupError> {
    let mut found = Leftovers::default();
    let journal = state.journal(vm)?;
    let checkpoints = host
        .checkpoints(vm)
        .map_err(host_error("look for checkpoints"))?;
    let mut announced = Ok(None);
    if let Some(entry) = &journal
        && let Some(doubt) = in_doubt(entry, &checkpoints)
    {
        check_that_none_is_being_made(host, vm, entry)?;
        announced = doubt.among(&checkpoints);
    }
    let is_ours = |checkpoint: &Checkpoint| {
        checkpoint.kind == CheckpointKind::Recovery
            && (checkpoint.name.starts_with(MARK)
                || journal
                    .as_ref()
                    .is_some_and(|entry| entry.checkpoint == Some(checkpoint.id))
                || announced == Ok(Some(checkpoint.id)))
    };
    let mut all_gone = true;
    if let Err(count) = announced {
        // When the others are gone, the one that stays is known.
        all_gone = false;
        found.warnings.push(format!(
            "a run of ours died while its checkpoint was taken, and {count} recovery checkpoints may be it; none is touched, and the next run or `host clean` removes it when the others are gone"
        ));
    }
    for checkpoint in &checkpoints {
        if is_ours(checkpoint) {
            all_gone &= dry_run || destroy(host, vm, checkpoint.id, &mut found)?;
            found.removed_checkpoints.push(checkpoint.id);
        } else if checkpoint.kind == CheckpointKind::Recovery {
            found.foreign_checkpoints.push(checkpoint.name.clone());
            let age_seconds = now.as_second() - checkpoint.created.as_second();
            if age_seconds < FOREIGN_AT_WORK_SECONDS {
                found.another_product_at_work = true;
            } else {
                found.warnings.push(format!(
                    "a recovery checkpoint of another product ({}) is {} hours old; it grows until that product or an administrator removes it",
                    checkpoint.name,
                    age_seconds / 3600
                ));
            }
        }
    }
    if dry_run {
        return Ok(found);
    }
    if let Some(converting) = journal.as_ref().and_then(|entry| entry.converting.as_ref()) {
        settle_conversion(host, state, vm, converting, &mut found)?;
    }
    if journal.is_some() && all_gone {
        state.clear_journal(vm)?;
    }
    Ok(found)
}

/// Returns what a run announced that died before it knew its checkpoint, unless that carries its
/// name already.
fn in_doubt<'a>(entry: &'a JournalEntry, checkpoints: &[Checkpoint]) -> Option<&'a Announced> {
    let is_known = entry.checkpoint.is_some()
        || entry.converting.is_some()
        || checkpoints.iter().any(|listed| listed.name == entry.mark);
    entry.announced.as_ref().filter(|_| !is_known)
}

/// Checks that the host is not still making the checkpoint of a run that died: once it is there it
/// can be told from others, and until then nothing may forget it.
fn check_that_none_is_being_made(
    host: &dyn HypervHost,
    vm: VmId,
    entry: &JournalEntry,
) -> Result<(), BackupError> {
    if !is_one_being_made(host, vm).map_err(host_error("look at the VM"))? {
        return Ok(());
    }
    Err(BackupError::new(
        BackupErrorKind::Host(HypervErrorKind::Busy),
        format!(
            "remove what run {} left: the host is still making its checkpoint; try again when that is over",
            entry.run
        ),
    ))
}

/// Drops reference points that were replaced and are still there, and tells when there are many.
pub fn drop_replaced(
    host: &dyn HypervHost,
    state: &StateFolder,
    repository: &str,
    vm: VmId,
) -> Result<Vec<ReferencePointId>, BackupError> {
    let mut file = state.base(repository, vm)?;
    let mut dropped = Vec::new();
    let mut kept = Vec::new();
    for point in std::mem::take(&mut file.to_drop) {
        match host.destroy_reference_point(vm, &point) {
            Ok(()) => dropped.push(point),
            Err(error) if error.kind() == HypervErrorKind::NotFound => {}
            Err(_) => kept.push(point),
        }
    }
    if !dropped.is_empty() || !kept.is_empty() {
        file.to_drop = kept;
        state.write_base(repository, vm, &file)?;
    }
    Ok(dropped)
}

/// Returns what is worth a word about the reference points of ours on a VM (DESIGN, promise 3).
pub fn reference_point_warnings(bases: &[BaseFile], now: Timestamp) -> Vec<String> {
    let mut warnings = Vec::new();
    let count: usize = bases
        .iter()
        .map(|file| file.to_drop.len() + usize::from(file.base.is_some()))
        .sum();
    if count > REFERENCE_POINTS_MAX {
        warnings.push(format!("{count} reference points of ours exist on this VM; a repository that is no longer used may be the reason"));
    }
    for base in bases.iter().filter_map(|file| file.base.as_ref()) {
        let age_seconds = now.as_second() - base.recorded_at.as_second();
        if age_seconds > REFERENCE_POINT_AGE_MAX_SECONDS {
            warnings.push(format!(
                "a reference point of ours on this VM is {} days old",
                age_seconds / 86_400
            ));
        }
    }
    warnings
}

/// Returns why the VM cannot be worked on now, if it cannot; disks that are left out by their names
/// are no reason.
pub fn obstacle(vm: &Vm, found: &Leftovers, exclude_disks: &[String]) -> Option<String> {
    if found.another_product_at_work {
        let names = found.foreign_checkpoints.join(", ");
        return Some(format!(
            "another product is backing this VM up: its recovery checkpoint is there ({names}); try again when it is gone"
        ));
    }
    let is_left_out = |disk: &VirtualDisk| {
        let name = disk.original_path.file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        let mut patterns = exclude_disks.iter();
        patterns.any(|pattern| crate::pattern::matches(pattern, &name))
    };
    let mut shared = vm.disks.iter().filter(|disk| disk.shared);
    let shared = shared.find(|disk| !is_left_out(disk))?;
    Some(format!(
        "the disk {} is shared between virtual machines; Hyper-V cannot back it up from the host, so back it up inside the guest or leave it out with --exclude-disk",
        shared.original_path.display()
    ))
}

fn destroy(
    host: &dyn HypervHost,
    vm: VmId,
    checkpoint: CheckpointId,
    found: &mut Leftovers,
) -> Result<bool, BackupError> {
    match host.destroy_checkpoint(vm, checkpoint) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == HypervErrorKind::NotFound => Ok(true),
        Err(error) if matches!(error.kind(), HypervErrorKind::InUse | HypervErrorKind::Busy) => {
            found.warnings.push(format!(
                "a checkpoint of ours ({checkpoint}) is still in use and stays for now: {error}"
            ));
            Ok(false)
        }
        Err(error) => Err(host_error("remove a checkpoint that an earlier run left")(
            error,
        )),
    }
}

/// A run died while its checkpoint was being converted. If that was done, the point it belongs to
/// is published and the new reference point is exactly its base: it is remembered now. If it
/// was not, the old base stays, and the next run reads a little more.
fn settle_conversion(
    host: &dyn HypervHost,
    state: &StateFolder,
    vm: VmId,
    converting: &Converting,
    found: &mut Leftovers,
) -> Result<(), BackupError> {
    let listed = host
        .reference_points(vm)
        .map_err(host_error("list reference points"))?;
    let mut file = state.base(&converting.repository, vm)?;
    let is_known = |id: &ReferencePointId| {
        file.base
            .as_ref()
            .is_some_and(|base| base.reference_point == *id)
            || file.to_drop.contains(id)
    };
    let made = listed.iter().find(|point| {
        !converting.before.contains(&point.id)
            && !is_known(&point.id)
            && converting.base.disks.iter().all(|disk| {
                point.disks.iter().any(|listed| {
                    listed.virtual_disk_id == disk.virtual_disk_id
                        && listed.change_id.as_str() == disk.change_id
                })
            })
    });
    let Some(made) = made else { return Ok(()) };
    let base = Base {
        reference_point: made.id.clone(),
        ..converting.base.clone()
    };
    file.to_drop
        .extend(file.base.replace(base).map(|old| old.reference_point));
    state.write_base(&converting.repository, vm, &file)?;
    found
        .removed_reference_points
        .extend(drop_replaced(host, state, &converting.repository, vm)?);
    Ok(())
}
