//! The service's parts on a line that answers as a test says, for tests of single threads: what is on its
//! way can be held back there, which no server lets one do.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::endpoint::Endpoint;
use protocol::identity::Program;
use protocol::{Request, Response, SecretText};
use secrets::PrivateFiles;
use serde_json::Value;
use time_and_chance::{Chance, ManualClock, SharedClock, StopSignal, TimeZone, Timestamp};
use volume::{Disk, StorageLayout, Volume, VolumeError};

use crate::config::Config;
use crate::http::{Https, LineError, LineErrorKind, Transport};
use crate::log::{Level, Log};
use crate::parts::Parts;
use crate::ports::{Cadence, Places, Ports};
use crate::pulse::Pulse;
use crate::update::ReleaseKeys;
use crate::volumes::Turn;

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

/// What a call meets.
pub type Met = Result<Response, LineError>;

type Answering = Box<dyn Fn(&Request, &StopSignal) -> Met + Send + Sync>;

/// A line that answers as a test says, and remembers what was sent.
pub struct TestLine {
    answering: Answering,
    sent: Mutex<Vec<(Endpoint, Vec<u8>)>>,
}

impl std::fmt::Debug for TestLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestLine").finish_non_exhaustive()
    }
}

impl TestLine {
    /// Returns a line that answers like this; the signal is what gives up waiting for the answer.
    pub fn new(
        answering: impl Fn(&Request, &StopSignal) -> Met + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            answering: Box::new(answering),
            sent: Mutex::default(),
        })
    }

    /// Returns a line on which everything goes well and nothing is to be done.
    pub fn quiet() -> Arc<Self> {
        Self::new(|_, _| success("{}"))
    }

    /// Returns a line on which every call is held: it tells the receiver that it is on its way, waits for
    /// the sender, and then goes well, with these members, unless it was given up meanwhile.
    pub fn held(members: &'static str) -> (Arc<Self>, Receiver<()>, Sender<()>) {
        let (is_there, there) = channel();
        let (go_on, goes_on) = channel();
        let goes_on = Mutex::new(goes_on);
        let line = Self::new(move |_, stop| {
            is_there.send(()).unwrap();
            goes_on.lock().unwrap().recv().unwrap();
            match stop.is_stopped() {
                true => no_answer(LineErrorKind::Stopped),
                false => success(members),
            }
        });
        (line, there, go_on)
    }

    /// Returns the bodies that were sent to an endpoint.
    pub fn bodies(&self, endpoint: Endpoint) -> Vec<Vec<u8>> {
        let sent = self.sent.lock().unwrap();
        let of_endpoint = sent.iter().filter(|(of, _)| *of == endpoint);
        of_endpoint.map(|(_, body)| body.clone()).collect()
    }

    /// Returns the documents that were sent to an endpoint.
    pub fn documents(&self, endpoint: Endpoint) -> Vec<Value> {
        let bodies = self.bodies(endpoint).into_iter();
        bodies
            .map(|body| serde_json::from_slice(&body).unwrap())
            .collect()
    }
}

impl Transport for TestLine {
    fn send(&self, _: &str, request: &Request, _: Duration, stop: &StopSignal) -> Met {
        let sent = (request.endpoint, request.body.clone());
        self.sent.lock().unwrap().push(sent);
        (self.answering)(request, stop)
    }
}

/// Returns an answer that says that all went well, with the members of an object.
pub fn success(members: &str) -> Met {
    let mut answer: Value = serde_json::from_str(members).unwrap();
    answer["status"] = "success".into();
    Ok(Response {
        http_status: 200,
        headers: Vec::new(),
        body: serde_json::to_vec(&answer).unwrap(),
    })
}

/// Returns what a call meets whose answer does not come.
pub fn no_answer(kind: LineErrorKind) -> Met {
    Err(LineError::new(kind, "call: nothing came"))
}

/// Returns the configuration of an agent that is enrolled.
pub fn config() -> Config {
    Config {
        api_base_url: "https://a.example/api".to_owned(),
        agent_uuid: "0f0e0d0c-0000-4000-8000-000000000001".to_owned(),
        agent_token: SecretText::new("4f8d0c1b2a39485766758493a2b1c0d9"),
        ..Config::default()
    }
}

/// Returns the parts of a service that keeps its state in a folder. The clock moves when somebody sleeps.
pub fn parts(folder: &Path, line: &Arc<TestLine>, clock: SharedClock) -> Parts {
    parts_of(folder, line, clock, config())
}

/// Returns the parts of a service that is configured like this.
pub fn parts_of(folder: &Path, line: &Arc<TestLine>, clock: SharedClock, config: Config) -> Parts {
    let ports = Ports {
        clock: clock.clone(),
        chance: Chance::from_seed(1),
        transport: line.clone(),
        downloads: Arc::new(Https::new().unwrap()),
        executable: None,
        release_keys: ReleaseKeys::default(),
        open_host: Arc::new(|_| Err("there is none".to_owned())),
        storage: Arc::new(NoDisks),
        enumerating: Turn::default(),
        connect_share: Arc::new(|share, _, _| Err(format!("no {share} here"))),
        secrets: Arc::new(PrivateFiles::new(folder.join("credentials"))),
        host_name: "testhost".to_owned(),
        program: Program {
            version: "1.9.0".to_owned(),
            ..Program::default()
        },
        places: Places {
            state: folder.to_owned(),
            cache: folder.join("cache"),
            logs: folder.join("logs"),
        },
        time_zone: TimeZone::UTC,
        cadence: Cadence::default(),
        pulse: Pulse::default(),
    };
    let log = Log::nowhere(Level::Error, false, clock.clone());
    Parts::new(ports, config, Arc::new(log), StopSignal::new()).unwrap()
}

/// Returns a clock that stands still until somebody sleeps.
pub fn clock() -> Arc<ManualClock> {
    ManualClock::at(Timestamp::from_second(1_772_000_000).unwrap())
}
