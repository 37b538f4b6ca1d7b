//! A small simulated host for tests, and what tests do with it again and again.

use std::path::Path;
use std::sync::Arc;

use disk::{BlockRead, ByteRange, ChangeId, Changes, DiskSource};
use hyperv::sim::{SimDisk, SimHost, SimOptions, SimVm};
use hyperv::{
    CheckpointId, HypervError, HypervHost, MergeState, ReferencePoint, RequestedConsistency, VmId,
};
use tempfile::TempDir;
use time_and_chance::{Chance, ManualClock, StopSignal, Timestamp};

pub const MIB: u64 = 1 << 20;

/// A host in a folder that vanishes with it.
pub struct World {
    pub folder: TempDir,
    pub host: SimHost,
}

impl World {
    pub fn new() -> Self {
        Self::with(SimOptions::default())
    }

    pub fn with(options: SimOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = SimHost::create(
            &folder.path().join("host"),
            options,
            ManualClock::at(Timestamp::UNIX_EPOCH),
            Chance::from_seed(1),
        )
        .unwrap();
        Self { folder, host }
    }

    /// Opens the same host once more, as another process would.
    pub fn reopen(&self, seed: u64) -> SimHost {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        SimHost::open(self.host.folder(), clock, Chance::from_seed(seed)).unwrap()
    }

    /// Returns a path outside the host.
    pub fn outside(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Puts up a running Windows VM with one disk of 8 MiB.
    pub fn vm(&self) -> VmId {
        self.vm_with(&[8 * MIB])
    }

    pub fn vm_with(&self, disk_bytes: &[u64]) -> VmId {
        let disks = disk_bytes
            .iter()
            .map(|&bytes| SimDisk::new(bytes))
            .collect();
        self.host.add_vm(&SimVm::new("dc01", disks)).unwrap()
    }
}

pub fn try_freeze(host: &SimHost, vm: VmId) -> Result<CheckpointId, HypervError> {
    let application = RequestedConsistency::Application;
    host.create_recovery_checkpoint(vm, application, "ours", &StopSignal::new())
}

pub fn freeze(host: &SimHost, vm: VmId) -> CheckpointId {
    try_freeze(host, vm).unwrap()
}

pub fn try_convert(
    host: &SimHost,
    vm: VmId,
    checkpoint: CheckpointId,
) -> Result<ReferencePoint, HypervError> {
    host.convert_to_reference_point(vm, checkpoint, &StopSignal::new())
}

/// Converts and waits for the merge.
pub fn convert(host: &SimHost, vm: VmId, checkpoint: CheckpointId) -> ReferencePoint {
    let point = try_convert(host, vm, checkpoint).unwrap();
    settle(host, vm);
    point
}

pub fn settle(host: &SimHost, vm: VmId) {
    for _ in 0..100 {
        match host.merge_state(vm).unwrap() {
            MergeState::Idle => return,
            MergeState::Running(_) => {}
            MergeState::Stuck(why) => panic!("stuck: {why}"),
        }
    }
    panic!("the merge never ends");
}

pub fn open(
    host: &SimHost,
    vm: VmId,
    checkpoint: CheckpointId,
    disk: usize,
) -> Box<dyn DiskSource> {
    let disks = host.frozen_disks(vm, checkpoint).unwrap();
    host.open_frozen_disk(vm, checkpoint, &disks[disk]).unwrap()
}

pub fn content(disk: &(impl BlockRead + ?Sized)) -> Vec<u8> {
    let mut bytes = vec![0; disk.size_bytes() as usize];
    disk.read_at(0, &mut bytes).unwrap();
    bytes
}

pub fn live_content(host: &SimHost, vm: VmId, disk: u32) -> Vec<u8> {
    content(&host.open_live_disk(vm, disk).unwrap())
}

/// Takes a base: freezes, converts, and returns the id of the first disk.
pub fn base(host: &SimHost, vm: VmId) -> ChangeId {
    let checkpoint = freeze(host, vm);
    let id = open(host, vm, checkpoint, 0).change_id().unwrap().unwrap();
    convert(host, vm, checkpoint);
    id
}

/// Asks the first disk what changed since `base`, in a checkpoint of its own.
pub fn changes(host: &SimHost, vm: VmId, base: &ChangeId) -> Changes {
    let checkpoint = freeze(host, vm);
    let changes = open(host, vm, checkpoint, 0).changes_since(base);
    host.destroy_checkpoint(vm, checkpoint).unwrap();
    settle(host, vm);
    changes
}

pub fn ranges(changes: &Changes) -> Vec<(u64, u64)> {
    match changes {
        Changes::Ranges(ranges) => ranges
            .iter()
            .map(|range| (range.start(), range.end()))
            .collect(),
        Changes::Unknown(reason) => panic!("unknown: {reason:?}"),
    }
}

pub fn code(changes: &Changes) -> u32 {
    match changes {
        Changes::Unknown(reason) => reason.code.unwrap(),
        Changes::Ranges(ranges) => panic!("the disk answered {ranges:?}"),
    }
}

pub fn covers(changes: &Changes, written: &[ByteRange]) -> bool {
    match changes {
        Changes::Unknown(_) => false,
        Changes::Ranges(ranges) => written.iter().all(|&range| {
            ranges.within(range).map(|part| part.bytes()).sum::<u64>() == range.bytes()
        }),
    }
}

/// Returns every file below a folder, with `/` between names.
pub fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in next.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(
                    path.strip_prefix(folder)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .replace(std::path::MAIN_SEPARATOR, "/"),
                );
            }
        }
    }
    found.sort();
    found
}

pub fn shared(host: &SimHost) -> Arc<dyn HypervHost> {
    Arc::new(host.clone())
}
