//! systemd, spoken to by its own `systemctl`; the service is a unit file that we write.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::unit::unit;
use super::{NAME, Place, ServiceStatus, State};
use crate::failure::{Failure, FailureKind};

/// The unit, as systemd names it.
const UNIT: &str = "e3-backup-agent.service";
/// Where administrators' units lie.
const UNIT_FILE: &str = "/etc/systemd/system/e3-backup-agent.service";
/// There if and only if systemd runs this machine (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";

/// Fails if this user may not do it.
pub fn check_rights(doing: &str) -> Result<(), Failure> {
    if !Path::new(BOOTED).exists() {
        return Err(Failure::new(
            FailureKind::Unsupported,
            format!(
                "failed to {doing} the service {NAME}: systemd does not run this machine; have `{NAME} run` kept running by what does"
            ),
        ));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new(
            FailureKind::NotElevated,
            format!("failed to {doing} the service {NAME}: that is for root alone"),
        ));
    }
    Ok(())
}

/// Writes the unit and has it started with the machine; returns the unit's file.
pub fn install(program: &Path, places: &[Place]) -> Result<String, Failure> {
    let text = unit(program, places).ok_or_else(|| {
        let places = places.iter().map(|(_, place)| place.as_path());
        let all = [program].into_iter().chain(places);
        let all: Vec<_> = all.map(|it| it.display().to_string()).collect();
        Failure::wrong_usage(format!(
            "{} has characters that cannot stand in a unit of systemd; choose another place",
            all.join(" or ")
        ))
    })?;
    let written = local_file::replace(Path::new(UNIT_FILE), text.as_bytes());
    written.map_err(|error| failed(&format!("write {UNIT_FILE}"), &error.to_string()))?;
    let enabled = make_readable()
        .and_then(|()| systemctl(&["daemon-reload"]))
        .and_then(|()| systemctl(&["enable", UNIT]));
    enabled.inspect_err(|_| {
        // Half a service is none; the error that counts is the first.
        let _ = std::fs::remove_file(UNIT_FILE);
    })?;
    Ok(UNIT_FILE.to_owned())
}

/// There is no secret in it, and systemd complains of units that only root can read.
fn make_readable() -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let all = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(UNIT_FILE, all)
        .map_err(|error| failed(&format!("let others read {UNIT_FILE}"), &error.to_string()))
}

/// Removes the unit, which does not run any more.
pub fn uninstall() -> Result<(), Failure> {
    systemctl(&["disable", UNIT])?;
    match std::fs::remove_file(UNIT_FILE) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed(&format!("remove {UNIT_FILE}"), &error.to_string()));
        }
        _ => {}
    }
    systemctl(&["daemon-reload"])?;
    // That it failed once is of no interest any more; that it never did is no error.
    let _ = systemctl(&["reset-failed", UNIT]);
    Ok(())
}

/// Has the unit started, and waits until it has said that it runs.
pub fn start() -> Result<(), Failure> {
    systemctl(&["start", UNIT])
}

/// Has the unit stopped; one that does not run is no error.
pub fn stop() -> Result<(), Failure> {
    systemctl(&["stop", "--no-block", UNIT])
}

/// Returns how the unit is.
pub fn status() -> Result<ServiceStatus, Failure> {
    const PROPERTIES: &str = "--property=LoadState,ActiveState,SubState,MainPID,UnitFileState,StatusText,ExecMainStatus,ExecMainCode";
    if !Path::new(BOOTED).exists() {
        return Ok(not_installed());
    }
    let output = output(&["show", PROPERTIES, UNIT])?;
    Ok(status_in(&String::from_utf8_lossy(&output.stdout)))
}

fn not_installed() -> ServiceStatus {
    ServiceStatus {
        state: State::NotInstalled,
        process: None,
        starts_with_machine: None,
        said: String::new(),
        exit_status: None,
    }
}

/// Reads what `systemctl show` says.
fn status_in(shown: &str) -> ServiceStatus {
    let value = |key: &str| {
        let line = |line: &'_ str| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
        shown.lines().find_map(line).unwrap_or_default()
    };
    let state = match (value("LoadState").as_str(), value("ActiveState").as_str()) {
        ("not-found", _) => return not_installed(),
        // It ended, and is waiting to be started again.
        _ if value("SubState") == "auto-restart" => State::Failed,
        (_, "activating" | "reloading") => State::Starting,
        (_, "active") => State::Running,
        (_, "deactivating") => State::Stopping,
        (_, "failed") => State::Failed,
        (_, "inactive") => State::Stopped,
        _ => State::Unknown,
    };
    let number = |key: &str| value(key).parse::<u32>().ok();
    // A code of 0 is that of a process which has not ended.
    let has_ended = number("ExecMainCode").is_some_and(|code| code != 0);
    ServiceStatus {
        state,
        process: number("MainPID").filter(|it| *it != 0),
        starts_with_machine: Some(value("UnitFileState").starts_with("enabled")),
        said: value("StatusText"),
        exit_status: number("ExecMainStatus").filter(|_| has_ended),
    }
}

fn systemctl(arguments: &[&str]) -> Result<(), Failure> {
    output(arguments).map(drop)
}

fn output(arguments: &[&str]) -> Result<Output, Failure> {
    let doing = format!("have systemd do `systemctl {}`", arguments.join(" "));
    let mut command = Command::new("systemctl");
    command
        .args(arguments)
        // Texts are shown, never read; a pager or a question would wait for ever.
        .args(["--no-pager", "--no-ask-password"])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    let output = command
        .output()
        .map_err(|error| failed(&doing, &error.to_string()))?;
    match output.status.success() {
        true => Ok(output),
        false => Err(failed(
            &doing,
            String::from_utf8_lossy(&output.stderr).trim(),
        )),
    }
}

fn failed(doing: &str, what: &str) -> Failure {
    let mut message = format!("failed to {doing}");
    if !what.is_empty() {
        message = format!("{message}: {what}");
    }
    Failure::new(FailureKind::Service, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(shown: &str) -> State {
        status_in(shown).state
    }

    #[test]
    fn what_systemd_shows_is_understood() {
        let running = status_in(
            "LoadState=loaded\nActiveState=active\nSubState=running\nMainPID=4711\nUnitFileState=enabled\nStatusText=waiting for work = none\nExecMainStatus=0\nExecMainCode=0\n",
        );
        let expected = ServiceStatus {
            state: State::Running,
            process: Some(4711),
            starts_with_machine: Some(true),
            said: "waiting for work = none".into(),
            exit_status: None,
        };
        assert_eq!(running, expected);
        let failed = status_in(
            "LoadState=loaded\nActiveState=failed\nMainPID=0\nUnitFileState=disabled\nStatusText=\nExecMainStatus=2\nExecMainCode=1\n",
        );
        let expected = ServiceStatus {
            state: State::Failed,
            process: None,
            starts_with_machine: Some(false),
            said: String::new(),
            exit_status: Some(2),
        };
        assert_eq!(failed, expected);
        let again = "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\n";
        assert_eq!(state(again), State::Failed);
    }

    #[test]
    fn every_state_of_systemd_has_a_word() {
        assert_eq!(
            state("LoadState=not-found\nActiveState=inactive\n"),
            State::NotInstalled
        );
        for (active, expected) in [
            ("inactive", State::Stopped),
            ("activating", State::Starting),
            ("deactivating", State::Stopping),
            ("maintenance", State::Unknown),
        ] {
            let shown = format!("LoadState=loaded\nActiveState={active}\n");
            assert_eq!(state(&shown), expected, "{active}");
        }
    }
}
