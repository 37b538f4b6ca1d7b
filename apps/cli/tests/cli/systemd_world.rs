//! A real systemd in a world of its own, which can do the machine outside no harm; see
//! `systemd_world.sh`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use time_and_chance::{StopSignal, SystemClock};

use crate::agent::{Outcome, outcome};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/systemd_world.sh");

/// A world that systemd runs; all in it ends with it.
pub struct SystemdWorld {
    unshare: Child,
    /// The first process in it, as it is known outside.
    first: u32,
    _group: ControlGroup,
    _root: TempDir,
}

impl SystemdWorld {
    /// Returns a world that has started; none, and says why, where there can be none.
    pub fn start() -> Option<Self> {
        match Self::try_start() {
            Ok(world) => Some(world),
            Err(reason) => {
                println!("left out: no systemd can be run here: {reason}");
                None
            }
        }
    }

    fn try_start() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("that is for root alone".into());
        }
        if !Path::new("/usr/lib/systemd/systemd").exists() {
            return Err("it is not installed".into());
        }
        let root = tempfile::tempdir().map_err(|error| error.to_string())?;
        let group = ControlGroup::new(root.path())?;
        let program = Path::new(env!("CARGO_BIN_EXE_e3-backup-agent"));
        let enter = format!(
            "echo $$ > {}/cgroup.procs && exec unshare --mount --uts --ipc --net --pid --fork --cgroup --kill-child sh {SCRIPT} \"$@\"",
            group.0.display()
        );
        let unshare = Command::new("sh")
            .args(["-c", &enter, "sh"])
            .args([root.path(), program.parent().unwrap()])
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut world = Self {
            first: 0,
            unshare,
            _group: group,
            _root: root,
        };
        for _ in 0..200 {
            if let Ok(Some(status)) = world.unshare.try_wait() {
                return Err(format!("its namespaces could not be made: {status}"));
            }
            world.first = world.child_of_unshare().unwrap_or_default();
            if world.first != 0 && world.run("systemctl", &["is-system-running"]).status == 0 {
                return Ok(world);
            }
            pause();
        }
        Err("it did not start".into())
    }

    fn child_of_unshare(&self) -> Option<u32> {
        let id = self.unshare.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// Runs a program in the world.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Outcome {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.first.to_string()])
            .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"])
            .args(["--root", "--wd=/", "--"])
            .args(["env", "-i", "PATH=/usr/sbin:/usr/bin", program])
            .args(arguments)
            .stdin(Stdio::null());
        outcome(&mut command)
    }

    /// Runs the agent in the world, which must end with `status`; returns its document.
    pub fn agent(&self, status: i32, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let outcome = self.run("/program/e3-backup-agent", &arguments);
        assert_eq!(outcome.status, status, "{arguments:?}: {outcome:?}");
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
    }

    /// Returns what a file in the world holds.
    pub fn read(&self, path: &str) -> String {
        let outcome = self.run("cat", &[path]);
        assert_eq!(outcome.status, 0, "{outcome:?}");
        outcome.stdout
    }

    /// Puts a file into the world.
    pub fn write(&self, path: &str, text: &str) {
        let outcome = self.run(
            "sh",
            &[
                "-c",
                "mkdir -p \"${1%/*}\" && printf %s \"$2\" >\"$1\"",
                "sh",
                path,
                text,
            ],
        );
        assert_eq!(outcome.status, 0, "{outcome:?}");
    }
}

impl Drop for SystemdWorld {
    fn drop(&mut self) {
        // Its child, the first process, dies with it, and with that all others.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

/// A control group for the world, so that systemd's lie below it.
struct ControlGroup(PathBuf);

impl ControlGroup {
    /// Returns a group below that of this process, named after a folder that nobody else has.
    fn new(folder: &Path) -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/self/mounts").map_err(|error| error.to_string())?;
        let mut fields = mounts.lines().map(|line| line.split(' '));
        let place = fields.find_map(|mut it| {
            let place = it.nth(1)?;
            (it.next()? == "cgroup2").then_some(place)
        });
        let place = place.ok_or("there are no control groups of the second version")?;
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let own = Path::new(place).join(own.unwrap_or_default());
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let group = own.join(format!("e3-test-{name}"));
        fs::create_dir(&group).map_err(|error| format!("{}: {error}", group.display()))?;
        Ok(Self(group))
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // Its processes were killed, and take a moment to be gone.
        for _ in 0..100 {
            remove_groups(&self.0);
            if !self.0.exists() {
                return;
            }
            pause();
        }
    }
}

fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

fn pause() {
    let pause = Duration::from_millis(25);
    let nobody = StopSignal::new();
    SystemClock::new()
        .sleep(pause, &nobody)
        .expect("nobody stops it");
}
