//! Windows' own service manager; the service writes to the event log under its name.

use std::path::Path;

use windows_host::service::{self, ServiceToInstall};
use windows_host::{Win32Error, elevation, event_log};

use super::{NAME, Place, ServiceStatus, State};
use crate::failure::{Failure, FailureKind};

/// What Windows says to rights that are missing, to a service that runs, to one that is about to
/// start or stop, and to one that is to be deleted once nobody holds it open.
const ACCESS_DENIED: u32 = 5;
const ALREADY_RUNNING: u32 = 1056;
const CANNOT_ACCEPT_CONTROL: u32 = 1061;
/// The service's own exit code says what it ended with.
const SERVICE_SPECIFIC_ERROR: u32 = 1066;
const MARKED_FOR_DELETE: u32 = 1072;
/// It was never started since Windows was.
const NEVER_STARTED: u32 = 1077;

/// Fails if this process may not do it.
pub fn check_rights(doing: &str) -> Result<(), Failure> {
    match elevation::is_elevated()? {
        true => Ok(()),
        false => Err(Failure::new(
            FailureKind::NotElevated,
            format!("failed to {doing} the service {NAME}: this prompt is not elevated"),
        )),
    }
}

/// Installs the service; returns whose it is.
pub fn install(program: &Path, places: &[Place]) -> Result<String, Failure> {
    let mut arguments = vec!["run"];
    for (option, place) in places {
        let place = place.to_str().ok_or_else(|| {
            Failure::wrong_usage(format!(
                "{} is no text; choose another place",
                place.display()
            ))
        })?;
        arguments.extend([option, place]);
    }
    event_log::register(NAME)?;
    service::install(&ServiceToInstall {
        name: NAME,
        display_name: "E3 Backup Agent",
        description: "Backs up this machine and its virtual machines, as its control plane says.",
        program,
        arguments: &arguments,
    })?;
    Ok("the service manager of Windows".to_owned())
}

/// Removes the service, which does not run any more.
pub fn uninstall() -> Result<(), Failure> {
    service::uninstall(NAME)?;
    Ok(event_log::unregister(NAME)?)
}

/// Has the service started.
pub fn start() -> Result<(), Failure> {
    tolerating(service::start(NAME), ALREADY_RUNNING)
}

/// Has the service stopped; one that does not run is no error.
pub fn stop() -> Result<(), Failure> {
    tolerating(service::stop(NAME), CANNOT_ACCEPT_CONTROL)
}

fn tolerating(result: Result<(), Win32Error>, code: u32) -> Result<(), Failure> {
    match result {
        Err(error) if error.code() == code => Ok(()),
        other => Ok(other?),
    }
}

/// Returns how the service is.
pub fn status() -> Result<ServiceStatus, Failure> {
    let found = service::status(NAME)?;
    let exit_status = found.and_then(|it| match it.exit_code {
        _ if it.process.is_some() => None,
        NEVER_STARTED => None,
        SERVICE_SPECIFIC_ERROR => Some(it.own_exit_code),
        code => Some(code),
    });
    let state = match found.map(|it| it.state) {
        None => State::NotInstalled,
        Some(service::ServiceState::Stopped) => match exit_status {
            None | Some(0) => State::Stopped,
            Some(_) => State::Failed,
        },
        Some(service::ServiceState::StartPending) => State::Starting,
        Some(service::ServiceState::Running) => State::Running,
        Some(service::ServiceState::StopPending) => State::Stopping,
        Some(service::ServiceState::Paused | service::ServiceState::Other(_)) => State::Unknown,
    };
    Ok(ServiceStatus {
        state,
        process: found.and_then(|it| it.process),
        starts_with_machine: None,
        said: String::new(),
        exit_status,
    })
}

impl From<Win32Error> for Failure {
    fn from(error: Win32Error) -> Self {
        let kind = match error.code() {
            ACCESS_DENIED => FailureKind::NotElevated,
            MARKED_FOR_DELETE => FailureKind::Busy,
            _ => FailureKind::Service,
        };
        Self::new(kind, format!("failed to {error}"))
    }
}
