//! Bases: the instant that changes are counted from, and the point whose content it describes.
//!
//! A base belongs to (repository, VM, disk) and lives in the state folder. Losing it, or coming
//! back to an older one, costs a full read and never a wrong point: a base counts only if its
//! reference point is still listed by the host and its point still stands in the repository.

use hyperv::{CheckpointId, Controller, ReferencePointId};
use serde::{Deserialize, Serialize};
use time_and_chance::Timestamp;
use uuid::Uuid;

/// What the next increment of a VM into one repository builds on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The restore point whose content the base describes.
    pub point: Uuid,
    /// The reference point that keeps the instant alive on the host.
    pub reference_point: ReferencePointId,
    /// When the VM came to be; another time is another VM.
    pub vm_created: Timestamp,
    /// The checkpoint last applied to the VM when the base was made.
    pub last_applied_checkpoint: Option<CheckpointId>,
    /// When the base was recorded.
    pub recorded_at: Timestamp,
    /// The disks that are tracked.
    pub disks: Vec<BaseDisk>,
}

/// A disk of a base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseDisk {
    /// Its number in the point.
    pub number: u32,
    /// Its own identity.
    pub virtual_disk_id: Uuid,
    /// The kind of controller it hung on.
    pub controller: Controller,
    /// Which controller of that kind.
    pub controller_number: u32,
    /// Which place on it.
    pub location: u32,
    /// Its length.
    pub virtual_bytes: u64,
    /// 512 or 4096.
    pub logical_sector_bytes: u32,
    /// The id that names the instant in its tracking.
    pub change_id: String,
    /// When all of it was last read.
    pub read_in_full_at: Timestamp,
}
