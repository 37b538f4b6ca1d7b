//! The real program, started, killed and started again, beside the test that watches it.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How often is looked whether something is so.
pub const LOOK: Duration = Duration::from_millis(10);
/// Nothing that is waited for takes more looks, on the slowest machine.
pub const LOOKS: u32 = 60_000;

/// `e3-control-plane serve`; dropped, it is killed.
#[derive(Debug)]
pub struct Program {
    data: PathBuf,
    arguments: Vec<String>,
    /// What a shell does before it becomes the program.
    before: String,
    starts: usize,
    child: Option<Child>,
}

impl Program {
    /// Returns one that is not started yet. It listens where nobody does, unless the arguments say another place.
    pub fn new(data: &Path, arguments: &[&str]) -> Self {
        let listens = arguments.contains(&"--listen");
        let free = ["--listen", "127.0.0.1:0"];
        let free = free.iter().filter(|_| !listens);
        Self {
            data: data.to_owned(),
            arguments: free.chain(arguments).map(|it| (*it).to_owned()).collect(),
            before: String::new(),
            starts: 0,
            child: None,
        }
    }

    /// Has a shell do something before it becomes the program.
    pub fn after(mut self, before: &str) -> Self {
        before.clone_into(&mut self.before);
        self
    }

    /// Starts it, with a log of its own.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "it is ended before it is started");
        self.starts += 1;
        let log = File::create(self.log_file()).expect("a log");
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{} exec \"$@\"", self.before), "sh"])
            .arg(env!("CARGO_BIN_EXE_e3-control-plane"))
            .args(["serve", "--data"])
            .arg(&self.data)
            .args(&self.arguments)
            .env_remove("E3_DATA")
            .env_remove("E3_DATABASE_URL")
            .env_remove("E3_SIM_CLOCK")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        self.child = Some(command.spawn().expect("started"));
    }

    fn log_file(&self) -> PathBuf {
        self.data.with_extension(format!("{}.log", self.starts))
    }

    /// Returns what it has said since it was started last.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Returns what it has said since it was started first.
    pub fn logs(&self) -> String {
        let each = (1..=self.starts).map(|start| {
            let file = self.data.with_extension(format!("{start}.log"));
            std::fs::read_to_string(file).unwrap_or_default()
        });
        each.collect()
    }

    /// Returns where it listens, as it says itself; `None` as long as it does not.
    pub fn address(&self) -> Option<SocketAddr> {
        let log = self.log();
        let rest = log.split_once(" listens at http://")?.1;
        // A line that is written only in part has no end.
        rest.split_once('\n')?.0.parse().ok()
    }

    /// Returns how it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut().expect("started");
        child.try_wait().expect("a child of ours")
    }

    /// Waits until it listens, and returns where.
    pub async fn listening(&mut self) -> SocketAddr {
        for _ in 0..LOOKS {
            if let Some(address) = self.address() {
                return address;
            }
            assert_eq!(self.ended(), None, "{}", self.log());
            tokio::time::sleep(LOOK).await;
        }
        panic!("it does not listen: {}", self.log());
    }

    /// Waits until it has ended by itself, and returns whether that was in good order.
    pub async fn end(&mut self) -> bool {
        for _ in 0..LOOKS {
            if let Some(status) = self.ended() {
                self.child = None;
                return status.success();
            }
            tokio::time::sleep(LOOK).await;
        }
        panic!("it does not end: {}", self.log());
    }

    /// Sends it a signal, by name.
    pub fn signal(&self, name: &str) {
        let child = self.child.as_ref().expect("started");
        let kill = format!("kill -s {name} {}", child.id());
        let killed = Command::new("sh").args(["-c", &kill]).status();
        assert!(killed.expect("a shell").success());
    }

    /// Returns the number of its process.
    pub fn process(&self) -> u32 {
        self.child.as_ref().expect("started").id()
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killed");
            child.wait().expect("waited for");
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
