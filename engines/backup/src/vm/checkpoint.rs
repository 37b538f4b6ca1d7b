//! Taking a checkpoint as the policy wants it, and waiting for a VM that is busy.

use std::cell::Cell;
use std::time::Duration;

use hyperv::{
    Checkpoint, CheckpointId, Consistency, HypervError, HypervErrorKind, MergeState,
    OperationInProgress, RequestedConsistency, Vm, VmId, VmState,
};
use progress::Progress;
use time_and_chance::{StopSignal, Timestamp};

use super::options::ConsistencyPolicy;
use super::vm_backup::VmBackup;
use super::watch;
use crate::error::{BackupError, BackupErrorKind, host_error, stopped};

/// The checkpoint and what was obtained with it.
pub(super) struct Taken {
    pub(super) id: CheckpointId,
    pub(super) consistency: Consistency,
    pub(super) reason: String,
    pub(super) frozen_at: Timestamp,
}

impl VmBackup<'_> {
    /// Takes a recovery checkpoint as the policy wants it (Hyper-V spec 4.5). `in_doubt` is set if
    /// one may be there, or come, although an attempt failed.
    pub(super) fn take_checkpoint(
        &self,
        machine: &Vm,
        mark: &str,
        in_doubt: &Cell<bool>,
        stop: &StopSignal,
    ) -> Result<Taken, BackupError> {
        let policy = self.options.consistency;
        let running = machine.state == VmState::Running;
        let mut refusal = None;
        if running && policy != ConsistencyPolicy::Crash {
            match self.create_quiesced(machine.id, mark, in_doubt, stop) {
                Ok(id) => {
                    let (consistency, reason) = quiesced(machine);
                    return Ok(Taken {
                        id,
                        consistency,
                        reason,
                        frozen_at: self.clock().now(),
                    });
                }
                Err(error)
                    if error.kind() == BackupErrorKind::Host(HypervErrorKind::GuestRefused) =>
                {
                    if policy == ConsistencyPolicy::RequireApplication {
                        return Err(BackupError::new(
                            BackupErrorKind::Consistency,
                            "take an application-consistent checkpoint, which is required",
                        )
                        .caused_by(error));
                    }
                    self.remove_marked(machine.id, mark)?;
                    refusal = Some(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        let off = machine.state == VmState::Off;
        if policy == ConsistencyPolicy::RequireApplication && !off {
            return Err(BackupError::new(
                BackupErrorKind::Consistency,
                "take an application-consistent checkpoint, which is required: the VM is neither running nor off",
            ));
        }
        let id = self.create(
            machine.id,
            RequestedConsistency::Crash,
            mark,
            in_doubt,
            stop,
        )?;
        let (consistency, reason) = if off {
            (Consistency::Offline, "the VM was off".to_owned())
        } else {
            let reason = refusal.unwrap_or_else(|| match policy {
                ConsistencyPolicy::Crash => "crash consistency was asked for".to_owned(),
                _ => "the VM was not running, so its guest could not be asked".to_owned(),
            });
            (Consistency::Crash, reason)
        };
        Ok(Taken {
            id,
            consistency,
            reason,
            frozen_at: self.clock().now(),
        })
    }

    /// Creates a checkpoint of a guest that is asked to quiesce, for no longer than the options say.
    fn create_quiesced(
        &self,
        vm: VmId,
        mark: &str,
        in_doubt: &Cell<bool>,
        stop: &StopSignal,
    ) -> Result<CheckpointId, BackupError> {
        let wanted = RequestedConsistency::Application;
        let Some(quiesce_max) = self.options.quiesce_max else {
            return self.create(vm, wanted, mark, in_doubt, stop);
        };
        let (given_up, is_over) = (stop.child(), StopSignal::new());
        let created = std::thread::scope(|scope| {
            scope.spawn(|| {
                if self.clock().sleep(quiesce_max, &is_over).is_ok() {
                    given_up.stop();
                }
            });
            let created = self.create(vm, wanted, mark, in_doubt, &given_up);
            is_over.stop();
            created
        });
        match created {
            Err(error) if error.kind() == BackupErrorKind::Stopped && !stop.is_stopped() => {
                let refused = BackupErrorKind::Host(HypervErrorKind::GuestRefused);
                let what = format!(
                    "take a checkpoint: the guest was not quiesced within {} s",
                    quiesce_max.as_secs()
                );
                Err(BackupError::new(refused, what).caused_by(error))
            }
            other => other,
        }
    }

    /// Creates a checkpoint; where the outcome is unknown, what is there is taken away and it is
    /// tried once more.
    pub(super) fn create(
        &self,
        vm: VmId,
        consistency: RequestedConsistency,
        mark: &str,
        in_doubt: &Cell<bool>,
        stop: &StopSignal,
    ) -> Result<CheckpointId, BackupError> {
        let create = || {
            let host = self.host;
            let created = host.create_recovery_checkpoint(vm, consistency, mark, stop);
            let kind = created.as_ref().err().map(HypervError::kind);
            if let Some(HypervErrorKind::OutcomeUnknown | HypervErrorKind::Stopped) = kind {
                in_doubt.set(true);
            }
            created
        };
        let result = self.while_busy(stop, create);
        let result = match result {
            Err(error) if error.kind() == HypervErrorKind::OutcomeUnknown => {
                self.remove_marked(vm, mark)?;
                self.while_busy(stop, create)
            }
            other => other,
        };
        result.map_err(host_error("take a checkpoint"))
    }

    pub(super) fn remove_marked(&self, vm: VmId, mark: &str) -> Result<(), BackupError> {
        let checkpoints = self
            .host
            .checkpoints(vm)
            .map_err(host_error("look for a checkpoint that was left behind"))?;
        for Checkpoint { id, .. } in checkpoints
            .into_iter()
            .filter(|checkpoint| checkpoint.name == mark)
        {
            self.host
                .destroy_checkpoint(vm, id)
                .map_err(host_error("remove a checkpoint that was left behind"))?;
        }
        Ok(())
    }

    /// Waits while the VM is merging, for `merge_wait` at most, or busy with something short
    /// (Hyper-V spec 3.2).
    pub(super) fn wait_until_free(
        &self,
        vm: VmId,
        merge_wait: Duration,
        stop: &StopSignal,
    ) -> Result<Vm, BackupError> {
        const OTHER_WAIT: Duration = Duration::from_mins(1);
        let begun = self.clock().monotonic();
        loop {
            let machine = self.host.vm(vm).map_err(host_error("look at the VM"))?;
            let Some(operation) = &machine.operation else {
                return Ok(machine);
            };
            let limit = if *operation == OperationInProgress::MergingDisks {
                merge_wait
            } else {
                OTHER_WAIT
            };
            if self.clock().monotonic() - begun >= limit {
                return Err(BackupError::new(
                    BackupErrorKind::Host(HypervErrorKind::Busy),
                    format!("begin: the VM is busy ({operation:?}); try again when that is over"),
                ));
            }
            self.clock()
                .sleep(Duration::from_secs(2), stop)
                .map_err(stopped)?;
        }
    }

    /// Waits, for `space_wait` at most, until every volume has the room that a checkpoint needs.
    pub(super) fn wait_for_space(
        &self,
        vm: VmId,
        space_wait: Duration,
        stop: &StopSignal,
    ) -> Result<(), BackupError> {
        let begun = self.clock().monotonic();
        loop {
            match watch::check_space(self.host, vm, self.options.free_bytes_min) {
                Err(error)
                    if error.kind() == BackupErrorKind::Space
                        && self.clock().monotonic() - begun < space_wait =>
                {
                    self.clock()
                        .sleep(Duration::from_secs(30), stop)
                        .map_err(stopped)?;
                }
                other => return other,
            }
        }
    }

    /// Repeats an operation while the host says it is busy, for up to a minute (Hyper-V spec 2.5).
    pub(super) fn while_busy<T>(
        &self,
        stop: &StopSignal,
        operation: impl Fn() -> Result<T, HypervError>,
    ) -> Result<T, HypervError> {
        const SECONDS_MAX: u64 = 60;
        let begun = self.clock().monotonic();
        let mut pause = Duration::from_millis(250);
        loop {
            match operation() {
                Err(error)
                    if error.kind() == HypervErrorKind::Busy
                        && self.clock().monotonic() - begun < Duration::from_secs(SECONDS_MAX) =>
                {
                    if self.clock().sleep(pause, stop).is_err() {
                        return Err(HypervError::new(
                            HypervErrorKind::Stopped,
                            "wait for the host: stopped on request",
                        ));
                    }
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                other => return other,
            }
        }
    }

    pub(super) fn watch_merge(
        &self,
        vm: VmId,
        progress: &Progress,
        warnings: &mut Vec<String>,
    ) -> Result<(), BackupError> {
        let begun = self.clock().monotonic();
        loop {
            let state = match self.host.merge_state(vm) {
                Ok(state) => state,
                Err(error) => {
                    warnings.push(format!(
                        "could not see whether the VM's disks were merged: {error}"
                    ));
                    return Ok(());
                }
            };
            match state {
                MergeState::Idle => return Ok(()),
                MergeState::Stuck(why) => {
                    warnings.push(format!(
                        "a differencing disk of the VM is not being merged: {why}"
                    ));
                    return Ok(());
                }
                MergeState::Running(_)
                    if self.clock().monotonic() - begun >= self.options.merge_wait =>
                {
                    warnings.push(
                        "Hyper-V is still merging the VM's disks; that goes on by itself"
                            .to_owned(),
                    );
                    return Ok(());
                }
                MergeState::Running(merge) => {
                    progress.merging(merge.percent, merge.left_bytes);
                    if self
                        .clock()
                        .sleep(Duration::from_millis(500), &progress.stop)
                        .is_err()
                    {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Returns what a quiesced guest's point is (Hyper-V spec 4.4): Linux freezes file systems only.
fn quiesced(machine: &Vm) -> (Consistency, String) {
    match &machine.guest {
        Some(guest) if guest.windows => (
            Consistency::Application,
            "the guest's VSS writers were frozen".to_owned(),
        ),
        Some(_) => (
            Consistency::Filesystem,
            "the guest's file systems were frozen".to_owned(),
        ),
        None => (
            Consistency::Filesystem,
            "the guest was quiesced but never said what system it is".to_owned(),
        ),
    }
}
