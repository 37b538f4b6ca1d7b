//! Repositories that Kopia itself wrote: listed, verified, restored from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::agent::{Agent, Outcome, outcome};

/// Small fixtures that cover formats, compression within objects, odd names, unfinished
/// snapshots and error correction.
const FIXTURES: [&str; 7] = [
    "default",
    "format-v1",
    "format-v1-upgraded",
    "compression-lz4",
    "special-files",
    "incomplete",
    "ecc-5",
];

/// A repository that Kopia wrote, and what it says of it.
pub struct Fixture {
    /// Where the executable runs.
    pub agent: Agent,
    /// Where the repository is.
    pub repo: PathBuf,
    /// What Kopia says.
    pub expected: Value,
}

impl Fixture {
    /// Opens it where it lies.
    pub fn open(name: &str) -> Self {
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

    /// Runs the executable with the repository.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
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
        fixture.json(&["repo", "verify", "--local", "--data", "100"]);
        for snapshot in fixture.snapshots() {
            restores(name, &fixture, snapshot);
        }
    }
}

#[test]
fn what_was_found_of_one_point_on_this_machine_stays_when_another_is_looked_at() {
    let fixture = Fixture::open(FIXTURES[0]);
    let list = || fixture.json(&["points", "list"])["points"].clone();
    let points = list();
    let points = points.as_array().unwrap();
    assert!(points.len() >= 2);
    for point in points {
        let id = point["id"].as_str().unwrap();
        fixture.json(&["repo", "verify", "--local", "--data", "100", "--point", id]);
    }
    for point in list().as_array().unwrap() {
        let proven = &point["verified"]["proven"];
        assert_eq!(proven.as_array().map(Vec::len), Some(1), "{point}");
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
fn files_are_restored_as_was_asked_for() {
    let fixture = Fixture::open("special-files");
    let id = fixture.snapshots().next().unwrap()["manifest_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let restore = |more: &[&str]| {
        let arguments = [&["restore", "files", &id, "--to", "out", "--json"], more].concat();
        let outcome = fixture.run(&arguments);
        let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
        (outcome, document)
    };
    let (_, said) = restore(&["--dry-run"]);
    assert!(!fixture.agent.path("out").exists());
    let (first, done) = restore(&[]);
    assert_eq!(
        (first.status, &done["files"]),
        (0, &said["files"]),
        "{first:?}"
    );
    assert!(done["files"].as_u64().unwrap() > 0);

    let (again, _) = restore(&[]);
    assert_eq!(again.status, 1, "{again:?}");
    assert!(again.stderr.contains("--overwrite"), "{again:?}");
    let (_, said) = restore(&["--dry-run"]);
    assert!(said["failed_first"][0]["reason"].is_string(), "{said}");
    let (resumed, done) = restore(&["--existing", "replace-different"]);
    assert_eq!(
        (resumed.status, &done["replaced"]),
        (0, &Value::from(0)),
        "{resumed:?}"
    );
    assert!(done["kept"].as_u64().unwrap() > 0, "{done}");
    let (wrong, _) = restore(&["--existing", "keep", "--overwrite"]);
    assert_eq!(wrong.status, 2, "{wrong:?}");
    let inside = fixture.run(&["restore", "files", &format!("{id}:0"), "--to", "out"]);
    assert!(inside.stderr.contains("restore disk"), "{inside:?}");
}

/// Returns what a snapshot of a fixture holds, by path: type, object, bytes in files.
fn held(fixture: &Fixture, id: &str) -> BTreeMap<String, (String, String, u64)> {
    let by_id = |id: &str| {
        let mut snapshots = fixture.snapshots();
        snapshots.find(|it| it["manifest_id"] == id).unwrap()
    };
    let snapshot = by_id(id);
    let same_as = snapshot["entries_same_as"].as_str().map(by_id);
    let entries = same_as.unwrap_or(snapshot)["entries"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            let bytes = entry["size"].as_u64().filter(|_| entry["type"] == "f");
            (
                text("path"),
                (text("type"), text("object_id"), bytes.unwrap_or(0)),
            )
        })
        .filter(|(path, _)| !path.is_empty())
        .collect()
}

#[test]
fn two_snapshots_differ_in_what_kopia_says_they_hold() {
    let mut found = 0;
    for name in [
        "default",
        "deleted-contents",
        "format-v1-compacted",
        "special-files",
    ] {
        let fixture = Fixture::open(name);
        let ids: Vec<String> = fixture
            .snapshots()
            .map(|it| it["manifest_id"].as_str().unwrap().to_owned())
            .collect();
        for pair in ids.windows(2) {
            let diff = fixture.json(&["points", "diff", &pair[0], &pair[1]]);
            found += compare(
                name,
                &diff,
                &held(&fixture, &pair[0]),
                &held(&fixture, &pair[1]),
            );
            let text = fixture
                .run(&["points", "diff", &pair[0], &pair[1], "--stat"])
                .stdout;
            assert_eq!(
                text.contains("nothing differs"),
                diff["same"] == true,
                "{text}"
            );
        }
    }
    assert!(found > 5, "only {found} differences were compared");
}

/// Compares what is said with what the fixtures hold; returns how much differs.
fn compare(
    name: &str,
    diff: &Value,
    before: &BTreeMap<String, (String, String, u64)>,
    after: &BTreeMap<String, (String, String, u64)>,
) -> usize {
    let said = |change: &str| -> Vec<&str> {
        let entries = diff["entries"].as_array().unwrap().iter();
        entries
            .filter(|entry| entry["change"] == change)
            .map(|entry| entry["path"].as_str().unwrap())
            .collect()
    };
    let mut all = 0;
    for (change, here, there) in [("removed", before, after), ("added", after, before)] {
        let only: Vec<_> = here
            .iter()
            .filter(|(path, _)| !there.contains_key(*path))
            .collect();
        let tops = said(change);
        for top in &tops {
            assert!(
                only.iter().any(|(path, _)| path == top),
                "{name}: {change} {top}"
            );
        }
        for (path, _) in &only {
            let covered = tops
                .iter()
                .any(|top| path == top || path.starts_with(&format!("{top}/")));
            assert!(covered, "{name}: {path} is {change}");
        }
        let files = only.iter().filter(|(_, (kind, ..))| kind != "d").count();
        let bytes: u64 = only.iter().map(|(_, (.., bytes))| bytes).sum();
        assert_eq!(diff[change]["files"], files, "{name}: {change}");
        assert_eq!(diff[change]["bytes"], bytes, "{name}: {change}");
        all += only.len();
    }
    let other_content: Vec<&str> = after
        .iter()
        .filter(|(path, (kind, object, _))| {
            let was = before.get(*path);
            kind != "d" && was.is_some_and(|(old_kind, old, _)| kind == old_kind && old != object)
        })
        .map(|(path, _)| path.as_str())
        .collect();
    let mut content = said("content");
    content.sort_unstable();
    assert_eq!(content, other_content, "{name}");
    all + content.len()
}

#[test]
fn a_snapshot_of_files_is_listed_shown_and_looked_into() {
    let fixture = Fixture::open("special-files");
    let snapshot = fixture.snapshots().next().unwrap();
    let id = snapshot["manifest_id"].as_str().unwrap();
    let held = held(&fixture, id);
    let files = held.values().filter(|(kind, ..)| kind != "d").count();
    let listed = fixture.json(&["points", "list"]);
    let points = listed["points"].as_array().unwrap();
    let point = points.iter().find(|point| point["id"] == id).unwrap();
    assert_eq!(point["files"], files);
    let shown = fixture.run(&["points", "show", id]).stdout;
    assert!(shown.contains(&format!("{files} files")), "{shown}");

    let root = fixture.json(&["points", "show", id, "--path", ""]);
    let names: Vec<&str> = root["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect();
    let top = held.keys().filter(|path| !path.contains('/'));
    assert_eq!(names.len(), top.clone().count());
    assert!(top.into_iter().all(|path| names.contains(&path.as_str())));
    let nothing = fixture.run(&["points", "show", id, "--path", "no/such"]);
    assert_eq!(nothing.status, 5, "{nothing:?}");
}

/// A fixture with error correction: its name, the bytes of a stored shard, and how many shards of a
/// block may be damaged.
const ERROR_CORRECTED: [(&str, usize, usize); 2] = [("ecc-5", 4 + 128, 2), ("ecc-20", 4 + 64, 17)];

/// Returns a copy of a fixture in which bytes of one blob are altered.
fn altered(name: &str, blob: &str, places: impl IntoIterator<Item = usize>) -> Fixture {
    let mut fixture = Fixture::open(name);
    let copy = fixture.agent.path("altered");
    let blobs = fixture.expected["blobs"].as_array().unwrap();
    let paths = blobs.iter().map(|it| path_of(it["id"].as_str().unwrap()));
    for path in paths.chain([".shards".into()]) {
        std::fs::create_dir_all(copy.join(&path).parent().unwrap()).unwrap();
        std::fs::copy(fixture.repo.join(&path), copy.join(&path)).unwrap();
    }
    let path = copy.join(path_of(blob));
    let mut bytes = std::fs::read(&path).unwrap();
    for place in places {
        bytes[place] ^= 0x10;
    }
    std::fs::write(&path, bytes).unwrap();
    fixture.repo = copy;
    fixture
}

fn path_of(blob: &str) -> PathBuf {
    if blob.starts_with("kopia.") {
        return format!("{blob}.f").into();
    }
    format!("{}/{}/{}.f", &blob[..1], &blob[1..4], &blob[4..]).into()
}

/// Returns the pack of the fixture's longest content and where it ends there: it takes several
/// blocks, the last of them with many data shards at its end.
fn longest_content(fixture: &Fixture) -> (String, usize) {
    let contents = fixture.expected["contents"].as_array().unwrap();
    let longest = contents
        .iter()
        .max_by_key(|it| it["packed_length"].as_u64())
        .unwrap();
    let number = |member: &str| longest[member].as_u64().unwrap() as usize;
    let pack = longest["pack_blob"].as_str().unwrap().to_owned();
    (pack, number("pack_offset") + number("packed_length"))
}

fn restores_all(name: &str, fixture: &Fixture) {
    for snapshot in fixture.snapshots() {
        restores(name, fixture, snapshot);
    }
}

#[test]
fn damage_within_error_correction_is_a_warning_and_everything_comes_back() {
    for (name, shard_bytes, damaged_max) in ERROR_CORRECTED {
        let sound = Fixture::open(name);
        let found = sound.json(&["repo", "verify", "--local", "--data", "100"]);
        assert_eq!(found["corrected_blobs"], serde_json::json!([]), "{name}");

        let (pack, end) = longest_content(&sound);
        let places = (0..damaged_max).map(|shard| end - 10 - shard * shard_bytes);
        let index = &sound.expected["index_blobs"][0];
        let bytes = index["length"].as_u64().unwrap() as usize;
        let index = index["id"].as_str().unwrap();
        for fixture in [
            altered(name, &pack, places),
            altered(name, index, [bytes / 2, bytes - 3]),
        ] {
            let found = fixture.json(&["repo", "verify", "--local", "--data", "100"]);
            let blob = found["corrected_blobs"][0].as_str().unwrap().to_owned();
            assert!(blob == pack || blob == index, "{name}: {found}");
            assert_eq!(found["corrected_blobs"].as_array().unwrap().len(), 1);
            assert_eq!(found["damages"], serde_json::json!([]), "{name}");
            restores_all(name, &fixture);
        }
        let fixture = altered(name, &pack, [end - 10]);
        let said = fixture.run(&["repo", "verify", "--local", "--data", "100"]);
        let warning = format!("warning: blob {pack} is damaged");
        assert!(said.stdout.contains(&warning), "{said:?}");
        assert_eq!(said.status, 0, "{said:?}");
    }
}

#[test]
fn damage_beyond_error_correction_is_told_as_such() {
    for (name, shard_bytes, damaged_max) in ERROR_CORRECTED {
        let (pack, end) = longest_content(&Fixture::open(name));
        let places = (0..=damaged_max).map(|shard| end - 10 - shard * shard_bytes);
        let fixture = altered(name, &pack, places);
        let said = fixture.run(&["repo", "verify", "--local", "--data", "100"]);
        assert_eq!(said.status, 1, "{said:?}");
        let expected = format!("of which at most {damaged_max} can be corrected");
        assert!(said.stdout.contains(&expected), "{said:?}");
        assert!(said.stdout.contains(&pack), "{said:?}");

        let sound = Fixture::open(name);
        let index = &sound.expected["index_blobs"][0];
        let bytes = index["length"].as_u64().unwrap() as usize;
        let places = (0..bytes).step_by(8);
        let fixture = altered(name, index["id"].as_str().unwrap(), places);
        let said = fixture.run(&["points", "list"]);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.stderr.contains("can be corrected"), "{said:?}");
    }
}

#[test]
fn a_repository_with_error_correction_is_not_written_to_and_why_is_said() {
    let fixture = Fixture::open("ecc-5");
    fixture.agent.succeeds(["sim", "create", "host"]);
    fixture
        .agent
        .succeeds(["sim", "add-vm", "host", "--name", "web", "--new", "8M"]);
    let said = fixture.run(&["backup", "vm", "--all", "--host", "sim:host"]);
    assert_ne!(said.status, 0, "{said:?}");
    assert!(
        said.stderr
            .contains("error correction, which this program does not write"),
        "{said:?}"
    );
}
