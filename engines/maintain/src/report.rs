//! What a maintenance did, in figures.

use std::collections::HashSet;

use repo::Compaction;
use time_and_chance::Timestamp;

/// Things of one kind, and how long they are together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Freed {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What the collection found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Snapshots whose contents were marked, incomplete ones included.
    pub snapshots: u64,
    /// Lists and directories opened, each once.
    pub opened: u64,
    /// Contents in use.
    pub in_use: Freed,
    /// Contents that no snapshot needs, but too young to be collected.
    pub too_young: Freed,
    /// Contents marked deleted.
    pub buried: Freed,
    /// Contents found deleted though a snapshot needs them, stored anew.
    pub revived: Freed,
    /// Contents that a snapshot needs and no index has.
    pub missing: u64,
}

/// What the rewriting of short packs did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// Packs whose contents moved.
    pub packs: u64,
    /// The contents.
    pub contents: Freed,
    /// Short packs left for the next run.
    pub packs_left: u64,
    /// Contents that could not be moved because they are damaged, with the reasons.
    pub damaged: Vec<String>,
}

/// What was deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Packs that no index names.
    pub packs: Freed,
    /// Markers of sessions that died.
    pub sessions: Freed,
    /// Index blobs that a compacted one replaces.
    pub indexes: Freed,
    /// Markers of past epochs and watermarks.
    pub markers: Freed,
    /// Logs.
    pub logs: Freed,
    /// Blobs that the store did not let go yet because they are locked.
    pub refused: HashSet<String>,
}

/// What became of object locks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locked {
    /// Blobs whose locks were made longer.
    pub extended: Freed,
    /// Blobs whose locks the store would not make longer.
    pub failed: u64,
    /// Why, for the first of them.
    pub first_failure: Option<String>,
}

/// What became of the index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Epochs {
    /// The epoch that began.
    pub begun: Option<u64>,
    /// The compactions.
    pub compactions: Vec<Compaction>,
    /// The watermark that was set: tombstones up to this Unix second are forgotten.
    pub watermark_seconds: Option<i64>,
}

/// What a maintenance did, or with a dry run would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Who it was done as, `user@host`.
    pub owner: String,
    /// Whether it was a full one.
    pub full: bool,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// When it began, by the store's clock; with a dry run by this machine's.
    pub started: Timestamp,
    /// The collection, in a full run.
    pub collected: Collected,
    /// The rewriting, in a full run.
    pub rewritten: Rewritten,
    /// What is gone.
    pub deleted: Deleted,
    /// Object locks, where maintenance makes them longer.
    pub locked: Locked,
    /// The index.
    pub epochs: Epochs,
    /// What was put off, each with the reason.
    pub put_off: Vec<String>,
    /// Why the collection was stopped, if it was: nothing was collected then.
    pub collection_stopped: Option<String>,
}

impl Report {
    /// Returns whether everything was done that should be.
    pub fn is_whole(&self) -> bool {
        self.collection_stopped.is_none()
            && self.collected.missing == 0
            && self.rewritten.damaged.is_empty()
            && self.locked.failed == 0
    }
}
