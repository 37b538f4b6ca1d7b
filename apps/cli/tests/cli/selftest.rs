//! The self-test as people and programs meet it, on a simulated host.

use serde_json::Value;

use crate::agent::Agent;

const SELFTEST: [&str; 8] = [
    "hyperv",
    "selftest",
    "--vm",
    "web",
    "--host",
    "sim:host",
    "--report",
    "report.md",
];

fn with_vm() -> Agent {
    let agent = Agent::new();
    agent.succeeds(["sim", "create", "host"]);
    agent.succeeds(["sim", "add-vm", "host", "--name", "web", "--new", "4M"]);
    agent.succeeds(["sim", "add-vm", "host", "--name", "secret", "--new", "4M"]);
    agent
}

/// Checks that nothing of a self-test is on the host.
fn assert_clean(agent: &Agent) {
    let shown = agent.json(0, &["host", "show", "web", "--host", "sim:host"]);
    assert_eq!(shown["checkpoints"], Value::Array(Vec::new()));
    assert_eq!(shown["reference_points"], Value::Array(Vec::new()));
    let cleaned = agent.succeeds(["host", "clean", "--host", "sim:host"]);
    assert!(cleaned.contains("nothing of ours"), "{cleaned}");
}

#[test]
fn a_self_test_writes_its_report_twice_and_leaves_nothing() {
    let agent = with_vm();
    let arguments = [&SELFTEST[..], &["--yes"]].concat();
    let answer = agent.json(0, &arguments);
    assert_eq!(answer["report"]["undone"], true, "{answer}");
    let confirmed = answer["report"]["confirmed"].as_u64();
    assert!(confirmed.unwrap() > 10, "{answer}");
    let markdown = std::fs::read_to_string(agent.path("report.md")).unwrap();
    assert!(markdown.contains("simulated host"), "{markdown}");
    assert!(!markdown.contains("secret"), "{markdown}");
    let document = std::fs::read(agent.path("report.md.json")).unwrap();
    let document: Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(document, answer["report"]);
    assert_clean(&agent);
}

#[test]
fn a_running_vm_is_not_touched_unasked() {
    let agent = with_vm();
    let refused = agent.run(SELFTEST);
    assert_eq!(refused.status, 2, "{refused:?}");
    assert!(refused.stderr.contains("--yes"), "{refused:?}");
    assert!(!agent.path("report.md").exists());
    agent.succeeds(["sim", "state", "host", "--vm", "web", "off"]);
    agent.succeeds(SELFTEST);
}

#[test]
fn a_self_test_that_the_host_ends_early_says_so_and_cleans_up() {
    let agent = with_vm();
    agent.succeeds([
        "sim",
        "fault",
        "host",
        "--vm",
        "web",
        "job-fails-at",
        "convert",
    ]);
    let ended_early = agent.run(SELFTEST.iter().chain(&["--yes"]));
    assert_eq!(ended_early.status, 1, "{ended_early:?}");
    assert!(
        ended_early.stdout.contains("it ended early"),
        "{ended_early:?}"
    );
    assert!(agent.path("report.md").exists());
    assert_clean(&agent);
}
