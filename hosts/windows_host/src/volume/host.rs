//! The port over VSS and WMI.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use disk::BlockRead;
use time_and_chance::{SharedClock, StopSignal, Timestamp};
use uuid::{Uuid, uuid};
use volume::{
    Announce, Disk, Freeze, FrozenVolumes, Shadow, ShadowSet, ShadowSetId, StorageLayout, Volume,
    VolumeError, VolumeErrorKind, VolumeHost, WriterOutcome, Writers,
};

use super::actions::{Action, action, kind, passes, words};
use super::attempt::{Attempt, Failure, Taken};
use super::device;
use super::layout::Layout;
use crate::vss::{Context, Requester, SnapshotProperties, Vss, VssError, Wait, WriterStatus};
use crate::wmi::Namespaces;

/// Hyper-V's own writer: it would freeze or save every VM on the volume (Hyper-V spec 11).
const HYPERV_WRITER: Uuid = uuid!("66841cd4-6ded-4f4b-8f17-fd23f8ddc3de");
/// `VSS_E_OBJECT_NOT_FOUND`.
const NOT_FOUND: u32 = 0x8004_2308;
/// How long writers may take to hear that a backup is done.
const FAREWELL: Duration = Duration::from_secs(300);

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct VolumeLimits {
    /// For each step in which writers or the system do their part.
    pub step: Duration,
    /// How often what passes by itself is begun anew.
    pub again: u32,
    /// And after which time.
    pub pause: Duration,
}

impl Default for VolumeLimits {
    /// Ten minutes and three times are what Microsoft recommends for each code that passes.
    fn default() -> Self {
        Self {
            step: Duration::from_mins(15),
            again: 3,
            pause: Duration::from_mins(10),
        }
    }
}

/// What a host is made of.
#[derive(Debug)]
pub struct VolumeParts {
    /// WMI.
    pub namespaces: Arc<dyn Namespaces>,
    /// VSS.
    pub vss: Arc<dyn Vss>,
    /// For pauses.
    pub clock: SharedClock,
    /// How long and how often.
    pub limits: VolumeLimits,
}

/// This machine's volumes. Nothing is asked before it is needed.
#[derive(Debug)]
pub struct WindowsVolumeHost {
    parts: VolumeParts,
}

impl WindowsVolumeHost {
    /// Puts a host together.
    pub fn new(parts: VolumeParts) -> Self {
        Self { parts }
    }

    /// Makes attempts until one succeeds or it is certain that none will.
    fn attempts(
        &self,
        what: &Freeze,
        announce: Announce<'_>,
        stop: &StopSignal,
    ) -> Result<(Taken, Vec<WriterOutcome>), VolumeError> {
        let volumes: Vec<String> = what
            .volumes
            .iter()
            .map(|name| with_separator(name))
            .collect();
        let mut given_up: Vec<WriterOutcome> = Vec::new();
        let mut again = self.parts.limits.again;
        loop {
            let mut left_out = vec![HYPERV_WRITER];
            left_out.extend(given_up.iter().map(|writer| writer.id));
            let attempt = Attempt {
                vss: self.parts.vss.as_ref(),
                volumes: &volumes,
                left_out: (what.writers != Writers::None).then_some(left_out.as_slice()),
                step_limit: self.parts.limits.step,
                stop,
            };
            let failure = match attempt.make(announce) {
                Ok(taken) => return Ok((taken, given_up)),
                Err(failure) => failure,
            };
            let passes_by_itself = match &failure {
                Failure::Call(VssError::Code { code, .. }) => action(*code) == Action::Again,
                Failure::Call(_) | Failure::Announce(_) => false,
                Failure::Writers(failing) => failing.iter().any(|it| passes(it.failure)),
            };
            if passes_by_itself && again > 0 {
                again -= 1;
                let slept = self.parts.clock.sleep(self.parts.limits.pause, stop);
                slept.map_err(|_| {
                    failed(VssError::Stopped {
                        doing: "freeze volumes".to_owned(),
                    })
                })?;
                continue;
            }
            match failure {
                // Each is left out once, so this comes to an end.
                Failure::Writers(failing) if what.writers == Writers::LeaveOutFailing => {
                    given_up.extend(failing.iter().map(|it| outcome(it, Some(why(it)))));
                }
                failure => return Err(of_failure(failure)),
            }
        }
    }
}

impl StorageLayout for WindowsVolumeHost {
    fn volumes(&self) -> Result<Vec<Volume>, VolumeError> {
        Layout::ask(self.parts.namespaces.as_ref())?.volumes()
    }

    fn disks(&self) -> Result<Vec<Disk>, VolumeError> {
        Layout::ask(self.parts.namespaces.as_ref())?.disks()
    }
}

impl VolumeHost for WindowsVolumeHost {
    fn freeze(
        &self,
        what: &Freeze,
        announce: Announce<'_>,
        stop: &StopSignal,
    ) -> Result<Box<dyn FrozenVolumes>, VolumeError> {
        if what.volumes.is_empty() {
            let message = "freeze no volume at all";
            return Err(VolumeError::new(VolumeErrorKind::Invalid, message));
        }
        let (taken, given_up) = self.attempts(what, announce, stop)?;
        let shadows = taken.shadows.iter().zip(&what.volumes);
        let mut writers: Vec<_> = taken.writers.iter().map(|it| outcome(it, None)).collect();
        writers.extend(given_up);
        Ok(Box::new(WindowsFrozen {
            set: taken.set,
            shadows: shadows.map(|(found, name)| shadow(found, name)).collect(),
            writers,
            with_writers: what.writers != Writers::None,
            requester: Some(taken.requester),
        }))
    }

    fn shadow_sets(&self) -> Result<Vec<ShadowSet>, VolumeError> {
        let look = || {
            let requester = self.parts.vss.begin()?;
            requester.set_context(Context::All)?;
            requester.query_snapshots()
        };
        let mut sets: Vec<ShadowSet> = Vec::new();
        for found in look().map_err(failed)? {
            let id = ShadowSetId(found.set);
            match sets.iter_mut().find(|set| set.id == id) {
                Some(set) => set.volumes.push(found.volume),
                None => sets.push(ShadowSet {
                    id,
                    frozen_at: timestamp(found.created),
                    volumes: vec![found.volume],
                }),
            }
        }
        Ok(sets)
    }

    fn remove_shadow_set(&self, id: ShadowSetId) -> Result<(), VolumeError> {
        let remove = || {
            let requester = self.parts.vss.begin()?;
            requester.set_context(Context::All)?;
            requester.delete_snapshot_set(id.0)
        };
        remove().map_err(failed)
    }
}

/// Volumes frozen by VSS.
#[derive(Debug)]
struct WindowsFrozen {
    set: ShadowSetId,
    shadows: Vec<Shadow>,
    writers: Vec<WriterOutcome>,
    with_writers: bool,
    /// None once they are released.
    requester: Option<Box<dyn Requester>>,
}

impl FrozenVolumes for WindowsFrozen {
    fn id(&self) -> ShadowSetId {
        self.set
    }

    fn shadows(&self) -> &[Shadow] {
        &self.shadows
    }

    fn writers(&self) -> &[WriterOutcome] {
        &self.writers
    }

    fn open(&self, shadow: &Shadow) -> Result<Box<dyn BlockRead + '_>, VolumeError> {
        let device = device::open(&shadow.device).map_err(|error| {
            let message = format!("open the shadow of {}", shadow.volume);
            VolumeError::new(VolumeErrorKind::Failed, message).caused_by(error)
        })?;
        Ok(Box::new(device))
    }

    fn release(mut self: Box<Self>) -> Result<(), VolumeError> {
        let Some(requester) = self.requester.take() else {
            return Ok(());
        };
        if self.with_writers {
            let wait = Wait {
                limit: FAREWELL,
                stop: &StopSignal::new(),
            };
            // What was read is good whether or not each writer hears of it, and nothing of it is
            // left: VSS tells them in the end.
            let _ = requester.backup_complete(wait);
        }
        match requester.delete_snapshot_set(self.set.0) {
            // Windows may have taken them away, for room; the reads have said so.
            Err(VssError::Code {
                code: NOT_FOUND, ..
            }) => Ok(()),
            other => other.map_err(failed),
        }
    }
}

impl Drop for WindowsFrozen {
    fn drop(&mut self) {
        if let Some(requester) = self.requester.take() {
            // The requester's end takes along what these do not.
            if self.with_writers {
                let _ = requester.abort_backup();
            }
            let _ = requester.delete_snapshot_set(self.set.0);
        }
    }
}

/// VSS takes names of volumes only with a separator at their end.
fn with_separator(name: &str) -> String {
    match name.ends_with(['\\', '/']) {
        true => name.to_owned(),
        false => format!("{name}\\"),
    }
}

fn shadow(found: &SnapshotProperties, name: &str) -> Shadow {
    Shadow {
        id: found.id,
        volume: name.to_owned(),
        device: PathBuf::from(&found.device),
        // Without anything behind it, it is the device and no folder.
        files: PathBuf::from(format!("{}{}", found.device, std::path::MAIN_SEPARATOR)),
    }
}

fn outcome(writer: &WriterStatus, left_out: Option<String>) -> WriterOutcome {
    WriterOutcome {
        id: writer.id,
        name: writer.name.clone(),
        left_out,
    }
}

fn why(writer: &WriterStatus) -> String {
    let step = writer.state.failed_at().unwrap_or("its part");
    format!("it failed at {step} (0x{:08X})", writer.failure)
}

fn of_failure(failure: Failure) -> VolumeError {
    match failure {
        Failure::Call(error) => failed(error),
        Failure::Announce(error) => {
            let message = "note the shadow set before it is made";
            VolumeError::new(VolumeErrorKind::Failed, message).caused_by(error)
        }
        Failure::Writers(failing) => {
            let named = failing.iter().map(|it| format!("{}: {}", it.name, why(it)));
            let named: Vec<String> = named.collect();
            VolumeError::new(
                VolumeErrorKind::WriterFailed,
                format!(
                    "have programs bring their files in order; look at `vssadmin list writers`, and restart the service of what failed: {}",
                    named.join("; ")
                ),
            )
        }
    }
}

fn failed(error: VssError) -> VolumeError {
    match error {
        VssError::Code { doing, code } => VolumeError::new(
            kind(code),
            format!("{doing} (0x{code:08X}): {}", words(code)),
        ),
        VssError::TimedOut { .. } => VolumeError::new(VolumeErrorKind::Busy, error.to_string()),
        VssError::Stopped { .. } => VolumeError::new(VolumeErrorKind::Stopped, error.to_string()),
    }
}

/// Returns the time that Windows counts in steps of 100 ns since 1601.
fn timestamp(steps: i64) -> Timestamp {
    /// From 1601 to 1970.
    const TO_UNIX: i128 = 116_444_736_000_000_000;
    let nanoseconds = (i128::from(steps) - TO_UNIX) * 100;
    // A time that no calendar has is none that anybody is told.
    Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_windows_own() {
        let time = timestamp(133_500_000_000_000_000);
        assert_eq!(time.to_string(), "2024-01-17T21:20:00Z");
        assert_eq!(timestamp(i64::MAX), Timestamp::UNIX_EPOCH);
    }
}
