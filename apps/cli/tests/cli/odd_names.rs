//! Names that hold what a terminal takes for orders, ends of lines, and bytes that are no text: in what
//! every command that meets them says, for people and for programs.

#![cfg(unix)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::Value;

use crate::agent::{Agent, Outcome};
use crate::damage::{Damage, blobs, do_to};

const NAMES: [&[u8]; 5] = [
    b"two\nlines",
    b"\x1b[31mred",
    b"bad\xff\xfe",
    b"bell\x07 and tab\t",
    "\u{9b}2J".as_bytes(),
];

struct World {
    agent: Agent,
    folder: OsString,
}

impl World {
    fn new() -> Self {
        let agent = Agent::new();
        agent.succeeds(["repo", "create", "--repo", "repo"]);
        let folder = OsStr::from_bytes(b"tree\x1b[2J\nof\xff").to_owned();
        fs::create_dir(agent.path("").join(&folder)).unwrap();
        let world = Self { agent, folder };
        for name in NAMES {
            fs::write(world.path().join(OsStr::from_bytes(name)), name).unwrap();
        }
        world
    }

    fn path(&self) -> PathBuf {
        self.agent.path("").join(&self.folder)
    }

    /// Runs a command twice, for people and for programs, and judges what it says; returns the document.
    fn judge(&self, status: i32, arguments: &[&OsStr]) -> Value {
        let repo = ["--repo", "repo"].map(OsStr::new);
        let plain = [arguments, &repo].concat();
        let told = self.agent.run(&plain);
        assert_eq!(told.status, status, "{told:?}");
        assert_clean(&told.stdout);
        assert_clean(&told.stderr);
        let told: Outcome = self
            .agent
            .run([&plain[..], &[OsStr::new("--json")]].concat());
        assert_eq!(told.status, status, "{told:?}");
        assert_clean(&told.stderr);
        serde_json::from_str(&told.stdout).unwrap_or_else(|error| panic!("{error}: {told:?}"))
    }
}

/// Asserts that nothing is said but lines of text.
fn assert_clean(said: &str) {
    let order = said.chars().find(|it| it.is_control() && *it != '\n');
    assert_eq!(order, None, "{said:?}");
    for line in said.lines() {
        let is_torn = line.starts_with("lines") || line.starts_with("of");
        assert!(!is_torn, "a name begins a line: {said:?}");
    }
}

fn os<'s>(words: &[&'s str]) -> Vec<&'s OsStr> {
    words.iter().map(|word| OsStr::new(*word)).collect()
}

#[test]
fn odd_names_are_shown_as_text_and_break_no_document() {
    let world = World::new();
    let folder = world.folder.as_os_str();
    let backed_up = world.judge(0, &[&os(&["backup", "files"])[..], &[folder]].concat());
    let source = &backed_up["sources"][0];
    assert_eq!(source["files"], NAMES.len(), "{backed_up}");
    let dry = [&os(&["backup", "files", "--dry-run"])[..], &[folder]].concat();
    world.judge(0, &dry);
    let listed = world.judge(0, &os(&["points", "list"]));
    let points = listed["points"].as_array().unwrap();
    let ids: Vec<&str> = points.iter().map(|it| it["id"].as_str().unwrap()).collect();
    let id = ids[0];
    world.judge(0, &os(&["points", "show", id]));
    let shown = world.judge(0, &os(&["points", "show", id, "--path", ""]));
    let entries = shown["entries"].as_array().unwrap();
    let has = |name: &str| entries.iter().any(|it| it["name"] == name);
    assert!(has("two\nlines") && has("\u{1b}[31mred"), "{shown}");
    world.judge(0, &os(&["points", "diff", ids[0], ids[1]]));
    world.judge(0, &os(&["points", "expire", "--dry-run"]));
    world.judge(0, &os(&["policy", "show"]));

    let to = OsStr::from_bytes(b"out\x1b[2J\nof\xff");
    let restore = [
        &os(&["restore", "files", id, "--overwrite", "--to"])[..],
        &[to],
    ]
    .concat();
    world.judge(0, &restore);
    let would = [&restore[..], &os(&["--dry-run"])].concat();
    let would = world.judge(0, &would);
    assert_eq!(
        would["replaced_first"].as_array().unwrap().len(),
        NAMES.len()
    );
    let restored = world.agent.path("").join(to);
    for name in NAMES
        .iter()
        .filter(|name| std::str::from_utf8(name).is_ok())
    {
        let bytes = fs::read(restored.join(OsStr::from_bytes(name))).unwrap();
        assert_eq!(bytes, *name);
    }
    // What is in the way is named with the reason.
    let odd = restored.join(OsStr::from_bytes(NAMES[0]));
    fs::remove_file(&odd).unwrap();
    symlink("elsewhere", &odd).unwrap();
    let going_on = [&restore[..], &os(&["--ignore-errors"])].concat();
    let failed = world.judge(3, &going_on);
    assert_eq!(failed["failed"], 1, "{failed}");
    world.judge(1, &restore);

    // And so is what is damaged.
    for (pack, _) in blobs(&world.agent.path("repo"), "p") {
        do_to(&pack, Damage::Empty);
    }
    let verified = world.judge(1, &os(&["repo", "verify", "--data", "100"]));
    let damages = verified["damages"].as_array().unwrap();
    assert!(
        damages.iter().any(|it| it["path"] == "two\nlines"),
        "{verified}"
    );
    world.judge(0, &os(&["points", "show", id]));
    world.judge(1, &restore);
}

#[test]
fn arguments_that_are_no_text_are_wrong_usage_with_a_document() {
    let agent = Agent::new();
    let odd = OsStr::from_bytes(b"re\xffpo");
    let arguments = [&os(&["repo", "status", "--json", "--repo"])[..], &[odd]].concat();
    let told = agent.run(&arguments);
    assert_eq!(told.status, 2, "{told:?}");
    let document: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(document["error"]["kind"], "wrong_usage");
}
