//! A world whose host is seen as Windows shows it.

use std::sync::{Arc, OnceLock};

use backup::BackupError;
use backup::vm::{PointReport, Step, VmBackup};
use disk::BlockRead;
use fake_hyperv::meddling::{Meddled, MeddledDisks, Meddler};
use fake_hyperv::virtdisk::FakeVirtualDisks;
use fake_hyperv::{Extras, FakeNamespaces, Manners};
use hyperv::{HypervHost, MergeState, VmId};
use image::ImageReader;
use point::Points;
use progress::Progress;
use repo::{Repository, Writer};
use restore::RestoreOptions;
use restore::vm::{HostTarget, RestoredVm, to_host};
use scenarios::World;
use time_and_chance::{Chance, ManualClock, Timestamp};
use windows_host::hyperv::{Beliefs, Parts, SystemVolumes, WindowsHypervHost};

pub const MIB: u64 = 1 << 20;

/// Whether the long form is asked for.
pub fn is_long() -> bool {
    std::env::var_os("E3_TEST_LONG").is_some()
}

/// Returns all of these in the long form, every third in the short one, from `first` on.
pub fn some<T>(all: impl IntoIterator<Item = T>, first: usize) -> Vec<T> {
    let all = all.into_iter().enumerate();
    let chosen = all.filter(|(number, _)| is_long() || number % 3 == first % 3);
    chosen.map(|(_, one)| one).collect()
}

pub struct Machine {
    pub world: World,
    pub host: WindowsHypervHost,
    /// What lets calls go wrong.
    pub meddler: Arc<Meddler>,
    pub clock: Arc<ManualClock>,
    wmi: FakeNamespaces,
    /// Opened once: a key takes long to derive.
    repository: OnceLock<Arc<Repository>>,
}

impl Machine {
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Manners::default())
    }

    pub fn with(seed: u64, manners: Manners) -> Self {
        let clock = ManualClock::at("2026-03-01T12:00:00Z".parse::<Timestamp>().unwrap());
        let world = World::with_manual_clock(seed, &clock);
        let sim = world.host.clone();
        let meddler = Meddler::new();
        let chance = Chance::from_seed(seed);
        let wmi = FakeNamespaces::new(sim.clone(), manners.clone(), clock.clone(), chance);
        let disks = FakeVirtualDisks::new(sim, manners);
        let host = WindowsHypervHost::connect(Parts {
            namespaces: Arc::new(Meddled::new(wmi.clone(), Arc::clone(&meddler))),
            virtual_disks: Arc::new(MeddledDisks::new(disks, Arc::clone(&meddler))),
            volumes: Arc::new(SystemVolumes),
            clock: clock.clone(),
            beliefs: Beliefs::default(),
        });
        Self {
            world,
            host: host.unwrap(),
            meddler,
            clock,
            wmi,
            repository: OnceLock::new(),
        }
    }

    /// Returns what there is beside the simulated host, to be changed.
    pub fn extras(&self) -> std::sync::MutexGuard<'_, Extras> {
        self.wmi.extras()
    }

    pub fn repository(&self) -> &Arc<Repository> {
        self.repository
            .get_or_init(|| self.world.repository("repo"))
    }

    pub fn back_up(&self, vm: VmId) -> PointReport {
        self.try_back_up(vm, &|_| ()).unwrap()
    }

    /// Backs a VM up; `at` is called after each step of it.
    pub fn try_back_up(
        &self,
        vm: VmId,
        at: &(dyn Fn(Step) + Sync),
    ) -> Result<PointReport, BackupError> {
        let writer = Writer::new(self.repository(), 2).unwrap();
        let backup = VmBackup {
            host: &self.host,
            writer: &writer,
            state: &self.world.state(),
            options: &self.world.options,
            goes_on: &|step| {
                at(step);
                true
            },
        };
        backup.run(vm, &Progress::silent())
    }

    pub fn restore(&self, report: &PointReport, new_id: bool) -> RestoredVm {
        self.try_restore(report, new_id).unwrap()
    }

    pub fn try_restore(
        &self,
        report: &PointReport,
        new_id: bool,
    ) -> Result<RestoredVm, restore::RestoreError> {
        let repo = self.repository();
        let points = Points::load(repo).unwrap();
        let point = points.by_point(report.descriptor.point).unwrap();
        let target = HostTarget {
            new_id,
            power_on: true,
            ..HostTarget::default()
        };
        let opened = point.open(repo).unwrap();
        let options = RestoreOptions::default();
        let progress = Progress::silent();
        to_host(repo, &opened, &self.host, &target, &options, &progress)
    }

    /// Returns how many points there are.
    pub fn points(&self) -> usize {
        let points = Points::load(self.repository()).unwrap();
        points.iter().count()
    }

    /// Returns what a point holds of a disk.
    pub fn stored(&self, report: &PointReport, number: usize) -> Vec<u8> {
        let object = report.contents[number].parse().unwrap();
        let image = ImageReader::open(self.repository(), &object).unwrap();
        let mut content = vec![0; usize::try_from(image.size_bytes()).unwrap()];
        image.read_at(0, &mut content).unwrap();
        content
    }

    /// Checks that a point holds what the guest sees on each disk now.
    pub fn assert_holds(&self, report: &PointReport, vm: VmId, what: &str) {
        for number in 0..report.contents.len() {
            let stored = self.stored(report, number);
            let live = self.world.disk(vm, u32::try_from(number).unwrap());
            assert!(stored == live, "{what}: disk {number} differs");
        }
    }

    /// Waits until nothing is merged any more.
    pub fn settle(&self, vm: VmId) {
        for _ in 0..100 {
            if self.host.merge_state(vm).unwrap() == MergeState::Idle {
                return;
            }
            self.clock.advance(std::time::Duration::from_secs(1));
        }
        panic!("a merge never ends");
    }
}
