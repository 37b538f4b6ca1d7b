//! The service manager of this machine, systemd or Windows': it has the service installed, started,
//! stopped and removed, and is asked how it is.
//!
//! It does not know what the service does, nor what the service itself tells the manager.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use time_and_chance::{Clock, StopSignal};

use crate::failure::{Failure, FailureKind};
use crate::stderr;

#[cfg(unix)]
mod systemd;
#[cfg(unix)]
use systemd as system;
#[cfg(unix)]
mod unit;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

/// The service's name, to people and to managers.
pub const NAME: &str = "e3-backup-agent";

/// How long a start may take: the service says that it runs before it asks anybody for anything.
const START_MAX: Duration = Duration::from_secs(120);
/// A little more than the service is given to stop.
const STOP_MAX: Duration = Duration::from_secs(190);
/// So often a service that starts or stops is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// After so long those who wait are told why.
const TELL_AFTER: Duration = Duration::from_secs(2);

/// What a service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is none.
    NotInstalled,
    /// It does not run.
    Stopped,
    /// It is about to run, for the first time or again.
    Starting,
    /// It runs.
    Running,
    /// It is about to stop.
    Stopping,
    /// It ended by itself, and not well.
    Failed,
    /// Something else.
    Unknown,
}

impl State {
    /// Returns the word for it in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotInstalled => "not_installed",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// How the service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceStatus {
    /// What it does.
    pub state: State,
    /// Its process, if it has one.
    pub process: Option<u32>,
    /// Whether it starts with the machine, if the manager tells.
    pub starts_with_machine: Option<bool>,
    /// What it said last about itself; empty if nothing.
    pub said: String,
    /// What it ended with last, if it has ended.
    pub exit_status: Option<u32>,
}

impl ServiceStatus {
    /// Returns the status as it stands in documents.
    pub fn document(&self) -> Value {
        json!({
            "service": NAME,
            "state": self.state.as_str(),
            "process": self.process,
            "starts_with_machine": self.starts_with_machine,
            "said": self.said,
            "exit_status": self.exit_status,
        })
    }
}

/// A file or folder that the service is told of, and the option that names it.
pub type Place = (&'static str, PathBuf);

/// Installs the service: this program, run with these places, each by its whole path. Returns the
/// program and what the manager keeps the service by.
pub fn install(places: &[Place]) -> Result<(PathBuf, String), Failure> {
    system::check_rights("install")?;
    if status()?.state != State::NotInstalled {
        return Err(Failure::new(
            FailureKind::AlreadyInstalled,
            format!("failed to install the service {NAME}: there is one already"),
        ));
    }
    let program = std::env::current_exe().and_then(|path| local_file::real_path(&path));
    let program = program.map_err(|error| {
        let message = format!("failed to find out where this program lies: {error}");
        Failure::new(FailureKind::Failed, message)
    })?;
    let kept_by = system::install(&program, places)?;
    Ok((program, kept_by))
}

/// Stops the service and removes it.
pub fn uninstall(clock: &dyn Clock, stop: &StopSignal) -> Result<(), Failure> {
    system::check_rights("remove")?;
    check_installed("remove")?;
    stop_and_wait(clock, stop)?;
    system::uninstall()
}

/// Starts the service and waits until it runs.
pub fn start(clock: &dyn Clock, stop: &StopSignal) -> Result<ServiceStatus, Failure> {
    system::check_rights("start")?;
    check_installed("start")?;
    start_and_wait(clock, stop)
}

/// Stops the service and waits until it has.
pub fn stop(clock: &dyn Clock, stop: &StopSignal) -> Result<ServiceStatus, Failure> {
    system::check_rights("stop")?;
    check_installed("stop")?;
    stop_and_wait(clock, stop)
}

/// Stops the service if it runs, and starts it.
pub fn restart(clock: &dyn Clock, stop: &StopSignal) -> Result<ServiceStatus, Failure> {
    system::check_rights("restart")?;
    check_installed("restart")?;
    stop_and_wait(clock, stop)?;
    start_and_wait(clock, stop)
}

/// Returns how the service is.
pub fn status() -> Result<ServiceStatus, Failure> {
    system::status()
}

fn check_installed(doing: &str) -> Result<(), Failure> {
    match status()?.state {
        State::NotInstalled => Err(Failure::new(
            FailureKind::NotInstalled,
            format!("failed to {doing} the service {NAME}: it is not installed"),
        )),
        _ => Ok(()),
    }
}

fn start_and_wait(clock: &dyn Clock, stop: &StopSignal) -> Result<ServiceStatus, Failure> {
    if status()?.state == State::Running {
        return status();
    }
    system::start()?;
    let is_over = |it: &ServiceStatus| {
        matches!(
            it.state,
            State::Running | State::Stopped | State::Failed | State::NotInstalled
        )
    };
    let found = wait(clock, stop, START_MAX, "it runs", is_over)?;
    match found.state {
        State::Running => Ok(found),
        _ => Err(not_done("start", &found)),
    }
}

fn stop_and_wait(clock: &dyn Clock, stop: &StopSignal) -> Result<ServiceStatus, Failure> {
    system::stop()?;
    let is_over = |it: &ServiceStatus| {
        matches!(
            it.state,
            State::Stopped | State::Failed | State::NotInstalled
        )
    };
    let found = wait(clock, stop, STOP_MAX, "it has stopped", is_over)?;
    match is_over(&found) {
        true => Ok(found),
        false => Err(not_done("stop", &found)),
    }
}

/// Looks at the service until it is as wanted or the time is over; returns how it is then.
fn wait(
    clock: &dyn Clock,
    stop: &StopSignal,
    max: Duration,
    until: &str,
    is_over: impl Fn(&ServiceStatus) -> bool,
) -> Result<ServiceStatus, Failure> {
    let began = clock.monotonic();
    let mut is_told = false;
    loop {
        let found = status()?;
        let waited = clock.monotonic().saturating_sub(began);
        if is_over(&found) || waited >= max {
            return Ok(found);
        }
        if waited >= TELL_AFTER && !is_told {
            is_told = true;
            stderr::say(&format!(
                "the service is {}; waiting up to {} s until {until}",
                found.state.as_str(),
                max.as_secs()
            ));
        }
        clock.sleep(LOOK, stop).map_err(|_| {
            let message = format!("cancelled while waiting until {until}; the service goes on");
            Failure::new(FailureKind::Cancelled, message)
        })?;
    }
}

fn not_done(doing: &str, found: &ServiceStatus) -> Failure {
    let exit = match found.exit_status {
        Some(status) if status != 0 => format!(", its last exit status was {status}"),
        _ => String::new(),
    };
    let message = format!(
        "failed to {doing} the service {NAME}: it is {}{exit}",
        found.state.as_str()
    );
    Failure::new(FailureKind::Service, message)
}
