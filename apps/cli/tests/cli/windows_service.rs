//! `service` in the hands of Windows' own service manager.

#![cfg(windows)]

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use scripted_control_plane::{ControlPlane, RunOrder, Settings};
use serde_json::{Value, json};
use time_and_chance::{Chance, StopSignal, SystemClock};

use crate::agent::{Agent, assert_holds, outcome};
use crate::windows_program::tested;

/// Nothing that is waited for takes longer, however slow the machine is.
const PATIENCE: Duration = Duration::from_mins(15);
/// What the agent may enrol with, once.
const TOKEN: &str = "4f8d0c1b2a39485766758493a2b1c0d9e8f70615";
/// The password that the control plane sends.
const PASSWORD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The machine, whose service bears one name: a test has it to itself, finds no service, and
/// leaves none, however it ends.
struct Machine {
    agent: Agent,
    _alone: MutexGuard<'static, ()>,
}

impl Machine {
    fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let machine = Self {
            agent: Agent::running(tested()),
            _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner),
        };
        // Left by a run that was killed.
        machine.remove_service();
        machine
    }

    fn json(&self, status: i32, arguments: &[&str]) -> Value {
        self.agent.json(status, arguments)
    }

    fn remove_service(&self) {
        // If there is none, that is as well.
        let _ = self.agent.command(["service", "uninstall"]).output();
    }

    /// Returns what the service logged.
    fn log(&self) -> String {
        fs::read_to_string(self.agent.path("state/logs/agent.log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.remove_service();
    }
}

#[test]
fn windows_runs_the_service_as_it_was_installed() {
    let machine = Machine::new();
    let status = machine.json(0, &["service", "status"]);
    assert_eq!(status["state"], "not_installed", "{status}");
    for verb in ["start", "stop", "restart", "uninstall"] {
        let refused = machine.json(1, &["service", verb]);
        assert_eq!(
            refused["error"]["kind"], "not_installed",
            "{verb}: {refused}"
        );
    }

    // It is not there: the service waits for it.
    let config = machine.agent.path("agent with space.conf");
    let named = config.to_str().unwrap();
    let installed = machine.json(0, &["-service", "install", "-config", named]);
    assert_eq!(installed["config"], named, "{installed}");
    let again = machine.json(1, &["service", "install"]);
    assert_eq!(again["error"]["kind"], "already_installed", "{again}");
    let status = machine.json(0, &["service", "status"]);
    assert_eq!(status["state"], "stopped", "{status}");

    let started = machine.json(0, &["service", "start"]);
    assert_eq!(started["state"], "running", "{started}");
    assert!(started["process"].is_u64(), "{started}");
    let again = machine.json(0, &["service", "start"]);
    assert_eq!(again["process"], started["process"], "{again}");
    let restarted = machine.json(0, &["-service", "restart"]);
    assert_eq!(restarted["state"], "running", "{restarted}");
    assert_ne!(restarted["process"], started["process"], "{restarted}");
    let stopped = machine.json(0, &["service", "stop"]);
    assert_eq!(stopped["state"], "stopped", "{stopped}");
    assert_eq!(stopped["exit_status"], 0, "{stopped}");
    machine.json(0, &["service", "start"]);
    let removed = machine.json(0, &["service", "uninstall"]);
    assert_eq!(removed["removed"], true, "{removed}");
    let status = machine.json(0, &["service", "status"]);
    assert_eq!(status["state"], "not_installed", "{status}");
}

/// Returns a control plane that hands out work at once, and lets an agent enrol with the token.
fn control_plane() -> ControlPlane {
    let settings = Settings {
        // Who waits for commands waits a second, not a quarter of a minute.
        long_poll_secs: 1,
        next_poll_secs: 1,
        // A machine may be slow.
        watchdog: false,
        ..Settings::default()
    };
    let plane = ControlPlane::start(settings, SystemClock::new()).unwrap();
    plane.with(|world| world.add_enrollment_token(TOKEN, 1));
    plane
}

/// Waits until a run has ended, and returns how.
fn end_of(run: &Value, plane: &ControlPlane, machine: &Machine) -> String {
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    loop {
        let status = plane.with(|world| world.run_status(run).to_owned());
        if !matches!(&*status, "queued" | "starting" | "running") {
            return status;
        }
        let waited = clock.monotonic() - begun;
        assert!(waited < PATIENCE, "still {status}:\n{}", machine.log());
        let pause = Duration::from_millis(50);
        clock.sleep(pause, &StopSignal::new()).unwrap();
    }
}

#[test]
fn a_service_enrols_backs_up_reports_and_stops_in_time() {
    let machine = Machine::new();
    let path = |name: &str| machine.agent.path(name);
    let plane = control_plane();
    let config = format!(
        "api_base_url: {}\nenrollment_token: {TOKEN}\npoll_interval_secs: 1\n",
        plane.url()
    );
    fs::write(path("agent.conf"), config).unwrap();
    let deep = path(r"source\Übergröße\with space");
    fs::create_dir_all(&deep).unwrap();
    let mut noise = vec![0; 3 << 20];
    Chance::from_seed(1).fill(&mut noise);
    fs::write(deep.join("noise.bin"), &noise).unwrap();
    fs::write(path(r"source\letter.txt"), "dear all").unwrap();
    let order = RunOrder::files(path("source").to_str().unwrap())
        .with("dest_type", json!("local"))
        .with("dest_local_path", json!(path("repo")))
        .with(
            "repository_id",
            json!("5c0e0000-0000-4000-8000-000000000001"),
        )
        .with("repository_password", json!(PASSWORD));
    let run = plane.with(|world| world.queue_run(order));

    let config = path("agent.conf");
    let installed = machine.json(
        0,
        &["service", "install", "--config", config.to_str().unwrap()],
    );
    // It keeps everything in this world, as it was told to.
    assert_eq!(installed["state_folder"], json!(path("state")));
    assert_eq!(installed["cache_folder"], json!(path("cache")));
    machine.json(0, &["service", "start"]);
    assert_eq!(
        end_of(&run, &plane, &machine),
        "success",
        "{}",
        machine.log()
    );
    let stopped = machine.json(0, &["service", "stop"]);
    assert_eq!(stopped["state"], "stopped", "{stopped}");
    assert_eq!(stopped["exit_status"], 0, "{stopped}");

    assert_eq!(plane.violations(), [], "{}", machine.log());
    assert_eq!(plane.unfinished(), [], "{}", machine.log());
    let calls = plane.calls_of("agent_update_run");
    let mut ends = calls
        .iter()
        .filter(|it| it.call.body["status"] == "success");
    let end = &ends.next().unwrap().call.body;
    // It is who it enrolled as, and cannot enrol again.
    let config = fs::read_to_string(config).unwrap();
    assert!(config.contains("agent_uuid:"), "it has no identity");
    for secret in [TOKEN, PASSWORD] {
        assert!(!config.contains(secret) && !machine.log().contains(secret));
    }

    let point = end["manifest_id"].as_str().unwrap();
    for arguments in [
        &["restore", "files", point, "--repo", "repo", "--to", "back"][..],
        &["repo", "verify", "--repo", "repo", "--data", "100"],
    ] {
        let mut command = machine.agent.command(arguments);
        let outcome = outcome(command.env("E3_REPO_PASSWORD", PASSWORD));
        assert_eq!(outcome.status, 0, "{outcome:?}");
    }
    assert_holds(&path(r"back\letter.txt"), b"dear all");
    assert_holds(&path(r"back\Übergröße\with space\noise.bin"), &noise);
    let removed = machine.json(0, &["service", "uninstall"]);
    assert_eq!(removed["removed"], true, "{removed}");
}
