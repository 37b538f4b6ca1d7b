//! `service`: the agent in the hands of a real systemd.

#![cfg(unix)]

use std::path::Path;

use crate::agent::Agent;
use crate::systemd_world::SystemdWorld;

const UNIT_FILE: &str = "/etc/systemd/system/e3-backup-agent.service";

#[test]
fn systemd_runs_the_service_as_it_was_installed() {
    let Some(world) = SystemdWorld::start() else {
        return;
    };
    let status = world.agent(0, &["service", "status"]);
    assert_eq!(status["state"], "not_installed", "{status}");
    for verb in ["start", "stop", "restart", "uninstall"] {
        let refused = world.agent(1, &["service", verb]);
        assert_eq!(
            refused["error"]["kind"], "not_installed",
            "{verb}: {refused}"
        );
    }

    let config = "/etc/e3-backup-agent/a \"b\" $c %d.conf";
    let installed = world.agent(0, &["-service", "install", "-config", config]);
    assert_eq!(installed["installed_in"], UNIT_FILE);
    assert_eq!(installed["program"], "/program/e3-backup-agent");
    assert_eq!(installed["config"], config);
    let complaints = world.run("systemd-analyze", &["verify", UNIT_FILE]);
    assert_eq!((complaints.status, complaints.stderr.as_str()), (0, ""));
    let again = world.agent(1, &["service", "install"]);
    assert_eq!(again["error"]["kind"], "already_installed", "{again}");
    let status = world.agent(0, &["service", "status"]);
    assert_eq!(status["state"], "stopped", "{status}");
    assert_eq!(status["starts_with_machine"], true, "{status}");
    assert_eq!(status["process"], serde_json::Value::Null, "{status}");

    let started = world.agent(0, &["service", "start"]);
    assert_eq!(started["state"], "running", "{started}");
    let process = started["process"].as_u64().unwrap();
    // What the file says came to the process as it was meant.
    let line = world.read(&format!("/proc/{process}/cmdline"));
    let words: Vec<&str> = line.trim_end_matches('\0').split('\0').collect();
    assert_eq!(
        words,
        ["/program/e3-backup-agent", "run", "--config", config]
    );
    let again = world.agent(0, &["service", "start"]);
    assert_eq!(again["process"], process, "{again}");
    others_come_first(&world, process);

    let restarted = world.agent(0, &["-service", "restart"]);
    assert_eq!(restarted["state"], "running", "{restarted}");
    assert_ne!(restarted["process"], process, "{restarted}");
    let stopped = world.agent(0, &["service", "stop"]);
    assert_eq!(stopped["state"], "stopped", "{stopped}");
    world.agent(0, &["service", "start"]);
    let removed = world.agent(0, &["service", "uninstall"]);
    assert_eq!(removed["removed"], true);
    let status = world.agent(0, &["service", "status"]);
    assert_eq!(status["state"], "not_installed", "{status}");
    let left = world.run("find", &["/etc/systemd/system"]);
    assert!(!left.stdout.contains("e3-backup-agent"), "{left:?}");
}

/// Reads back from the kernel what the unit says of processors, disks and memory, of all threads.
fn others_come_first(world: &SystemdWorld, process: u64) {
    let threads = world.run("ls", &[&format!("/proc/{process}/task")]).stdout;
    assert!(threads.lines().count() > 1, "{threads}");
    for thread in threads.lines() {
        let stat = world.read(&format!("/proc/{process}/task/{thread}/stat"));
        // Behind the name, which may hold blanks, the 17th field (proc_pid_stat(5)).
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        assert_eq!(fields.split(' ').nth(16), Some("10"), "{stat}");
        let class = world.run("ionice", &["-p", thread]).stdout;
        assert_eq!(class.trim(), "best-effort: prio 7");
    }
    let out_of_memory = world.read(&format!("/proc/{process}/oom_score_adj"));
    assert_eq!(out_of_memory.trim(), "200");
    let groups = world.read(&format!("/proc/{process}/cgroup"));
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let weight = format!("/sys/fs/cgroup{}/cpu.weight", group.unwrap());
    // Where this world may divide processors at all.
    if world.run("test", &["-e", &weight]).status == 0 {
        assert_eq!(world.read(&weight).trim(), "20");
    }
}

#[test]
fn a_service_that_dies_is_started_again() {
    let Some(world) = SystemdWorld::start() else {
        return;
    };
    world.agent(0, &["service", "install"]);
    // Not in ten seconds, so that nobody has to wait for them.
    world.write(
        &format!("{UNIT_FILE}.d/soon.conf"),
        "[Service]\nRestartSec=0\n",
    );
    assert_eq!(world.run("systemctl", &["daemon-reload"]).status, 0);
    let started = world.agent(0, &["service", "start"]);
    let process = started["process"].to_string();
    assert_eq!(world.run("kill", &["-KILL", &process]).status, 0);
    let restarts = || {
        let show = ["show", "--property=NRestarts", "e3-backup-agent.service"];
        world.run("systemctl", &show).stdout
    };
    while restarts().trim() != "NRestarts=1" {}
    let again = world.agent(0, &["service", "start"]);
    assert_ne!(again["process"].to_string(), process, "{again}");
}

#[test]
fn a_machine_without_systemd_says_what_to_do_instead() {
    // Where systemd runs the machine this would install it there.
    if Path::new("/run/systemd/system").exists() {
        return println!("left out: systemd runs this machine");
    }
    let agent = Agent::new();
    let status = agent.json(0, &["service", "status"]);
    assert_eq!(status["state"], "not_installed", "{status}");
    for verb in ["install", "start", "stop", "restart", "uninstall"] {
        let refused = agent.json(1, &["service", verb]);
        assert_eq!(refused["error"]["kind"], "unsupported", "{refused}");
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains("e3-backup-agent run"), "{message}");
    }
}

#[test]
fn flags_of_the_older_agent_are_taken() {
    let agent = Agent::new();
    let old = agent.json(0, &["-service", "status"]);
    assert_eq!(old, agent.json(0, &["service", "status"]));
    let wrong = agent.run(["-service", "explode"]);
    assert_eq!(wrong.status, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("explode"), "{wrong:?}");
    assert_eq!(agent.run(["-service"]).status, 2);
}
