//! Stock Kopia, measured in the same run where it is at hand, and its recorded figures otherwise.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use time_and_chance::SharedClock;

use crate::agent::{PASSWORD, write_out};
use crate::measured::{self, Measured};

/// Returns `$KOPIA`, or `kopia` on the path.
pub fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("KOPIA") {
        return Some(named.into());
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|folder| folder.join("kopia"))
        .find(|path| path.is_file())
}

/// What stock Kopia needs for the same work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counterpart {
    /// From its start to its end.
    pub wall: Duration,
    /// CPU seconds.
    pub cpu: Option<Duration>,
    /// What the repository grew by.
    pub added_bytes: Option<u64>,
    /// Where the figure comes from.
    pub origin: Origin,
}

/// Where stock Kopia's figure comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was measured in this run.
    Measured,
    /// It was recorded once, on a quiet machine of two cores.
    Recorded,
    /// It was recorded for a smaller image, and multiplied.
    Multiplied(u32),
}

/// The length of the image that the recorded figures are about.
pub const RECORDED_IMAGE_BYTES: u64 = 4 << 30;

/// A work that stock Kopia 0.23.1 was recorded at: local repository, two quiet cores, an image
/// of 4 GiB, medians.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// The first snapshot, with its defaults.
    Full,
    /// The same with zstd-fastest.
    FullZstd,
    /// The second snapshot after scattered change of 1 %.
    Increment,
    /// A restore.
    Restore,
}

impl Recorded {
    /// Returns the recorded figure.
    pub fn figure(self) -> Counterpart {
        let (wall_ms, cpu_ms, added_mib) = match self {
            Self::Full => (20_300, Some(23_000), None),
            Self::FullZstd => (25_300, None, None),
            Self::Increment => (19_700, None, Some(1_759)),
            Self::Restore => (24_900, None, None),
        };
        Counterpart {
            wall: Duration::from_millis(wall_ms),
            cpu: cpu_ms.map(Duration::from_millis),
            added_bytes: added_mib.map(|mib: u64| mib << 20),
            origin: Origin::Recorded,
        }
    }

    /// Returns what the recorded figure comes to for an image `times` as long.
    pub fn times(self, times: u32) -> Counterpart {
        let figure = self.figure();
        Counterpart {
            wall: figure.wall * times,
            cpu: figure.cpu.map(|cpu| cpu * times),
            added_bytes: figure.added_bytes.map(|bytes| bytes * u64::from(times)),
            origin: Origin::Multiplied(times),
        }
    }
}

/// Stock Kopia with a repository in a folder of its own.
#[derive(Debug)]
pub struct Kopia {
    executable: PathBuf,
    folder: PathBuf,
    clock: SharedClock,
}

impl Kopia {
    /// Makes a new repository in `folder`, which is emptied, with the hash and cipher that ours
    /// has by default.
    pub fn with_new_repository(
        executable: &Path,
        folder: &Path,
        compression: &str,
        clock: &SharedClock,
    ) -> Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(folder).context("failed to empty Kopia's folder")?;
        }
        std::fs::create_dir_all(folder.join("repository"))
            .context("failed to make Kopia's folder")?;
        let kopia = Self {
            executable: executable.to_owned(),
            folder: folder.to_owned(),
            clock: clock.clone(),
        };
        let path = format!("--path={}", folder.join("repository").display());
        kopia.run(&[
            "repository",
            "create",
            "filesystem",
            &path,
            "--block-hash=BLAKE2B-256-128",
            "--encryption=AES256-GCM-HMAC-SHA256",
        ])?;
        let compression = format!("--compression={compression}");
        kopia.run(&["policy", "set", "--global", &compression])?;
        Ok(kopia)
    }

    fn run(&self, arguments: &[&str]) -> Result<(Measured, String)> {
        let mut command = Command::new(&self.executable);
        command
            .args(arguments)
            .env("KOPIA_PASSWORD", PASSWORD)
            .env("KOPIA_CONFIG_PATH", self.folder.join("config"))
            .env("KOPIA_CACHE_DIRECTORY", self.folder.join("cache"))
            .env("KOPIA_LOG_DIR", self.folder.join("logs"))
            .env("KOPIA_CHECK_FOR_UPDATES", "false");
        measured::run(&mut command, &self.clock)
    }

    /// Takes a snapshot of a folder; returns what it cost and the snapshot's id.
    pub fn snapshot(&self, source: &Path) -> Result<(Counterpart, String)> {
        write_out()?;
        let before = folder_bytes(&self.folder.join("repository"))?;
        let path = source.display().to_string();
        let (measured, stdout) = self.run(&["snapshot", "create", "--json", &path])?;
        let added = folder_bytes(&self.folder.join("repository"))?.saturating_sub(before);
        let answer: Value =
            serde_json::from_str(&stdout).context("failed to read Kopia's answer")?;
        let id = answer["id"]
            .as_str()
            .context("Kopia's answer names no snapshot")?;
        Ok((counterpart(measured, Some(added)), id.to_owned()))
    }

    /// Restores a snapshot to a folder, which is removed again.
    pub fn restore(&self, snapshot: &str) -> Result<Counterpart> {
        write_out()?;
        let target = self.folder.join("restored");
        let (measured, _) = self.run(&["restore", snapshot, &target.display().to_string()])?;
        std::fs::remove_dir_all(&target).context("failed to remove what Kopia restored")?;
        Ok(counterpart(measured, None))
    }
}

fn counterpart(measured: Measured, added_bytes: Option<u64>) -> Counterpart {
    Counterpart {
        wall: measured.wall,
        cpu: Some(measured.cpu()),
        added_bytes,
        origin: Origin::Measured,
    }
}

/// Returns the middle of what was measured, each figure by itself.
pub fn median(runs: &[Counterpart]) -> Option<Counterpart> {
    let first = runs.first()?;
    Some(Counterpart {
        wall: measured::median(runs.iter().map(|run| run.wall)),
        cpu: measured::median(runs.iter().map(|run| run.cpu)),
        added_bytes: measured::median(runs.iter().map(|run| run.added_bytes)),
        origin: first.origin,
    })
}

/// Returns how many bytes the files in a folder and below have.
pub fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).context("failed to list a folder")? {
        let entry = entry.context("failed to list a folder")?;
        bytes += match entry
            .file_type()
            .context("failed to list a folder")?
            .is_dir()
        {
            true => folder_bytes(&entry.path())?,
            false => entry.metadata().context("failed to look at a file")?.len(),
        };
    }
    Ok(bytes)
}
