//! `kill -9` at random moments of the service's life, with the same control plane: no run hangs, no
//! result is lost or told in two ways, every listed point restores byte for byte, and nothing stays
//! on the host once the service runs again.
//!
//! The short form kills a few times from a fixed seed, the long form fifty times. What is drawn
//! follows from the seed; where exactly a kill strikes depends on the machine.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use blob::{FilesystemStore, SharedBlobStore};
use disk::BlockRead;
use hyperv::sim::{SimDisk, SimHost, SimOptions, SimVm};
use hyperv::{HypervHost as _, VmId};
use image::ImageReader;
use point::Points;
use repo::{Identity, Repository, Surroundings};
use scripted_control_plane::world::{CommandState, VmOrder};
use scripted_control_plane::{CommandOrder, ControlPlane, Fault, RunOrder, Settings};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use time_and_chance::{Chance, Clock, SharedClock, StopSignal, Stopped, SystemClock, Timestamp};

use crate::agent::Agent;

const KILLS_SHORT: u32 = 4;
const KILLS_LONG: u32 = 50;

const AGENT: &str = "0f0e0d0c-0000-4000-8000-000000000001";
const TOKEN: &str = "4f8d0c1b2a39485766758493a2b1c0d9e8f70615";
/// The password that the control plane sends.
const PASSWORD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// What must be in no line of any log.
const SECRETS: [&str; 3] = [TOKEN, PASSWORD, "scripted-secret-key-0001"];
/// Nothing that is waited for takes longer, on the slowest machine.
const PATIENCE: Duration = Duration::from_mins(10);
/// How long the service stays dead for the control plane: long enough for its runs to be handed out
/// again, and not so long that they are given up.
const DEAD: Duration = Duration::from_secs(200);

#[test]
fn whenever_the_service_is_killed_its_runs_end_once_and_every_point_is_right() {
    let long = std::env::var("E3_TEST_LONG").is_ok_and(|long| long == "1");
    let seed = std::env::var("E3_STORM_SEED").map_or(1, |seed| seed.parse().unwrap());
    let kills = if long { KILLS_LONG } else { KILLS_SHORT };
    Story::new(seed).tell(kills);
}

/// The system's clock, which can be put forward: nobody waits for the service to be missed.
#[derive(Debug)]
struct Skipping {
    system: SharedClock,
    skipped_secs: AtomicU64,
}

impl Clock for Skipping {
    fn now(&self) -> Timestamp {
        self.system.now()
    }

    fn monotonic(&self) -> Duration {
        let skipped = Duration::from_secs(self.skipped_secs.load(Ordering::SeqCst));
        self.system.monotonic() + skipped
    }

    fn sleep(&self, duration: Duration, stop: &StopSignal) -> Result<(), Stopped> {
        self.system.sleep(duration, stop)
    }
}

/// The contents of all disks of all VMs at one time.
type Contents = BTreeMap<VmId, Vec<[u8; 32]>>;

/// A service that is killed now and then, and what must be true of it.
struct Story {
    seed: u64,
    kill: u32,
    chance: Chance,
    clock: Arc<Skipping>,
    agent: Agent,
    plane: ControlPlane,
    host: SimHost,
    vms: Vec<(String, VmId)>,
    job_of_vms: Value,
    job_of_files: Value,
    process: Option<Child>,
    /// What disks held at some time since points were looked at last; the newest is the last.
    recent: Vec<Contents>,
    /// What each point holds, by its manifest.
    points: BTreeMap<String, (VmId, Vec<[u8; 32]>)>,
    /// How long a run takes here, from its claim to its end.
    lasts: Duration,
    told: Told,
}

/// What happened, for whoever reads the figures.
#[derive(Debug, Default)]
struct Told {
    runs: usize,
    kills: usize,
    kills_within_a_run: usize,
    reclaimed: usize,
    ended_twice: usize,
    cancelled: usize,
    restores_cut_off: usize,
}

impl Story {
    fn new(seed: u64) -> Self {
        let agent = Agent::new();
        let clock = Arc::new(Skipping {
            system: SystemClock::new(),
            skipped_secs: AtomicU64::new(0),
        });
        let settings = Settings {
            long_poll_secs: 1,
            next_poll_secs: 1,
            ..Settings::default()
        };
        let plane = ControlPlane::start(settings, clock.clone()).unwrap();
        let (job_of_vms, job_of_files) = plane.with(|world| {
            world.add_agent(AGENT, TOKEN);
            (world.wire_id(), world.wire_id())
        });
        let host = SimHost::create(
            &agent.path("host"),
            SimOptions::default(),
            clock.clone(),
            Chance::from_seed(seed),
        );
        let host = host.unwrap();
        let vms = [("web", &[24, 8][..]), ("db", &[12])].map(|(name, disks)| {
            let disks = disks.iter().map(|mib| SimDisk::new(mib << 20)).collect();
            (
                name.to_owned(),
                host.add_vm(&SimVm::new(name, disks)).unwrap(),
            )
        });
        fs::create_dir(agent.path("source")).unwrap();
        let config = [
            format!("api_base_url: {}", plane.url()),
            format!("agent_uuid: {AGENT}"),
            format!("agent_token: {TOKEN}"),
            format!("hyperv_host: 'sim:{}'", agent.path("host").display()),
            "log_level: debug".to_owned(),
            "poll_interval_secs: 1".to_owned(),
            "runs_at_once: 2".to_owned(),
            "vms_at_once: 2".to_owned(),
            "min_free_gib: 0".to_owned(),
        ];
        fs::write(agent.path("agent.conf"), config.join("\n")).unwrap();
        Self {
            seed,
            kill: 0,
            chance: Chance::from_seed(seed),
            clock,
            plane,
            host,
            vms: vms.into(),
            job_of_vms,
            job_of_files,
            process: None,
            recent: Vec::new(),
            points: BTreeMap::new(),
            lasts: Duration::ZERO,
            told: Told::default(),
            agent,
        }
    }

    fn tell(mut self, kills: u32) {
        self.guests_write(6 << 20);
        self.start();
        let first = self.queue_files();
        self.wait_for_end(&[&first]);
        self.undisturbed();
        // How long an increment takes says where kills strike.
        self.guests_write(1 << 20);
        self.undisturbed();
        for kill in 1..=kills {
            self.kill = kill;
            self.guests_write(1 << 20);
            self.round();
        }
        self.guests_write(1 << 20);
        self.undisturbed();
        self.check_results();
        let ended = self.end();
        assert!(ended, "the service ends as it should when it is told to");
        let all: Vec<String> = self.points.keys().cloned().collect();
        let repository = self.repository();
        for id in &all {
            assert_eq!(self.contents_of(&repository, id), self.points[id], "{id}");
        }
        let manifests = self.agent_verifies();
        println!(
            "{:?}, {} points, {manifests} verified",
            self.told,
            all.len()
        );
    }

    /// Lets a run of VMs and one of files go through, and measures the former.
    fn undisturbed(&mut self) {
        let (vms, files) = (self.queue_vms(), self.queue_files());
        self.wait_for("a claim", |story| story.status(&vms) != "queued");
        let begun = self.clock.monotonic();
        self.wait_for_end(&[&vms, &files]);
        self.lasts = self.clock.monotonic() - begun;
        for run in [&vms, &files] {
            assert_eq!(self.status(run), "success", "{}", self.place());
        }
        self.check();
    }

    /// Lets runs begin, kills the service, and looks whether all goes well when it is back.
    fn round(&mut self) {
        let mut runs = Vec::new();
        let kind = self.chance.below(4);
        if kind != 0 {
            runs.push(self.queue_vms());
        }
        if kind < 2 {
            runs.push(self.queue_files());
        }
        let restore = (self.chance.below(3) == 0).then(|| self.order_restore());
        let dies_with_the_end = self.chance.below(3) == 0;
        self.faults(dies_with_the_end);
        let first = runs[0].clone();
        self.wait_for("a claim", |story| story.status(&first) != "queued");
        if dies_with_the_end {
            // The server has it, and the answer is still on its way.
            self.wait_for("an end", |story| story.is_over(&first));
        } else {
            let wait_ms = self.chance.below(self.lasts.as_millis() as u64 + 1);
            let wait = Duration::from_millis(wait_ms);
            self.clock.sleep(wait, &StopSignal::new()).unwrap();
        }
        let was_working = !runs.iter().all(|run| self.is_over(run));
        self.told.kills_within_a_run += usize::from(was_working);
        let cancels = was_working && self.chance.below(5) == 0;
        self.kill(cancels.then_some(&first));
        if let Some((command, _)) = restore {
            self.order_again_if_lost(command);
        }
        if self.chance.below(2) == 0 {
            // Guests go on while the dead run's checkpoints are still there.
            self.guests_write(512 << 10);
        }
        self.start();
        self.wait_for_end(&runs.iter().collect::<Vec<_>>());
        if let Some((command, run)) = restore {
            self.wait_for("the end of a restore", |story| {
                let is_answered = |plane: &ControlPlane| {
                    plane.with(|world| world.command(command).completed.is_some())
                };
                story.is_over(&run) && is_answered(&story.plane)
            });
            self.told.restores_cut_off += usize::from(self.status(&run) == "failed");
            let _ = fs::remove_dir_all(self.agent.path(&format!("restored-{}", self.kill)));
        }
        for run in &runs {
            let status = self.status(run);
            let may_be = status == "success" || (cancels && *run == first && status == "cancelled");
            assert!(may_be, "{status}: {}", self.place());
            self.told.cancelled += usize::from(status == "cancelled");
        }
        self.check();
    }

    /// Lets some calls go wrong that tell of runs.
    fn faults(&self, answers_are_slow: bool) {
        for call in 1..=12 {
            let fault = match self.chance.below(12) {
                _ if answers_are_slow => Fault::Slow { millis: 300 },
                0 => Fault::AnswerLost,
                1 => Fault::ServerErrorAfterEffect,
                2 => Fault::ServerError,
                3 => Fault::Reset,
                _ => continue,
            };
            self.plane.inject("agent_update_run", call, fault);
        }
    }

    fn guests_write(&mut self, bytes: u64) {
        let mut contents = Contents::new();
        for (_, vm) in &self.vms {
            let disks = self.host.vm(*vm).unwrap().disks.len() as u32;
            let digests = (0..disks).map(|disk| {
                let seed = self.chance.below(1 << 32);
                self.host.write_random(*vm, disk, bytes, seed).unwrap();
                digest(&self.host.open_live_disk(*vm, disk).unwrap())
            });
            contents.insert(*vm, digests.collect());
        }
        self.recent.push(contents);
        let letter = self.chance.bytes::<4096>();
        let name = format!("source/letter-{}", self.recent.len());
        fs::write(self.agent.path(&name), letter).unwrap();
    }

    fn destination(&self) -> Value {
        json!({
            "dest_type": "local", "dest_local_path": self.agent.path("repo"), "engine": "kopia",
            "repository_id": "5c0e0000-0000-4000-8000-000000000001",
            "repository_password": PASSWORD,
        })
    }

    fn queue(&mut self, mut order: RunOrder, job: &Value) -> Value {
        let engine = order.engine.clone();
        let Value::Object(members) = self.destination() else {
            unreachable!("it is an object");
        };
        order.members.extend(members);
        // Nothing goes that could be wrong.
        let order = order.with("retention_json", Value::Null);
        let order = order.with("engine", json!(engine)).of_job(job);
        self.told.runs += 1;
        self.plane.with(|world| world.queue_run(order))
    }

    fn queue_vms(&mut self) -> Value {
        let vms = self.vms.iter().map(|(name, vm)| VmOrder {
            name: name.clone(),
            guid: vm.to_string(),
            unregistered: false,
        });
        let order = RunOrder {
            engine: "hyperv".to_owned(),
            vms: vms.collect(),
            ..RunOrder::default()
        };
        self.queue(order, &self.job_of_vms.clone())
    }

    fn queue_files(&mut self) -> Value {
        let source = self.agent.path("source").display().to_string();
        self.queue(RunOrder::files(&source), &self.job_of_files.clone())
    }

    /// Orders a restore of the newest point of a VM; returns the command and the run.
    fn order_restore(&self) -> (u64, Value) {
        let newest = self.plane.with(|world| world.backup_points.last().cloned());
        let newest = newest.unwrap();
        let run = self
            .plane
            .with(|world| world.queue_restore_run("hyperv_restore"));
        let target = self.agent.path(&format!("restored-{}", self.kill));
        let payload = json!({
            "target_path": target, "backup_type": "Full", "restore_run_id": run,
            "restore_run_uuid": run,
            "vms": [{"vm_name": "web", "vm_guid": "", "subfolder": "", "backup_type": "Full",
                "disk_manifests": newest.disk_manifests, "restore_chain": []}],
        });
        let command = CommandOrder::new("hyperv_restore", payload).about(&newest.run_id);
        let command = command.with_context(self.destination());
        (self.plane.queue_command(command), run)
    }

    /// A command is handed out once: one that a service was killed with before it could write it down is
    /// lost by the contract, and whoever ordered it does so again.
    fn order_again_if_lost(&self, command: u64) {
        let name = format!("command-{command}.json");
        let of_identities = fs::read_dir(self.agent.path("state/commands"));
        let mut of_identities = of_identities.into_iter().flatten().flatten();
        let is_written = of_identities.any(|it| it.path().join(&name).exists());
        self.plane.with(|world| {
            let mut commands = world.commands.iter_mut();
            let command = commands.find(|it| it.id == command).unwrap();
            if command.state == CommandState::Processing && !is_written {
                command.state = CommandState::Pending;
            }
        });
    }

    fn start(&mut self) {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.agent.path("stderr"));
        let process = self
            .agent
            .command(["run", "--config", "agent.conf"])
            .env_remove("E3_REPO_PASSWORD")
            .env_remove("NOTIFY_SOCKET")
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn();
        self.process = Some(process.unwrap());
    }

    /// Kills the service as `kill -9` does, and lets it be missed. A run that is to be cancelled is so
    /// while nobody hears it.
    fn kill(&mut self, cancelled: Option<&Value>) {
        let mut process = self.process.take().unwrap();
        let shown = fs::read(format!("/proc/{}/cmdline", process.id())).unwrap_or_default();
        process.kill().unwrap();
        process.wait().unwrap();
        if let Some(run) = cancelled {
            self.plane.request_cancel(run);
        }
        self.plane.agent_was_killed();
        self.clock
            .skipped_secs
            .fetch_add(DEAD.as_secs(), Ordering::SeqCst);
        self.told.kills += 1;
        let shown = String::from_utf8_lossy(&shown);
        assert!(!SECRETS.iter().any(|it| shown.contains(it)), "{shown}");
    }

    /// Lets the service end; returns whether it says that all is well.
    fn end(&mut self) -> bool {
        let mut process = self.process.take().unwrap();
        let id = rustix::process::Pid::from_child(&process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        process.wait().unwrap().success()
    }

    fn status(&self, run: &Value) -> String {
        self.plane.with(|world| world.run_status(run).to_owned())
    }

    fn is_over(&self, run: &Value) -> bool {
        let status = self.status(run);
        !matches!(&*status, "queued" | "starting" | "running")
    }

    fn wait_for_end(&mut self, runs: &[&Value]) {
        self.wait_for("the end of runs", |story| {
            runs.iter().all(|run| story.is_over(run))
        });
    }

    fn wait_for(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = self.clock.system.monotonic();
        while !is_so(self) {
            let waited = self.clock.system.monotonic() - begun;
            assert!(waited < PATIENCE, "{what} does not come: {}", self.place());
            let pause = Duration::from_millis(5);
            self.clock.sleep(pause, &StopSignal::new()).unwrap();
        }
    }

    /// Looks at everything that must be so once the service runs again and its runs are over.
    fn check(&mut self) {
        self.wait_for("a host with nothing but one base of each VM", |story| {
            let is_clean = |vm: VmId| {
                story.host.checkpoints(vm).unwrap().is_empty()
                    && story.host.reference_points(vm).unwrap().len() == 1
            };
            story.vms.iter().all(|(_, vm)| is_clean(*vm))
        });
        assert_eq!(self.plane.violations(), [], "{}", self.place());
        assert_eq!(self.plane.unfinished(), [], "{}", self.place());
        self.learn_points();
    }

    /// Looks at points that are new: they hold what disks held not long ago, all disks at one time.
    fn learn_points(&mut self) {
        let repository = self.repository();
        let points = Points::load(&repository).unwrap();
        let listed = points.iter().filter(|point| point.point().is_some());
        let listed: Vec<String> = listed.map(|point| point.id().to_owned()).collect();
        for known in self.points.keys() {
            assert!(listed.contains(known), "{known} is gone: {}", self.place());
        }
        for id in listed {
            if self.points.contains_key(&id) {
                continue;
            }
            let (vm, found) = self.contents_of(&repository, &id);
            let is_right = self.recent.iter().any(|contents| contents[&vm] == found);
            assert!(is_right, "point {id} of {vm} is wrong: {}", self.place());
            self.points.insert(id, (vm, found));
        }
        let now = self.recent.pop().unwrap();
        self.recent = vec![now];
    }

    fn contents_of(&self, repository: &Arc<Repository>, id: &str) -> (VmId, Vec<[u8; 32]>) {
        let points = Points::load(repository).unwrap();
        let open = points.find(id).unwrap().open(repository).unwrap();
        let disks = open.descriptor().disks.iter().map(|disk| {
            let object = open.disk_object(disk).unwrap();
            digest(&ImageReader::open(repository, &object).unwrap())
        });
        (open.descriptor().guid, disks.collect())
    }

    /// Compares what the control plane knows with what the repository has.
    fn check_results(&mut self) {
        let (runs, reported, restore_points) = self.plane.with(|world| {
            (
                world.runs.clone(),
                world.backup_points.clone(),
                world.restore_points.clone(),
            )
        });
        for run in runs.iter().filter(|run| run.status == "success") {
            if run.order["engine"] != "hyperv" || !run.is_backup() {
                continue;
            }
            let of_run = reported.iter().filter(|point| point.run_id == run.id);
            let mut vms: Vec<u64> = of_run.clone().map(|point| point.vm_id).collect();
            self.told.ended_twice += usize::from(vms.len() > self.vms.len());
            vms.sort_unstable();
            vms.dedup();
            assert_eq!(vms.len(), self.vms.len(), "a result of {} is lost", run.id);
            for point in of_run {
                let is_there = self.points.contains_key(&point.manifest_id);
                assert!(is_there, "{} of {} is gone", point.manifest_id, run.id);
            }
        }
        let repository = self.repository();
        let points = Points::load(&repository).unwrap();
        for (manifest, run) in restore_points {
            assert!(
                points.find(&manifest).is_ok(),
                "{manifest} of {run} is gone"
            );
        }
        let handed_out = self.plane.calls_of("agent_next_run");
        let again = |it: &&scripted_control_plane::Recorded| it.answer["run"]["resume"] == true;
        self.told.reclaimed = handed_out.iter().filter(again).count();
        for file in ["stderr", "state/logs/agent.log", "state/logs/agent.log.1"] {
            let text = fs::read_to_string(self.agent.path(file)).unwrap_or_default();
            let found = SECRETS.iter().find(|secret| text.contains(**secret));
            assert_eq!(found, None, "a secret is in {file}");
        }
    }

    /// Lets the executable read everything in the repository; returns how many points there are.
    fn agent_verifies(&self) -> Value {
        let mut verify = self.agent.command([
            "repo", "verify", "--repo", "repo", "--data", "100", "--json",
        ]);
        let verified = verify.env("E3_REPO_PASSWORD", PASSWORD).output().unwrap();
        assert!(verified.status.success(), "{verified:?}");
        let document: Value = serde_json::from_slice(&verified.stdout).unwrap();
        document["points"].clone()
    }

    fn repository(&self) -> Arc<Repository> {
        let store = FilesystemStore::open(self.agent.path("repo"), Chance::from_system());
        let store: SharedBlobStore = Arc::new(store.unwrap());
        let surroundings = Surroundings {
            cache_folder: self.agent.path("cache-of-the-judge"),
            identity: Identity {
                username: "judge".to_owned(),
                hostname: "judge".to_owned(),
            },
            clock: self.clock.system.clone(),
            chance: Chance::from_system(),
            stop: StopSignal::new(),
        };
        Repository::open(store, PASSWORD, surroundings).unwrap()
    }

    fn place(&self) -> String {
        let log = fs::read_to_string(self.agent.path("stderr")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(80)..].join("\n");
        format!("seed {}, kill {}, log:\n{last}", self.seed, self.kill)
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn digest(disk: &dyn BlockRead) -> [u8; 32] {
    let mut bytes = vec![0; usize::try_from(disk.size_bytes()).unwrap()];
    disk.read_at(0, &mut bytes).unwrap();
    Sha256::digest(&bytes).into()
}
