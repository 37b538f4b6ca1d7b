//! What every part of the service works with, put together once.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use backup::vm::StateFolder;
use hyperv::SharedHypervHost;
use protocol::SecretText;
use protocol::identity::{AgentId, Caller, Identity};
use sha2::{Digest as _, Sha256};
use time_and_chance::StopSignal;

use crate::active::ActiveRuns;
use crate::arrived::Arrived;
use crate::bandwidth::Uploads;
use crate::command_journal::CommandJournal;
use crate::config::Config;
use crate::control_plane::ControlPlane;
use crate::events::Events;
use crate::health::Health;
use crate::log::Log;
use crate::outbox::Outbox;
use crate::ports::Ports;
use crate::repositories::{Repositories, RepositoryPorts};
use crate::runs_begun::RunsBegun;
use crate::shares::Shares;
use crate::update::Updates;
use crate::verbose_logs::VerboseLogs;

/// Kopia's user of everything that agents store (control-plane API 9.5).
pub const SOURCE_USER: &str = "agent";

/// The parts of a running service.
#[derive(Debug)]
pub struct Parts {
    /// Tells the server and the agent from others.
    pub identity: String,
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
    /// Shares of other machines.
    pub shares: Shares,
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
    /// Gives up on answers to what was on its way when the service was told to end.
    pub cut: StopSignal,
    /// Gives up on answers that the server may hold back for long.
    pub cut_held: StopSignal,
    /// What the service is to do when it has ended.
    pub afterwards: Mutex<Afterwards>,
    /// How many backups are being carried out, those that are about to begin included.
    pub backups_running: AtomicUsize,
    /// Whether the server has no poll for commands and operations together, or it is not to be used.
    pub polls_apart: AtomicBool,
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
    let token: SecretText = config.agent_token.clone();
    let agent = agent_of(config);
    Caller {
        identity: config.is_enrolled().then_some(Identity { agent, token }),
        program: ports.program.clone(),
        user_agent: config.user_agent.clone(),
    }
}

fn agent_of(config: &Config) -> AgentId {
    match config.agent_uuid.as_str() {
        "" => AgentId::Legacy(config.agent_id.clone()),
        uuid => AgentId::Uuid(uuid.to_owned()),
    }
}

/// Returns what tells one server's and agent's runs and commands from those of others, as the name of a
/// folder: every server counts from one.
fn identity_key(config: &Config) -> String {
    let server = config.api_base_url.trim().trim_end_matches('/');
    let mut hasher = Sha256::new();
    for part in [server, &agent_of(config).to_string()] {
        hasher.update(part.to_ascii_lowercase());
        hasher.update("\0");
    }
    hex::encode(&hasher.finalize()[..16])
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
        let identity = identity_key(&config);
        let folder = |of: &str| state_folder.join(of).join(&identity);
        let (outbox, commands) = (folder("outbox"), folder("commands"));
        Ok(Self {
            identity: identity.clone(),
            shares: Shares::new(Arc::clone(&ports.connect_share)),
            repositories: Repositories::new(repositories, Arc::clone(&log)),
            outbox: Outbox::open(outbox, clock.clone(), Arc::clone(&log))?,
            journal: CommandJournal::open(commands, clock.clone(), Arc::clone(&log))?,
            runs_begun: RunsBegun::open(folder("runs"), Arc::clone(&log))?,
            events: Arc::new(Events::new(Arc::clone(&log))),
            health: Health::new(clock, Arc::clone(&log)),
            active: ActiveRuns::default(),
            updates: Updates::in_folder(state_folder, ports.clock.clone())
                .map_err(io::Error::other)?,
            verbose: VerboseLogs::default(),
            afterwards: Mutex::default(),
            backups_running: AtomicUsize::new(0),
            polls_apart: AtomicBool::new(false),
            threads: AtomicUsize::new(0),
            arrived: Mutex::default(),
            plane,
            uploads,
            state,
            ports,
            config,
            log,
            stop,
            cut: StopSignal::new(),
            cut_held: StopSignal::new(),
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

    /// Takes what arrived by the polls of runs.
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
            parts.guard(work);
            parts.threads.fetch_sub(1, Ordering::SeqCst);
        });
    }

    /// Carries something out on a thread of its own that nobody waits for.
    pub fn spawn_unwaited(self: &Arc<Self>, work: impl FnOnce(&Self) + Send + 'static) {
        let parts = Arc::clone(self);
        std::thread::spawn(move || parts.guard(|| work(&parts)));
    }

    fn guard(&self, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            self.log
                .error("a fault of this program ended a thread; please report it");
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::WireId;

    use super::*;
    use crate::command_journal::{Arrival, Order};
    use crate::test_parts::{TestLine, clock, config, parts_of};

    #[test]
    fn numbers_of_another_server_or_agent_are_other_commands_and_runs() {
        let (folder, clock, line) = (tempfile::tempdir().unwrap(), clock(), TestLine::quiet());
        let arrives = |config: Config| {
            let parts = parts_of(folder.path(), &line, clock.clone(), config);
            let run_id = WireId::Number(7);
            let is_new = !parts.outbox.knows(&run_id);
            parts.outbox.post(&run_id, b"{}".to_vec(), Vec::new());
            let order = Order::Command { id: 7 };
            let arrival = parts.journal.arrives(order, "list_disks", None).unwrap();
            assert_eq!(arrival == Arrival::New, is_new);
            is_new
        };
        let others = [
            config(),
            Config {
                api_base_url: "https://b.example/api".to_owned(),
                ..config()
            },
            Config {
                agent_uuid: "0f0e0d0c-0000-4000-8000-000000000002".to_owned(),
                ..config()
            },
            Config {
                agent_uuid: String::new(),
                agent_id: "7".to_owned(),
                ..config()
            },
        ];
        assert!(others.into_iter().all(arrives));
        // The same, enrolled again or written otherwise.
        let same = Config {
            api_base_url: "https://A.example/api/".to_owned(),
            agent_token: SecretText::new("another"),
            agent_id: "9".to_owned(),
            ..config()
        };
        assert!(!arrives(same));
    }
}
