//! The executable with a world of its own: folders, a repository, a simulated host.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The password of test repositories.
pub const PASSWORD: &str = "correct horse";

/// A folder in which the executable runs.
pub struct Agent {
    folder: TempDir,
    program: PathBuf,
    /// Variables of its environment, besides those that follow from the folder.
    variables: Vec<(&'static str, OsString)>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit status.
    pub status: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// Backs up the VM `web` of the simulated host, however full the disk is.
pub const BACKUP_OF_WEB: [&str; 9] = [
    "backup",
    "vm",
    "web",
    "--repo",
    "repo",
    "--host",
    "sim:host",
    "--min-free-gib",
    "0",
];

impl Agent {
    /// Returns an empty world.
    pub fn new() -> Self {
        Self::running(env!("CARGO_BIN_EXE_e3-backup-agent"))
    }

    /// Returns an empty world for another copy of the executable.
    pub fn running(program: impl Into<PathBuf>) -> Self {
        let empty = Self {
            folder: tempfile::tempdir().unwrap(),
            program: program.into(),
            variables: Vec::new(),
        };
        empty.with("E3_REPO_PASSWORD", PASSWORD)
    }

    /// Gives the executable another variable of its environment.
    pub fn with(mut self, variable: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((variable, value.into()));
        self
    }

    /// Returns a world with the repository `repo` and the simulated host `host`.
    pub fn with_repo_and_host() -> Self {
        let agent = Self::new();
        agent.succeeds(["repo", "create", "--repo", "repo"]);
        agent.succeeds(["sim", "create", "host"]);
        agent
    }

    /// Returns a path in the world.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the command with these arguments, in this world alone.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("E3_STATE_DIR", self.path("state"))
            .env("E3_CACHE_DIR", self.path("cache"))
            .env_remove("COLUMNS")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs the executable.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Outcome {
        outcome(&mut self.command(arguments))
    }

    /// Runs the executable, which must do all it is asked for; returns stdout.
    pub fn succeeds<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        let outcome = self.run(arguments);
        assert_eq!(outcome.status, 0, "{outcome:?}");
        outcome.stdout
    }

    /// Runs the executable with `--json`, which must end with `status`; returns the document.
    pub fn json(&self, status: i32, arguments: &[&str]) -> Value {
        let outcome = self.run(arguments.iter().chain(&["--json"]));
        assert_eq!(outcome.status, status, "{outcome:?}");
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
    }
}

/// Runs a command to its end.
pub fn outcome(command: &mut Command) -> Outcome {
    let output = wine::begun(|| command.output()).unwrap();
    Outcome {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs another program, which must succeed.
pub fn tool(name: &str, arguments: &[&OsStr]) {
    let mut command = Command::new(name);
    // mke2fs and debugfs live where ordinary users do not look.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    command.args(arguments).env("PATH", path);
    let outcome = outcome(&mut command);
    assert_eq!(outcome.status, 0, "{name}: {outcome:?}");
}

/// Compares a file with what it should hold, byte for byte.
pub fn assert_holds(path: &Path, bytes: &[u8]) {
    let found = std::fs::read(path).unwrap();
    assert_eq!(found.len(), bytes.len(), "{}", path.display());
    let differs = found
        .iter()
        .zip(bytes)
        .position(|(one, other)| one != other);
    assert_eq!(differs, None, "first difference in {}", path.display());
}

/// Compares two files byte for byte, with a program of Linux.
pub fn assert_same_bytes(one: &Path, other: &Path) {
    tool("cmp", &[one.as_os_str(), other.as_os_str()]);
}
