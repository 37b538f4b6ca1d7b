//! The executable that replaces itself: as processes, started again and again as systemd does, with a
//! control plane and a server of releases.
//!
//! Its newer versions are programs that say another version. One has everything else done by the very
//! executable, the other one does not come up.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use scripted_control_plane::downloads::Downloads;
use scripted_control_plane::{CommandOrder, ControlPlane, Settings};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use time_and_chance::{SharedClock, StopSignal, SystemClock};

use crate::agent::Agent;

const AGENT: &str = "0f0e0d0c-0000-4000-8000-000000000001";
const TOKEN: &str = "4f8d0c1b2a39485766758493a2b1c0d9e8f70615";
/// The version of the executable.
const OLD: &str = env!("CARGO_PKG_VERSION");
const NEW: &str = "999.0.0";
/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

struct Machine {
    agent: Agent,
    plane: ControlPlane,
    files: Downloads,
    clock: SharedClock,
    program: PathBuf,
    starts: u32,
    service: Option<Child>,
}

impl Machine {
    fn new() -> Self {
        let clock = SystemClock::new();
        let settings = Settings {
            long_poll_secs: 1,
            next_poll_secs: 1,
            ..Settings::default()
        };
        let plane = ControlPlane::start(settings, clock.clone()).unwrap();
        plane.with(|world| world.add_agent(AGENT, TOKEN));
        let agent = Agent::new();
        let folder = agent.path("program");
        fs::create_dir(&folder).unwrap();
        let program = folder.join("e3-backup-agent");
        // A copy would be busy while a child of another thread still has it open from us.
        let built = env!("CARGO_BIN_EXE_e3-backup-agent");
        if fs::hard_link(built, &program).is_err() {
            fs::copy(built, &program).unwrap();
        }
        let config = format!(
            "api_base_url: {}\nagent_uuid: {AGENT}\nagent_token: {TOKEN}\n",
            plane.url()
        );
        fs::write(agent.path("agent.conf"), config).unwrap();
        Self {
            agent,
            plane,
            files: Downloads::start().unwrap(),
            clock,
            program,
            starts: 0,
            service: None,
        }
    }

    /// Returns a newer version whose `run` is what this script says.
    fn newer(run: &str) -> Vec<u8> {
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in\n--version) echo 'e3-backup-agent {NEW}' ;;\n*) {run} ;;\nesac\n"
        );
        script.into_bytes()
    }

    fn order(&self, content: &[u8]) -> u64 {
        let payload = json!({
            "update_job_id": 5, "version_label": NEW, "platform": "linux",
            "download_url": self.files.put("agent", content), "size_bytes": content.len(),
            "sha256": hex(&Sha256::digest(content)),
        });
        let order = CommandOrder::new("agent_update", payload);
        self.plane.queue_command(order)
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let state = self.agent.path("state");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.agent.path("."))
            .env("E3_STATE_DIR", &state)
            .env("E3_CACHE_DIR", self.agent.path("cache"))
            .env("INVOCATION_ID", format!("start {}", self.starts))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Starts the service as its unit says: the program from before an update looks first.
    fn start(&mut self) {
        self.starts += 1;
        let kept = self.program.with_file_name("e3-backup-agent.old");
        if kept.exists() {
            let settled = self.command(&kept, &["service", "settle-update"]).status();
            assert!(settled.unwrap().success());
        }
        let started = self
            .command(&self.program, &["run", "--config", "agent.conf"])
            .spawn();
        self.service = Some(started.unwrap());
    }

    /// Starts the service again whenever it ends, until something is so.
    fn keep_running_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = self.clock.monotonic();
        while !is_so(self) {
            assert!(
                self.clock.monotonic() - begun < PATIENCE,
                "{what} does not come"
            );
            let has_ended = match &mut self.service {
                Some(service) => service.try_wait().unwrap().is_some(),
                None => true,
            };
            if has_ended {
                self.start();
            }
            self.clock
                .sleep(Duration::from_millis(20), &StopSignal::new())
                .unwrap();
        }
    }

    fn answer_to(&mut self, command: u64) -> (bool, String) {
        let is_answered = |it: &Self| {
            it.plane
                .with(|world| world.command(command).completed.is_some())
        };
        self.keep_running_until("the answer", is_answered);
        self.plane.with(|world| {
            let command = world.command(command);
            let state = serde_json::to_value(command.state).unwrap();
            (state == "completed", command.result_message.clone())
        })
    }

    fn states(&self) -> Vec<Value> {
        let calls = self.plane.calls_of("agent_update_progress");
        calls
            .iter()
            .map(|it| it.call.body["state"].clone())
            .collect()
    }

    /// Returns the names beside the program, it included.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.program.parent().unwrap()).unwrap();
        let mut names: Vec<String> = entries
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut service) = self.service.take() {
            let _ = service.kill();
            let _ = service.wait();
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

#[test]
fn a_running_executable_is_replaced_by_a_newer_one_that_comes_up() {
    let mut machine = Machine::new();
    let mode = fs::metadata(&machine.program).unwrap().permissions().mode();
    let executable = env!("CARGO_BIN_EXE_e3-backup-agent");
    let new = Machine::newer(&format!("exec '{executable}' \"$@\""));
    let command = machine.order(&new);
    let (is_done, said) = machine.answer_to(command);
    let words = format!("version {NEW} took the place of {OLD}");
    assert!(is_done && said == words, "{said}");
    assert_eq!(
        machine.states(),
        ["downloading", "verifying", "applying", "restarting"]
    );
    assert_eq!(fs::read(&machine.program).unwrap(), new);
    let found = fs::metadata(&machine.program).unwrap().permissions();
    assert_eq!(found.mode(), mode);
    machine.keep_running_until("the old one to go", |it| it.names() == ["e3-backup-agent"]);
    assert_eq!(machine.starts, 2);
}

#[test]
fn a_newer_one_that_does_not_come_up_is_put_back_by_the_one_from_before() {
    let mut machine = Machine::new();
    let before = fs::read(&machine.program).unwrap();
    let command = machine.order(&Machine::newer("exit 1"));
    let (is_done, said) = machine.answer_to(command);
    assert!(!is_done && said.contains("was started 3 times"), "{said}");
    assert!(said.contains("was put back"), "{said}");
    assert_eq!(machine.states().last(), Some(&json!("failed")));
    assert!(fs::read(&machine.program).unwrap() == before);
    machine.keep_running_until("the new one to go", |it| it.names() == ["e3-backup-agent"]);
    // Itself, three of the new one, itself.
    assert_eq!(machine.starts, 5);
}
