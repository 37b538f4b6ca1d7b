//! How VMs are backed up, and the places in the order of steps.

use std::time::Duration;

use kopia::compression::CompressionAlgorithm;

use super::watch::HoldLimits;
use crate::run_lock::LockWait;

/// How consistent a point has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConsistencyPolicy {
    /// Ask the guest; take what can be had and say so.
    #[default]
    Application,
    /// Ask the guest; fail the VM if it refuses.
    RequireApplication,
    /// Do not ask.
    Crash,
}

/// How VMs are backed up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Read every disk in full.
    pub full: bool,
    /// How consistent points have to be.
    pub consistency: ConsistencyPolicy,
    /// How long guests may take to be quiesced; `None` leaves it to the host.
    pub quiesce_max: Option<Duration>,
    /// Disks left out, by file name, case ignored, `*` and `?` allowed.
    pub exclude_disks: Vec<String>,
    /// How chunks are compressed.
    pub compression: Option<CompressionAlgorithm>,
    /// How many slots of a disk are worked on at once.
    pub workers: usize,
    /// A full read is due this often.
    pub full_proof_days: u32,
    /// A checkpoint is never held longer than this.
    pub checkpoint_hours: u32,
    /// The room that every volume of the host keeps while a checkpoint exists.
    pub free_bytes_min: u64,
    /// How long a run whose checkpoint was given up for want of room waits for room to go on.
    pub space_wait: Duration,
    /// What is stored is protected by a checkpoint manifest this often; Kopia's own interval is
    /// 45 minutes, and its maintenance collects what nothing names after 24 hours.
    pub checkpoint_manifest_every: Duration,
    /// How long one VM's flush waits for others that are about to finish.
    pub flush_patience: Duration,
    /// How long a run waits for another that works on the same VM.
    pub lock_wait: Duration,
    /// How long a run waits for the merge at its end before it only tells of it.
    pub merge_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            full: false,
            consistency: ConsistencyPolicy::Application,
            quiesce_max: None,
            exclude_disks: Vec::new(),
            compression: None,
            workers: std::thread::available_parallelism()
                .map_or(4, usize::from)
                .max(2)
                * 2,
            full_proof_days: 30,
            checkpoint_hours: 12,
            free_bytes_min: 4 << 30,
            space_wait: Duration::from_hours(1),
            checkpoint_manifest_every: Duration::from_mins(45),
            flush_patience: Duration::from_secs(60),
            lock_wait: LockWait::USUAL_MAX,
            merge_wait: Duration::from_mins(1),
        }
    }
}

impl Options {
    /// Returns what a checkpoint of a backup is held within.
    pub fn hold_limits(&self) -> HoldLimits {
        HoldLimits {
            hours: self.checkpoint_hours,
            free_bytes_min: self.free_bytes_min,
        }
    }
}

/// A place in the order of steps, for tests that stop a run there as a power failure would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The journal says that a checkpoint will be taken.
    Announced,
    /// The checkpoint exists; nobody wrote down which.
    CheckpointTaken,
    /// The journal names the checkpoint.
    CheckpointJournaled,
    /// All data is stored, not all of it indexed.
    DataStored,
    /// All data is visible in the repository and was looked up again.
    DataSettled,
    /// The point is published.
    PointPublished,
    /// No disk is open any more.
    DisksClosed,
    /// The journal says that the checkpoint will be converted.
    ConversionAnnounced,
    /// The checkpoint became a reference point; nobody wrote down which.
    Converted,
    /// The base is remembered.
    BaseRemembered,
    /// The replaced base is gone.
    ReplacedBaseDropped,
    /// The journal is cleared.
    Done,
}

impl Step {
    /// All steps in their order.
    pub const ALL: [Self; 12] = [
        Self::Announced,
        Self::CheckpointTaken,
        Self::CheckpointJournaled,
        Self::DataStored,
        Self::DataSettled,
        Self::PointPublished,
        Self::DisksClosed,
        Self::ConversionAnnounced,
        Self::Converted,
        Self::BaseRemembered,
        Self::ReplacedBaseDropped,
        Self::Done,
    ];
}
