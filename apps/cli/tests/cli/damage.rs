//! Damage of every kind of blob, as the commands tell it that meet it, and the way out of it.
//!
//! The short form does one thing to the blobs of each kind, the long form all.

use std::fs;
use std::path::{Path, PathBuf};

use crate::agent::{Agent, Outcome, tool};

/// What is done to a blob.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Damage {
    Flip,
    Cut,
    Empty,
    Delete,
}

/// A bit turns in each so many bytes: whatever lies in a blob is hit, wherever its padding is.
const FLIPPED_EVERY: usize = 40;

/// All that can be.
pub const ALL: [Damage; 4] = [Damage::Flip, Damage::Cut, Damage::Empty, Damage::Delete];

/// What can be hoped for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Hope {
    /// Nothing opens without it, and there is no other.
    None,
    /// What lay in it is lost, and the next backup stores it again.
    StoredAgain,
    /// All of it stands elsewhere.
    Mended,
}

/// What blobs' names begin with, with the damage of the short form.
const KINDS: [(&str, Damage, Hope); 6] = [
    ("kopia.repository", Damage::Flip, Hope::None),
    ("kopia.blobcfg", Damage::Cut, Hope::None),
    ("kopia.maintenance", Damage::Empty, Hope::Mended),
    ("xn", Damage::Flip, Hope::Mended),
    ("p", Damage::Cut, Hope::StoredAgain),
    ("q", Damage::Delete, Hope::StoredAgain),
];

/// Returns the files of the blobs whose names begin so, with these names.
pub fn blobs(repo: &Path, prefix: &str) -> Vec<(PathBuf, String)> {
    let mut folders = vec![repo.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(repo).unwrap().to_str().unwrap();
            let name = name.replace(['/', '\\'], "");
            if let Some(name) = name.strip_suffix(".f")
                && name.starts_with(prefix)
            {
                found.push((path, name.to_owned()));
            }
        }
    }
    found
}

/// Damages a blob.
pub fn do_to(blob: &Path, damage: Damage) {
    let mut bytes = fs::read(blob).unwrap();
    let middle = bytes.len() / 2;
    match damage {
        Damage::Flip => {
            let places = bytes.iter_mut().skip(middle % FLIPPED_EVERY);
            places.step_by(FLIPPED_EVERY).for_each(|it| *it ^= 0x10);
        }
        Damage::Cut => bytes.truncate(middle),
        Damage::Empty => bytes.clear(),
        Damage::Delete => return fs::remove_file(blob).unwrap(),
    }
    fs::write(blob, bytes).unwrap();
}

/// A world in which a tree was backed up.
struct World {
    agent: Agent,
    point: String,
}

impl World {
    fn new() -> Self {
        let agent = Agent::new();
        agent.succeeds(["repo", "create", "--repo", "repo"]);
        let tree = agent.path("tree");
        fs::create_dir(&tree).unwrap();
        for number in 0..8u8 {
            fs::write(tree.join(number.to_string()), vec![number; 5000]).unwrap();
        }
        agent.succeeds(["backup", "files", "tree", "--repo", "repo"]);
        agent.succeeds(["repo", "maintain", "--repo", "repo"]);
        let listed = agent.json(0, &["points", "list", "--repo", "repo"]);
        let point = listed["points"][0]["id"].as_str().unwrap().to_owned();
        fs::rename(agent.path("repo"), agent.path("sound")).unwrap();
        Self { agent, point }
    }

    /// Puts the sound repository in place of the damaged one, known to no cache.
    fn begin_again(&self) {
        for folder in ["repo", "cache"] {
            self.remove(folder);
        }
        let (sound, repo) = (self.agent.path("sound"), self.agent.path("repo"));
        tool("cp", &["-r".as_ref(), sound.as_ref(), repo.as_ref()]);
    }

    fn remove(&self, folder: &str) {
        tool("rm", &["-rf".as_ref(), self.agent.path(folder).as_ref()]);
    }

    /// Runs a command, which may fail and says why if it does.
    fn run(&self, arguments: &[&str]) -> Outcome {
        let outcome = self.agent.run(arguments.iter().chain(&["--repo", "repo"]));
        assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
        assert!([0, 1, 5].contains(&outcome.status), "{outcome:?}");
        assert!(
            outcome.status == 0 || outcome.stderr.contains("error: "),
            "{outcome:?}"
        );
        outcome
    }

    /// Says whether the point is restored; if so, it is what was backed up.
    fn restores(&self) -> bool {
        self.remove("out");
        let restored = self.run(&["restore", "files", &self.point, "--to", "out"]);
        if restored.status == 0 {
            let (tree, out) = (self.agent.path("tree"), self.agent.path("out"));
            tool("diff", &["-r".as_ref(), tree.as_ref(), out.as_ref()]);
        }
        restored.status == 0
    }

    fn assert_lives(&self, context: &str) {
        for arguments in [
            &["backup", "files", "tree"][..],
            &["points", "list"],
            &["repo", "maintain", "--full"],
            &["repo", "verify", "--data", "100"],
        ] {
            let outcome = self.run(arguments);
            assert_eq!(outcome.status, 0, "{context}: {outcome:?}");
        }
    }
}

const VERIFY: [&str; 4] = ["repo", "verify", "--data", "100"];
const REPAIR: [&str; 6] = [
    "repo",
    "verify",
    "--data",
    "100",
    "--repair",
    "--take-ownership",
];

#[test]
fn damage_is_named_nothing_false_is_restored_and_there_is_a_way_out() {
    let world = World::new();
    let long = std::env::var_os("E3_TEST_LONG").is_some();
    for (kind, short, hope) in KINDS {
        for damage in ALL.into_iter().filter(|it| long || *it == short) {
            // A repository may lack what says how it locks blobs, and when it was maintained; and
            // where there is no kopia.repository there is no repository.
            if damage == Damage::Delete && kind.starts_with("kopia.") {
                continue;
            }
            world.begin_again();
            let damaged = blobs(&world.agent.path("repo"), kind);
            assert!(!damaged.is_empty(), "{kind}");
            damaged.iter().for_each(|(blob, _)| do_to(blob, damage));
            let context = format!("{damage:?} of {damaged:?}");
            if long {
                world.run(&["points", "list"]);
                world.run(&["repo", "maintain"]);
            }
            let found = world.run(&VERIFY);
            let told = format!("{}{}", found.stdout, found.stderr);
            // Nobody knows the name of an index blob that is gone; what only it named is told.
            let is_told = damage == Damage::Delete && told.contains("no index names");
            let is_named = is_told || damaged.iter().any(|(_, name)| told.contains(name));
            assert!(is_named, "{context} is not named: {told}");
            let restores = world.restores();
            assert!(!restores || hope != Hope::None, "{context}");
            let repaired = world.run(&REPAIR);
            match hope {
                Hope::None => assert_ne!(repaired.status, 0, "{context}"),
                Hope::Mended => {
                    assert_eq!(repaired.status, 0, "{context}: {repaired:?}");
                    assert!(world.restores(), "{context}");
                    world.assert_lives(&context);
                }
                Hope::StoredAgain => {
                    if world.run(&["points", "list"]).status != 0 {
                        give_up(&world, &context);
                    }
                    if damage == Damage::Flip {
                        // What no point needs is not looked at until one does.
                        world.run(&["backup", "files", "tree"]);
                        world.run(&VERIFY);
                    }
                    world.assert_lives(&context);
                }
            }
        }
    }
}

/// Gives manifests up that are lost: not without a word of confirmation.
fn give_up(world: &World, context: &str) {
    let giving_up = [&REPAIR[..], &["--give-up-lost-manifests"]].concat();
    let refused = world.agent.run(giving_up.iter().chain(&["--repo", "repo"]));
    assert_eq!(refused.status, 2, "{context}: {refused:?}");
    assert!(refused.stderr.contains("--yes"), "{context}: {refused:?}");
    let dry = world.run(&[&giving_up[..], &["--dry-run"]].concat());
    assert!(
        dry.stdout.contains("would be given up: content m"),
        "{dry:?}"
    );
    assert_ne!(world.run(&["points", "list"]).status, 0, "{context}");
    let given_up = world.run(&[&giving_up[..], &["--yes"]].concat());
    assert!(
        given_up.stdout.contains("given up: content m"),
        "{given_up:?}"
    );
    assert!(given_up.stdout.contains("no longer listed"), "{given_up:?}");
    assert_eq!(given_up.status, 0, "{context}: {given_up:?}");
}
