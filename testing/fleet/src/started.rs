//! Programs that are started, and ended when whoever started them is done.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use time_and_chance::StopSignal;

use crate::line::{Asked, Line};

/// A server is there in this time, or never.
pub const START_LOOKS: u32 = 600;
/// How long it is waited between two looks.
pub const LOOK: Duration = Duration::from_millis(100);
/// A program that is told to end has so many looks to do so.
const END_LOOKS: u32 = 600;

/// A program that runs; dropped, it is told to end and waited for.
#[derive(Debug)]
pub struct Started {
    name: String,
    child: Child,
}

impl Started {
    /// Starts a program, which writes what it has to say into a file.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("opening {}", log.display()))?;
        let child = command
            .stdin(std::process::Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
        })
    }

    /// Returns the number of its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Fails if it has ended by itself.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended by itself: {status}", self.name),
        }
    }

    /// Tells it to end, and waits for that.
    pub fn end(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let process = Pid::from_child(&self.child);
        kill_process(process, Signal::TERM).with_context(|| format!("ending {}", self.name))?;
        let never = StopSignal::new();
        for _ in 0..END_LOOKS {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            never.wait_real_time(LOOK)?;
        }
        self.child.kill()?;
        self.child.wait()?;
        bail!("{} did not end when it was told to", self.name)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("warning: {error:#}");
        }
    }
}

/// Returns an address of this machine that nobody listens at.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Waits until a server says that it is well.
pub async fn wait_until_well(server: SocketAddr, started: &mut Started) -> anyhow::Result<()> {
    let asked = Asked {
        method: "GET",
        path: "/healthz",
        headers: &[],
        body: &[],
    };
    for _ in 0..START_LOOKS {
        started.check_alive()?;
        if let Ok(answered) = Line::to(server, None).ask(&asked).await
            && answered.status == 200
        {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("the server at {server} does not become well")
}
