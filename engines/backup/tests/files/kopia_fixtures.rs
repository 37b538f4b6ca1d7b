//! What Kopia stored is restored, backed up by us, and gets the very object ids that Kopia gave
//! it: files, symbolic links, lists and folders.

use std::collections::BTreeMap;

use backup::files::{FileOptions, FileReport, FileSource};
use progress::Progress;
use restore::files::FilesOptions;
use serde_json::Value;
use snapshot::Snapshots;

use crate::world::{HOST, USER, World, is_root, options, testdata};

/// Every fixture whose trees say something about how files are stored.
const FIXTURES: [&str; 15] = [
    "compression-none",
    "compression-rules",
    "compression-zstd",
    "concatenated",
    "default",
    "format-v2",
    "hash-blake2s-256-chacha",
    "hash-blake3-256-aes",
    "hash-hmac-sha224-aes",
    "ignore-rules",
    "indirect-two-level",
    "special-files",
    "splitter-dynamic-1m-rabinkarp",
    "splitter-dynamic-4m-buzhash",
    "splitter-fixed-1m",
];

#[test]
fn every_object_gets_the_id_that_kopia_gave_it() {
    for name in FIXTURES {
        check(name);
    }
}

fn check(name: &str) {
    let fixture = std::fs::read(testdata().join(name).join("fixture.json")).unwrap();
    let fixture: Value = serde_json::from_slice(&fixture).unwrap();
    let world = World::of_fixture(name);
    let described = fixture["snapshots"].as_array().unwrap();
    for (number, snapshot) in described.iter().enumerate() {
        let Some(entries) = snapshot["entries"].as_array() else {
            continue;
        };
        let path = snapshot["source"]["path"].as_str().unwrap();
        let base_name = path.rsplit('/').next().unwrap();
        let target = world.path(&number.to_string()).join(base_name);
        restore(&world, snapshot["manifest_id"].as_str().unwrap(), &target);

        let full = FileOptions {
            full: true,
            ..options()
        };
        let mut source = FileSource::one(USER, HOST, &target);
        path.clone_into(&mut source.identity.path);
        let read = world.back_up(&source, &full).unwrap();
        check_entries(name, &world, &read, entries);
        let all = entries.len() as u64;
        let counts = read.counts;
        assert_eq!(
            counts.files + counts.folders + counts.symlinks,
            all,
            "{name}"
        );
        assert_eq!(counts.cached_files, 0, "{name}: everything was read");
        assert_eq!(counts.failed + counts.ignored, 0, "{name}");

        let again = world.back_up(&source, &options()).unwrap();
        check_entries(name, &world, &again, entries);
        assert_eq!(again.counts.read_files, 0, "{name}: nothing was read");
        let cached = counts.files + counts.symlinks;
        assert_eq!(again.counts.cached_files, cached, "{name}");
        assert_eq!(again.root, read.root, "{name}");
    }
}

fn restore(world: &World, id: &str, target: &std::path::Path) {
    let snapshots = Snapshots::load(&world.repo).unwrap();
    let snapshot = snapshots.iter().find(|snapshot| snapshot.id == id).unwrap();
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    restore::files::to_folder(
        &world.repo,
        snapshot.manifest.root_entry.as_ref().unwrap(),
        &[],
        target,
        &FilesOptions::default(),
        &Progress::silent(),
    )
    .unwrap();
}

fn check_entries(name: &str, world: &World, report: &FileReport, expected: &[Value]) {
    let entries = world.entries(&report.point_id);
    let expected: BTreeMap<&str, &Value> = expected
        .iter()
        .map(|entry| (entry["path"].as_str().unwrap(), entry))
        .collect();
    let paths: Vec<&String> = entries.keys().collect();
    let expected_paths: Vec<&&str> = expected.keys().collect();
    assert_eq!(paths, expected_paths, "{name}");
    for (path, entry) in &entries {
        let kopias = expected[path.as_str()];
        let is_folder = kopias["type"] == "d";
        // Without the rights to give files away their owner, and so their folder, is another.
        if is_root() || !is_folder {
            assert_eq!(
                entry.object.to_string(),
                kopias["object_id"].as_str().unwrap(),
                "{name}: {path}: {entry:?}"
            );
        }
        let stored = serde_json::to_value(entry).unwrap();
        assert_eq!(stored["type"], kopias["type"], "{name}: {path}");
        let mtime = kopias["mtime"].as_str().unwrap();
        assert_eq!(entry.mtime, mtime.parse().unwrap(), "{name}: {path}");
        let mode = stored["mode"].as_str().unwrap_or("00");
        assert_eq!(mode, kopias["mode"].as_str().unwrap(), "{name}: {path}");
        if is_folder && is_root() {
            assert_eq!(stored["summ"], kopias["summary"], "{name}: {path}");
        }
    }
}
