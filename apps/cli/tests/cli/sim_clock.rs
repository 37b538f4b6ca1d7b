//! The clock that the programs of a simulation share, as the executable moves it and lives by it.

use crate::agent::Agent;

fn at(agent: &Agent, arguments: &[&str]) -> String {
    let words: Vec<&str> = ["sim", "clock", "clock"]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    let document = agent.json(0, &words);
    document["time"].as_str().unwrap().to_owned()
}

#[test]
fn the_clock_is_set_moved_on_and_kept() {
    let agent = Agent::new();
    agent.json(2, &["sim", "clock", "clock", "show"]);
    let set = ["set", "2026-10-27T20:55:00Z", "--rate", "0"];
    assert_eq!(at(&agent, &set), "2026-10-27T20:55:00Z");
    assert_eq!(at(&agent, &["advance", "8h30m"]), "2026-10-28T05:25:00Z");
    assert_eq!(at(&agent, &["show"]), "2026-10-28T05:25:00Z");
    for wrong in [
        &["advance", "soon"][..],
        &["set", "tomorrow"],
        &["run", "-1"],
    ] {
        let words: Vec<&str> = ["sim", "clock", "clock"]
            .iter()
            .chain(wrong)
            .copied()
            .collect();
        agent.json(2, &words);
    }
}

#[test]
fn a_simulated_host_lives_by_the_clock_and_what_is_real_refuses_it() {
    let agent = Agent::new();
    at(&agent, &["set", "2026-10-27T20:55:00Z", "--rate", "0"]);
    let clock = agent.path("clock");
    let agent = agent.with("E3_SIM_CLOCK", clock);
    agent.succeeds(["sim", "create", "host"]);
    agent.succeeds(["sim", "add-vm", "host", "--name", "web", "--new", "1M"]);
    let document = agent.json(0, &["sim", "checkpoint", "host", "--vm", "web"]);
    let shown = agent.json(0, &["sim", "show", "host"]);
    let checkpoint = &shown["vms"][0]["checkpoints"][0];
    assert_eq!(checkpoint["id"], document["checkpoint"]);
    assert_eq!(checkpoint["created"], "2026-10-27T20:55:00Z");
    // A service whose host is the machine's own, and everything that has no host.
    std::fs::write(
        agent.path("agent.conf"),
        "api_base_url: https://a.example\n",
    )
    .unwrap();
    for real in [
        &["run", "--config", "agent.conf"][..],
        &["repo", "create", "--repo", "repo"],
    ] {
        let document = agent.json(2, real);
        let message = document["error"]["message"].as_str().unwrap();
        assert!(message.contains("E3_SIM_CLOCK"), "{message}");
    }
    assert!(!agent.path("repo").exists());
}
