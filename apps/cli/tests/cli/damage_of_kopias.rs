//! Damage of the kinds of blobs that repositories get with the years, in those that Kopia wrote:
//! compacted indexes, epoch markers, watermarks, logs, and the index of format 1.
//!
//! The short form does one thing to the blobs of each kind, the long form all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::agent::tool;
use crate::damage::{ALL, Damage, blobs, do_to};
use crate::kopias_own::Fixture;

/// What becomes of a damage.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// Nobody reads what is damaged, or misses it.
    Unharmed,
    /// It is named, and no point needs it.
    Warned,
    /// It is named, no point that is listed suffers, and a repair brings back what is not. What only a
    /// lost index knew to be deleted is given up.
    Mended,
    /// It is named, and there is nothing to do but to put a copy of the blob back.
    Named,
}

/// A fixture, what the names of its blobs begin with, the damage of the short form, and what becomes of
/// bytes that are damaged and of blobs that are gone.
const CASES: [(&str, &str, Damage, Way, Way); 10] = [
    (
        "epochs-maintained",
        "xs",
        Damage::Flip,
        Way::Mended,
        Way::Mended,
    ),
    (
        "epochs-maintained",
        "xr",
        Damage::Cut,
        Way::Mended,
        Way::Unharmed,
    ),
    (
        "epochs-maintained",
        "xn",
        Damage::Empty,
        Way::Mended,
        Way::Mended,
    ),
    // What is in markers and watermarks says nothing: their names do.
    (
        "epochs-maintained",
        "xe",
        Damage::Delete,
        Way::Unharmed,
        Way::Mended,
    ),
    (
        "deleted-contents",
        "xw",
        Damage::Flip,
        Way::Unharmed,
        Way::Unharmed,
    ),
    ("default", "_log_", Damage::Flip, Way::Warned, Way::Unharmed),
    // Format 1 is read, not written.
    ("format-v1", "n", Damage::Cut, Way::Named, Way::Named),
    (
        "format-v1-compacted",
        "n",
        Damage::Flip,
        Way::Named,
        Way::Named,
    ),
    // Only its first index blobs are of format 1, and nobody reads them any more.
    (
        "format-v1-upgraded",
        "n",
        Damage::Cut,
        Way::Unharmed,
        Way::Unharmed,
    ),
    (
        "format-v1-upgraded",
        "xn",
        Damage::Cut,
        Way::Named,
        Way::Named,
    ),
];

const VERIFY: [&str; 4] = ["repo", "verify", "--data", "100"];
const REPAIR: [&str; 6] = [
    "repo",
    "verify",
    "--data",
    "100",
    "--repair",
    "--take-ownership",
];

/// Puts a copy of the fixture in place of what was done to the last one, known to no cache.
fn begin_again(fixture: &mut Fixture, original: &Path) {
    fixture.repo = fixture.agent.path("repo");
    for folder in ["repo", "cache", "state"] {
        tool("rm", &["-rf".as_ref(), fixture.agent.path(folder).as_ref()]);
    }
    let (from, to) = (original.as_os_str(), fixture.repo.as_os_str());
    tool("cp", &["-r".as_ref(), from, to]);
    // Version control does not keep the times that Kopia saw.
    for blob in fixture.expected["blobs"].as_array().unwrap() {
        let name = blob["id"].as_str().unwrap();
        let written = blob["mtime"].as_str().unwrap();
        for (path, _) in blobs(&fixture.repo, name) {
            let date = format!("--date={written}");
            tool("touch", &[date.as_ref(), path.as_ref()]);
        }
    }
}

fn is_long() -> bool {
    std::env::var_os("E3_TEST_LONG").is_some()
}

/// Returns the snapshots that are restored: the oldest and the newest in the short form.
fn chosen(fixture: &Fixture) -> BTreeSet<&str> {
    let all = fixture.expected["snapshots"].as_array().unwrap();
    let ids = all.iter().map(|it| it["manifest_id"].as_str().unwrap());
    let is_end = |place: usize| place == 0 || place + 1 == all.len();
    let chosen = ids
        .enumerate()
        .filter(|(place, _)| is_long() || is_end(*place));
    chosen.map(|(_, id)| id).collect()
}

/// Restores snapshots and compares each file that comes back; returns those that are whole.
fn whole(fixture: &Fixture, context: &str) -> Vec<String> {
    let all = fixture.expected["snapshots"].as_array().unwrap();
    let by_id: BTreeMap<&str, &Value> = all
        .iter()
        .map(|it| (it["manifest_id"].as_str().unwrap(), it))
        .collect();
    let mut whole = Vec::new();
    for id in chosen(fixture) {
        let snapshot = by_id[id];
        let same_as = snapshot["entries_same_as"].as_str();
        let snapshot = same_as.map_or(snapshot, |other| by_id[other]);
        let out = fixture.agent.path("out");
        tool("rm", &["-rf".as_ref(), out.as_ref()]);
        let restored = fixture.run(&["restore", "files", id, "--to", "out"]);
        assert!(
            [0, 1, 5].contains(&restored.status),
            "{context}: {restored:?}"
        );
        assert!(
            !restored.stderr.contains("panicked"),
            "{context}: {restored:?}"
        );
        let entries = snapshot["entries"].as_array().unwrap().iter();
        for entry in entries.filter(|entry| entry["type"] == "f") {
            let path = entry["path"].as_str().unwrap();
            match fs::read(out.join(path)) {
                Ok(bytes) => {
                    let hash = Sha256::digest(&bytes);
                    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                    assert_eq!(hash, entry["sha256"].as_str().unwrap(), "{context}: {path}");
                }
                Err(error) => assert_ne!(restored.status, 0, "{context}: {path}: {error}"),
            }
        }
        if restored.status == 0 {
            whole.push(id.to_owned());
        }
    }
    whole
}

/// Repairs; manifests that were deleted long ago, and that only the lost index knew of, are given up.
fn repair(fixture: &Fixture, context: &str) {
    let repaired = fixture.run(&REPAIR);
    if repaired.status == 0 {
        return;
    }
    let way_out = "--give-up-lost-manifests";
    assert!(repaired.stdout.contains(way_out), "{context}: {repaired:?}");
    let given_up = fixture.run(&[&REPAIR[..], &[way_out, "--yes"]].concat());
    assert_eq!(given_up.status, 0, "{context}: {given_up:?}");
}

/// Damages the blobs and judges what the commands say and do.
fn judge(fixture: &Fixture, kind: &str, damage: Damage, way: Way) {
    let damaged = blobs(&fixture.repo, kind);
    // That no client of format 1 may open the repository, in plain text.
    let is_note = |name: &str| name.contains("upgrade_required");
    let damaged: Vec<_> = damaged.iter().filter(|(_, name)| !is_note(name)).collect();
    assert!(!damaged.is_empty(), "{kind}");
    damaged.iter().for_each(|(blob, _)| do_to(blob, damage));
    let names: Vec<&str> = damaged.iter().map(|(_, name)| name.as_str()).collect();
    let context = format!("{damage:?} of {names:?}");
    let found = fixture.run(&VERIFY);
    let told = format!("{}{}", found.stdout, found.stderr);
    assert!(!told.contains("panicked"), "{context}: {told}");
    let is_named = names.iter().any(|name| told.contains(name));
    // Nobody knows the name of what is gone; what only it named is told, or what is hurt.
    let is_told = |what| damage == Damage::Delete && told.contains(what);
    let is_told = is_named || is_told("no index names") || is_told("damaged: point");
    let all: Vec<String> = chosen(fixture).into_iter().map(str::to_owned).collect();
    match way {
        Way::Unharmed | Way::Warned => {
            assert_eq!(found.status, 0, "{context}: {told}");
            assert_eq!(is_named, way == Way::Warned, "{context}: {told}");
            assert_eq!(whole(fixture, &context), all, "{context}");
        }
        Way::Mended => {
            assert!(is_told, "{context} is not named: {told}");
            let before = whole(fixture, &context);
            repair(fixture, &context);
            let after = whole(fixture, &context);
            assert!(before.iter().all(|id| after.contains(id)), "{context}");
            assert_eq!(after, all, "{context}");
            for arguments in [&["repo", "maintain", "--full"][..], &VERIFY] {
                let outcome = fixture.run(arguments);
                assert_eq!(outcome.status, 0, "{context}: {outcome:?}");
            }
            if is_long() {
                assert_eq!(whole(fixture, &context), all, "{context}: maintained");
            }
        }
        Way::Named => {
            assert!(is_told, "{context} is not named: {told}");
            whole(fixture, &context);
            let left = blobs(&fixture.repo, "");
            let refused = fixture.run(&REPAIR);
            assert_eq!(refused.status, 1, "{context}: {refused:?}");
            assert!(refused.stderr.contains("format"), "{context}: {refused:?}");
            assert_eq!(blobs(&fixture.repo, ""), left, "{context}");
        }
    }
}

#[test]
fn damage_of_what_kopia_wrote_is_named_and_mended_where_it_can_be() {
    for (name, kind, short, of_bytes, of_all) in CASES {
        let mut fixture = Fixture::open(name);
        let original = fixture.repo.clone();
        for damage in ALL.into_iter().filter(|it| is_long() || *it == short) {
            begin_again(&mut fixture, &original);
            let way = match damage {
                Damage::Delete => of_all,
                _ => of_bytes,
            };
            judge(&fixture, kind, damage, way);
        }
    }
}

#[test]
fn a_compaction_log_of_format_1_that_makes_no_sense_is_named_and_nothing_is_guessed() {
    let mut fixture = Fixture::open("format-v1");
    let original = fixture.repo.clone();
    begin_again(&mut fixture, &original);
    let log = "m0123456789abcdef0123456789abcdef";
    let folder = fixture.repo.join("m01/234");
    fs::create_dir_all(&folder).unwrap();
    let bytes = fs::read(&blobs(&fixture.repo, "n")[0].0).unwrap();
    fs::write(folder.join("56789abcdef0123456789abcdef.f"), bytes).unwrap();
    for arguments in [&VERIFY[..], &["points", "list"]] {
        let said = fixture.run(arguments);
        assert_eq!(said.status, 1, "{said:?}");
        let told = format!("{}{}", said.stdout, said.stderr);
        assert!(told.contains(log), "{told}");
    }
    assert_eq!(whole(&fixture, "a log"), Vec::<String>::new());
    fs::remove_dir_all(fixture.repo.join("m01")).unwrap();
    assert_eq!(fixture.run(&VERIFY).status, 0);
}
