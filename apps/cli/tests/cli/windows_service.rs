//! `service` in the hands of Windows' own service manager.

#![cfg(windows)]

use std::path::Path;
use std::time::Duration;

use scripted_control_plane::{ControlPlane, RunOrder, Settings};
use serde_json::json;
use time_and_chance::{SharedClock, StopSignal, SystemClock};

use crate::agent::{Agent, outcome};

const AGENT: &str = "0f0e0d0c-0000-4000-8000-000000000001";
const TOKEN: &str = "4f8d0c1b2a39485766758493a2b1c0d9e8f70615";
/// The password that the control plane sends.
const PASSWORD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// Returns a control plane that knows the agent, which `config` says.
fn control_plane(clock: &SharedClock, config: &Path) -> ControlPlane {
    let plane = ControlPlane::start(Settings::default(), clock.clone()).unwrap();
    plane.with(|world| world.add_agent(AGENT, TOKEN));
    let text = format!(
        "api_base_url: {}\nagent_uuid: {AGENT}\nagent_token: {TOKEN}\n",
        plane.url()
    );
    std::fs::write(config, text).unwrap();
    plane
}

/// Orders a backup of the world's folder `source`, and waits until it is done.
fn back_up(plane: &ControlPlane, clock: &SharedClock, agent: &Agent) {
    let source = agent.path("source");
    std::fs::create_dir_all(&source).unwrap();
    std::fs::write(source.join("letter.txt"), "dear all").unwrap();
    let order = RunOrder::files(source.to_str().unwrap())
        .with("dest_type", json!("local"))
        .with("dest_local_path", json!(agent.path("repo")))
        .with(
            "repository_id",
            json!("5c0e0000-0000-4000-8000-000000000001"),
        )
        .with("repository_password", json!(PASSWORD));
    let run = plane.with(|world| world.queue_run(order));
    let begun = clock.monotonic();
    loop {
        let status = plane.with(|world| world.run_status(&run).to_owned());
        if !matches!(&*status, "queued" | "starting" | "running") {
            assert_eq!(status, "success");
            return;
        }
        assert!(
            clock.monotonic() - begun < PATIENCE,
            "the run is still {status}"
        );
        let pause = Duration::from_millis(50);
        clock.sleep(pause, &StopSignal::new()).unwrap();
    }
}

#[test]
fn windows_runs_the_service_as_it_was_installed() {
    let agent = Agent::new();
    // Left by a run that was killed.
    agent.run(["service", "uninstall"]);
    let status = agent.json(0, &["service", "status"]);
    assert_eq!(status["state"], "not_installed", "{status}");
    for verb in ["start", "stop", "restart", "uninstall"] {
        let refused = agent.json(1, &["service", verb]);
        assert_eq!(
            refused["error"]["kind"], "not_installed",
            "{verb}: {refused}"
        );
    }

    let clock = SystemClock::new();
    let config = agent.path("agent with space.conf");
    let plane = control_plane(&clock, &config);
    let named = config.to_str().unwrap();
    let installed = agent.json(0, &["-service", "install", "-config", named]);
    assert_eq!(installed["config"], named, "{installed}");
    let again = agent.json(1, &["service", "install"]);
    assert_eq!(again["error"]["kind"], "already_installed", "{again}");
    let status = agent.json(0, &["service", "status"]);
    assert_eq!(status["state"], "stopped", "{status}");

    let started = agent.json(0, &["service", "start"]);
    assert_eq!(started["state"], "running", "{started}");
    assert!(started["process"].is_u64(), "{started}");
    let again = agent.json(0, &["service", "start"]);
    assert_eq!(again["process"], started["process"], "{again}");
    back_up(&plane, &clock, &agent);
    let restarted = agent.json(0, &["-service", "restart"]);
    assert_eq!(restarted["state"], "running", "{restarted}");
    assert_ne!(restarted["process"], started["process"], "{restarted}");
    let stopped = agent.json(0, &["service", "stop"]);
    assert_eq!(stopped["state"], "stopped", "{stopped}");
    assert_eq!(stopped["exit_status"], 0, "{stopped}");
    agent.json(0, &["service", "start"]);
    let removed = agent.json(0, &["service", "uninstall"]);
    assert_eq!(removed["removed"], true, "{removed}");
    let status = agent.json(0, &["service", "status"]);
    assert_eq!(status["state"], "not_installed", "{status}");
    assert_eq!(plane.violations(), []);
    // What it stored is whole.
    let mut verify = agent.command(["repo", "verify", "--repo", "repo", "--data", "100"]);
    let verified = outcome(verify.env("E3_REPO_PASSWORD", PASSWORD));
    assert_eq!(verified.status, 0, "{verified:?}");
}
