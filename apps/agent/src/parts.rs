//! What every part of the service works with, put together once.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use backup::vm::StateFolder;
use hyperv::SharedHypervHost;
use protocol::SecretText;
use protocol::identity::{AgentId, Caller, Identity};
use time_and_chance::StopSignal;

use crate::active::ActiveRuns;
use crate::bandwidth::Uploads;
use crate::command_journal::CommandJournal;
use crate::commands::Arrived;
use crate::config::Config;
use crate::control_plane::ControlPlane;
use crate::events::Events;
use crate::health::Health;
use crate::log::Log;
use crate::outbox::Outbox;
use crate::ports::Ports;
use crate::repositories::{Repositories, RepositoryPorts};
use crate::runs_begun::RunsBegun;
use crate::update::Updates;
use crate::verbose::VerboseLogs;

/// Kopia's user of everything that agents store (control-plane API 9.5).
pub const SOURCE_USER: &str = "agent";

/// The parts of a running service.
#[derive(Debug)]
pub struct Parts {
    /// What is outside.
    pub ports: Ports,
    /// What the configuration says.
    pub config: Config,
    /// The log.
    pub log: Arc<Log>,
    /// The control plane.
    pub plane: ControlPlane,
    /// Repositories.
    pub repositories: Repositories,
    /// How fast all runs together may upload.
    pub uploads: Arc<Uploads>,
    /// Bases, journals and locks.
    pub state: StateFolder,
    /// Ends of runs on their way.
    pub outbox: Outbox,
    /// Events of runs on their way.
    pub events: Arc<Events>,
    /// Events of the service's health on their way.
    pub health: Health,
    /// The update of this program, if one is under way.
    pub updates: Updates,
    /// Runs whose verbose log is wanted.
    pub verbose: VerboseLogs,
    /// Commands that were begun.
    pub journal: CommandJournal,
    /// Runs that were begun.
    pub runs_begun: RunsBegun,
    /// Runs that are being carried out.
    pub active: ActiveRuns,
    /// Ends the service.
    pub stop: StopSignal,
    /// What the service is to do when it has ended.
    pub afterwards: Mutex<Afterwards>,
    /// How many backups are being carried out, those that are about to begin included.
    pub backups_running: AtomicUsize,
    /// How many threads carry something out.
    pub threads: AtomicUsize,
    /// What arrived by the polls of runs.
    arrived: Mutex<Vec<Arrived>>,
}

/// What is to happen when the service has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Afterwards {
    /// It stays down.
    #[default]
    Stop,
    /// It is started anew, by whoever started it.
    Restart,
}

/// Returns who an enrolled agent is.
pub fn caller(config: &Config, ports: &Ports) -> Caller {
    let agent = match config.agent_uuid.as_str() {
        "" => AgentId::Legacy(config.agent_id.clone()),
        uuid => AgentId::Uuid(uuid.to_owned()),
    };
    let token: SecretText = config.agent_token.clone();
    Caller {
        identity: config.is_enrolled().then_some(Identity { agent, token }),
        program: ports.program.clone(),
        user_agent: config.user_agent.clone(),
    }
}

impl Parts {
    /// Puts the parts together.
    pub fn new(ports: Ports, config: Config, log: Arc<Log>, stop: StopSignal) -> io::Result<Self> {
        let state_folder = &ports.places.state;
        let state = StateFolder::open(state_folder).map_err(io::Error::other)?;
        config.secrets().into_iter().for_each(|it| log.hide(it));
        let clock = ports.clock.clone();
        let limits = config.upload_limits().map_err(io::Error::other)?;
        let zone = ports.time_zone.clone();
        let uploads = Arc::new(Uploads::within(limits, clock.clone(), zone));
        let plane = ControlPlane::new(
            Arc::clone(&ports.transport),
            clock.clone(),
            Arc::clone(&log),
            config.api_base_url.clone(),
            caller(&config, &ports),
        );
        let repositories = RepositoryPorts {
            clock: clock.clone(),
            chance: ports.chance.clone(),
            secrets: Arc::clone(&ports.secrets),
            cache_folder: ports.places.cache.clone(),
            state_folder: state_folder.clone(),
            uploads: Arc::clone(&uploads),
            identity: repo::Identity {
                username: SOURCE_USER.to_owned(),
                hostname: ports.host_name.clone(),
            },
            stop: stop.clone(),
        };
        Ok(Self {
            repositories: Repositories::new(repositories, Arc::clone(&log)),
            outbox: Outbox::open(state_folder.join("outbox"), clock.clone(), Arc::clone(&log))?,
            journal: CommandJournal::open(
                state_folder.join("commands"),
                clock.clone(),
                Arc::clone(&log),
            )?,
            runs_begun: RunsBegun::open(state_folder.join("runs"), Arc::clone(&log))?,
            events: Arc::new(Events::new(Arc::clone(&log))),
            health: Health::new(clock, Arc::clone(&log)),
            active: ActiveRuns::default(),
            updates: Updates::in_folder(state_folder, ports.clock.clone())
                .map_err(io::Error::other)?,
            verbose: VerboseLogs::default(),
            afterwards: Mutex::default(),
            backups_running: AtomicUsize::new(0),
            threads: AtomicUsize::new(0),
            arrived: Mutex::default(),
            plane,
            uploads,
            state,
            ports,
            config,
            log,
            stop,
        })
    }

    /// Opens the Hyper-V host.
    pub fn open_host(&self) -> Result<SharedHypervHost, String> {
        (self.ports.open_host)(&self.config.hyperv_host)
    }

    /// Ends the service, to be started anew.
    pub fn restart(&self) {
        let mut afterwards = self
            .afterwards
            .lock()
            .expect("nobody panics while he sets it");
        *afterwards = Afterwards::Restart;
        self.stop.stop();
    }

    /// Lets something that arrived wait to be carried out.
    pub fn arrives(&self, arrived: Arrived) {
        let mut waiting = self
            .arrived
            .lock()
            .expect("nobody panics while he takes it");
        waiting.push(arrived);
    }

    /// Takes what arrived.
    pub fn take_arrived(&self) -> Vec<Arrived> {
        let mut waiting = self
            .arrived
            .lock()
            .expect("nobody panics while he takes it");
        std::mem::take(&mut waiting)
    }

    /// Carries something out on a thread of its own, which the service's end waits for.
    pub fn spawn(self: &Arc<Self>, work: impl FnOnce() + Send + 'static) {
        let parts = Arc::clone(self);
        parts.threads.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(move || {
            let done = catch_unwind(AssertUnwindSafe(work));
            if done.is_err() {
                parts
                    .log
                    .error("a fault of this program ended a thread; please report it");
            }
            parts.threads.fetch_sub(1, Ordering::SeqCst);
        });
    }
}
