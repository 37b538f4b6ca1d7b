//! `run`: the service's loop, in the foreground.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent::Afterwards;
use agent::config::{Config, ConfigFile};
use agent::http::Https;
use agent::log::{Level, Log};
use agent::ports::{Cadence, Places, Ports};
use agent::pulse::Pulse;
use agent::service::serve;
use agent::status::{ServiceLock, Status};
use agent::update::{self, AtStart, ReleaseKeys};
use clap::Args;
use serde_json::json;
use time_and_chance::StopSignal;

use crate::answer::Answer;
use crate::credentials;
use crate::failure::{Failure, FailureKind};
use crate::hosts;
use crate::identity;
use crate::places;
use crate::private;
use crate::program;
use crate::shares;
use crate::storage;
use crate::supervisor;
use crate::world::World;

/// What says how much is logged, before the configuration does.
const LEVEL_VARIABLE: &str = "E3_AGENT_LOG_LEVEL";
/// What tells starts of a service apart: systemd gives each a name of its own.
pub const START_VARIABLE: &str = "INVOCATION_ID";
/// The exit status that lets a service manager start the service anew.
const RESTART: u8 = 2;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent run --config /etc/e3-backup-agent/agent.conf
  E3_AGENT_LOG_LEVEL=debug e3-backup-agent run --config agent.conf --state-dir /tmp/state

Runs of whole VMs (engine hyperv) and of files (engine kopia) are carried out; others end as failed
at once. The log goes to stderr and to agent.log, five megabytes three times. While the control
plane does not answer, work goes on, and is told when it answers again. Ctrl-C and SIGTERM end the
service: a backup that was going on is taken up again by the next start. Exit status 2 after the
command to begin anew. In simulations E3_SIM_CLOCK=FILE names a clock that several programs share
(`sim clock`); it is taken only if the configuration's hyperv_host is simulated.")]
pub struct Run {
    /// The configuration [default: the service's own].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Run {
    /// Returns the Hyper-V host that the configuration names.
    pub fn host_of_configuration(&self) -> Result<String, Failure> {
        let config = config_file(self.config.as_ref())?.load();
        Ok(config.unwrap_or_default().hyperv_host)
    }

    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let file = config_file(self.config.as_ref())?;
        let config = file.load().unwrap_or_default();
        let log = Log::in_folder(
            &world.log_folder()?,
            level(&config),
            true,
            world.clock().clone(),
        );
        let log = match supervisor::stderr_is_the_journal() {
            true => log.for_the_journal(),
            false => log,
        };
        let start = std::env::var(START_VARIABLE).ok();
        let state = world.state_folder()?;
        // Where a service is at work this one will not begin, and its update is none of ours.
        let settled = match ServiceLock::is_held(&state) {
            true => Ok(AtStart::GoOn),
            false => update::at_start(&state, world.clock(), start.as_deref()),
        };
        match settled {
            Ok(AtStart::GoOn) => {}
            Ok(AtStart::StartAnew) => {
                log.warn(
                    "the version from before was put back; the service is started anew as that",
                );
                return Ok(ended(Afterwards::Restart));
            }
            Err(error) => log.error(&format!("failed to {error}; the service goes on")),
        }
        let ports = ports(world)?;
        protect_state(&ports.places.state, &log);
        let served = supervised(world, &ports, || {
            serve(&ports, &file, &Arc::new(log), world.stop())
        });
        let afterwards = served
            .map_err(|error| Failure::new(FailureKind::State, format!("failed to {error}")))?;
        Ok(ended(afterwards))
    }
}

fn ended(afterwards: Afterwards) -> Answer {
    let (word, status) = match afterwards {
        Afterwards::Stop => ("stopped", 0),
        Afterwards::Restart => ("restart", RESTART),
    };
    Answer::with_status(String::new(), json!({ "ended": word }), status)
}

/// Lets the state folder be the service's alone. One that cannot be, as on a stick, is told of.
fn protect_state(folder: &Path, log: &Log) {
    let made = local_file::create_private_folders(folder);
    if let Err(error) = made.and_then(|()| private::protect(folder)) {
        log.warn(&format!(
            "the state folder {} may be readable by others: {error}",
            folder.display()
        ));
    }
}

/// Serves, and tells whoever keeps this program running how that goes.
fn supervised<T>(world: &World, ports: &Ports, serve: impl FnOnce() -> T) -> T {
    let (supervisor, stop) = (world.supervisor(), world.stop());
    let (pulse, state) = (&ports.pulse, &ports.places.state);
    let (beats, says) = (|| pulse.beats(), || said(state));
    let done = StopSignal::new();
    std::thread::scope(|scope| {
        scope.spawn(|| supervisor.watch(&beats, &says, stop, &done));
        supervisor.running();
        let served = serve();
        // It may have ended by itself.
        stop.stop();
        done.stop();
        served
    })
}

/// Returns in a few words what the service does, as it wrote it down itself.
fn said(state: &Path) -> String {
    let written = Status::read(state).ok().flatten();
    let own = written.filter(|it| it.process == std::process::id());
    let Some(own) = own else {
        return "not at work yet: the log says what it waits for".to_owned();
    };
    let runs = match own.runs.len() {
        0 => "waiting for work".to_owned(),
        1 => "one run is being carried out".to_owned(),
        more => format!("{more} runs are being carried out"),
    };
    match own.silent_since {
        Some(_) => format!("{runs}; the control plane does not answer"),
        None => runs,
    }
}

fn level(config: &Config) -> Level {
    let variable = std::env::var(LEVEL_VARIABLE).ok();
    let named = variable.and_then(|word| word.parse().ok());
    named
        .or_else(|| config.log_level.parse().ok())
        .unwrap_or_default()
}

/// Returns the configuration file that is named, or the service's own.
pub fn config_file(named: Option<&PathBuf>) -> Result<ConfigFile, Failure> {
    let path = match named {
        Some(path) => path.clone(),
        None => places::config_file()?,
    };
    Ok(ConfigFile::at(path).protected_by(private::protect))
}

/// Returns the real parts of a service.
pub fn ports(world: &World) -> Result<Ports, Failure> {
    let line = Https::new()
        .map_err(|error| Failure::new(FailureKind::Failed, format!("failed to {error}")))?;
    let line = Arc::new(line);
    let secrets = credentials::store(world)?.ok_or_else(|| {
        Failure::new(
            FailureKind::Unsupported,
            "failed to find protection for passwords: this system's is not supported yet",
        )
    })?;
    let (clock, chance) = (world.clock().clone(), world.chance().clone());
    let state_folder = world.state_folder()?;
    Ok(Ports {
        clock: world.clock().clone(),
        chance: world.chance().clone(),
        transport: line.clone(),
        downloads: line,
        // A file that is not known any more was replaced or removed under this program.
        executable: update::this_program().ok(),
        release_keys: ReleaseKeys::built_in(),
        open_host: Arc::new(move |name| {
            hosts::open(name, &state_folder, &clock, &chance).map_err(|failure| failure.to_string())
        }),
        storage: storage::layout(world),
        enumerating: agent::volumes::Turn::default(),
        connect_share: Arc::new(|share, user, password| {
            shares::connect(share, user, password.reveal())
        }),
        secrets,
        host_name: identity::host_name(),
        program: program::program(),
        places: Places {
            state: world.state_folder()?,
            cache: world.cache_folder()?,
            logs: world.log_folder()?,
        },
        time_zone: world.time_zone(),
        cadence: Cadence::default(),
        pulse: Pulse::default(),
    })
}
