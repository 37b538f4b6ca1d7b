//! Repositories that Kopia itself wrote: listed, verified, restored from.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::agent::{Agent, Outcome, outcome};

/// Small fixtures that cover formats, compression within objects, odd names and unfinished
/// snapshots.
const FIXTURES: [&str; 6] = [
    "default",
    "format-v1",
    "format-v1-upgraded",
    "compression-lz4",
    "special-files",
    "incomplete",
];

struct Fixture {
    agent: Agent,
    repo: PathBuf,
    expected: Value,
}

impl Fixture {
    fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../testdata/kopia")
            .join(name);
        let expected =
            serde_json::from_slice(&std::fs::read(folder.join("fixture.json")).unwrap()).unwrap();
        Self {
            agent: Agent::new(),
            repo: folder.join("repo"),
            expected,
        }
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.agent.command(arguments);
        command.arg("--repo").arg(&self.repo).env(
            "E3_REPO_PASSWORD",
            self.expected["password"].as_str().unwrap(),
        );
        outcome(&mut command)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let outcome = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(outcome.status, 0, "{outcome:?}");
        serde_json::from_str(&outcome.stdout).unwrap()
    }

    /// Returns the complete snapshots that Kopia lists.
    fn snapshots(&self) -> impl Iterator<Item = &Value> {
        self.expected["snapshots"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|it| it["incomplete"] == "")
    }
}

#[test]
fn what_kopia_wrote_is_listed_and_verified_and_its_files_come_back() {
    for name in FIXTURES {
        let fixture = Fixture::open(name);
        let mut expected: Vec<&str> = fixture
            .snapshots()
            .map(|it| it["manifest_id"].as_str().unwrap())
            .collect();
        let listed = fixture.json(&["points", "list"]);
        let mut found: Vec<&str> = listed["points"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["id"].as_str().unwrap())
            .collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
        let text = fixture.run(&["points", "list"]).stdout;
        assert!(text.contains("fixture-user@fixture-host:/data/"), "{text}");
        fixture.json(&["repo", "verify", "--data", "100"]);
        for snapshot in fixture.snapshots() {
            restores(name, &fixture, snapshot);
        }
    }
}

fn restores(name: &str, fixture: &Fixture, snapshot: &Value) {
    let Some(entries) = snapshot["entries"].as_array() else {
        return;
    };
    let id = snapshot["manifest_id"].as_str().unwrap();
    fixture.json(&["restore", "files", id, "--to", id]);
    let mut files = 0;
    for entry in entries.iter().filter(|entry| entry["type"] == "f") {
        let path = entry["path"].as_str().unwrap();
        let bytes = std::fs::read(fixture.agent.path(id).join(path))
            .unwrap_or_else(|error| panic!("{name} {path}: {error}"));
        let hash: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hash, entry["sha256"].as_str().unwrap(), "{name} {path}");
        files += 1;
    }
    assert!(files > 0, "{name}: nothing was compared");
}

#[test]
fn a_snapshot_of_files_is_no_vm_and_has_no_disks() {
    let fixture = Fixture::open("default");
    let id = fixture.snapshots().next().unwrap()["manifest_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let vm = fixture.run(&["restore", "vm", &id, "--to", "out"]);
    assert_eq!(vm.status, 2, "{vm:?}");
    let disk = fixture.run(&["restore", "disk", &id, "--to", "out.vhdx"]);
    assert_eq!(disk.status, 1, "{disk:?}");
    assert!(disk.stderr.contains("restore files"), "{disk:?}");
    assert!(
        fixture
            .run(&["points", "show", &id])
            .stdout
            .contains("fixture-user@fixture-host")
    );
}

#[test]
fn error_correction_is_refused_with_its_name() {
    let outcome = Fixture::open("ecc-5").run(&["points", "list"]);
    assert_eq!(outcome.status, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("error correction"), "{outcome:?}");
}
