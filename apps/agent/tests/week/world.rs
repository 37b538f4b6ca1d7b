//! Services in this process, a control plane beside them, and time that passes as fast as they work.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use agent::Afterwards;
use agent::config::ConfigFile;
use agent::http::{Https, LineError, LineErrorKind, Transport};
use agent::log::{Level, Log};
use agent::ports::{Cadence, Places, Ports};
use agent::pulse::Pulse;
use agent::service::serve;
use agent::update::ReleaseKeys;
use protocol::identity::Program;
use protocol::{Request, Response};
use scripted_control_plane::{ControlPlane, RunOrder, Settings};
use secrets::PrivateFiles;
use serde_json::Value;
use time_and_chance::{Chance, StopSignal, TimeZone};
use volume::{Disk, StorageLayout, Volume, VolumeError};

use crate::clock::SteppedClock;

/// A machine without disks.
#[derive(Debug)]
struct NoDisks;

impl StorageLayout for NoDisks {
    fn volumes(&self) -> Result<Vec<Volume>, VolumeError> {
        Ok(Vec::new())
    }

    fn disks(&self) -> Result<Vec<Disk>, VolumeError> {
        Ok(Vec::new())
    }
}

pub const HOUR: Duration = Duration::from_hours(1);
const TOKEN: &str = "4f8d0c1b2a39485766758493a2b1c0d9e8f70615";
/// A service at rest has so many threads: one takes runs, one commands, one operations, one tells ends,
/// one sends what else waits, one reports volumes.
const LOOPS: usize = 6;

/// The line between services and their control plane, which is in this process.
pub struct Line {
    pub plane: ControlPlane,
    /// How often which endpoint was tried, whether somebody answered or not.
    tried: Mutex<BTreeMap<String, u64>>,
    /// The server goes down with the next run that it hands out.
    goes_down_with_a_run: AtomicBool,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl Transport for Line {
    fn send(
        &self,
        _api_base_url: &str,
        request: &Request,
        _within: Duration,
        _stop: &StopSignal,
    ) -> Result<Response, LineError> {
        let script = request.path.split('?').next().unwrap();
        let mut tried = self.tried.lock().unwrap();
        *tried.entry(script.to_owned()).or_default() += 1;
        drop(tried);
        let headers = request.headers.iter();
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        let (method, target) = (request.method.as_str(), format!("/{}", request.path));
        let body = request.body.clone();
        let answer = self
            .plane
            .serve_here(method, &target, headers.collect(), body);
        let answer =
            answer.ok_or_else(|| LineError::new(LineErrorKind::Line, "reach the server"))?;
        let has_run = || String::from_utf8_lossy(&answer.body).contains("\"run_id\"");
        if self.goes_down_with_a_run.load(Ordering::SeqCst)
            && script == "agent_next_run.php"
            && has_run()
        {
            self.goes_down_with_a_run.store(false, Ordering::SeqCst);
            self.plane.go_down();
        }
        Ok(Response {
            http_status: answer.http_status,
            headers: answer.headers,
            body: answer.body,
        })
    }
}

/// The world.
pub struct World {
    folder: tempfile::TempDir,
    pub clock: Arc<SteppedClock>,
    pub line: Arc<Line>,
    stop: StopSignal,
    services: Vec<JoinHandle<Afterwards>>,
}

impl World {
    /// Returns a world in which so many services work.
    pub fn with_services(count: u64) -> Self {
        let clock = SteppedClock::new(LOOPS * count as usize);
        let plane = ControlPlane::start(Settings::default(), clock.clone()).unwrap();
        let line = Line {
            plane,
            tried: Mutex::default(),
            goes_down_with_a_run: AtomicBool::new(false),
        };
        let mut world = Self {
            folder: tempfile::tempdir().unwrap(),
            clock,
            line: Arc::new(line),
            stop: StopSignal::new(),
            services: Vec::new(),
        };
        for number in 1..=count {
            world.begin(number);
        }
        world
    }

    fn begin(&mut self, number: u64) {
        let id = format!("0f0e0d0c-0000-4000-8000-{number:012}");
        let token = format!("{TOKEN}{number}");
        self.line.plane.with(|world| world.add_agent(&id, &token));
        let of_service = |name: &str| self.path(&format!("{number}/{name}"));
        fs::create_dir(self.path(&number.to_string())).unwrap();
        let file = ConfigFile::at(of_service("agent.conf"));
        file.change(&[
            ("api_base_url", "http://control.plane"),
            ("agent_uuid", &id),
            ("agent_token", &token),
        ])
        .unwrap();
        let ports = Ports {
            clock: self.clock.clone(),
            chance: Chance::from_seed(number),
            transport: self.line.clone(),
            downloads: Arc::new(Https::new().unwrap()),
            executable: None,
            release_keys: ReleaseKeys::default(),
            open_host: Arc::new(|_| Err("there is none".to_owned())),
            storage: Arc::new(NoDisks),
            enumerating: agent::volumes::Turn::default(),
            connect_share: Arc::new(|share, _, _| Err(format!("no {share} here"))),
            secrets: Arc::new(PrivateFiles::new(of_service("state/credentials"))),
            host_name: "testhost".to_owned(),
            program: Program {
                version: "1.9.0".to_owned(),
                os: "linux".to_owned(),
                arch: "amd64".to_owned(),
                build: String::new(),
            },
            places: Places {
                state: of_service("state"),
                cache: of_service("cache"),
                logs: of_service("logs"),
            },
            time_zone: TimeZone::UTC,
            pulse: Pulse::default(),
            cadence: Cadence::default(),
        };
        let log = Log::in_folder(&ports.places.logs, Level::Debug, false, self.clock.clone());
        let (log, stop) = (Arc::new(log), self.stop.clone());
        let service = std::thread::spawn(move || serve(&ports, &file, &log, &stop).unwrap());
        self.services.push(service);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn plane(&self) -> &ControlPlane {
        &self.line.plane
    }

    /// Queues a run of an engine that is not here: it is begun, and ends as failed. Folders have the system's
    /// clock, and so nothing can be stored in this world.
    pub fn queue_run(&self) -> Value {
        let order = RunOrder {
            engine: "sync".to_owned(),
            ..RunOrder::default()
        };
        self.plane().with(|world| world.queue_run(order))
    }

    /// Lets the server go down with the next run that it hands out.
    pub fn goes_down_with_a_run(&self) {
        self.line.goes_down_with_a_run.store(true, Ordering::SeqCst);
    }

    pub fn status(&self, run: &Value) -> String {
        self.plane().with(|world| world.run_status(run).to_owned())
    }

    /// Returns how often each endpoint was tried since the last look.
    pub fn take_tried(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut *self.line.tried.lock().unwrap())
    }

    /// Returns what the log of the first service says.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("1/logs/agent.log")).unwrap_or_default()
    }

    /// Ends all services.
    pub fn end(mut self) {
        self.stop.stop();
        self.clock.run_freely();
        for service in std::mem::take(&mut self.services) {
            assert_eq!(service.join().unwrap(), Afterwards::Stop);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.stop();
        self.clock.run_freely();
        for service in std::mem::take(&mut self.services) {
            // A failed test has said what it had to say.
            let _ = service.join();
        }
    }
}

/// What a process and a service take.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    pub threads: usize,
    pub open_files: usize,
    pub memory_bytes: usize,
    pub state_files: usize,
    pub state_bytes: u64,
    pub log_files: usize,
    pub log_bytes: u64,
}

impl Taken {
    pub fn now(world: &World) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let of = |name: &str| -> usize {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.unwrap().trim().trim_end_matches(" kB");
            number.parse().unwrap()
        };
        let (state_files, state_bytes) = files_below(&world.path("1/state"));
        let (log_files, log_bytes) = files_below(&world.path("1/logs"));
        Self {
            threads: of("Threads:"),
            open_files: fs::read_dir("/proc/self/fd").unwrap().count(),
            memory_bytes: of("RssAnon:") << 10,
            state_files,
            state_bytes,
            log_files,
            log_bytes,
        }
    }
}

fn files_below(folder: &Path) -> (usize, u64) {
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (more_files, more_bytes) = match entry.path().is_dir() {
            true => files_below(&entry.path()),
            false => (1, entry.metadata().map_or(0, |it| it.len())),
        };
        files += more_files;
        bytes += more_bytes;
    }
    (files, bytes)
}
