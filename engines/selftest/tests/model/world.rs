//! A simulated host that the self-test sees as Windows shows it, or as it is.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backup::vm::HoldLimits;
use fake_hyperv::meddling::{Meddled, Meddler};
use fake_hyperv::virtdisk::FakeVirtualDisks;
use fake_hyperv::{FakeNamespaces, Manners};
use hyperv::sim::{SimDisk, SimFault, SimHost, SimOptions, SimTruth, SimVm};
use hyperv::{HypervError, VmId};
use progress::{Monitor, News, Progress};
use selftest::{
    Answers, CleanedVms, Connect, Connected, Kept, Options, Report, SelfTest, SelfTestError,
    Verdict,
};
use tempfile::TempDir;
use time_and_chance::{Chance, ManualClock, SharedClock, StopSignal, Timestamp};
use windows_host::hyperv::{
    Beliefs, Parts, Probing as _, SystemVolumes, WindowsHypervHost, WindowsVersion,
};

pub const MIB: u64 = 1 << 20;
/// How long a merge is waited for.
pub const MERGE_WAIT: Duration = Duration::from_mins(5);
/// How long a frozen disk is left alone between two readings: nothing else is waited for so long.
pub const SETTLE: Duration = Duration::from_secs(14);

/// Opens a simulated host as the model of Windows shows it.
#[derive(Debug)]
pub struct Windows {
    parts: Parts,
}

impl Windows {
    fn new(sim: &SimHost, manners: &Manners, clock: &SharedClock, meddler: &Arc<Meddler>) -> Self {
        let namespaces = FakeNamespaces::new(
            sim.clone(),
            manners.clone(),
            clock.clone(),
            Chance::from_seed(2),
        );
        Self {
            parts: Parts {
                namespaces: Arc::new(Meddled::new(namespaces, Arc::clone(meddler))),
                virtual_disks: Arc::new(FakeVirtualDisks::new(sim.clone(), manners.clone())),
                volumes: Arc::new(SystemVolumes),
                clock: clock.clone(),
                beliefs: Beliefs::default(),
            },
        }
    }

    pub fn open(&self, beliefs: &Beliefs) -> Result<Arc<WindowsHypervHost>, HypervError> {
        let parts = Parts {
            beliefs: beliefs.clone(),
            ..self.parts.clone()
        };
        WindowsHypervHost::connect(parts).map(Arc::new)
    }
}

impl Connect for Windows {
    fn connect(&self, beliefs: &Beliefs) -> Result<Connected, HypervError> {
        let host = self.open(beliefs)?;
        Ok(Connected {
            host: host.clone(),
            probing: Some(host),
        })
    }
}

/// Opens a simulated host as it is.
#[derive(Debug)]
struct Simulated(SimHost);

impl Connect for Simulated {
    fn connect(&self, _: &Beliefs) -> Result<Connected, HypervError> {
        Ok(Connected {
            host: Arc::new(self.0.clone()),
            probing: None,
        })
    }
}

/// Stops a self-test when it comes to a phase.
#[derive(Debug)]
pub struct StopAt {
    pub phase: &'static str,
    pub stop: StopSignal,
}

impl Monitor for StopAt {
    fn hear(&self, news: &News<'_>) {
        if matches!(news, News::Phase { phase, .. } if *phase == self.phase) {
            self.stop.stop();
        }
    }
}

/// Hears which phases a self-test comes to.
#[derive(Debug, Default)]
pub struct Phases(Mutex<Vec<String>>);

impl Phases {
    pub fn heard(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Monitor for Phases {
    fn hear(&self, news: &News<'_>) {
        if let News::Phase { phase, .. } = news {
            self.0.lock().unwrap().push((*phase).to_owned());
        }
    }
}

/// Fills the volume of a VM when a self-test comes to a phase, and lets some time pass.
#[derive(Debug)]
pub struct FillAt {
    pub phase: &'static str,
    pub sim: SimHost,
    pub vm: VmId,
    pub clock: SharedClock,
}

impl Monitor for FillAt {
    fn hear(&self, news: &News<'_>) {
        if matches!(news, News::Phase { phase, .. } if *phase == self.phase) {
            let full = SimFault::LowSpace { free_bytes: 0 };
            self.sim.add_fault(self.vm, full, None).unwrap();
            let a_while = Duration::from_secs(60);
            self.clock.sleep(a_while, &StopSignal::new()).unwrap();
        }
    }
}

pub struct World {
    folder: TempDir,
    pub sim: SimHost,
    manners: Manners,
    pub meddler: Arc<Meddler>,
    pub clock: SharedClock,
    chance: Chance,
    pub vm: VmId,
}

impl World {
    pub fn new() -> Self {
        Self::with(Manners::default(), 40)
    }

    /// Puts up a host with a running VM of two disks; a merge takes so many calls.
    pub fn with(manners: Manners, merge_calls: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: SharedClock =
            ManualClock::at("2026-03-01T12:00:00Z".parse::<Timestamp>().unwrap());
        let options = SimOptions {
            merge_calls,
            ..SimOptions::default()
        };
        let root = folder.path().join("host");
        let sim = SimHost::create(&root, options, clock.clone(), Chance::from_seed(1)).unwrap();
        let disks = vec![SimDisk::new(4 * MIB), SimDisk::new(3 * MIB)];
        let vm = sim.add_vm(&SimVm::new("asked", disks)).unwrap();
        sim.add_vm(&SimVm::new("bystander", vec![SimDisk::new(MIB)]))
            .unwrap();
        sim.write(vm, 0, 70_000, &[7; 9000]).unwrap();
        Self {
            folder,
            sim,
            manners,
            meddler: Meddler::new(),
            clock,
            chance: Chance::from_seed(4),
            vm,
        }
    }

    pub fn state_folder(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The host after its process was killed: another opens it.
    pub fn reopen(&mut self) {
        let root = self.folder.path().join("host");
        let clock = self.clock.clone();
        self.sim = SimHost::open(&root, clock, Chance::from_seed(3)).unwrap();
    }

    pub fn windows(&self) -> Windows {
        Windows::new(&self.sim, &self.manners, &self.clock, &self.meddler)
    }

    pub fn run(&self) -> Result<Report, SelfTestError> {
        self.run_through(&self.windows(), &Progress::silent())
    }

    pub fn run_simulated(&self) -> Result<Report, SelfTestError> {
        self.run_simulated_with(&Progress::silent())
    }

    pub fn run_simulated_with(&self, progress: &Progress) -> Result<Report, SelfTestError> {
        self.run_through(&Simulated(self.sim.clone()), progress)
    }

    fn run_through(
        &self,
        connect: &dyn Connect,
        progress: &Progress,
    ) -> Result<Report, SelfTestError> {
        self.with_self_test(connect, |test| test.run(self.vm, progress))
    }

    /// A self-test that goes by another clock than its host.
    pub fn run_by(
        &self,
        clock: &SharedClock,
        progress: &Progress,
    ) -> Result<Report, SelfTestError> {
        self.with_self_test_by(clock, &self.windows(), |test| test.run(self.vm, progress))
    }

    /// A self-test with a VM of its own.
    pub fn run_with_own_vm(&self) -> Result<Report, SelfTestError> {
        self.run_with_own_vm_and(&Progress::silent())
    }

    pub fn run_with_own_vm_and(&self, progress: &Progress) -> Result<Report, SelfTestError> {
        self.with_self_test(&self.windows(), |test| test.run_with_own_vm(progress))
    }

    pub fn run_simulated_with_own_vm(&self) -> Result<Report, SelfTestError> {
        let connect = Simulated(self.sim.clone());
        self.with_self_test(&connect, |test| test.run_with_own_vm(&Progress::silent()))
    }

    /// Lets so much time pass that a VM which is still being made would be there.
    pub fn let_what_is_made_come(&self) {
        let a_while = Duration::from_mins(20);
        self.clock.sleep(a_while, &StopSignal::new()).unwrap();
    }

    /// Removes the VM that a killed self-test had made.
    pub fn clean_vms(&self) -> Result<CleanedVms, SelfTestError> {
        let on = self.windows().connect(&Beliefs::default()).unwrap();
        selftest::clean_vms(&on, &self.state_folder(), self.clock.now(), false)
    }

    fn with_self_test(
        &self,
        connect: &dyn Connect,
        run: impl FnOnce(&SelfTest<'_>) -> Result<Report, SelfTestError>,
    ) -> Result<Report, SelfTestError> {
        self.with_self_test_by(&self.clock, connect, run)
    }

    fn with_self_test_by(
        &self,
        clock: &SharedClock,
        connect: &dyn Connect,
        run: impl FnOnce(&SelfTest<'_>) -> Result<Report, SelfTestError>,
    ) -> Result<Report, SelfTestError> {
        let options = Options {
            merge_wait: MERGE_WAIT,
            settle: SETTLE,
            // Less room than this is made by a fault alone.
            hold_limits: HoldLimits {
                hours: 12,
                free_bytes_min: 1,
            },
            ..Options::default()
        };
        run(&SelfTest {
            connect,
            state_folder: &self.state_folder(),
            options: &options,
            clock,
            chance: &self.chance,
            agent_version: "0.0.0",
        })
    }

    /// What is believed of this host from now on.
    pub fn beliefs(&self) -> Beliefs {
        let host = self.windows().open(&Beliefs::default()).unwrap();
        let current = || host.windows_version().map_err(|error| panic!("{error}"));
        match Answers::kept::<SelfTestError>(&self.state_folder(), current).unwrap() {
            Kept::Ours(answers) => answers.learned.beliefs(),
            other => panic!("nothing was kept: {other:?}"),
        }
    }

    pub fn version(&self) -> WindowsVersion {
        let host = self.windows().open(&Beliefs::default()).unwrap();
        host.windows_version().unwrap()
    }

    /// Everything of the host that a self-test has to leave as it was: what there is, what guests
    /// see on their disks, and every other file and folder, but for the write history and the host's
    /// own bookkeeping.
    pub fn picture(&self) -> Picture {
        self.settle();
        let mut truth = self.sim.truth().unwrap();
        let mut files = BTreeMap::new();
        collect(&truth.vms_folder, &mut files);
        files.retain(|path, _| {
            let is_history = path.extension().is_some_and(|end| end == "rct");
            // The host keeps a VM's folder for checkpoints once there was one.
            let is_kept = path.ends_with("Snapshots") && path.is_dir();
            !is_history && !is_kept
        });
        let mut disks = Vec::new();
        for vm in &mut truth.vms {
            for (number, disk) in vm.vm.disks.iter_mut().enumerate() {
                disk.tracked = None;
                let raw = self.folder.path().join("dumped");
                self.sim.dump(vm.vm.id, number as u32, &raw).unwrap();
                disks.push(hash(&std::fs::read(&raw).unwrap()));
                // A merge writes to the file, and what the guest sees stays the same.
                files.insert(disk.path.clone(), 0);
            }
        }
        Picture {
            truth,
            files,
            disks,
        }
    }

    fn settle(&self) {
        for _ in 0..1000 {
            let host = self.windows().open(&Beliefs::default()).unwrap();
            if hyperv::HypervHost::merge_state(&*host, self.vm).unwrap() == hyperv::MergeState::Idle
            {
                return;
            }
        }
        panic!("a merge never ends");
    }
}

/// What a host holds.
#[derive(Debug, PartialEq)]
pub struct Picture {
    truth: SimTruth,
    files: BTreeMap<PathBuf, u64>,
    disks: Vec<u64>,
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, u64>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => {
                files.insert(path.clone(), 0);
                collect(&path, files);
            }
            false => {
                files.insert(path.clone(), hash(&std::fs::read(&path).unwrap()));
            }
        }
    }
}

/// Returns whether a claim was confirmed; none if it was not tried.
pub fn holds(report: &Report, id: &str) -> Option<bool> {
    let mut answers = report.answers.iter();
    let answer = answers.find(|answer| answer.id == id).unwrap();
    match answer.verdict {
        Verdict::Confirmed => Some(true),
        Verdict::Refuted => Some(false),
        Verdict::NotTried(_) => None,
    }
}
