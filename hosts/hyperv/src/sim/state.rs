//! What the simulated host remembers, as `host.json` holds it: plain values.
//!
//! Paths are relative to the host's folder, so that the folder may be moved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time_and_chance::Timestamp;
use uuid::Uuid;

use super::container::FileMark;
use super::fault::FaultRecord;
use super::vm_configuration::VmConfiguration;
use crate::{
    CheckpointId, CheckpointKind, Controller, Generation, GuestSystem, NetworkAdapter, OmittedDisk,
    VmId, VmState,
};

/// The layout of `host.json` that this code reads and writes.
pub(super) const FORMAT: u32 = 1;

/// The whole host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct HostState {
    pub format: u32,
    pub name: String,
    /// The newest configuration version this host can run.
    pub configuration_version: String,
    pub switches: Vec<String>,
    /// How finely writes are tracked.
    pub tracking_block_bytes: u64,
    /// How many calls see a merge run before it is done.
    pub merge_calls: u32,
    pub vms: Vec<VmRecord>,
    pub planned: Vec<PlannedRecord>,
    /// Faults that belong to no VM.
    pub faults: Vec<FaultRecord>,
    /// Files and folders that a step makes or removes: gone before the next step begins.
    pub doomed: Vec<PathBuf>,
}

/// One VM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct VmRecord {
    pub id: VmId,
    pub name: String,
    pub folder: PathBuf,
    pub generation: Generation,
    pub version: String,
    pub state: VmState,
    pub guest: Option<GuestSystem>,
    pub firmware: String,
    pub processors: u32,
    pub memory_bytes: u64,
    pub network_adapters: Vec<NetworkAdapter>,
    /// What stands in its `.vmgs`: UEFI variables and the like, as hex.
    pub guest_state: String,
    pub disks: Vec<DiskRecord>,
    pub omitted_disks: Vec<OmittedDisk>,
    pub created: Timestamp,
    pub last_applied_checkpoint: Option<CheckpointId>,
    pub checkpoints: Vec<CheckpointRecord>,
    pub reference_points: Vec<PointRecord>,
    /// How many more calls see a merge run.
    pub merge_calls_left: u32,
    /// Why merging stands still, until the fault is cleared.
    pub merge_stuck: Option<String>,
    /// Why the last attempt to merge failed; it is tried again at the next call.
    pub merge_blocked: Option<String>,
    pub faults: Vec<FaultRecord>,
    /// Whether it moved to another host: then it is not here, for anyone but the simulation.
    pub away: bool,
}

/// One disk of a VM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DiskRecord {
    /// Names the disk among those of its VM, wherever it hangs.
    pub key: Uuid,
    pub controller: Controller,
    pub controller_number: u32,
    pub location: u32,
    /// From the root of the chain to the file the guest writes to.
    pub chain: Vec<PathBuf>,
    pub virtual_disk_id: Uuid,
    pub virtual_bytes: u64,
    pub block_bytes: u32,
    pub logical_sector_bytes: u32,
    pub physical_sector_bytes: u32,
    pub shared: bool,
    /// Whether its kind of file can be tracked at all.
    pub trackable: bool,
    pub tracking: Option<TrackingRecord>,
    /// Histories that came to an end, and the code that says why.
    pub lost_tracking: Vec<(Uuid, u32)>,
    /// How each file looked when this host last wrote to it; none while it is being written.
    pub marks: BTreeMap<PathBuf, FileMark>,
}

/// What the host knows of a disk's tracking file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TrackingRecord {
    pub history: Uuid,
    pub generation: u64,
    /// How long the file was at least.
    pub file_bytes: u64,
}

/// One checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CheckpointRecord {
    pub id: CheckpointId,
    pub kind: CheckpointKind,
    pub name: String,
    pub created: Timestamp,
    /// Whether level 1 was obtained.
    pub application_level: bool,
    pub disks: Vec<CheckpointDisk>,
    /// Its configuration files.
    pub configuration_files: Vec<PathBuf>,
}

/// One disk as a checkpoint holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CheckpointDisk {
    pub key: Uuid,
    pub controller: Controller,
    pub controller_number: u32,
    pub location: u32,
    /// From the root of the chain to the frozen file.
    pub chain: Vec<PathBuf>,
    pub virtual_disk_id: Uuid,
    /// The tracking id that was sealed for it.
    pub change_id: Option<String>,
}

/// One reference point.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PointRecord {
    pub id: String,
    pub tracking: bool,
    pub application_level: bool,
    pub disks: Vec<PointDisk>,
}

/// One disk in a reference point.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PointDisk {
    pub key: Uuid,
    pub virtual_disk_id: Uuid,
    pub controller: Controller,
    pub controller_number: u32,
    pub location: u32,
    pub change_id: String,
}

/// A VM that was imported but is not yet one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PlannedRecord {
    pub id: VmId,
    pub name: String,
    pub folder: PathBuf,
    pub configuration: VmConfiguration,
    pub guest_state: String,
    /// Where its disks lie now, in the order of the configuration; absolute.
    pub disk_paths: Vec<Option<PathBuf>>,
    pub network_adapters: Vec<NetworkAdapter>,
    /// How many SCSI controllers it has at least; none for an imported one, which has one.
    #[serde(default)]
    pub scsi_controllers: Option<u32>,
}

impl VmRecord {
    /// Returns a VM that is off and to which nothing has happened yet. Its disks are to be added.
    pub(super) fn new(
        configuration: VmConfiguration,
        guest_state: String,
        folder: PathBuf,
        created: Timestamp,
    ) -> Self {
        Self {
            id: configuration.id,
            name: configuration.name,
            folder,
            generation: configuration.generation,
            version: configuration.version,
            state: VmState::Off,
            guest: configuration.guest,
            firmware: configuration.firmware,
            processors: configuration.processors,
            memory_bytes: configuration.memory_bytes,
            network_adapters: configuration.network_adapters,
            guest_state,
            disks: Vec::new(),
            omitted_disks: configuration.omitted_disks,
            created,
            last_applied_checkpoint: None,
            checkpoints: Vec::new(),
            reference_points: Vec::new(),
            merge_calls_left: 0,
            merge_stuck: None,
            merge_blocked: None,
            faults: Vec::new(),
            away: false,
        }
    }

    /// Sorts the disks as everyone numbers them.
    pub(super) fn sort_disks(&mut self) {
        self.disks.sort_by_key(DiskRecord::place);
    }

    /// Returns every chain that a checkpoint or the guest needs of the disk `key`.
    pub(super) fn chains(&self, key: Uuid) -> impl Iterator<Item = &Vec<PathBuf>> {
        let live = self.disks.iter().filter(move |disk| disk.key == key);
        let frozen = self
            .checkpoints
            .iter()
            .flat_map(|checkpoint| &checkpoint.disks)
            .filter(move |disk| disk.key == key);
        live.map(|disk| &disk.chain)
            .chain(frozen.map(|disk| &disk.chain))
    }

    /// Returns whether `path` is one of its disk files.
    pub(super) fn owns(&self, path: &Path) -> bool {
        self.disks
            .iter()
            .any(|disk| self.chains(disk.key).flatten().any(|file| file == path))
    }

    /// Returns the tracking ids of a disk that something still holds on to.
    pub(super) fn pinned_change_ids(&self, key: Uuid) -> Vec<String> {
        let frozen = self
            .checkpoints
            .iter()
            .flat_map(|checkpoint| &checkpoint.disks)
            .filter(|disk| disk.key == key)
            .filter_map(|disk| disk.change_id.clone());
        let points = self
            .reference_points
            .iter()
            .flat_map(|point| &point.disks)
            .filter(|disk| disk.key == key)
            .map(|disk| disk.change_id.clone());
        frozen.chain(points).collect()
    }
}

impl DiskRecord {
    /// Returns where it hangs, for sorting and for pairing.
    pub(super) fn place(&self) -> (Controller, u32, u32) {
        (self.controller, self.controller_number, self.location)
    }

    /// Returns the file the guest writes to.
    pub(super) fn leaf(&self) -> &Path {
        self.chain.last().map_or(Path::new(""), PathBuf::as_path)
    }

    /// Returns the file at the root of the chain.
    pub(super) fn root(&self) -> &Path {
        self.chain.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// Returns its tracking file.
    pub(super) fn tracking_file(&self) -> PathBuf {
        let mut name = self.root().as_os_str().to_owned();
        name.push(".rct");
        PathBuf::from(name)
    }

    /// Ends the present tracking: every id it gave is answered with `code` from now on.
    pub(super) fn lose_tracking(&mut self, code: u32) {
        const REMEMBERED_MAX: usize = 32;
        if let Some(tracking) = self.tracking.take() {
            self.lost_tracking.push((tracking.history, code));
            if self.lost_tracking.len() > REMEMBERED_MAX {
                self.lost_tracking.remove(0);
            }
        }
    }
}

impl CheckpointDisk {
    /// Returns the frozen file.
    pub(super) fn frozen_file(&self) -> &Path {
        self.chain.last().map_or(Path::new(""), PathBuf::as_path)
    }
}
