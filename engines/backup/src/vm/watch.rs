//! Watches a checkpoint while data is read: it must not grow old, and must not fill the host's
//! volumes (DESIGN, promise 7; Hyper-V spec 12.4).

use std::sync::Mutex;
use std::time::Duration;

use hyperv::{HypervHost, VmId};
use time_and_chance::{SharedClock, StopSignal};

use crate::error::{BackupError, BackupErrorKind, host_error};

const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Refuses to begin where a volume has less room than `free_bytes_min`.
///
/// # Errors
/// `Space` if there is too little room, `Host` if the host does not tell.
pub fn check_space(
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

/// How long a checkpoint is held at most, and how much room is left beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldLimits {
    /// It is never held longer than this.
    pub hours: u32,
    /// The room that every volume of the VM keeps.
    pub free_bytes_min: u64,
}

/// Gives a checkpoint up when it grows too old or its volumes too full.
#[derive(Debug)]
pub struct CheckpointWatch<'a> {
    host: &'a dyn HypervHost,
    vm: VmId,
    limits: HoldLimits,
    clock: &'a SharedClock,
    held_since: Duration,
    looked_at: Mutex<Duration>,
    reason: Mutex<Option<BackupError>>,
    stop: StopSignal,
    over: StopSignal,
}

impl<'a> CheckpointWatch<'a> {
    /// Watches a checkpoint of a VM that was just taken.
    pub fn new(
        host: &'a dyn HypervHost,
        vm: VmId,
        limits: HoldLimits,
        clock: &'a SharedClock,
        parent: &StopSignal,
    ) -> Self {
        let held_since = clock.monotonic();
        Self {
            host,
            vm,
            limits,
            clock,
            held_since,
            looked_at: Mutex::new(held_since),
            reason: Mutex::default(),
            stop: parent.child(),
            over: StopSignal::new(),
        }
    }

    /// Returns the signal that ends the VM's work.
    pub fn stop(&self) -> &StopSignal {
        &self.stop
    }

    /// Returns the moment from which the checkpoint's age counts, by the monotonic clock.
    pub(super) fn held_since(&self) -> Duration {
        self.held_since
    }

    /// Does `work` under watch; if the watch ended it, its reason is the error.
    pub(super) fn during<T>(
        &self,
        work: impl FnOnce() -> Result<T, BackupError>,
    ) -> Result<T, BackupError> {
        let (result, reason) = self.beside(work);
        match (result, reason) {
            (Err(error), Some(reason)) if error.kind() == BackupErrorKind::Stopped => Err(reason),
            (result, _) => result,
        }
    }

    /// Does `work` under watch; returns why the watch told it to stop, if it did.
    ///
    /// Besides those who do the work and [`look`](Self::look) between two steps, a thread of its
    /// own looks: a step may take long (Hyper-V spec 12.4).
    pub fn beside<T>(&self, work: impl FnOnce() -> T) -> (T, Option<BackupError>) {
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                while self.over.wait_real_time(LOOK_EVERY).is_ok() {
                    self.look();
                }
            });
            let _ends_the_watch = StopOnDrop(&self.over);
            work()
        });
        let reason = self
            .reason
            .lock()
            .expect("no thread panics while it gives a reason")
            .take();
        (result, reason)
    }

    /// Looks after the checkpoint if the last look is long enough ago.
    pub fn look(&self) {
        let now = self.clock.monotonic();
        {
            let mut looked_at = self
                .looked_at
                .lock()
                .expect("no thread panics while it looks at the clock");
            if now.saturating_sub(*looked_at) < LOOK_EVERY {
                return;
            }
            *looked_at = now;
        }
        if let Some(reason) = self.reason_to_give_up(now) {
            self.reason
                .lock()
                .expect("no thread panics while it gives a reason")
                .get_or_insert(reason);
            self.stop.stop();
        }
    }

    fn reason_to_give_up(&self, now: Duration) -> Option<BackupError> {
        let hours = self.limits.hours;
        if now.saturating_sub(self.held_since) >= Duration::from_hours(u64::from(hours)) {
            return Some(BackupError::new(
                BackupErrorKind::TooLong,
                format!("finish within {hours} hours, the longest a checkpoint is held"),
            ));
        }
        // A host that cannot tell just now is asked again.
        check_space(self.host, self.vm, self.limits.free_bytes_min)
            .err()
            .filter(|error| error.kind() == BackupErrorKind::Space)
    }
}

struct StopOnDrop<'a>(&'a StopSignal);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}
