//! Everything that Kopia itself stored comes back as Kopia describes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use blob::{FilesystemStore, SharedBlobStore};
use progress::{Progress, StopSignal};
use repo::{Identity, Repository, Surroundings};
use restore::files;
use serde_json::Value;
use sha2::{Digest, Sha256};
use snapshot::Snapshots;
use time_and_chance::{Chance, SystemClock, Timestamp};

use crate::world::file_options;

/// Every fixture there is.
const FIXTURES: [&str; 55] = [
    "compression-deflate-best-compression",
    "compression-deflate-best-speed",
    "compression-deflate-default",
    "compression-gzip",
    "compression-gzip-best-compression",
    "compression-gzip-best-speed",
    "compression-lz4",
    "compression-none",
    "compression-pgzip",
    "compression-pgzip-best-compression",
    "compression-pgzip-best-speed",
    "compression-rules",
    "compression-s2-better",
    "compression-s2-default",
    "compression-s2-parallel-4",
    "compression-s2-parallel-8",
    "compression-zstd",
    "compression-zstd-best-compression",
    "compression-zstd-better-compression",
    "compression-zstd-fastest",
    "concatenated",
    "default",
    "deleted-contents",
    "ecc-20",
    "ecc-5",
    "epochs-maintained",
    "flat-layout",
    "format-v1",
    "format-v1-compacted",
    "format-v1-upgraded",
    "format-v2",
    "hash-blake2b-256-128-chacha",
    "hash-blake2b-256-chacha",
    "hash-blake2s-128-aes",
    "hash-blake2s-256-chacha",
    "hash-blake3-256-128-chacha",
    "hash-blake3-256-aes",
    "hash-blake3-256-chacha",
    "hash-hmac-sha224-aes",
    "hash-hmac-sha256-128-aes",
    "hash-hmac-sha256-128-chacha",
    "hash-hmac-sha256-chacha",
    "hash-hmac-sha3-224-chacha",
    "hash-hmac-sha3-256-aes",
    "ignore-rules",
    "incomplete",
    "indirect-two-level",
    "kdf-pbkdf2",
    "password-changed",
    "policies",
    "retention",
    "special-files",
    "splitter-dynamic-1m-rabinkarp",
    "splitter-dynamic-4m-buzhash",
    "splitter-fixed-1m",
];

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/kopia")
}

#[test]
fn every_fixture_is_listed() {
    let on_disk: BTreeSet<String> = testdata()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let listed: BTreeSet<String> = FIXTURES.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(on_disk, listed);
}

#[test]
fn every_snapshot_that_kopia_wrote_is_restored_as_it_was() {
    let left = Mutex::new(FIXTURES.to_vec());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().pop();
                    let Some(fixture) = next else { return };
                    restore_fixture(fixture);
                }
            });
        }
    });
}

fn restore_fixture(name: &str) {
    let folder = testdata().join(name);
    let fixture: Value =
        serde_json::from_slice(&std::fs::read(folder.join("fixture.json")).unwrap()).unwrap();
    let work = tempfile::tempdir().unwrap();
    let repo = open(
        &folder.join("repo"),
        fixture["password"].as_str().unwrap(),
        &work.path().join("cache"),
    );
    let snapshots = Snapshots::load(&repo).unwrap();
    assert!(snapshots.unreadable().is_empty(), "{name}");
    let described = fixture["snapshots"].as_array().unwrap();
    assert_eq!(
        snapshots.iter().count(),
        described.len(),
        "{name}: every snapshot is listed"
    );
    let entries: BTreeMap<&str, &Value> = described
        .iter()
        .filter(|snapshot| snapshot["entries"].is_array())
        .map(|snapshot| (text(snapshot, "manifest_id"), &snapshot["entries"]))
        .collect();
    for (number, snapshot) in described.iter().enumerate() {
        let id = text(snapshot, "manifest_id");
        let same_as = snapshot["entries_same_as"].as_str().unwrap_or(id);
        let root = snapshots
            .iter()
            .find(|found| found.id == id)
            .unwrap()
            .manifest
            .root_entry
            .clone()
            .unwrap();
        let target = work.path().join(number.to_string());
        let done = files::to_folder(
            &repo,
            &root,
            &[],
            &target,
            &file_options(false),
            &Progress::silent(),
        )
        .unwrap_or_else(|error| panic!("{name}: {id}: {error}"));
        let at = |path: &str| {
            if path.is_empty() {
                target.clone()
            } else {
                target.join(path)
            }
        };
        let checked = entries[same_as]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| check_entry(name, &at(text(entry, "path")), entry))
            .count();
        let restored = 1 + done.files + done.folders + done.symlinks;
        assert_eq!(restored, checked as u64, "{name}: {id}");
        assert_eq!(
            count(&target),
            checked - 1,
            "{name}: {id}: nothing else is there"
        );
        if is_root() {
            assert!(done.warnings.is_empty(), "{name}: {:?}", done.warnings);
        }
        std::fs::remove_dir_all(&target).unwrap();
    }
}

fn open(folder: &Path, password: &str, cache: &Path) -> Arc<Repository> {
    let store: SharedBlobStore =
        Arc::new(FilesystemStore::open(folder, Chance::from_seed(1)).unwrap());
    let surroundings = Surroundings {
        cache_folder: cache.to_owned(),
        identity: Identity {
            username: "agent".into(),
            hostname: "host".into(),
        },
        clock: SystemClock::new(),
        chance: Chance::from_seed(2),
        stop: StopSignal::new(),
    };
    Repository::open(store, password, surroundings).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} is missing in {value}"))
}

fn check_entry(fixture: &str, path: &Path, entry: &Value) {
    let here = || format!("{fixture}: {}", path.display());
    let is = path
        .symlink_metadata()
        .unwrap_or_else(|error| panic!("{}: {error}", here()));
    let mtime: Timestamp = text(entry, "mtime").parse().unwrap();
    match text(entry, "type") {
        "f" => {
            assert!(is.is_file(), "{}", here());
            assert_eq!(
                hash(&std::fs::read(path).unwrap()),
                text(entry, "sha256"),
                "{}",
                here()
            );
        }
        "d" => assert!(is.is_dir(), "{}", here()),
        "s" => {
            assert!(is.is_symlink(), "{}", here());
            let target = path.read_link().unwrap();
            assert_eq!(
                hash(target.as_os_str().as_encoded_bytes()),
                text(entry, "sha256"),
                "{}",
                here()
            );
        }
        other => panic!("{}: type {other}", here()),
    }
    check_metadata(&here, &is, mtime, entry);
}

#[cfg(unix)]
fn check_metadata(
    here: &dyn Fn() -> String,
    is: &std::fs::Metadata,
    mtime: Timestamp,
    entry: &Value,
) {
    use std::os::unix::fs::MetadataExt;
    let time = i128::from(is.mtime()) * 1_000_000_000 + i128::from(is.mtime_nsec());
    assert_eq!(time, mtime.as_nanosecond(), "{}", here());
    let owner = (u64::from(is.uid()), u64::from(is.gid()));
    if is_root() {
        assert_eq!(
            owner,
            (
                entry["uid"].as_u64().unwrap(),
                entry["gid"].as_u64().unwrap()
            ),
            "{}",
            here()
        );
    }
    if !is.is_symlink() {
        let go = u32::from_str_radix(text(entry, "mode"), 8).unwrap();
        let special = [
            (0o40_000_000, 0o4000),
            (0o20_000_000, 0o2000),
            (0o4_000_000, 0o1000),
        ];
        let mut mode = go & 0o777;
        for (go_bit, bit) in special {
            if go & go_bit != 0 && (is_root() || bit == 0o1000) {
                mode |= bit;
            }
        }
        assert_eq!(is.mode() & 0o7777, mode, "{}", here());
    }
}

#[cfg(not(unix))]
fn check_metadata(_: &dyn Fn() -> String, _: &std::fs::Metadata, _: Timestamp, _: &Value) {}

/// Whether owners can be restored, and everything removed again.
#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn count(folder: &Path) -> usize {
    folder
        .read_dir()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let below = if entry.file_type().unwrap().is_dir() {
                count(&entry.path())
            } else {
                0
            };
            1 + below
        })
        .sum()
}
