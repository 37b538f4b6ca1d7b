//! What a folder promises beyond the contract: Kopia's layout, and clear words when it is amiss.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;
use time_and_chance::ManualClock;

use super::*;
use crate::{contract, name};

const LONG: &str = "p14970cbcc0aad5c5862d56ab05c37223-s953d137f970f7379147";

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn chance() -> Chance {
    Chance::from_seed(1)
}

fn created(folder: &TempDir) -> FilesystemStore {
    FilesystemStore::create(folder.path().join("repo"), NewLayout::Sharded, chance())
        .expect("an empty folder")
}

fn put(store: &FilesystemStore, name: &str) {
    store
        .put(name, &[name.as_bytes()], &PutOptions::default())
        .expect("the folder takes it");
}

fn names(store: &FilesystemStore, prefix: &str) -> Vec<String> {
    let found = store.list_all(prefix).expect("it lists");
    found.into_iter().map(|blob| blob.name).collect()
}

/// All files below a folder, by path.
fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let inside = path.strip_prefix(root).unwrap().to_str().unwrap();
                found.insert(inside.replace('\\', "/"));
            }
        }
    }
    found
}

#[test]
fn a_folder_keeps_the_contract() {
    let folder = folder();
    contract::check_all(&created(&folder));
}

/// Without the check that syncs thousands of files, which no layout changes.
#[test]
fn every_layout_keeps_the_contract() {
    for layout in [NewLayout::ShardedVersion1, NewLayout::Flat] {
        let folder = folder();
        let store = FilesystemStore::create(folder.path(), layout, chance()).unwrap();
        for (promise, check) in contract::ALL {
            if promise != "many blobs are listed once each" {
                check(&store);
            }
        }
    }
}

#[test]
fn blobs_lie_where_kopia_looks_for_them_and_nothing_else_remains() {
    let folder = folder();
    let store = created(&folder);
    for name in ["kopia.repository", LONG, "xe12"] {
        put(&store, name);
    }
    let wanted = [
        ".shards",
        "kopia.repository.f",
        "p/149/70cbcc0aad5c5862d56ab05c37223-s953d137f970f7379147.f",
        "xe12.f",
    ];
    assert_eq!(files(store.path()), wanted.map(str::to_owned).into());
    let text = fs::read_to_string(store.path().join(".shards")).unwrap();
    assert_eq!(text, "{\"default\":[1,3],\"maxNonShardedLength\":20}\n");
}

#[test]
fn opening_reads_the_layout_and_changes_nothing() {
    let folder = folder();
    let name = "q14970cbcc0aad5c5862d56ab05c37223";
    fs::create_dir_all(folder.path().join("q14/970")).unwrap();
    fs::write(
        folder.path().join("q14/970/cbcc0aad5c5862d56ab05c37223.f"),
        "x",
    )
    .unwrap();
    let store = FilesystemStore::open(folder.path(), chance()).unwrap();
    assert_eq!(
        store.get(name).unwrap(),
        b"x",
        "without .shards Kopia assumes [3,3]"
    );
    assert_eq!(names(&store, ""), [name]);
    assert_eq!(files(folder.path()).len(), 1);

    let text =
        r#"{"default":[1,3],"maxNonShardedLength":5,"overrides":[{"prefix":"p","shards":[2]}]}"#;
    fs::write(folder.path().join(".shards"), text).unwrap();
    let store = FilesystemStore::open(folder.path(), chance()).unwrap();
    put(&store, LONG);
    assert_eq!(
        fs::read_to_string(folder.path().join(".shards")).unwrap(),
        text
    );
    assert!(
        folder
            .path()
            .join("p1")
            .join(format!("{}.f", &LONG[2..]))
            .is_file()
    );
}

#[test]
fn repositories_that_kopia_wrote_are_listed_as_they_lie() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/kopia");
    for fixture in ["format-v2", "format-v1-compacted"] {
        let root = fixtures.join(fixture).join("repo");
        let store = FilesystemStore::open(&root, chance()).unwrap();
        let listed = names(&store, "");
        for name in &listed {
            let metadata = store.metadata(name).expect(name);
            assert_eq!(
                store.get(name).expect(name).len() as u64,
                metadata.bytes,
                "{name}"
            );
        }
        let blobs = files(&root)
            .iter()
            .filter(|path| path.ends_with(".f"))
            .count();
        assert_eq!(listed.len(), blobs, "{fixture}");
        assert!(listed.contains(&"kopia.repository".to_owned()), "{fixture}");
    }
}

#[test]
fn what_is_no_blob_is_not_listed() {
    let folder = folder();
    let store = created(&folder);
    put(&store, LONG);
    let root = store.path();
    let beside = root.join("p/149");
    fs::write(
        beside.join("70cb.f.tmp.0123456789abcdef"),
        "half a blob of a dead writer",
    )
    .unwrap();
    fs::write(beside.join("README"), "x").unwrap();
    fs::write(beside.join("a b.f"), "x").unwrap();
    fs::write(root.join(".f"), "x").unwrap();
    fs::create_dir_all(root.join("p/folder.f")).unwrap();
    fs::create_dir_all(root.join("lost+found")).unwrap();
    fs::write(root.join("lost+found/p1.f"), "x").unwrap();
    fs::create_dir_all(root.join(".git/p")).unwrap();
    fs::write(root.join(".git/p/1.f"), "x").unwrap();
    assert_eq!(names(&store, ""), [LONG]);
    assert_eq!(names(&store, "p"), [LONG]);
}

/// The superuser is refused nothing, so that this proves something only to others.
#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_read_is_an_error_not_empty() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let store = created(&folder);
    put(&store, LONG);
    let closed = store.path().join("p");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let is_refused = fs::read_dir(&closed).is_err();
    let listed = store.list_all("");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    match listed {
        Ok(all) => assert!(!is_refused && all.len() == 1),
        Err(error) => assert_eq!(error.kind(), BlobErrorKind::Denied, "{error}"),
    }
}

#[test]
fn a_put_leaves_no_temporary_file_when_it_fails() {
    let folder = folder();
    let store = created(&folder);
    // A folder in the blob's place cannot be overwritten by a file.
    fs::create_dir_all(store.path().join("kopia.repository.f/x")).unwrap();
    let error = store
        .put("kopia.repository", &[b"x"], &PutOptions::default())
        .unwrap_err();
    assert!(error.to_string().contains("kopia.repository.f"), "{error}");
    assert_eq!(files(store.path()), [".shards".to_owned()].into());
}

#[test]
fn a_dead_writers_temporary_file_is_in_nobodys_way() {
    let folder = folder();
    let store = created(&folder);
    let mut same_seed = FilesystemStore::open(store.path(), Chance::from_seed(9)).unwrap();
    let first = format!("xe1.f.tmp.{:016x}", Chance::from_seed(9).next_u64());
    fs::write(store.path().join(&first), "half").unwrap();
    same_seed.chance = Chance::from_seed(9);
    put(&same_seed, "xe1");
    assert_eq!(same_seed.get("xe1").unwrap(), b"xe1");
    assert_eq!(fs::read(store.path().join(first)).unwrap(), b"half");
}

#[test]
fn a_new_repository_takes_no_place_that_is_taken() {
    let folder = folder();
    let store = created(&folder);
    let again = FilesystemStore::create(store.path(), NewLayout::Flat, chance()).unwrap();
    put(&again, LONG);
    let error = FilesystemStore::create(store.path(), NewLayout::Sharded, chance()).unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::AlreadyThere);
    assert!(error.to_string().contains(LONG), "{error}");
    assert_eq!(again.get(LONG).unwrap(), LONG.as_bytes());
    let text = fs::read_to_string(store.path().join(".shards")).unwrap();
    assert!(
        text.contains("\"default\":[]"),
        "the refused creation changed nothing: {text}"
    );

    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = FilesystemStore::create(&file, NewLayout::Sharded, chance()).unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::Invalid, "{error}");
    let error =
        FilesystemStore::create(file.join("below"), NewLayout::Sharded, chance()).unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::Invalid, "{error}");
}

#[test]
fn a_folder_that_lost_its_layout_is_not_taken_for_one_of_another() {
    let folder = folder();
    let store = FilesystemStore::create(folder.path(), NewLayout::Sharded, chance()).unwrap();
    for name in ["kopia.repository", "p0123456789abcdef0123456789abcdef-s0"] {
        store.put(name, &[b"x"], &PutOptions::default()).unwrap();
    }
    fs::remove_file(folder.path().join(".shards")).unwrap();
    let error = FilesystemStore::open(folder.path(), chance()).unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::Invalid, "{error}");
    let text = error.to_string();
    assert!(text.contains(".shards is missing"), "{text}");
    // What the message says heals it.
    let content = &text[text.find('{').unwrap()..];
    fs::write(folder.path().join(".shards"), content).unwrap();
    let store = FilesystemStore::open(folder.path(), chance()).unwrap();
    assert_eq!(store.list_all("p").unwrap().len(), 1);
    assert_eq!(
        store.get("p0123456789abcdef0123456789abcdef-s0").unwrap(),
        b"x"
    );
}

#[test]
fn what_cannot_be_opened_says_why() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let odd = folder.path().join("odd");
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join(".shards"), "{\"default\":[0]}").unwrap();
    let table: [(PathBuf, BlobErrorKind, &str); 4] = [
        (
            folder.path().join("missing"),
            BlobErrorKind::NotFound,
            "missing",
        ),
        (file.clone(), BlobErrorKind::NotFound, "not a folder"),
        (file.join("below"), BlobErrorKind::NotFound, "below"),
        (odd, BlobErrorKind::Invalid, ".shards"),
    ];
    for (path, kind, words) in table {
        let error = FilesystemStore::open(&path, chance()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_repository_that_vanishes_is_unavailable_not_empty() {
    let folder = folder();
    let store = created(&folder);
    put(&store, LONG);
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(store.path(), &elsewhere).unwrap();
    // What an unmounted disk leaves: the folder it was mounted on, empty.
    for is_folder_left in [false, true] {
        if is_folder_left {
            fs::create_dir(store.path()).unwrap();
        }
        let errors = [
            store.get(LONG).unwrap_err(),
            store.metadata(LONG).unwrap_err(),
            store.get_range(LONG, 0, 1).unwrap_err(),
            store.list_all("").unwrap_err(),
            store.delete(LONG).unwrap_err(),
            store
                .put("xe1", &[b"x"], &PutOptions::default())
                .unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), BlobErrorKind::Unavailable, "{error}");
        }
    }
    assert_eq!(
        fs::read_dir(store.path()).unwrap().count(),
        0,
        "nothing was written beside the disk"
    );
    fs::remove_dir(store.path()).unwrap();
    fs::rename(&elsewhere, store.path()).unwrap();
    assert_eq!(store.get(LONG).unwrap(), LONG.as_bytes());
}

#[test]
fn object_locks_are_refused_not_ignored() {
    let folder = folder();
    let store = created(&folder);
    let retention = Some(("GOVERNANCE".to_owned(), Timestamp::UNIX_EPOCH));
    let error = store
        .put(
            "p1",
            &[b"x"],
            &PutOptions {
                retention,
                ..PutOptions::default()
            },
        )
        .unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::Unsupported);
    assert!(names(&store, "").is_empty());
}

#[test]
fn a_folder_tells_its_time_and_nothing_is_left_of_the_question() {
    let folder = folder();
    let store = created(&folder);
    let before = files(store.path());
    let told = store.time().unwrap().expect("a folder that can be written");
    put(&store, "p1");
    let written = store.metadata("p1").unwrap().modified;
    assert!(written.duration_since(told).abs().as_secs() < 60);
    store.delete("p1").unwrap();
    assert_eq!(files(store.path()), before);
    let error = store.extend_lock("p1", "GOVERNANCE", told).unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::Unsupported);
}

#[test]
fn a_simulation_dates_its_blobs_by_its_own_clock() {
    let folder = folder();
    let long_ago = Timestamp::from_second(1_000_000_000).unwrap();
    let store = created(&folder).dated_by(Some(ManualClock::at(long_ago)));
    put(&store, "p1");
    let if_absent = PutOptions {
        if_absent: true,
        ..PutOptions::default()
    };
    store.put("p2", &[b"x"], &if_absent).unwrap();
    for name in ["p1", "p2"] {
        assert_eq!(store.metadata(name).unwrap().modified, long_ago);
    }
    assert_eq!(store.time().unwrap(), Some(long_ago));
}

#[test]
fn the_systems_refusals_have_kinds() {
    use io::ErrorKind as Io;
    for (system, kind) in [
        (Io::StorageFull, BlobErrorKind::Full),
        (Io::QuotaExceeded, BlobErrorKind::Full),
        (Io::PermissionDenied, BlobErrorKind::Denied),
        (Io::ReadOnlyFilesystem, BlobErrorKind::Denied),
        (Io::NotADirectory, BlobErrorKind::Invalid),
        (Io::StaleNetworkFileHandle, BlobErrorKind::Unavailable),
    ] {
        let error = failed("write", Path::new("disk/file"), system.into());
        assert_eq!(error.kind(), kind, "{system:?}");
        assert!(error.to_string().contains("file"), "{error}");
    }
}

/// `/dev/full` answers every write with ENOSPC, as a disk without room does.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_full() {
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let folder = folder();
    let (temporary, path) = (folder.path().join("t"), folder.path().join("p"));
    let error = write_and_rename(full, &temporary, &path, &[b"x"], None).unwrap_err();
    assert_eq!(failed("write", &path, error).kind(), BlobErrorKind::Full);
    assert!(!path.exists());
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let store = created(&folder);
    put(&store, LONG);
    let mode = |path: &str| {
        fs::metadata(store.path().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("p"), 0o700);
    assert_eq!(mode("p/149"), 0o700);
    assert_eq!(mode(""), 0o700);
    assert_eq!(
        mode("p/149/70cbcc0aad5c5862d56ab05c37223-s953d137f970f7379147.f"),
        0o600
    );
}

#[cfg(unix)]
#[test]
fn the_room_is_told() {
    let folder = folder();
    let space = created(&folder).space().unwrap().expect("Unix can tell");
    assert!(space.total_bytes >= space.free_bytes && space.total_bytes > 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the layout: a name leads to a path below the root, and the path back to the name.
    #[test]
    fn path_and_name_are_one_to_one(
        sizes in prop::collection::vec(1_usize..5, 0..4),
        unsharded in 0_usize..25,
        name in "[a-z0-9_@-][a-z0-9_.@-]{0,60}",
    ) {
        let text = format!(r#"{{"default":{sizes:?},"maxNonShardedLength":{unsharded}}}"#);
        let shards = Shards::parse(text.as_bytes(), Path::new("repo")).unwrap();
        prop_assume!(name::is_valid(&name));
        match shards.path(&name) {
            Ok(path) => {
                let parts: Vec<_> = path.iter().map(|part| part.to_str().unwrap()).collect();
                prop_assert!(parts.iter().all(|part| !part.is_empty() && *part != "." && *part != ".."));
                prop_assert_eq!(parts.concat(), format!("{name}.f"));
            }
            Err(error) => {
                prop_assert_eq!(error.kind(), BlobErrorKind::Invalid);
                prop_assert!(name.contains('.'));
            }
        }
    }
}
