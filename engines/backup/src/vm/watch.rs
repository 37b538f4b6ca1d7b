//! Watches a checkpoint while data is read: it must not grow old, and must not fill the host's
//! volumes (DESIGN, promise 7; Hyper-V spec 12.4).

use std::sync::Mutex;
use std::time::Duration;

use hyperv::{HypervHost, VmId};
use time_and_chance::{SharedClock, StopSignal};

use super::options::Options;
use crate::error::{BackupError, BackupErrorKind, host_error};

const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Refuses to begin where a volume has less room than `free_bytes_min`.
pub(super) fn check_space(
    host: &dyn HypervHost,
    vm: VmId,
    free_bytes_min: u64,
) -> Result<(), BackupError> {
    let volumes = host
        .volume_space(vm)
        .map_err(host_error("ask for the room on the VM's volumes"))?;
    match volumes
        .iter()
        .find(|volume| volume.free_bytes < free_bytes_min)
    {
        None => Ok(()),
        Some(volume) => Err(BackupError::new(
            BackupErrorKind::Space,
            format!(
                "keep the VM safe: the volume {} has {} MiB free, less than the floor of {} MiB under which a checkpoint could stop the VM; make room there",
                volume.volume,
                volume.free_bytes >> 20,
                free_bytes_min >> 20
            ),
        )),
    }
}

/// Ends the work on one VM when its checkpoint grows too old or its volumes too full.
pub(super) struct CheckpointWatch<'a> {
    host: &'a dyn HypervHost,
    vm: VmId,
    options: &'a Options,
    clock: &'a SharedClock,
    stop: StopSignal,
    over: StopSignal,
}

impl<'a> CheckpointWatch<'a> {
    pub(super) fn new(
        host: &'a dyn HypervHost,
        vm: VmId,
        options: &'a Options,
        clock: &'a SharedClock,
        parent: &StopSignal,
    ) -> Self {
        Self {
            host,
            vm,
            options,
            clock,
            stop: parent.child(),
            over: StopSignal::new(),
        }
    }

    /// Returns the signal that ends the VM's work.
    pub(super) fn stop(&self) -> &StopSignal {
        &self.stop
    }

    /// Does `work` under watch; if the watch ended it, its reason is the error.
    pub(super) fn during<T>(
        &self,
        work: impl FnOnce() -> Result<T, BackupError>,
    ) -> Result<T, BackupError> {
        let reason = Mutex::new(None);
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                if let Some(error) = self.look_until_over() {
                    *reason.lock().expect("the watch does not panic") = Some(error);
                    self.stop.stop();
                }
            });
            let _ends_the_watch = StopOnDrop(&self.over);
            work()
        });
        match (result, reason.into_inner().expect("the watch ended")) {
            (Err(error), Some(reason)) if error.kind() == BackupErrorKind::Stopped => Err(reason),
            (result, _) => result,
        }
    }

    fn look_until_over(&self) -> Option<BackupError> {
        let begun = self.clock.monotonic();
        let age_max = Duration::from_hours(u64::from(self.options.checkpoint_hours));
        let mut looked = begun;
        while self.over.wait_real_time(LOOK_EVERY).is_ok() {
            let now = self.clock.monotonic();
            if now - begun >= age_max {
                return Some(BackupError::new(
                    BackupErrorKind::TooLong,
                    format!(
                        "finish within {} hours, the longest a checkpoint is held; what was stored stays, so the next run goes on from there",
                        self.options.checkpoint_hours
                    ),
                ));
            }
            if now - looked >= LOOK_EVERY {
                looked = now;
                if let Err(error) = check_space(self.host, self.vm, self.options.free_bytes_min)
                    && error.kind() == BackupErrorKind::Space
                {
                    return Some(error);
                }
            }
        }
        None
    }
}

struct StopOnDrop<'a>(&'a StopSignal);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}
