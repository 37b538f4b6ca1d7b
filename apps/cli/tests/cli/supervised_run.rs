//! `run` in the hands of something that speaks as systemd does: what it is told, and when it ends.

#![cfg(unix)]

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::agent::Agent;

/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The agent at work on a configuration that is not there yet, and the socket that it tells.
struct Service {
    agent: Agent,
    socket: UnixDatagram,
    process: Child,
}

impl Service {
    fn start() -> Self {
        let agent = Agent::new();
        let path = agent.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let log = File::create(agent.path("stderr")).unwrap();
        let file = log.metadata().unwrap();
        let mut command = agent.command(["run", "--config", "agent.conf"]);
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "400000")
            .env_remove("WATCHDOG_PID")
            .env("JOURNAL_STREAM", format!("{}:{}", file.dev(), file.ino()))
            .stdout(Stdio::null())
            .stderr(log);
        let process = start(&mut command);
        Self {
            agent,
            socket,
            process,
        }
    }

    /// Hears until it is told `line`; returns what it was told before.
    fn hears(&self, line: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let mut buf = [0; 1024];
            let length = self.socket.recv(&mut buf).unwrap();
            let heard = String::from_utf8(buf[..length].to_vec()).unwrap();
            if heard == line {
                return before;
            }
            before.push(heard);
        }
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.process);
        kill_process(id, signal).unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start(command: &mut Command) -> Child {
    command.spawn().unwrap()
}

#[test]
fn a_service_tells_systemd_that_it_runs_lives_and_stops() {
    let mut service = Service::start();
    let before = service.hears("READY=1");
    assert!(
        before.iter().all(|it| it.starts_with("STATUS=")),
        "{before:?}"
    );
    service.hears("WATCHDOG=1");
    service.signal(Signal::TERM);
    let before = service.hears("STOPPING=1");
    assert!(!before.contains(&"READY=1".to_owned()), "{before:?}");
    let status = service.process.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    // Each line has the priority in front that the journal sorts by.
    let log = std::fs::read_to_string(service.agent.path("stderr")).unwrap();
    let lines = log.lines().filter(|line| !line.starts_with("cancelling"));
    let lines: Vec<&str> = lines.collect();
    assert!(!lines.is_empty(), "{log}");
    for line in lines {
        assert!(line.starts_with("<6>") || line.starts_with("<4>"), "{line}");
    }
}
