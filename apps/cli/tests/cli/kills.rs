//! `kill -9` at random moments of backups and restores: whatever a dead process left, every
//! listed point restores byte for byte, and the next run or `host clean` takes its things off
//! the host (DESIGN, promises 1, 3 and 7).
//!
//! The short form tells one story from a fixed seed, the long form ten with a hundred kills. What is
//! drawn follows from the seed; where exactly the kill strikes depends on the machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;
use time_and_chance::{Chance, SharedClock, StopSignal, SystemClock};

use crate::agent::{Agent, BACKUP_OF_WEB, assert_same_bytes, tool};

const KILLS_SHORT: u32 = 6;
const KILLS_PER_STORY_LONG: u32 = 10;
const STORIES_LONG: u64 = 10;

#[test]
fn whatever_moment_a_process_is_killed_at_every_point_restores_and_nothing_stays_on_the_host() {
    let long = std::env::var("E3_TEST_LONG").is_ok_and(|long| long == "1");
    let (stories, kills) = match long {
        true => (STORIES_LONG, KILLS_PER_STORY_LONG),
        false => (1, KILLS_SHORT),
    };
    for seed in 1..=stories {
        Story::new(seed).tell(kills);
    }
}

#[test]
fn killed_near_the_end_of_a_full_the_next_run_uploads_only_the_rest() {
    const DISK_BYTES: u64 = 384 << 20;
    // A process that ends before it is seen near its end proves nothing: it is tried again.
    for _ in 0..3 {
        let agent = Agent::with_repo_and_host();
        agent.succeeds(["sim", "add-vm", "host", "--name", "web", "--new", "384M"]);
        let noise = agent.path("noise.raw");
        write_noise(&noise, DISK_BYTES);
        agent.succeeds(["sim", "write", "host", "--vm", "web", "--from", "noise.raw"]);
        let packs = agent.path("repo/p");
        let mut child = spawn(&agent, &backup_arguments(&[]));
        while stored_bytes(&packs) < DISK_BYTES / 10 * 9 && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let was_killed = kill(&mut child);
        let listed = agent.json(0, &["points", "list", "--repo", "repo"]);
        if !was_killed || listed["points"] != Value::Array(Vec::new()) {
            continue;
        }
        let point = agent.json(0, &backup_arguments(&[]))["vms"][0].clone();
        let uploaded = point["disks"][0]["uploaded_bytes"].as_u64().unwrap();
        assert!(
            uploaded <= DISK_BYTES / 100 * 15,
            "{uploaded} bytes were uploaded again: {point}"
        );
        let id = point["point_id"].as_str().unwrap();
        let to = ["--to", "restored.raw", "--format", "raw"];
        agent.succeeds([&["restore", "disk", id, "--repo", "repo"][..], &to].concat());
        assert_same_bytes(&agent.path("restored.raw"), &noise);
        return;
    }
    panic!("three full backups ended before they could be killed near their end");
}

/// What is under way when the process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Increment,
    Full,
    RestoreRaw,
    RestoreVhdx,
    RestoreFolder,
    RestoreHost,
}

const WORKS: [Work; 6] = [
    Work::Increment,
    Work::Full,
    Work::RestoreRaw,
    Work::RestoreVhdx,
    Work::RestoreFolder,
    Work::RestoreHost,
];

/// A world in which processes are killed, and what must be true in it.
struct Story {
    seed: u64,
    agent: Agent,
    chance: Chance,
    clock: SharedClock,
    /// How long each kind of work takes here.
    lasts: BTreeMap<Work, Duration>,
    /// The disk as it was at each point, by the point's manifest id.
    model: BTreeMap<String, PathBuf>,
    /// The disk as it is now.
    now: PathBuf,
    /// What must stay on the host, as `sim show` tells it.
    not_ours: Value,
    round: u32,
}

impl Story {
    fn new(seed: u64) -> Self {
        let agent = Agent::with_repo_and_host();
        for (name, bytes) in [("web", "64M"), ("other", "8M")] {
            agent.succeeds(["sim", "add-vm", "host", "--name", name, "--new", bytes]);
        }
        // Another product works on the one VM; it and a user have left something on the other.
        agent.succeeds(["sim", "checkpoint", "host", "--vm", "web", "--name", "mine"]);
        // These appear when we look, and our own first run ends without a base.
        for (vm, faults) in [
            ("other", &["foreign-checkpoint"][..]),
            ("web", &["foreign-reference-point"]),
            ("web", &["job-fails-at", "open"]),
        ] {
            let fault = ["sim", "fault", "host", "--vm", vm];
            agent.succeeds([&fault[..], faults].concat());
        }
        for vm in ["other", "web"] {
            let mut arguments = backup_arguments(&[]);
            arguments[2] = vm;
            assert_eq!(agent.run(arguments).status, 1);
        }
        agent.succeeds(["host", "clean", "--host", "sim:host"]);
        let mut story = Self {
            seed,
            now: agent.path("none.raw"),
            not_ours: Value::Null,
            agent,
            chance: Chance::from_seed(seed),
            clock: SystemClock::new(),
            lasts: BTreeMap::new(),
            model: BTreeMap::new(),
            round: 0,
        };
        story.not_ours = story.on_the_host();
        let left = story.not_ours.to_string();
        for what in ["mine", "another product", "change_ids"] {
            assert!(left.contains(what), "{left}");
        }
        story.guest_writes("24M");
        story.measure();
        story
    }

    fn tell(mut self, kills: u32) {
        for round in 1..=kills {
            self.round = round;
            let bytes = format!("{}k", 64 + self.chance.below(3000));
            self.guest_writes(&bytes);
            let work = WORKS[self.chance.below(WORKS.len() as u64) as usize];
            self.kill_in(work);
            self.check_points();
            if self.chance.below(2) == 0 {
                // The guest goes on while the dead run's checkpoint is still there.
                self.guest_writes("1M");
            }
            if self.chance.below(2) == 0 {
                self.agent.succeeds(["host", "clean", "--host", "sim:host"]);
            } else {
                self.agent.json(0, &backup_arguments(&[]));
                self.learn_points();
            }
            assert_eq!(self.on_the_host(), self.not_ours, "{}", self.place());
        }
        self.agent.json(0, &backup_arguments(&[]));
        self.check_points();
        assert_eq!(self.on_the_host(), self.not_ours, "{}", self.place());
        let verify = ["repo", "verify", "--repo", "repo", "--data", "100"];
        let verified = self.agent.json(0, &verify);
        assert_eq!(verified["points"], self.model.len(), "{}", self.place());
    }

    fn place(&self) -> String {
        format!("story {}, kill {}", self.seed, self.round)
    }

    fn guest_writes(&mut self, bytes: &str) {
        let seed = self.chance.below(1 << 32).to_string();
        let write = ["sim", "write", "host", "--vm", "web", "--random", bytes];
        self.agent
            .succeeds([&write[..], &["--seed", &seed]].concat());
        let name = format!("disk-{seed}.raw");
        self.agent
            .succeeds(["sim", "dump", "host", "--vm", "web", "--to", &name]);
        self.now = self.agent.path(&name);
    }

    /// Lets each kind of work end once, to know how long it takes.
    fn measure(&mut self) {
        for work in WORKS {
            let begun = self.clock.monotonic();
            let name = format!("measure-{work:?}");
            let arguments = self.arguments(work, &name);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            self.agent.json(0, &arguments);
            self.lasts.insert(work, self.clock.monotonic() - begun);
            self.learn_points();
        }
    }

    /// Returns the command line of some work whose result is called `name`.
    fn arguments(&self, work: Work, name: &str) -> Vec<String> {
        let point = self.newest_point().unwrap_or_default();
        let disk = |format| {
            let to = ["--repo", "repo", "--to", name, "--format", format];
            [&["restore", "disk", point][..], &to].concat()
        };
        let vm = |to: &[&'static str]| {
            [&["restore", "vm", point, "--repo", "repo"][..], to, &[name]].concat()
        };
        let arguments = match work {
            Work::Increment => backup_arguments(&[]),
            Work::Full => backup_arguments(&["--full"]),
            Work::RestoreRaw => disk("raw"),
            Work::RestoreVhdx => disk("vhdx"),
            Work::RestoreFolder => vm(&["--to"]),
            Work::RestoreHost => vm(&["--host", "sim:host", "--new-id", "--name"]),
        };
        arguments.into_iter().map(str::to_owned).collect()
    }

    fn newest_point(&self) -> Option<&str> {
        let newest = self.model.iter().find(|(_, disk)| **disk == self.now);
        newest
            .or_else(|| self.model.iter().next_back())
            .map(|(id, _)| id.as_str())
    }

    /// Begins some work, kills it at a random moment, and looks at what a restore left.
    fn kill_in(&mut self, work: Work) {
        let name = format!("killed-{}", self.round);
        let arguments = self.arguments(work, &name);
        let point = self.newest_point().unwrap_or_default().to_owned();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut child = spawn(&self.agent, &arguments);
        let longest_ms = self.lasts[&work].as_millis() as u64;
        // The first quarter is mostly the derivation of keys; less often interesting.
        let wait_ms = longest_ms / 4 + self.chance.below(longest_ms * 3 / 4 + 1);
        self.clock
            .sleep(Duration::from_millis(wait_ms), &StopSignal::new())
            .unwrap();
        kill(&mut child);
        let wanted = self.model.get(&point).cloned();
        let restored = || wanted.as_deref().expect("a restore was of a known point");
        match work {
            Work::Increment | Work::Full => {}
            Work::RestoreRaw | Work::RestoreVhdx => {
                self.assert_whole(&self.agent.path(&name), restored())
            }
            Work::RestoreFolder => {
                let disks = self.agent.path(&name);
                for disk in disk_files(&disks) {
                    self.assert_whole(&disk, restored());
                }
            }
            Work::RestoreHost => self.assert_whole_vm(&name, restored()),
        }
    }

    fn assert_whole(&self, file: &Path, wanted: &Path) {
        if !file.exists() {
            return;
        }
        if starts_like_vhdx(file) {
            let compare = ["compare".as_ref(), file.as_os_str(), wanted.as_os_str()];
            tool("qemu-img", &compare);
        } else {
            assert_same_bytes(file, wanted);
        }
    }

    fn assert_whole_vm(&self, name: &str, wanted: &Path) {
        let vms = self.agent.json(0, &["sim", "show", "host"])["vms"].clone();
        let is_there = |vm: &Value| vm["name"] == name;
        if vms.as_array().unwrap().iter().any(is_there) {
            let dump = ["sim", "dump", "host", "--vm", name, "--to", "copy.raw"];
            self.agent.succeeds([&dump[..], &["--overwrite"]].concat());
            assert_same_bytes(&self.agent.path("copy.raw"), wanted);
            self.agent
                .succeeds(["sim", "delete-vm", "host", "--vm", name]);
        }
    }

    /// Takes points into the model that were published since the last look. The guest has not
    /// written since that run began, so they hold the disk as it is now.
    fn learn_points(&mut self) {
        let document = self.agent.json(0, &["points", "list", "--repo", "repo"]);
        let listed: Vec<String> = document["points"]
            .as_array()
            .unwrap()
            .iter()
            .map(|point| point["id"].as_str().unwrap().to_owned())
            .collect();
        for known in self.model.keys() {
            assert!(listed.contains(known), "{}: {known} is gone", self.place());
        }
        for id in listed {
            self.model.entry(id).or_insert_with(|| self.now.clone());
        }
    }

    fn check_points(&mut self) {
        self.learn_points();
        let file = self.agent.path("check.raw");
        for (id, disk) in &self.model {
            let to = ["--to", "check.raw", "--format", "raw", "--overwrite"];
            self.agent
                .succeeds([&["restore", "disk", id, "--repo", "repo"][..], &to].concat());
            assert_same_bytes(&file, disk);
        }
    }

    /// Returns all checkpoints, and those reference points that were there before we came.
    fn on_the_host(&self) -> Value {
        let mut vms = self.agent.json(0, &["sim", "show", "host"])["vms"].take();
        let known = &self.not_ours;
        vms.as_array_mut()
            .unwrap()
            .iter_mut()
            .filter(|vm| vm["name"] == "web" || vm["name"] == "other")
            .enumerate()
            .map(|(number, vm)| {
                let mut points = vm["reference_points"].take();
                points.as_array_mut().unwrap().retain(|point| {
                    known.is_null() || known[number][1].as_array().unwrap().contains(point)
                });
                Value::Array(vec![vm["checkpoints"].take(), points])
            })
            .collect()
    }
}

fn backup_arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&BACKUP_OF_WEB[..], more].concat()
}

fn spawn(agent: &Agent, arguments: &[&str]) -> Child {
    let mut command = agent.command(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Kills a process as `kill -9` does; returns whether it was still running.
fn kill(child: &mut Child) -> bool {
    // One that has ended already cannot be killed, which is fine.
    let _ = child.kill();
    child.wait().unwrap().code().is_none()
}

fn write_noise(path: &Path, bytes: u64) {
    let mut noise = vec![0; bytes as usize];
    Chance::from_seed(bytes).fill(&mut noise);
    std::fs::write(path, noise).unwrap();
}

/// Returns the length of all blobs in a folder that are there under their final names.
fn stored_bytes(folder: &Path) -> u64 {
    let Ok(entries) = folder.read_dir() else {
        return 0;
    };
    let bytes_of = |path: PathBuf| match path.metadata() {
        Ok(is) if is.is_dir() => stored_bytes(&path),
        Ok(is) if path.extension().is_some_and(|end| end == "f") => is.len(),
        _ => 0,
    };
    entries.flatten().map(|entry| bytes_of(entry.path())).sum()
}

fn disk_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = folder.read_dir() else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .flat_map(|path| match path.is_dir() {
            true => disk_files(&path),
            false => vec![path],
        })
        .filter(|path| {
            let hidden = path
                .file_name()
                .unwrap()
                .as_encoded_bytes()
                .starts_with(b".");
            !hidden && path.extension().is_some_and(|end| end == "vhdx")
        })
        .collect()
}

fn starts_like_vhdx(file: &Path) -> bool {
    use std::io::Read;
    let mut begin = [0; 8];
    let mut file = std::fs::File::open(file).unwrap();
    file.read_exact(&mut begin).is_ok() && &begin == b"vhdxfile"
}
