//! A host with one VM, seen by the real calls and by the model.

use std::path::{Path, PathBuf};

use fake_hyperv::Manners;
use fake_hyperv::apart::host_folder;
use fake_hyperv::virtdisk::FakeVirtualDisks;
use hyperv::sim::{SimDisk, SimFault, SimHost, SimOptions, SimVm};
use hyperv::{CheckpointId, HypervHost as _, RequestedConsistency, VmId};
use time_and_chance::{Chance, ManualClock, StopSignal, Timestamp};
use windows_host::virtdisk::win32::Win32VirtualDisks;
use windows_host::virtdisk::{Access, VirtualDisks};

pub const DISK_BYTES: u64 = 16 << 20;

pub struct World {
    pub host: SimHost,
    pub vm: VmId,
    pub real: Win32VirtualDisks,
    pub model: FakeVirtualDisks,
}

impl World {
    pub fn new() -> Self {
        let host = SimHost::create(
            &host_folder(),
            SimOptions::default(),
            ManualClock::at(Timestamp::UNIX_EPOCH),
            Chance::from_seed(1),
        )
        .unwrap();
        let vm = SimVm::new("dc01", vec![SimDisk::new(DISK_BYTES)]);
        Self {
            vm: host.add_vm(&vm).unwrap(),
            model: FakeVirtualDisks::new(host.clone(), Manners::default()),
            real: Win32VirtualDisks::new(Chance::from_seed(2)),
            host,
        }
    }

    pub fn write(&self, offset: u64, data: &[u8]) {
        self.host.write(self.vm, 0, offset, data).unwrap();
    }

    pub fn freeze(&self) -> (CheckpointId, PathBuf) {
        let stop = StopSignal::new();
        let crash = RequestedConsistency::Crash;
        let made = self
            .host
            .create_recovery_checkpoint(self.vm, crash, "ours", &stop);
        let checkpoint = made.unwrap();
        let disks = self.host.frozen_disks(self.vm, checkpoint).unwrap();
        (checkpoint, disks[0].path.clone())
    }

    pub fn convert(&self, checkpoint: CheckpointId) -> Result<(), Option<u32>> {
        let stop = StopSignal::new();
        let converted = self
            .host
            .convert_to_reference_point(self.vm, checkpoint, &stop);
        for _ in 0..5 {
            self.host.merge_state(self.vm).unwrap();
        }
        converted.map(drop).map_err(|error| error.code())
    }

    /// Makes a reference point and returns the id that names its instant.
    pub fn base(&self) -> String {
        let (checkpoint, path) = self.freeze();
        let disk = self.model.open(&path, Access::Read).unwrap();
        let id = disk.change_tracking().unwrap().most_recent_id;
        drop(disk);
        self.convert(checkpoint).unwrap();
        id
    }

    pub fn fault(&self, fault: SimFault) {
        self.host.add_fault(self.vm, fault, Some(1)).unwrap();
    }

    /// Returns the folder of a VM to be restored.
    pub fn new_folder(&self) -> PathBuf {
        let folder = self.host.default_vm_folder("new").unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Returns how many files stand for attached disks.
    pub fn images(&self) -> usize {
        let images: &Path = &self.host.folder().join("attached");
        images.read_dir().map_or(0, Iterator::count)
    }
}
