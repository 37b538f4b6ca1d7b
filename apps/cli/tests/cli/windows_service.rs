//! `service` in the hands of Windows' own service manager.

#![cfg(windows)]

use crate::agent::Agent;

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

    // It is not there: the service waits for it.
    let config = agent.path("agent with space.conf");
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
}
