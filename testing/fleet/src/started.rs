//! Programs that are started, and ended when whoever started them is done.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
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
    log: PathBuf,
    /// How much was in the log before.
    log_begun: usize,
}

impl Started {
    /// Starts a program, which writes what it has to say into a file.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("opening {}", log.display()))?;
        let log_begun = std::fs::read(log).map_or(0, |bytes| bytes.len());
        let child = command
            .stdin(std::process::Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
            log_begun,
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
            Some(status) => bail!(
                "{} has ended by itself: {status}; it said last: {}",
                self.name,
                self.said().lines().next_back().unwrap_or("nothing")
            ),
        }
    }

    /// Returns what it has said since it was started.
    fn said(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(log.get(self.log_begun..).unwrap_or_default()).into_owned()
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

/// Waits until a server listens, at the place that it says itself, and is well. Nobody else can be taken for it.
///
/// # Errors
/// If it ends, or does not become well.
pub async fn wait_until_well(started: &mut Started) -> anyhow::Result<SocketAddr> {
    let asked = Asked {
        method: "GET",
        path: "/healthz",
        headers: &[],
        body: &[],
    };
    for _ in 0..START_LOOKS {
        started.check_alive()?;
        if let Some(server) = address_in(&started.said())
            && let Ok(answered) = Line::to(server, None).ask(&asked).await
            && answered.status == 200
        {
            return Ok(server);
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!(
        "{} does not become well; {} says more",
        started.name,
        started.log.display()
    )
}

/// Returns where a server says in its log that it listens.
fn address_in(log: &str) -> Option<SocketAddr> {
    let rest = log.split_once(" listens at http://")?.1;
    // A line that is written only in part has no end.
    rest.split_once('\n')?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_where_its_log_says() {
        let line = "2026-11-26T09:00:00.000Z info  e3-control-plane 2.0.0 listens at http://127.0.0.1:4711";
        assert_eq!(address_in(line), None, "half a line");
        let address = address_in(&format!("{line}\nmore"));
        assert_eq!(address, "127.0.0.1:4711".parse().ok());
        assert_eq!(address_in("listening on 127.0.0.1:8080: in use\n"), None);
    }
}
