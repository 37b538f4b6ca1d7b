//! A service in this process, against a control plane that goes by a script.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use agent::Afterwards;
use agent::config::ConfigFile;
use agent::http::Https;
use agent::log::{Level, Log};
use agent::ports::{Cadence, Places, Ports};
use agent::service::serve;
use agent::update::{AtStart, ReleaseKeys, at_start};
use blob::{FilesystemStore, SharedBlobStore};
use hyperv::sim::{SimDisk, SimHost, SimOptions, SimVm};
use hyperv::{SharedHypervHost, VmId};
use kopia::policy::PolicyTarget;
use protocol::identity::Program;
use repo::{Identity, Repository, Surroundings, Writer};
use scripted_control_plane::{CommandOrder, ControlPlane, RunOrder, Settings};
use secrets::PrivateFiles;
use serde_json::{Value, json};
use snapshot::{Snapshots, policy_of, save_policy};
use time_and_chance::{Chance, SharedClock, StopSignal, SystemClock, TimeZone};
use volume::{Disk, StorageLayout, Volume, VolumeError};

/// Who the agent is.
pub const AGENT: &str = "0f0e0d0c-0000-4000-8000-000000000001";
const TOKEN: &str = "4f8d0c1b2a39485766758493a2b1c0d9e8f70615";
/// The password that the control plane sends.
pub const PASSWORD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Nothing that is waited for takes longer, on the slowest machine.
const PATIENCE: Duration = Duration::from_mins(10);

/// A machine's disks and volumes: one disk without partitions.
#[derive(Debug)]
struct OneDisk;

impl StorageLayout for OneDisk {
    fn volumes(&self) -> Result<Vec<Volume>, VolumeError> {
        Ok(Vec::new())
    }

    fn disks(&self) -> Result<Vec<Disk>, VolumeError> {
        Ok(vec![Disk {
            name: "sda".to_owned(),
            device: PathBuf::from("/dev/sda"),
            model: None,
            serial: None,
            total_bytes: 1 << 30,
            logical_sector_bytes: 512,
            physical_sector_bytes: 512,
            table: None,
            partitions: Vec::new(),
        }])
    }
}

/// A machine with an agent, and its control plane.
pub struct World {
    pub folder: tempfile::TempDir,
    pub plane: ControlPlane,
    /// The version that the service says it is.
    pub version: String,
    /// Its program's file.
    pub executable: Option<PathBuf>,
    /// The machine's disks and volumes.
    pub storage: Arc<dyn StorageLayout>,
    /// The key that its releases are signed with, if there is one.
    pub release_key: String,
    clock: SharedClock,
    service: Option<(StopSignal, JoinHandle<Afterwards>)>,
}

impl World {
    /// Returns a world with an agent that is enrolled and not begun.
    pub fn new(settings: Settings) -> Self {
        Self::living_by(SystemClock::new(), settings)
    }

    /// Returns one whose parts live by a clock.
    pub fn living_by(clock: SharedClock, settings: Settings) -> Self {
        // Who waits for commands waits a second, not a quarter of a minute.
        let settings = Settings {
            long_poll_secs: 1,
            next_poll_secs: 1,
            ..settings
        };
        let plane = ControlPlane::start(settings, clock.clone()).unwrap();
        let id = match plane.with(|world| world.is_old()) {
            true => "7",
            false => AGENT,
        };
        plane.with(|world| world.add_agent(id, TOKEN));
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            plane,
            version: "1.9.0".to_owned(),
            executable: None,
            storage: Arc::new(OneDisk),
            release_key: String::new(),
            clock,
            service: None,
        };
        let key = if id == AGENT {
            "agent_uuid"
        } else {
            "agent_id"
        };
        // Nor for runs.
        let often = "poll_interval_secs: 1\ncommand_poll_interval_secs: 1\n";
        fs::write(world.path("agent.conf"), often).unwrap();
        world.configure(&[
            ("api_base_url", &world.plane.url()),
            (key, id),
            ("agent_token", TOKEN),
        ]);
        fs::create_dir(world.path("source")).unwrap();
        fs::write(world.path("source/letter.txt"), "dear all").unwrap();
        world
    }

    /// Returns a world in which the agent works.
    pub fn at_work(settings: Settings) -> Self {
        let mut world = Self::new(settings);
        world.begin();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn config_file(&self) -> ConfigFile {
        ConfigFile::at(self.path("agent.conf"))
    }

    pub fn configure(&self, changes: &[(&str, &str)]) {
        self.config_file().change(changes).unwrap();
    }

    fn ports(&self) -> Ports {
        let (clock, host) = (self.clock.clone(), self.path("host"));
        let line = Arc::new(Https::new().unwrap());
        Ports {
            clock: self.clock.clone(),
            chance: Chance::from_seed(1),
            transport: line.clone(),
            downloads: line,
            executable: self.executable.clone(),
            release_keys: ReleaseKeys::parse(&self.release_key).unwrap(),
            open_host: Arc::new(move |_| {
                let opened = SimHost::open(&host, clock.clone(), Chance::from_system());
                let opened = opened.map_err(|error| error.to_string())?;
                Ok(Arc::new(opened) as SharedHypervHost)
            }),
            storage: Arc::clone(&self.storage),
            enumerating: agent::volumes::Turn::default(),
            connect_share: Arc::new(|share, _, _| Err(format!("no {share} here"))),
            secrets: Arc::new(PrivateFiles::new(self.path("state/credentials"))),
            host_name: "testhost".to_owned(),
            program: Program {
                version: self.version.clone(),
                os: "linux".to_owned(),
                arch: "amd64".to_owned(),
                build: String::new(),
            },
            places: Places {
                state: self.path("state"),
                cache: self.path("cache"),
                logs: self.path("logs"),
            },
            time_zone: TimeZone::UTC,
            pulse: agent::pulse::Pulse::default(),
            cadence: Cadence {
                progress: Duration::from_millis(200),
                heartbeat: Duration::from_secs(2),
                cancel_look: Duration::from_millis(200),
                turn: Duration::from_millis(300),
                health: Duration::from_millis(500),
                events: Duration::from_millis(100),
                look: Duration::from_millis(50),
                grace: Duration::from_millis(100),
                ..Cadence::default()
            },
        }
    }

    /// Begins the service.
    pub fn begin(&mut self) {
        self.configure(&[]);
        let ports = self.ports();
        let log = Log::in_folder(&ports.places.logs, Level::Debug, false, self.clock.clone());
        let (file, log, stop) = (self.config_file(), Arc::new(log), StopSignal::new());
        let heard = stop.clone();
        let thread = std::thread::spawn(move || serve(&ports, &file, &log, &heard).unwrap());
        self.service = Some((stop, thread));
    }

    /// Does what a program does first when it begins.
    pub fn settle_update(&self) -> AtStart {
        at_start(&self.path("state"), &self.clock, None).unwrap()
    }

    /// Ends the service, and returns what is to happen then.
    pub fn end(&mut self) -> Afterwards {
        let (stop, thread) = self.service.take().unwrap();
        stop.stop();
        thread.join().unwrap()
    }

    /// Waits for the service to end by itself.
    pub fn ends(&mut self) -> Afterwards {
        let (_, thread) = self.service.take().unwrap();
        thread.join().unwrap()
    }

    /// Waits until something is so.
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&ControlPlane) -> bool) {
        let begun = self.clock.monotonic();
        while !is_so(&self.plane) {
            let waited = self.clock.monotonic() - begun;
            assert!(
                waited < PATIENCE,
                "{what} does not come; log:\n{}",
                self.log()
            );
            let pause = Duration::from_millis(20);
            self.clock.sleep(pause, &StopSignal::new()).unwrap();
        }
    }

    /// Waits until a run has ended, and returns how.
    pub fn end_of(&self, run: &Value) -> String {
        let is_over = |status: &str| !matches!(status, "queued" | "starting" | "running");
        self.wait_for("the end of a run", |plane| {
            plane.with(|world| is_over(world.run_status(run)))
        });
        self.plane.with(|world| world.run_status(run).to_owned())
    }

    /// Waits for an event of a run, and returns its parameters.
    pub fn event(&self, run: &Value, message_id: &str) -> Value {
        let find = |plane: &ControlPlane| {
            plane.with(|world| {
                let mut of_run = world.events.iter().filter(|it| it.run_id == *run);
                let found = of_run.find(|it| it.message_id == message_id);
                found.map(|it| it.event["params_json"].clone())
            })
        };
        self.wait_for(message_id, |plane| find(plane).is_some());
        find(&self.plane).unwrap()
    }

    /// Lets the repository keep nothing that no rule of a job or an operation names, whatever the hour.
    pub fn keep_nothing_by_default(&self) {
        let repository = self.repository(PASSWORD);
        let writer = Writer::new(&repository, 1).unwrap();
        let global = PolicyTarget::global();
        let policy = policy_of(&repository.manifests().unwrap(), &global);
        let mut policy = policy.unwrap().unwrap();
        let retention = &mut policy.retention;
        for tier in [
            &mut retention.keep_latest,
            &mut retention.keep_hourly,
            &mut retention.keep_daily,
            &mut retention.keep_weekly,
            &mut retention.keep_monthly,
            &mut retention.keep_annual,
        ] {
            *tier = Some(0);
        }
        save_policy(&writer, &global, &policy).unwrap();
    }

    /// Returns how many points a source has.
    pub fn points_of(&self, source: &str) -> usize {
        let points = Snapshots::load(&self.repository(PASSWORD)).unwrap();
        let of_source = points.iter().filter(|it| it.manifest.source.path == source);
        of_source.count()
    }

    /// Waits until a run says that it waits for another.
    pub fn waits(&self, run: &Value) {
        self.wait_for("that a run waits", |plane| {
            let calls = plane.calls_of("agent_update_run");
            calls.iter().any(|it| {
                let item = it.call.body["current_item"].as_str();
                it.call.body["run_id"] == *run
                    && item.is_some_and(|it| it.contains("waiting until another run lets go"))
            })
        });
    }

    /// Waits until a command is answered, and returns whether it was done, and with which words.
    pub fn answer_to(&self, command: u64) -> (bool, String) {
        self.wait_for("the answer to a command", |plane| {
            plane.with(|world| world.command(command).completed.is_some())
        });
        self.plane.with(|world| {
            let command = world.command(command);
            let state = serde_json::to_value(command.state).unwrap();
            (state == "completed", command.result_message.clone())
        })
    }

    /// Returns the last update of a run.
    pub fn last_update(&self, run: &Value) -> Value {
        let calls = self.plane.calls_of("agent_update_run");
        let mut of_run = calls.iter().filter(|it| it.call.body["run_id"] == *run);
        of_run.next_back().unwrap().call.body.clone()
    }

    /// Waits for an event of a run, and returns what all of its kind so far tell.
    pub fn events_of(&self, run: &Value, message_id: &str) -> Vec<Value> {
        let told = |plane: &ControlPlane| -> Vec<Value> {
            plane.with(|world| {
                let of_run = world.events.iter().filter(|it| it.run_id == *run);
                let of_kind = of_run.filter(|it| it.message_id == message_id);
                of_kind.map(|it| it.event["params_json"].clone()).collect()
            })
        };
        self.wait_for(message_id, |plane| !told(plane).is_empty());
        told(&self.plane)
    }

    /// Checks that nothing broke the contract, and nothing hangs.
    pub fn check(&self) {
        assert_eq!(self.plane.violations(), [], "log:\n{}", self.log());
        assert_eq!(self.plane.unfinished(), [], "log:\n{}", self.log());
        for secret in [PASSWORD, TOKEN, "scripted-secret-key-0001"] {
            assert!(!self.log().contains(secret), "{secret} is in the log");
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("logs/agent.log")).unwrap_or_default()
    }

    /// Returns where runs store in this world.
    pub fn destination(&self) -> Value {
        json!({
            "dest_type": "local",
            "dest_local_path": self.path("repo"),
            "repository_id": "5c0e0000-0000-4000-8000-000000000001",
            "repository_password": PASSWORD,
        })
    }

    /// Returns the order to back the source up.
    pub fn files(&self) -> RunOrder {
        let source = self.path("source").display().to_string();
        self.stored_in_folder(RunOrder::files(&source))
    }

    /// Lets an order store into the folder of this world.
    pub fn stored_in_folder(&self, mut order: RunOrder) -> RunOrder {
        let Value::Object(members) = self.destination() else {
            unreachable!("it is an object");
        };
        order.members.extend(members);
        order
    }

    pub fn queue(&self, order: RunOrder) -> Value {
        self.plane.with(|world| world.queue_run(order))
    }

    /// Queues a command about a repository.
    pub fn command(&self, name: &str, payload: Value, manifest_id: &str) -> u64 {
        let mut context = self.destination();
        context["manifest_id"] = json!(manifest_id);
        context["engine"] = json!("kopia");
        self.plane
            .queue_command(CommandOrder::new(name, payload).with_context(context))
    }

    /// Makes the simulated host with VMs of these names, each with two disks of 24 MiB.
    pub fn with_vms(&self, names: &[&str]) -> Vec<VmId> {
        let clock = self.clock.clone();
        let chance = Chance::from_seed(3);
        let host = SimHost::create(&self.path("host"), SimOptions::default(), clock, chance);
        let host = host.unwrap();
        let vms = names.iter().map(|name| {
            let disks = vec![SimDisk::new(24 << 20), SimDisk::new(8 << 20)];
            let vm = host.add_vm(&SimVm::new(*name, disks)).unwrap();
            host.write_random(vm, 0, 4 << 20, 7).unwrap();
            host.write_random(vm, 1, 1 << 20, 8).unwrap();
            vm
        });
        vms.collect()
    }

    pub fn host(&self) -> SimHost {
        SimHost::open(
            &self.path("host"),
            self.clock.clone(),
            Chance::from_system(),
        )
        .unwrap()
    }

    /// Opens the repository that runs stored into.
    pub fn repository(&self, password: &str) -> Arc<Repository> {
        let place = self.path("repo");
        let store = FilesystemStore::open(place, Chance::from_seed(5)).unwrap();
        let store: SharedBlobStore = Arc::new(store);
        let surroundings = Surroundings {
            cache_folder: self.path("other-cache"),
            identity: Identity {
                username: "judge".to_owned(),
                hostname: "judge".to_owned(),
            },
            clock: self.clock.clone(),
            chance: Chance::from_seed(6),
            stop: StopSignal::new(),
        };
        Repository::open(store, password, surroundings).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.service.take() {
            stop.stop();
            // A failed test has said what it had to say.
            let _ = thread.join();
        }
    }
}

/// Returns the files below a folder with their contents.
pub fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    found.sort();
    found
}
