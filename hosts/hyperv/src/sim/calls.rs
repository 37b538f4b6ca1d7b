//! How every call of the port goes: background work, faults, then the work itself.

use super::SimHost;
use super::fault::{self, SimFault, Step};
use super::session::Session;
use crate::{HypervError, HypervErrorKind, MergeState, VmId, codes};

impl Step {
    /// Returns whether the call needs the VM for itself.
    fn needs_the_vm(self) -> bool {
        matches!(
            self,
            Self::Create | Self::Convert | Self::Destroy | Self::Start
        )
    }
}

impl SimHost {
    /// Calls the host about a VM that is there.
    pub(super) fn vm_call<T>(
        &self,
        vm: VmId,
        step: Step,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, HypervError>,
    ) -> Result<T, HypervError> {
        self.session()?.vm_call(vm, step, work)
    }

    /// Calls the host about a restore, whose VM is not there yet.
    pub(super) fn restore_call<T>(
        &self,
        step: Step,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, HypervError>,
    ) -> Result<T, HypervError> {
        let mut session = self.session()?;
        let state = &mut session.state;
        let all =
            std::iter::once(&mut state.faults).chain(state.vms.iter_mut().map(|vm| &mut vm.faults));
        let job = all
            .into_iter()
            .find_map(|faults| fault::strike(faults, |fault| strikes_job(fault, step)));
        if job.is_some() {
            session.save()?;
        }
        finish_job(step, job, &mut session, work)
    }
}

impl Session<'_> {
    /// Does a call about a VM that is there.
    pub(super) fn vm_call<T>(
        &mut self,
        vm: VmId,
        step: Step,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, HypervError>,
    ) -> Result<T, HypervError> {
        self.begin(vm, step)?;
        let job = self.strike(vm, |fault| strikes_job(fault, step))?;
        finish_job(step, job, self, work)
    }

    /// Lets pass what passes before a call about a VM, and checks that it is free for it.
    pub(super) fn begin(&mut self, vm: VmId, step: Step) -> Result<(), HypervError> {
        self.index(vm)?;
        let moves = |fault: &SimFault| matches!(fault, SimFault::MoveAway { step: at } if at.is_none_or(|at| at == step));
        if self.strike(vm, moves)?.is_some() {
            self.vm_mut(vm)?.away = true;
            self.save()?;
        }
        self.tick(vm)?;
        self.refresh_disks(vm)?;
        let busy = |fault: &SimFault| match fault {
            SimFault::Busy { step: Some(at) } => *at == step,
            SimFault::Busy { step: None } => step.needs_the_vm(),
            _ => false,
        };
        if self.strike(vm, busy)?.is_some() {
            return Err(busy_error(step, "another operation holds the VM"));
        }
        if step.needs_the_vm() && matches!(self.merge_state(vm)?, MergeState::Running(_)) {
            return Err(busy_error(step, "its disks are being merged"));
        }
        Ok(())
    }
}

/// Lets appear what another product leaves behind just before a listing.
pub(super) fn strike_before_listing(
    session: &mut Session<'_>,
    vm: VmId,
    step: Step,
) -> Result<(), HypervError> {
    let foreign = match step {
        Step::Checkpoints => SimFault::ForeignCheckpoint,
        Step::ReferencePoints => SimFault::ForeignReferencePoint,
        _ => return Ok(()),
    };
    if session.strike(vm, |fault| *fault == foreign)?.is_none() {
        return Ok(());
    }
    match foreign {
        SimFault::ForeignCheckpoint => session.add_foreign_checkpoint(vm).map(drop),
        _ => session.add_foreign_reference_point(vm).map(drop),
    }
}

fn strikes_job(fault: &SimFault, step: Step) -> bool {
    match *fault {
        SimFault::JobFailsAt { step: at } | SimFault::OutcomeUnknownAt { step: at, .. } => {
            at == step
        }
        _ => false,
    }
}

fn finish_job<T>(
    step: Step,
    job: Option<SimFault>,
    session: &mut Session<'_>,
    work: impl FnOnce(&mut Session<'_>) -> Result<T, HypervError>,
) -> Result<T, HypervError> {
    let unknown = HypervError::new(
        HypervErrorKind::OutcomeUnknown,
        format!("learn how the job of {step} ended: it is gone"),
    );
    match job {
        Some(SimFault::OutcomeUnknownAt { done: false, .. }) => Err(unknown),
        Some(SimFault::OutcomeUnknownAt { done: true, .. }) => {
            work(session)?;
            Err(unknown)
        }
        Some(_) => Err(HypervError::new(
            HypervErrorKind::Failed,
            format!("finish the job of {step}"),
        )
        .with_code(codes::FAILED)),
        None => work(session),
    }
}

fn busy_error(step: Step, why: &str) -> HypervError {
    HypervError::new(HypervErrorKind::Busy, format!("begin {step}: {why}"))
        .with_code(codes::INVALID_STATE)
}
