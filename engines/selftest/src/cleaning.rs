//! Undoing what a self-test did to a VM: at its end, or after it was killed.

use std::io;
use std::path::Path;

use backup::vm::is_one_being_made;
use hyperv::{
    Checkpoint, CheckpointId, CheckpointKind, HypervError, HypervErrorKind, HypervHost,
    ReferencePoint, ReferencePointId, VmId, vm_folder,
};

use crate::error::{SelfTestError, host_error};
use crate::journal::{Converting, Importing, Journal, Journals};

/// What of a self-test was found on a VM, and went away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Checkpoints that were removed (or would be, in a dry run).
    pub checkpoints: Vec<CheckpointId>,
    /// Reference points that were removed (or would be).
    pub reference_points: Vec<ReferencePointId>,
    /// Planned VMs that were given up (or would be).
    pub planned_vms: Vec<VmId>,
    /// What stays for now, and why.
    pub warnings: Vec<String>,
}

/// Removes what a self-test left on a VM. What might be another's stays.
///
/// The caller holds the VM's lock, so whatever the journal names belongs to nobody alive.
///
/// # Errors
/// `Host` if the host cannot be asked; the journal stays then, and the next attempt goes on.
pub fn clean(
    host: &dyn HypervHost,
    state_folder: &Path,
    vm: VmId,
    dry_run: bool,
) -> Result<Cleaned, SelfTestError> {
    let journals = Journals::new(state_folder);
    let Some(journal) = journals.read(vm)? else {
        return Ok(Cleaned::default());
    };
    let mut cleaning = Cleaning {
        host,
        vm,
        dry_run,
        cleaned: Cleaned::default(),
        is_all_gone: true,
    };
    cleaning.run(&journal)?;
    if cleaning.is_all_gone && !dry_run {
        journals.clear(vm)?;
    }
    Ok(cleaning.cleaned)
}

/// What the listed reference points are, by the journal alone.
#[derive(Debug, Default, PartialEq, Eq)]
struct Points {
    ours: Vec<ReferencePointId>,
    /// Whether one of the others may be ours and cannot be told from another product's.
    is_doubtful: bool,
    /// Whether a conversion made a point, as far as that can be told.
    is_made: bool,
}

/// A conversion that began has made a point only if its checkpoint is gone by itself, and that point
/// has the ids of the frozen disks; where points have ids of their own (RH-1), nobody can tell.
/// `unconverted` are the checkpoints that are there, and those that were destroyed as such.
fn tell_points(
    journal: &Journal,
    unconverted: &[CheckpointId],
    points: &[ReferencePoint],
) -> Points {
    let known = points
        .iter()
        .filter(|point| journal.points.contains(&point.id));
    let mut ours: Vec<_> = known.map(|point| point.id.clone()).collect();
    let converted = journal
        .converting
        .as_ref()
        .filter(|converting| !unconverted.contains(&converting.checkpoint));
    let Some(converting) = converted else {
        return Points {
            ours,
            ..Points::default()
        };
    };
    let new: Vec<_> = new_points(converting, points).collect();
    let made = new.iter().find(|point| has_ids(converting, point));
    ours.extend(made.map(|point| point.id.clone()));
    Points {
        is_doubtful: made.is_none() && new.iter().any(|point| !ours.contains(&point.id)),
        is_made: made.is_some(),
        ours,
    }
}

fn new_points<'a>(
    converting: &'a Converting,
    points: &'a [ReferencePoint],
) -> impl Iterator<Item = &'a ReferencePoint> {
    let points = points.iter();
    points.filter(|point| !converting.before.contains(&point.id))
}

fn has_ids(converting: &Converting, point: &ReferencePoint) -> bool {
    let mut disks = point.disks.iter();
    disks.any(|disk| {
        let mut ids = converting.change_ids.iter();
        ids.any(|id| id == disk.change_id.as_str())
    })
}

/// Returns the reference point that a conversion has just made: the one with the frozen disks'
/// ids, or else the only new one.
pub(crate) fn made_by<'a>(
    converting: &Converting,
    points: &'a [ReferencePoint],
) -> Option<&'a ReferencePoint> {
    let is_new = |point: &&ReferencePoint| !converting.before.contains(&point.id);
    let new: Vec<_> = points.iter().filter(is_new).collect();
    let known = new.iter().find(|point| has_ids(converting, point));
    match (known, new.as_slice()) {
        (Some(known), _) => Some(known),
        (None, [only]) => Some(only),
        (None, _) => None,
    }
}

/// Returns whether a checkpoint that was becoming a point vanished under the hand that removed it,
/// with no point to show for it: that may come, and has to be found then.
fn is_point_to_come(journal: &Journal, vanished: &[CheckpointId], told: &Points) -> bool {
    let mut converting = journal.converting.iter();
    !told.is_made && converting.any(|converting| vanished.contains(&converting.checkpoint))
}

/// When a thing went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undone {
    /// It was removed.
    Now,
    /// It was gone already.
    Before,
    /// It is there.
    NotYet,
}

struct Cleaning<'a> {
    host: &'a dyn HypervHost,
    vm: VmId,
    dry_run: bool,
    cleaned: Cleaned,
    is_all_gone: bool,
}

impl Cleaning<'_> {
    fn run(&mut self, journal: &Journal) -> Result<(), SelfTestError> {
        let looking = || host_error("look for what a self-test left");
        let checkpoints = self.host.checkpoints(self.vm).map_err(looking())?;
        let announced = self.announced(journal, &checkpoints)?;
        let (mut unconverted, mut vanished) = (Vec::new(), Vec::new());
        for checkpoint in checkpoints {
            let is_ours = checkpoint.name == journal.mark
                || journal.checkpoints.contains(&checkpoint.id)
                || announced == Some(checkpoint.id);
            if checkpoint.kind == CheckpointKind::Recovery && is_ours {
                self.cleaned.checkpoints.push(checkpoint.id);
                let undone = self.undo("remove a checkpoint", |host, vm| {
                    host.destroy_checkpoint(vm, checkpoint.id)
                })?;
                match undone {
                    Undone::Now => unconverted.push(checkpoint.id),
                    Undone::Before => vanished.push(checkpoint.id),
                    Undone::NotYet => {}
                }
            }
        }
        // A conversion that was under way has ended by now, or is ending: what it made is seen only
        // by looking behind the checkpoints' end.
        let left = self.host.checkpoints(self.vm).map_err(looking())?;
        unconverted.extend(left.iter().map(|left| left.id));
        let points = self.host.reference_points(self.vm).map_err(looking())?;
        let told = tell_points(journal, &unconverted, &points);
        if is_point_to_come(journal, &vanished, &told) {
            self.is_all_gone = false;
            self.cleaned.warnings.push(
                "a checkpoint of a self-test went away while it was removed, and the reference point that it may become is not there yet".to_owned(),
            );
        }
        if told.is_doubtful {
            self.cleaned.warnings.push(
                "a reference point appeared while a self-test made one, and may be another product's: it stays".to_owned(),
            );
        }
        for point in told.ours {
            self.cleaned.reference_points.push(point.clone());
            self.undo("remove a reference point", |host, vm| {
                host.destroy_reference_point(vm, &point)
            })?;
        }
        match &journal.importing {
            Some(importing) => self.give_up(importing),
            None => Ok(()),
        }
    }

    /// Returns the checkpoint that was announced and came neither to name nor to note, if it is
    /// there and can be told from others.
    fn announced(
        &mut self,
        journal: &Journal,
        checkpoints: &[Checkpoint],
    ) -> Result<Option<CheckpointId>, SelfTestError> {
        let Some(announced) = &journal.announced else {
            return Ok(None);
        };
        let mut new = checkpoints
            .iter()
            .filter(|listed| !announced.before.contains(&listed.id));
        if new.any(|listed| listed.name == journal.mark) {
            return Ok(None);
        }
        let is_one_being_made = is_one_being_made(self.host, self.vm);
        if is_one_being_made.map_err(host_error("look at the VM"))? {
            self.is_all_gone = false;
            self.cleaned.warnings.push(
                "the host is still making a checkpoint of a self-test; try again when that is over"
                    .to_owned(),
            );
            return Ok(None);
        }
        announced.among(checkpoints).or_else(|count| {
            self.is_all_gone = false;
            self.cleaned.warnings.push(format!(
                "a self-test ended while its checkpoint was taken, and {count} recovery checkpoints may be it: none is touched; `host clean` removes it when the others are gone"
            ));
            Ok(None)
        })
    }

    /// Gives planned VMs of ours up, with their files.
    fn give_up(&mut self, importing: &Importing) -> Result<(), SelfTestError> {
        let mut others = self.give_up_listed(importing)?;
        if !self.dry_run {
            match remove_folder(importing) {
                // What was under way has come by now, or finds no files any more.
                Ok(()) => others = self.give_up_listed(importing)?,
                Err(error) => {
                    self.is_all_gone = false;
                    self.cleaned.warnings.push(format!(
                        "could not remove the configuration that a self-test imports from {} yet: {error}",
                        importing.folder.display()
                    ));
                }
            }
        }
        self.cleaned.warnings.extend(others.into_iter().map(|id| {
            format!(
                "planned VM {id} appeared while a self-test imported one; if nobody restores a VM, remove it"
            )
        }));
        Ok(())
    }

    /// Gives those up that are listed; returns what came since and is not known for ours.
    fn give_up_listed(&mut self, importing: &Importing) -> Result<Vec<VmId>, SelfTestError> {
        let planned = self.host.planned_vms();
        let mut planned = planned.map_err(host_error("look for planned VMs"))?;
        planned.retain(|(id, name)| *name == importing.name || !importing.before.contains(id));
        let mut others = Vec::new();
        for (id, name) in planned {
            if !is_ours(self.host, importing, id, &name)? {
                others.push(id);
                continue;
            }
            if !self.cleaned.planned_vms.contains(&id) {
                self.cleaned.planned_vms.push(id);
            }
            self.undo("give a planned VM up", |host, _| host.abort_planned(id))?;
        }
        Ok(others)
    }

    fn undo(
        &mut self,
        doing: &str,
        undo: impl FnOnce(&dyn HypervHost, VmId) -> Result<(), HypervError>,
    ) -> Result<Undone, SelfTestError> {
        if self.dry_run {
            return Ok(Undone::NotYet);
        }
        match undo(self.host, self.vm) {
            Ok(()) => Ok(Undone::Now),
            Err(error) if error.kind() == HypervErrorKind::NotFound => Ok(Undone::Before),
            Err(error)
                if matches!(error.kind(), HypervErrorKind::InUse | HypervErrorKind::Busy) =>
            {
                self.is_all_gone = false;
                self.cleaned
                    .warnings
                    .push(format!("could not {doing} of a self-test yet: {error}"));
                Ok(Undone::NotYet)
            }
            Err(error) => Err(host_error(doing)(error)),
        }
    }
}

/// Returns whether a planned VM that came since is the one that was imported: it bears our name, or
/// it does not yet, and lies in the folder that it was imported from, which is nobody else's.
fn is_ours(
    host: &dyn HypervHost,
    importing: &Importing,
    id: VmId,
    name: &str,
) -> Result<bool, SelfTestError> {
    if name == importing.name {
        return Ok(true);
    }
    match host.planned_folder(id) {
        Ok(folder) => Ok(folder.is_some_and(|it| vm_folder::holds(&importing.folder, &it))),
        Err(error) if error.kind() == HypervErrorKind::NotFound => Ok(false),
        Err(error) => Err(host_error("look where a planned VM lies")(error)),
    }
}

/// Removes the folder of a planned VM that never was: it holds copies of configuration files.
pub(crate) fn remove_folder(importing: &Importing) -> io::Result<()> {
    remove_named(&importing.name, &importing.folder)
}

/// Removes the folder of a VM with all that is in it, if it bears that VM's name, which nothing else
/// has.
pub(crate) fn remove_named(name: &str, folder: &Path) -> io::Result<()> {
    let named = folder.file_name();
    if !named.is_some_and(|folder| is_folder_of(name, &folder.to_string_lossy())) {
        return Ok(());
    }
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Returns whether a folder bears the name that [`vm_folder::fresh`] makes of a VM's.
fn is_folder_of(name: &str, folder: &str) -> bool {
    let Some(rest) = folder.strip_prefix(&vm_folder::file_name(name)) else {
        return false;
    };
    let number = rest
        .strip_prefix(" (")
        .and_then(|rest| rest.strip_suffix(')'));
    rest.is_empty() || number.is_some_and(|number| number.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use disk::ChangeId;
    use hyperv::{Controller, ReferencePointDisk};
    use uuid::Uuid;

    use super::*;

    fn point(id: &str, change_id: &str) -> ReferencePoint {
        ReferencePoint {
            id: ReferencePointId(id.to_owned()),
            tracking: true,
            application_level: false,
            disks: vec![ReferencePointDisk {
                virtual_disk_id: Uuid::from_u128(1),
                controller: Controller::Scsi,
                controller_number: 0,
                location: 0,
                change_id: ChangeId::new(change_id),
            }],
        }
    }

    #[test]
    fn a_folder_is_known_by_the_name_that_became_of_the_vm_s() {
        for (name, folder, expected) in [
            ("e3 selftest 1f", "e3 selftest 1f", true),
            ("e3 selftest 1f", "e3 selftest 1f (2)", true),
            ("e3 selftest 1f", "e3 selftest 1f (old)", false),
            ("e3 selftest 1f", "e3 selftest 1fa", false),
            ("e3 selftest 1f", "web", false),
            ("at 12:00", "at 12_00", true),
        ] {
            assert_eq!(is_folder_of(name, folder), expected, "{name}: {folder}");
        }
    }

    #[test]
    fn a_point_is_ours_only_if_nobody_else_can_have_made_it() {
        let journal = Journal {
            converting: Some(Converting {
                checkpoint: CheckpointId(Uuid::from_u128(7)),
                before: vec![ReferencePointId("old".to_owned())],
                change_ids: vec!["id 2".to_owned()],
            }),
            ..Journal::default()
        };
        let (old, ours, other) = (point("old", "id 1"), point("a", "id 2"), point("b", "id 3"));
        let seven = CheckpointId(Uuid::from_u128(7));
        let still_there = [seven];
        for (unconverted, points, expected, is_doubtful) in [
            (&[][..], vec![old.clone()], None, false),
            (&[], vec![old.clone(), ours.clone()], Some("a"), false),
            (&[], vec![other.clone(), ours.clone()], Some("a"), false),
            // It may be ours, with ids of its own, or anybody's.
            (&[], vec![old.clone(), other.clone()], None, true),
            // The checkpoint is there, or was when it was destroyed: nothing was made of it.
            (&still_there, vec![old, other], None, false),
        ] {
            let found = tell_points(&journal, unconverted, &points);
            let expected_made = expected.is_some();
            let expected = expected.into_iter();
            let expected = Points {
                ours: expected.map(|id| ReferencePointId(id.to_owned())).collect(),
                is_doubtful,
                is_made: expected_made,
            };
            assert_eq!(found, expected, "{points:?}");
            // Under the hand that removed it, the checkpoint became what is not there yet.
            let is_gone = unconverted.is_empty();
            assert!(!is_point_to_come(&journal, &[], &found), "{points:?}");
            let to_come = is_point_to_come(&journal, &[seven], &found);
            assert_eq!(is_gone && to_come, is_gone && !expected_made, "{points:?}");
        }
    }
}
