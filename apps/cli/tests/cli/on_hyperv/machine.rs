//! A machine with Hyper-V, a repository, and the executable beside our DLLs.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use hyperv::VmId;
use hyperv::sim::{SimDisk, SimHost, SimView, SimVm, SimVmView};
use serde_json::Value;
use time_and_chance::{Chance, SharedClock, StopSignal, SystemClock};

use crate::agent::Agent;
use crate::windows_program::BESIDE_FAKES;

pub const MIB: u64 = 1 << 20;

/// Names switches of the model of Hyper-V.
pub const MANNERS: &str = "E3_FAKE_HYPERV_MANNERS";
/// A job is looked at once before its end: the executable waits between two looks.
const QUICK_JOBS: &str = "job-states=4";
/// The other way: jobs take their time.
pub const SLOW_JOBS: &str = "job-states=2+4+4";
/// And disks can be attached as drives only.
const DRIVES_ONLY: &str = "job-states=2+4+4,no-local-host-refused=50";

/// A machine.
pub struct Machine {
    pub agent: Agent,
    pub host: SimHost,
    clock: SharedClock,
    chance: Chance,
}

impl Machine {
    /// Returns one without VMs, and the repository `repo`.
    pub fn new() -> Self {
        let agent = Agent::running(&*BESIDE_FAKES);
        let folder = agent.path("host");
        let agent = agent
            .with("E3_FAKE_HYPERV", &folder)
            .with(MANNERS, QUICK_JOBS);
        agent.succeeds(["sim", "create", "host"]);
        agent.succeeds(["repo", "create", "--repo", "repo"]);
        let clock = SystemClock::new();
        Self {
            host: SimHost::open(&folder, clock.clone(), Chance::from_system()).unwrap(),
            agent,
            clock,
            chance: Chance::from_seed(1),
        }
    }

    /// Gives the model of Hyper-V these manners.
    pub fn in_manners(self, manners: &str) -> Self {
        Self {
            agent: self.agent.with(MANNERS, manners),
            ..self
        }
    }

    /// Adds a running VM with one disk, of which the guest has written some.
    pub fn add_vm(&self, name: &str, disk_bytes: u64, written_bytes: u64) -> VmId {
        let vm = SimVm::new(name, vec![SimDisk::new(disk_bytes)]);
        let vm = self.host.add_vm(&vm).unwrap();
        self.guest_writes(vm, written_bytes);
        vm
    }

    /// Lets the guest write here and there.
    pub fn guest_writes(&self, vm: VmId, bytes: u64) {
        let seed = self.chance.below(1 << 32);
        self.host.write_random(vm, 0, bytes, seed).unwrap();
    }

    /// Returns what the guest sees of its disk.
    pub fn disk(&self, vm: VmId, number: u32) -> Vec<u8> {
        let raw = self.agent.path("dumped.raw");
        self.host.dump(vm, number, &raw).unwrap();
        fs::read(raw).unwrap()
    }

    /// Backs up what `which` names, which must end with `status`; returns the document.
    pub fn backup(&self, status: i32, which: &[&str]) -> Value {
        self.agent.json(status, &backup_arguments(which))
    }

    /// Backs one VM up; returns its part of the document.
    pub fn backup_one(&self, vm: VmId) -> Value {
        self.backup(0, &[&vm.to_string()])["vms"][0].clone()
    }

    /// Begins to back up what `which` names; jobs are looked at so often that whoever sees what
    /// one made has a second before the executable knows.
    pub fn spawn_backup(&self, which: &[&str]) -> Child {
        self.spawn(&backup_arguments(which), DRIVES_ONLY)
    }

    /// Begins to do what `arguments` say, in the model's `manners`.
    pub fn spawn(&self, arguments: &[&str], manners: &str) -> Child {
        let mut command = self.agent.command(arguments);
        command.arg("--json").env(MANNERS, manners);
        let (stdout, stderr) = (Stdio::piped(), Stdio::piped());
        command.stdout(stdout).stderr(stderr);
        wine::begun(|| command.spawn()).unwrap()
    }

    /// Waits while a process runs until what is on the host `fits`; tells whether it came to that.
    pub fn wait_for(&self, child: &mut Child, fits: impl Fn(&SimView) -> bool) -> bool {
        while child.try_wait().unwrap().is_none() {
            if fits(&self.host.show().unwrap()) {
                return true;
            }
            let moment = Duration::from_millis(2);
            self.clock.sleep(moment, &StopSignal::new()).unwrap();
        }
        false
    }

    /// Checks that nothing of a run is on the host but what the next increment is counted from.
    pub fn assert_clean(&self, vm: VmId) {
        let view = self.view(vm);
        assert_eq!(view.checkpoints, [], "{view:?}");
        assert!(view.reference_points.len() <= 1, "{view:?}");
        let found = self.agent.json(0, &["host", "clean", "--dry-run"]);
        for of_vm in found["vms"].as_array().unwrap() {
            for what in ["checkpoints", "reference_points", "warnings"] {
                assert_eq!(of_vm[what], Value::Array(Vec::new()), "{found}");
            }
        }
    }

    /// Returns a VM as the simulated host shows it.
    pub fn view(&self, vm: VmId) -> SimVmView {
        let mut vms = self.host.show().unwrap().vms.into_iter();
        vms.find(|view| view.vm.id == vm).unwrap()
    }

    /// Restores a disk of a point and compares it.
    pub fn assert_restores(&self, point: &Value, number: u32, bytes: &[u8]) {
        let id = format!("{}:{number}", point["point_id"].as_str().unwrap());
        let to = ["--to", "restored.raw", "--format", "raw", "--overwrite"];
        self.agent
            .succeeds([&["restore", "disk", &id, "--repo", "repo"][..], &to].concat());
        crate::agent::assert_holds(&self.agent.path("restored.raw"), bytes);
    }
}

/// Returns the arguments of a backup, however full the disk is.
fn backup_arguments<'a>(which: &[&'a str]) -> Vec<&'a str> {
    let always = ["--repo", "repo", "--min-free-gib", "0"];
    [&["backup", "vm"][..], which, &always].concat()
}

/// Returns whether a VM has a checkpoint.
pub fn has_checkpoint(view: &SimView, vm: VmId) -> bool {
    let mut vms = view.vms.iter();
    vms.any(|view| view.vm.id == vm && !view.checkpoints.is_empty())
}
