//! A simulated host, seen through its model by the product's own host.

use std::sync::Arc;
use std::time::Duration;

use fake_hyperv::meddling::{Meddled, MeddledDisks, Meddler};
use fake_hyperv::virtdisk::FakeVirtualDisks;
use fake_hyperv::{Extras, FakeNamespaces, Manners};
use hyperv::contract::ContractWorld;
use hyperv::sim::{SimDisk, SimFault, SimHost, SimOptions, SimVm};
use hyperv::{
    CheckpointId, HypervError, HypervHost, MergeState, RequestedConsistency, SharedHypervHost, VmId,
};
use tempfile::TempDir;
use time_and_chance::{Chance, ManualClock, StopSignal, Timestamp};
use windows_host::hyperv::{Beliefs, Parts, SystemVolumes, WindowsHypervHost};

pub const MIB: u64 = 1 << 20;
/// The name our checkpoints get.
pub const MARK: &str = "ours \"42\"";

/// All of it.
pub struct World {
    _folder: TempDir,
    /// What an administrator and the guests do.
    pub sim: SimHost,
    /// What is tested.
    pub host: Arc<WindowsHypervHost>,
    pub clock: Arc<ManualClock>,
    pub meddler: Arc<Meddler>,
    wmi: FakeNamespaces,
    points_have_the_frozen_ids: bool,
    parts: Parts,
}

impl World {
    pub fn new() -> Self {
        Self::with(Manners::default())
    }

    pub fn with(manners: Manners) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at("2026-03-01T12:00:00Z".parse::<Timestamp>().unwrap());
        let sim = SimHost::create(
            &folder.path().join("host"),
            SimOptions::default(),
            clock.clone(),
            Chance::from_seed(1),
        )
        .unwrap();
        let meddler = Meddler::new();
        let points_have_the_frozen_ids = !manners.points_have_ids_of_their_own;
        // A host that takes one form of texts alone is believed to.
        let beliefs = Beliefs {
            text_form: manners.only_text_form.unwrap_or_default(),
            ..Beliefs::default()
        };
        let chance = Chance::from_seed(2);
        let wmi = FakeNamespaces::new(sim.clone(), manners.clone(), clock.clone(), chance);
        let disks = FakeVirtualDisks::new(sim.clone(), manners);
        let parts = Parts {
            namespaces: Arc::new(Meddled::new(wmi.clone(), Arc::clone(&meddler))),
            virtual_disks: Arc::new(MeddledDisks::new(disks, Arc::clone(&meddler))),
            volumes: Arc::new(SystemVolumes),
            clock: clock.clone(),
            beliefs,
        };
        Self {
            _folder: folder,
            sim,
            host: Arc::new(WindowsHypervHost::connect(parts.clone()).unwrap()),
            clock,
            meddler,
            wmi,
            points_have_the_frozen_ids,
            parts,
        }
    }

    /// Returns what there is beside the simulated host, to be changed.
    pub fn extras(&self) -> std::sync::MutexGuard<'_, Extras> {
        self.wmi.extras()
    }

    /// Lets Hyper-V be told not to merge the disks of a VM for now, as an export does.
    pub fn forbid_merging(&self, vm: VmId) {
        self.extras().merging_off.insert(vm);
        self.sim.add_fault(vm, SimFault::StuckMerge, None).unwrap();
    }

    /// Connects once more.
    pub fn reconnect(&self) -> Result<WindowsHypervHost, HypervError> {
        WindowsHypervHost::connect(self.parts.clone())
    }

    /// Connects once more, with other beliefs.
    pub fn believing(&self, beliefs: Beliefs) -> WindowsHypervHost {
        let parts = Parts {
            beliefs,
            ..self.parts.clone()
        };
        WindowsHypervHost::connect(parts).unwrap()
    }

    /// Puts up a running VM of generation 2 with one disk of 8 MiB.
    pub fn vm(&self, name: &str) -> VmId {
        self.sim
            .add_vm(&SimVm::new(name, vec![SimDisk::new(8 * MIB)]))
            .unwrap()
    }

    /// Waits until nothing is merged any more.
    pub fn settle(&self, vm: VmId) {
        for _ in 0..100 {
            if self.host.merge_state(vm).unwrap() == MergeState::Idle {
                return;
            }
            self.clock.advance(Duration::from_secs(1));
        }
        panic!("a merge never ends");
    }

    /// Takes an application-consistent checkpoint.
    pub fn freeze(&self, vm: VmId) -> Result<CheckpointId, HypervError> {
        self.freeze_as(vm, RequestedConsistency::Application)
    }

    /// Takes a checkpoint.
    pub fn freeze_as(
        &self,
        vm: VmId,
        consistency: RequestedConsistency,
    ) -> Result<CheckpointId, HypervError> {
        self.host
            .create_recovery_checkpoint(vm, consistency, MARK, &StopSignal::new())
    }
}

impl ContractWorld for World {
    fn host(&self) -> SharedHypervHost {
        self.host.clone()
    }

    fn add_vm(&mut self, name: &str, disk_bytes: &[u64]) -> VmId {
        let disks = disk_bytes
            .iter()
            .map(|&bytes| SimDisk::new(bytes))
            .collect();
        self.sim.add_vm(&SimVm::new(name, disks)).unwrap()
    }

    fn guest_write(&mut self, vm: VmId, disk: usize, offset: u64, bytes: &[u8]) {
        self.sim.write(vm, disk as u32, offset, bytes).unwrap();
    }

    fn user_checkpoint(&mut self, vm: VmId) -> CheckpointId {
        self.sim.checkpoint(vm, "mine").unwrap()
    }

    fn delete_vm(&mut self, vm: VmId) {
        self.sim.delete_vm(vm, false).unwrap();
    }

    fn wait(&mut self) {
        self.clock.advance(Duration::from_secs(1));
    }

    fn points_have_the_frozen_ids(&self) -> bool {
        self.points_have_the_frozen_ids
    }
}
