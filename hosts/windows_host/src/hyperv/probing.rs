//! What a self-test asks of Hyper-V beside the port: facts that no backup needs, but that tell
//! whether what is believed of Hyper-V holds on this machine (Hyper-V spec 20).

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use hyperv::{
    CheckpointId, HypervError, HypervErrorKind as Kind, MergeState, ReferencePointId, VmId,
};
use time_and_chance::StopSignal;
use uuid::Uuid;

use super::errors::{virtual_disk_error, wmi_error};
use super::host::WindowsHypervHost;
use super::jobs::{JobPhase, pause};
use super::method::Change;
use super::own_vm::{self, OwnVm};
use super::provider::Provider;
use super::{checkpoints, discovery, disk_facts, disk_kinds, merges, reference_points};
use crate::virtdisk::{Access, ChangeTracking};
use crate::wmi::{Namespaces, Value, WmiError, WmiObject, key_of};

const CIMV2: &str = r"root\cimv2";
/// `UserSnapshotType`: users may take no checkpoints (Hyper-V spec 3.3).
const DISABLED: u16 = 2;

/// Which Windows it is: answers of one need not hold on another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowsVersion {
    /// Its name, as it shows itself.
    pub name: String,
    /// Its build, such as "20348".
    pub build: String,
}

/// A disk's settings object, by the id that Hyper-V gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskEntry {
    /// Which disk it is.
    pub virtual_disk_id: Uuid,
    /// The `InstanceID`.
    pub id: String,
    /// The number of its controller among those of its kind.
    pub controller_number: u32,
}

/// How a checkpoint ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It becomes a reference point.
    Convert,
    /// It is destroyed.
    Destroy,
}

/// How the end of a checkpoint was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchedEnd {
    /// How long its job took; none if there was no job.
    pub job: Option<Duration>,
    /// How many looks saw the job run while disks waited to be merged or were.
    pub looks_at_both: u32,
    /// Whether disks waited to be merged, or were, when the job had ended.
    pub merges_after_it: bool,
}

/// What a self-test asks beside the port.
pub trait Probing: Send + Sync + Debug {
    /// Tells which Windows this is.
    fn windows_version(&self) -> Result<WindowsVersion, HypervError>;

    /// Tells whether guests can be asked to leave their logs alone (RH-21).
    fn knows_guest_backup_type(&self) -> Result<bool, HypervError>;

    /// Tells whether users are kept from taking checkpoints of a VM (RH-3).
    fn refuses_user_checkpoints(&self, vm: VmId) -> Result<bool, HypervError>;

    /// Returns the ids of the VM's disks.
    fn disk_entries(&self, vm: VmId) -> Result<Vec<DiskEntry>, HypervError>;

    /// Returns the ids of a checkpoint's disks.
    fn frozen_disk_entries(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
    ) -> Result<Vec<DiskEntry>, HypervError>;

    /// Returns a reference point's disks as it names them, each with its tracking id.
    fn point_entries(
        &self,
        vm: VmId,
        point: &ReferencePointId,
    ) -> Result<Vec<(String, String)>, HypervError>;

    /// Returns what a frozen file says of its tracking, and whether only this process saw it.
    fn frozen_file(&self, path: &Path) -> Result<(ChangeTracking, bool), HypervError>;

    /// Asks a file that a VM may be writing to for information, through virtdisk alone.
    fn ask_beside_the_vm(&self, path: &Path) -> Result<(), HypervError>;

    /// Ends a recovery checkpoint, and watches job and merge.
    ///
    /// # Errors
    /// `OutcomeUnknown` if the job's end was not seen within its limit.
    fn end_watched(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
        ending: Ending,
        stop: &StopSignal,
    ) -> Result<WatchedEnd, HypervError>;

    /// Makes a VM that is off and has one disk. One that could not be made whole is found by its name.
    fn make_vm(&self, vm: &OwnVm) -> Result<VmId, HypervError>;

    /// Destroys a VM that was made so; its disk files stay.
    fn destroy_vm(&self, vm: VmId) -> Result<(), HypervError>;
}

impl Probing for WindowsHypervHost {
    fn windows_version(&self) -> Result<WindowsVersion, HypervError> {
        windows_version(&*self.namespaces)
    }

    fn knows_guest_backup_type(&self) -> Result<bool, HypervError> {
        let class = checkpoints::SNAPSHOT_SETTINGS;
        self.provider.has_property(class, "GuestBackupType")
    }

    fn refuses_user_checkpoints(&self, vm: VmId) -> Result<bool, HypervError> {
        Ok(self.settings_of(vm)?.u16("UserSnapshotType") == Ok(DISABLED))
    }

    fn disk_entries(&self, vm: VmId) -> Result<Vec<DiskEntry>, HypervError> {
        self.entries_of(self.settings_of(vm)?.path().map_err(reading)?)
    }

    fn frozen_disk_entries(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
    ) -> Result<Vec<DiskEntry>, HypervError> {
        let object = checkpoints::find(&self.provider, vm, checkpoint)?;
        self.entries_of(object.path().map_err(reading)?)
    }

    fn point_entries(
        &self,
        vm: VmId,
        point: &ReferencePointId,
    ) -> Result<Vec<(String, String)>, HypervError> {
        reference_points::entries(&self.provider, vm, point)
    }

    fn frozen_file(&self, path: &Path) -> Result<(ChangeTracking, bool), HypervError> {
        let file = self.virtual_disks.open(path, Access::Read);
        let file = file.map_err(virtual_disk_error)?;
        let tracking = file.change_tracking().map_err(virtual_disk_error)?;
        Ok((tracking, file.is_unseen()))
    }

    fn ask_beside_the_vm(&self, path: &Path) -> Result<(), HypervError> {
        let asked = self.virtual_disks.open(path, Access::Information);
        asked.map(drop).map_err(virtual_disk_error)
    }

    fn end_watched(
        &self,
        vm: VmId,
        checkpoint: CheckpointId,
        ending: Ending,
        stop: &StopSignal,
    ) -> Result<WatchedEnd, HypervError> {
        let (doing, method, limit) = match ending {
            Ending::Convert => (
                "turn the checkpoint into a reference point",
                "ConvertToReferencePoint",
                self.provider.beliefs.limits.convert,
            ),
            Ending::Destroy => (
                "remove the checkpoint",
                "DestroySnapshot",
                self.provider.beliefs.limits.destroy,
            ),
        };
        let open = &self.open_disks;
        let object = checkpoints::find_endable(&self.provider, open, doing, vm, checkpoint)?;
        let service = self.provider.service(checkpoints::SNAPSHOTS)?;
        let path = object.path().map_err(reading)?;
        let parameters = [("AffectedSnapshot", Value::text(path))];
        let change = Change {
            doing,
            object: &service,
            method,
            parameters: &parameters,
            limit,
            is_cancelled_in_the_end: false,
            vm: Some(vm),
        };
        let out = self.provider.begin(change, stop)?;
        let watch = Watch {
            host: self,
            vm,
            checkpoint,
            change,
        };
        match out.optional_text("Job").map_err(reading)? {
            Some(job) if !job.is_empty() => watch.follow(job, stop),
            _ => Ok(WatchedEnd {
                job: None,
                looks_at_both: 0,
                merges_after_it: watch.is_merging()?,
            }),
        }
    }

    fn make_vm(&self, vm: &OwnVm) -> Result<VmId, HypervError> {
        own_vm::make(&self.provider, vm)
    }

    fn destroy_vm(&self, vm: VmId) -> Result<(), HypervError> {
        own_vm::destroy(&self.provider, vm)
    }
}

fn reading(error: WmiError) -> HypervError {
    wmi_error("read what Hyper-V says", error)
}

/// Tells which Windows a machine runs, whether Hyper-V is there or not.
///
/// # Errors
/// If WMI does not answer.
pub fn windows_version(namespaces: &dyn Namespaces) -> Result<WindowsVersion, HypervError> {
    let wrong = |error| wmi_error("ask which Windows this is", error);
    let session = namespaces.connect(CIMV2).map_err(wrong)?;
    let found = session.query("SELECT * FROM Win32_OperatingSystem");
    let found = found.map_err(wrong)?;
    let system = found.first().ok_or_else(|| {
        HypervError::new(
            Kind::Failed,
            "ask which Windows this is: it does not say so",
        )
    })?;
    Ok(WindowsVersion {
        name: system.text("Caption").map_err(wrong)?.trim().to_owned(),
        build: system.text("BuildNumber").map_err(wrong)?.trim().to_owned(),
    })
}

impl WindowsHypervHost {
    fn settings_of(&self, vm: VmId) -> Result<WmiObject, HypervError> {
        let system = self.provider.system(vm)?;
        let path = system.path().map_err(reading)?;
        discovery::own_settings(&self.provider, vm, path)
    }

    /// Returns the disks of a configuration with their ids.
    fn entries_of(&self, settings: &str) -> Result<Vec<DiskEntry>, HypervError> {
        let components = self.provider.components(settings)?;
        let mut entries = Vec::new();
        for disk in disk_kinds::disks(&components)?.files {
            let facts = disk_facts::facts(&self.provider, &*self.virtual_disks, &disk.path);
            entries.push(DiskEntry {
                virtual_disk_id: facts.map_err(virtual_disk_error)?.virtual_disk_id,
                id: key_of(&disk.object, "InstanceID").unwrap_or_default(),
                controller_number: disk.place.number,
            });
        }
        Ok(entries)
    }
}

/// The end of a checkpoint, being watched.
struct Watch<'a> {
    host: &'a WindowsHypervHost,
    vm: VmId,
    checkpoint: CheckpointId,
    change: Change<'a>,
}

impl Watch<'_> {
    fn provider(&self) -> &Provider {
        &self.host.provider
    }

    /// Returns whether the checkpoint is gone and its disks are not merged yet.
    fn is_merging(&self) -> Result<bool, HypervError> {
        let left = checkpoints::list(self.provider(), self.vm)?;
        if left.iter().any(|left| left.id == self.checkpoint) {
            return Ok(false);
        }
        let disks = &*self.host.virtual_disks;
        let state = merges::state(self.provider(), disks, &self.host.merge_watch, self.vm)?;
        Ok(state != MergeState::Idle)
    }

    fn follow(&self, job: &str, stop: &StopSignal) -> Result<WatchedEnd, HypervError> {
        let clock = &self.provider().clock;
        let begun = clock.monotonic();
        let mut looks_at_both = 0;
        for look in 0.. {
            let found = self.provider().find(self.change.doing, job)?;
            let found = found.ok_or_else(|| self.unknown("its job vanished before its end"))?;
            let phase = JobPhase::of(found.u16("JobState").map_err(reading)?);
            let passed = clock.monotonic() - begun;
            let is_merging = self.is_merging()?;
            match phase {
                JobPhase::Waiting if passed >= self.change.limit => {
                    return Err(self.unknown("its job still runs"));
                }
                JobPhase::Waiting => looks_at_both += u32::from(is_merging),
                JobPhase::Completed => {
                    return Ok(WatchedEnd {
                        job: Some(passed),
                        looks_at_both,
                        merges_after_it: is_merging,
                    });
                }
                JobPhase::Cancelled | JobPhase::Failed => {
                    return Err(self
                        .provider()
                        .failure(self.change, job, &found, passed)
                        .error);
                }
                JobPhase::Unknown(state) => {
                    return Err(self.unknown(&format!("its job is in state {state}")));
                }
            }
            // Whoever stops a self-test wants the checkpoint gone all the same: the job goes on.
            let _a_stop_is_heard_by_the_caller = clock.sleep(pause(look), stop);
            if stop.is_stopped() {
                return Err(self.unknown("stopped on request, its job goes on"));
            }
        }
        unreachable!("there is no last look at a job")
    }

    fn unknown(&self, why: &str) -> HypervError {
        HypervError::new(
            Kind::OutcomeUnknown,
            format!("{}: {why}", self.change.doing),
        )
    }
}
