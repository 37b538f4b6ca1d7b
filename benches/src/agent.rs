//! The executable in a folder of its own, measured.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;
use time_and_chance::SharedClock;

use crate::measured::{self, Measured};

/// The password of all repositories here.
pub const PASSWORD: &str = "only measured";

/// The executable, with state and cache in its folder.
#[derive(Debug)]
pub struct Agent {
    executable: PathBuf,
    folder: PathBuf,
    clock: SharedClock,
    variables: Vec<(String, String)>,
}

/// What a command cost, and its answer.
#[derive(Debug)]
pub struct Done {
    /// What it cost.
    pub measured: Measured,
    /// The document it answered with.
    pub answer: Value,
}

impl Agent {
    /// Returns the executable at home in `folder`.
    pub fn new(executable: &Path, folder: &Path, clock: &SharedClock) -> Self {
        Self {
            executable: executable.to_owned(),
            folder: folder.to_owned(),
            clock: clock.clone(),
            variables: Vec::new(),
        }
    }

    /// Returns it with more environment variables.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Returns a path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs a command, paths in which are taken from its folder.
    pub fn run(&self, arguments: &[&str]) -> Result<Done> {
        let mut command = Command::new(&self.executable);
        command
            .args(arguments)
            .arg("--json")
            .current_dir(&self.folder)
            .env("E3_REPO_PASSWORD", PASSWORD)
            .env("E3_STATE_DIR", self.path("state"))
            .env("E3_CACHE_DIR", self.path("cache"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        let (measured, stdout) = measured::run(&mut command, &self.clock)?;
        let answer = serde_json::from_str(&stdout)
            .with_context(|| format!("failed to read the answer of {arguments:?}"))?;
        Ok(Done { measured, answer })
    }

    /// Runs a command when nothing is left to be written out of what others did before.
    pub fn run_after_sync(&self, arguments: &[&str]) -> Result<Done> {
        write_out()?;
        self.run(arguments)
    }

    /// Removes a file or folder in its folder, if it is there.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        let removed = match path.is_dir() {
            true => std::fs::remove_dir_all(&path),
            false if path.exists() => std::fs::remove_file(&path),
            false => Ok(()),
        };
        removed.with_context(|| format!("failed to remove {}", path.display()))
    }

    /// Makes a new, empty repository and forgets all of the old one.
    pub fn new_repository(&self, repository: &str, compression: &str) -> Result<()> {
        for name in ["state", "cache"] {
            self.remove(name)?;
        }
        if !repository.contains("://") {
            self.remove(repository)?;
        }
        let create = ["repo", "create", "--repo", repository];
        self.run(&[&create[..], &["--compression", compression]].concat())?;
        Ok(())
    }
}

/// Waits until everything written so far is on its disk.
pub fn write_out() -> Result<()> {
    let status = Command::new("sync").status();
    status.context("failed to run sync")?;
    Ok(())
}

/// Adds up a number over all disks of a backup's answer.
pub fn sum_over_disks(answer: &Value, name: &str) -> u64 {
    let vms = answer["vms"].as_array().into_iter().flatten();
    vms.flat_map(|vm| vm["disks"].as_array().into_iter().flatten())
        .filter_map(|disk| disk[name].as_u64())
        .sum()
}

/// Returns the id of the point that a backup of one VM made.
pub fn point_id(answer: &Value) -> Result<String> {
    let id = answer["vms"][0]["point_id"].as_str();
    Ok(id.context("the backup's answer names no point")?.to_owned())
}
