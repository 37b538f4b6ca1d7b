//! What is done to the host, each step written down before it happens.

use std::cell::Cell;
use std::time::Duration;

use backup::vm::{Announced, CheckpointWatch};
use hyperv::{
    CheckpointId, ConfigurationFile, HypervError, HypervErrorKind, MergeState, ReferencePoint,
    ReferencePointId, RequestedConsistency, VmId,
};
use progress::Progress;
use time_and_chance::{SharedClock, StopSignal};
use uuid::Uuid;
use windows_host::hyperv::{Ending, WatchedEnd};

use crate::cleaning::{made_by, remove_folder};
use crate::error::{SelfTestError, SelfTestErrorKind, backup_error, host_error, not_merged};
use crate::journal::{Converting, Importing, Journal, Journals};
use crate::open_disk::OpenDisk;
use crate::options::{Connected, Options};
use crate::verdicts::Answer;

/// How often a merge is looked at.
const MERGE_PAUSE: Duration = Duration::from_millis(500);

/// A VM on a host, being asked.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub on: Connected,
    pub vm: VmId,
    pub journals: &'a Journals,
    pub journal: Journal,
    /// The name of planned VMs: so short and plain that their folders bear it, too.
    pub planned_name: String,
    pub options: &'a Options,
    pub clock: &'a SharedClock,
    pub progress: &'a Progress,
    pub answers: Vec<Answer>,
    /// How checkpoints ended, where that could be watched.
    pub ends: Vec<WatchedEnd>,
    /// Whether a merge was waited for to no end: the next look at it is the last.
    pub is_merge_given_up: Cell<bool>,
}

impl Bench<'_> {
    pub(crate) fn stop(&self) -> &StopSignal {
        &self.progress.stop
    }

    /// Tells what is being done, unless the work was told to stop.
    pub(crate) fn phase(&self, phase: &str) -> Result<(), SelfTestError> {
        self.progress.phase(phase);
        self.stop().check().map_err(|_| stopped())
    }

    pub(crate) fn answer(&mut self, answers: impl IntoIterator<Item = Answer>) {
        self.answers.extend(answers);
    }

    fn note(&mut self, change: impl FnOnce(&mut Journal)) -> Result<(), SelfTestError> {
        change(&mut self.journal);
        self.journals.write(self.vm, &self.journal)
    }

    /// Takes a checkpoint of ours if there is room for it to grow; the inner error is the host's
    /// refusal. Where one may be there although that failed, the self-test ends: what is announced
    /// next would take its place in the journal.
    pub(crate) fn try_freeze(
        &mut self,
        on: &Connected,
        consistency: RequestedConsistency,
    ) -> Result<Result<CheckpointId, HypervError>, SelfTestError> {
        let floor = self.options.hold_limits.free_bytes_min;
        backup::vm::check_space(&*on.host, self.vm, floor)
            .map_err(backup_error("take a checkpoint"))?;
        let before = on.host.checkpoints(self.vm);
        let before = before.map_err(host_error("list checkpoints"))?;
        let machine = on.host.vm(self.vm);
        let machine = machine.map_err(host_error("look at the VM"))?;
        let announced = Announced::before_one(self.clock.now(), &machine.name, &before);
        self.note(|journal| journal.announced = Some(announced))?;
        let mark = self.journal.mark.clone();
        let taken = on
            .host
            .create_recovery_checkpoint(self.vm, consistency, &mark, self.stop());
        match taken {
            Ok(checkpoint) => {
                self.note(|journal| {
                    journal.checkpoints.push(checkpoint);
                    journal.announced = None;
                })?;
                Ok(Ok(checkpoint))
            }
            Err(error)
                if matches!(
                    error.kind(),
                    HypervErrorKind::OutcomeUnknown | HypervErrorKind::Stopped
                ) =>
            {
                Err(host_error("take a checkpoint")(error))
            }
            Err(error) => {
                // What another product takes in the same moment must not be taken for ours.
                self.note(|journal| journal.announced = None)?;
                Ok(Err(error))
            }
        }
    }

    pub(crate) fn freeze(
        &mut self,
        consistency: RequestedConsistency,
    ) -> Result<CheckpointId, SelfTestError> {
        let on = self.on.clone();
        self.try_freeze(&on, consistency)?
            .map_err(host_error("take a checkpoint"))
    }

    /// Does `work` while a checkpoint is held, which ends it when the checkpoint grows too old or its
    /// volumes too full.
    pub(crate) fn holding<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &CheckpointWatch<'_>) -> Result<T, SelfTestError>,
    ) -> Result<T, SelfTestError> {
        let (on, clock, limits) = (self.on.clone(), self.clock, self.options.hold_limits);
        let watch = CheckpointWatch::new(&*on.host, self.vm, limits, clock, self.stop());
        match watch.beside(|| work(self, &watch)) {
            (Err(error), Some(reason)) if error.kind() == SelfTestErrorKind::Stopped => {
                Err(backup_error("hold a checkpoint any longer")(reason))
            }
            (result, _) => result,
        }
    }

    pub(crate) fn open(&self, checkpoint: CheckpointId) -> Result<Vec<OpenDisk>, SelfTestError> {
        let host = &self.on.host;
        let disks = host.frozen_disks(self.vm, checkpoint);
        let disks = disks.map_err(host_error("list the disks of a checkpoint"))?;
        let open = disks.into_iter().map(|frozen| {
            let source = host.open_frozen_disk(self.vm, checkpoint, &frozen)?;
            Ok(OpenDisk { frozen, source })
        });
        open.collect::<Result<_, HypervError>>()
            .map_err(host_error("open a frozen disk"))
    }

    /// Ends a checkpoint; watched where the host can be.
    fn end(&mut self, checkpoint: CheckpointId, ending: Ending) -> Result<(), SelfTestError> {
        // A stop is heard before and after: a checkpoint that is ending has to end.
        let unstoppable = StopSignal::new();
        if let Some(probing) = self.on.probing.clone() {
            let end = probing.end_watched(self.vm, checkpoint, ending, &unstoppable);
            self.ends.push(end.map_err(host_error("end a checkpoint"))?);
            return Ok(());
        }
        let host = &self.on.host;
        match ending {
            Ending::Destroy => host.destroy_checkpoint(self.vm, checkpoint),
            Ending::Convert => host
                .convert_to_reference_point(self.vm, checkpoint, &unstoppable)
                .map(drop),
        }
        .map_err(host_error("end a checkpoint"))
    }

    /// Destroys a checkpoint, and goes on only when its disks are merged.
    pub(crate) fn destroy(&mut self, checkpoint: CheckpointId) -> Result<(), SelfTestError> {
        self.end(checkpoint, Ending::Destroy)?;
        let merged = self.wait_for_merge()?;
        merged.map(drop).map_err(not_merged("go on"))
    }

    /// Turns a checkpoint into a reference point and returns it.
    pub(crate) fn convert(
        &mut self,
        checkpoint: CheckpointId,
        frozen: &[(Uuid, Option<String>)],
    ) -> Result<ReferencePoint, SelfTestError> {
        let before = self.points()?;
        let converting = Converting {
            checkpoint,
            before: before.into_iter().map(|point| point.id).collect(),
            change_ids: frozen.iter().filter_map(|(_, id)| id.clone()).collect(),
        };
        self.note(|journal| journal.converting = Some(converting.clone()))?;
        self.end(checkpoint, Ending::Convert)?;
        let after = self.points()?;
        let made = made_by(&converting, &after).cloned();
        let point = made.ok_or_else(|| {
            SelfTestError::new(
                SelfTestErrorKind::Host(HypervErrorKind::OutcomeUnknown),
                "find the reference point that the checkpoint became",
            )
        })?;
        let id = point.id.clone();
        self.note(|journal| {
            journal.points.push(id);
            journal.converting = None;
        })?;
        Ok(point)
    }

    fn points(&self) -> Result<Vec<ReferencePoint>, SelfTestError> {
        let points = self.on.host.reference_points(self.vm);
        points.map_err(host_error("list reference points"))
    }

    pub(crate) fn destroy_point(&mut self, point: &ReferencePointId) -> Result<(), SelfTestError> {
        self.on
            .host
            .destroy_reference_point(self.vm, point)
            .map_err(host_error("remove a reference point"))?;
        self.note(|journal| journal.points.retain(|known| known != point))
    }

    /// Waits until nothing is merged any more; tells for how long, or why that does not come. What
    /// was waited for to no end is only looked at from then on.
    pub(crate) fn wait_for_merge(&self) -> Result<Result<Duration, String>, SelfTestError> {
        let begun = self.clock.monotonic();
        let longest = match self.is_merge_given_up.get() {
            true => Duration::ZERO,
            false => self.options.merge_wait,
        };
        loop {
            let state = self.on.host.merge_state(self.vm);
            let state = state.map_err(host_error("look at the merges of the VM"))?;
            let waited = self.clock.monotonic() - begun;
            let why = match state {
                MergeState::Idle => return Ok(Ok(waited)),
                MergeState::Stuck(why) => why,
                MergeState::Running(_) => {
                    let minutes = self.options.merge_wait.as_secs() / 60;
                    format!("it still runs after {minutes} minutes")
                }
            };
            if waited >= longest {
                self.is_merge_given_up.set(true);
                return Ok(Err(why));
            }
            self.clock
                .sleep(MERGE_PAUSE, self.stop())
                .map_err(|_| stopped())?;
        }
    }

    /// Imports a configuration under a new id and gives the planned VM up.
    pub(crate) fn import<T>(
        &mut self,
        on: &Connected,
        files: &[ConfigurationFile],
        meanwhile: impl FnOnce(&Connected, VmId) -> T,
    ) -> Result<Result<T, HypervError>, SelfTestError> {
        let importing = self.announce_import()?;
        let planned = on
            .host
            .import_planned(files, &importing.folder, &importing.name, true);
        let outcome = match planned {
            Ok(planned) => {
                let found = meanwhile(on, planned.id);
                let given_up = on.host.abort_planned(planned.id);
                given_up.map_err(host_error("give a planned VM up"))?;
                Ok(found)
            }
            // What came of it is looked for in the end: the next would take its place in the journal.
            Err(error) if error.kind() == HypervErrorKind::OutcomeUnknown => {
                return Err(host_error("import a configuration")(error));
            }
            Err(error) => Err(error),
        };
        let _small_files_in_the_way_of_nothing = remove_folder(&importing);
        Ok(outcome)
    }

    /// Writes down that a planned VM is about to be imported, and where to.
    fn announce_import(&mut self) -> Result<Importing, SelfTestError> {
        let host = &self.on.host;
        let name = self.planned_name.clone();
        let folder = host.default_vm_folder(&name);
        let planned = host.planned_vms();
        let importing = Importing {
            name,
            folder: folder.map_err(host_error("ask where VMs go"))?,
            before: planned
                .map_err(host_error("list planned VMs"))?
                .into_iter()
                .map(|(id, _)| id)
                .collect(),
        };
        self.note(|journal| journal.importing = Some(importing.clone()))?;
        Ok(importing)
    }
}

pub(crate) fn stopped() -> SelfTestError {
    SelfTestError::new(SelfTestErrorKind::Stopped, "go on: stopped on request")
}
