//! Trees of files: what is asked for, whatever is there already, whoever stored it.

use std::collections::BTreeMap;
use std::path::Path;

use kopia::content_id::prefix;
use kopia::directory::{Directory, DirectoryEntry, EntryType};
use kopia::object_id::ObjectId;
use progress::Progress;
use repo::Encoder;
use restore::files::{self, RestoredFiles};
use restore::{RestoreError, RestoreErrorKind};
use time_and_chance::{Chance, Timestamp};

use crate::world::{StopAtFirstPiece, World, names_in, options, stopped};

fn entry(name: &str, entry_type: EntryType, object: ObjectId, size: u64) -> DirectoryEntry {
    DirectoryEntry {
        name: name.into(),
        entry_type,
        mode: 0o755,
        size,
        mtime: Timestamp::from_second(1_700_000_000).unwrap(),
        uid: 0,
        gid: 0,
        object,
        summary: None,
        other: BTreeMap::new(),
    }
}

impl World {
    fn object(&self, prefix: Option<u8>, bytes: &[u8], piece_bytes: usize) -> ObjectId {
        self.writer
            .write_object(&mut Encoder::new(None), prefix, bytes, piece_bytes)
            .unwrap()
    }

    fn file(&self, name: &str, bytes: &[u8]) -> DirectoryEntry {
        entry(
            name,
            EntryType::File,
            self.object(None, bytes, 1_300_000),
            bytes.len() as u64,
        )
    }

    fn link(&self, name: &str, target: &str) -> DirectoryEntry {
        entry(
            name,
            EntryType::Symlink,
            self.object(None, target.as_bytes(), 1 << 20),
            target.len() as u64,
        )
    }

    fn tree(&self, name: &str, entries: Vec<DirectoryEntry>) -> DirectoryEntry {
        let json = Directory {
            entries,
            summary: None,
        }
        .encode()
        .unwrap();
        entry(
            name,
            EntryType::Directory,
            self.object(Some(prefix::DIRECTORY), &json, 1 << 20),
            0,
        )
    }

    /// Returns a folder with an entry that no honest client stores.
    fn hostile_tree(&self, entry: &DirectoryEntry) -> DirectoryEntry {
        let json =
            serde_json::json!({"stream": "kopia:directory", "entries": [entry], "summary": null});
        let object = self.object(
            Some(prefix::DIRECTORY),
            json.to_string().as_bytes(),
            1 << 20,
        );
        crate::trees::entry("root", EntryType::Directory, object, 0)
    }

    fn restore(
        &self,
        root: &DirectoryEntry,
        paths: &[&str],
        name: &str,
        overwrite: bool,
    ) -> Result<RestoredFiles, RestoreError> {
        self.writer.flush().unwrap();
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let target = self.folder.path().join(name);
        files::to_folder(
            &self.repo,
            root,
            &paths,
            &target,
            &options(overwrite),
            &Progress::silent(),
        )
    }

    fn small_tree(&self) -> DirectoryEntry {
        let below = self.tree("below", vec![self.file("x", b"x"), self.file("y", b"y")]);
        let etc = self.tree(
            "etc",
            vec![
                self.file("hosts", b"hosts"),
                self.file("passwd", b"passwd"),
                below,
            ],
        );
        self.tree(
            "root",
            vec![etc, self.file("top", b"top"), self.tree("empty", vec![])],
        )
    }
}

fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Chance::from_seed(len as u64).fill(&mut bytes);
    bytes
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn only_what_was_asked_for_is_restored_with_the_folders_it_is_in() {
    let world = World::new();
    let root = world.small_tree();
    let done = world
        .restore(&root, &["etc/below", "etc/hosts"], "some", false)
        .unwrap();
    assert_eq!(
        (done.files, done.folders, done.symlinks, done.bytes),
        (3, 2, 0, 7)
    );
    let folder = world.folder.path().join("some");
    assert_eq!(names_in(&folder), ["etc"]);
    assert_eq!(names_in(&folder.join("etc")), ["below", "hosts"]);
    assert_eq!(names_in(&folder.join("etc/below")), ["x", "y"]);
    assert_eq!(world.restore(&root, &[], "all", false).unwrap().files, 5);
}

#[test]
fn a_path_that_is_not_there_is_said_before_anything_is_written() {
    let world = World::new();
    let root = world.small_tree();
    for path in ["etc/nothing", "top/below", "..", "../etc"] {
        let error = world
            .restore(&root, &["etc/hosts", path], "some", false)
            .unwrap_err();
        assert_eq!(error.kind(), RestoreErrorKind::NotFound, "{path}");
        assert!(world.names().is_empty());
    }
}

#[test]
fn existing_files_are_kept_and_existing_folders_filled_up() {
    let world = World::new();
    let root = world.small_tree();
    let folder = world.folder.path().join("t");
    std::fs::create_dir_all(folder.join("etc")).unwrap();
    std::fs::write(folder.join("etc/other"), b"other").unwrap();
    std::fs::write(folder.join("etc/hosts"), b"precious").unwrap();
    let error = world.restore(&root, &[], "t", false).unwrap_err();
    assert_eq!(error.kind(), RestoreErrorKind::Exists);
    assert_eq!(read(&folder.join("etc/hosts")), b"precious");
    world.restore(&root, &["etc/passwd"], "t", false).unwrap();
    world.restore(&root, &[], "t", true).unwrap();
    assert_eq!(read(&folder.join("etc/hosts")), b"hosts");
    assert_eq!(read(&folder.join("etc/other")), b"other");
    assert_eq!(names_in(&folder), ["empty", "etc", "top"]);
}

#[test]
fn a_big_file_is_restored_in_pieces_and_its_zeros_are_holes() {
    let world = World::new();
    let mut bytes = random(30_000_001);
    bytes[6_000_000..20_000_000].fill(0);
    let root = world.tree(
        "root",
        vec![
            world.file("big", &bytes),
            world.file("other", &random(9_000_000)),
            world.file("none", b""),
        ],
    );
    let done = world.restore(&root, &[], "t", false).unwrap();
    assert_eq!((done.files, done.bytes), (3, 39_000_001));
    let path = world.folder.path().join("t/big");
    assert!(read(&path) == bytes);
    assert_eq!(read(&world.folder.path().join("t/none")), b"");
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        assert!(path.metadata().unwrap().blocks() * 512 < 20_000_000);
    }
}

#[test]
fn a_file_as_root_becomes_a_file_in_the_folder() {
    let world = World::new();
    let root = world.file("disk.vhdx", &random(5_000_000));
    for (name, paths) in [("a", &[][..]), ("b", &["disk.vhdx"])] {
        assert_eq!(world.restore(&root, paths, name, false).unwrap().files, 1);
        assert!(read(&world.folder.path().join(name).join("disk.vhdx")) == random(5_000_000));
    }
    assert_eq!(
        world.restore(&root, &["x"], "c", false).unwrap_err().kind(),
        RestoreErrorKind::NotFound
    );
    let hostile = DirectoryEntry {
        name: "../out".into(),
        ..root
    };
    assert_eq!(
        world.restore(&hostile, &[], "d", false).unwrap_err().kind(),
        RestoreErrorKind::Damaged
    );
    assert!(!world.names().contains(&"out".to_owned()));
}

#[test]
fn names_that_reach_outside_are_refused() {
    let world = World::new();
    let outside = world.folder.path().join("outside");
    let absolute = outside.to_str().unwrap().to_owned();
    for name in [
        "..",
        ".",
        "",
        "../outside",
        "a/../../outside",
        &absolute,
        "a\0b",
        "/",
    ] {
        for hostile in [
            world.file("x", b"evil"),
            world.link("x", "/etc"),
            world.tree("x", vec![world.file("y", b"evil")]),
        ] {
            let root = world.hostile_tree(&DirectoryEntry {
                name: name.into(),
                ..hostile
            });
            let error = world.restore(&root, &[], "t", true).unwrap_err();
            assert_eq!(error.kind(), RestoreErrorKind::Damaged, "{name:?}: {error}");
            assert_eq!(world.names(), ["t"], "{name:?}");
            assert!(
                names_in(&world.folder.path().join("t")).is_empty(),
                "{name:?}"
            );
        }
    }
}

#[cfg(unix)]
#[test]
fn nothing_is_ever_written_through_a_link() {
    let world = World::new();
    let base = world.folder.path();
    std::fs::create_dir(base.join("outside")).unwrap();
    std::fs::write(base.join("outside/file"), b"precious").unwrap();
    // First comes a tree of links, restored as asked; then one that would go through them.
    let links = world.tree(
        "root",
        vec![
            world.link("sub", "../outside"),
            world.link("file", "../outside/file"),
        ],
    );
    assert_eq!(world.restore(&links, &[], "t", false).unwrap().symlinks, 2);
    let through = [
        world.tree(
            "root",
            vec![world.tree(
                "sub",
                vec![world.file("file", b"evil"), world.file("new", b"evil")],
            )],
        ),
        world.tree("root", vec![world.file("file", b"evil")]),
    ];
    for root in &through {
        for overwrite in [false, true] {
            let error = world.restore(root, &[], "t", overwrite).unwrap_err();
            assert_eq!(error.kind(), RestoreErrorKind::Exists, "{error}");
        }
    }
    assert_eq!(names_in(&base.join("outside")), ["file"]);
    assert_eq!(read(&base.join("outside/file")), b"precious");
    // Links themselves are replaced as files are.
    assert_eq!(
        world.restore(&links, &[], "t", false).unwrap_err().kind(),
        RestoreErrorKind::Exists
    );
    let other = world.tree("root", vec![world.link("sub", "elsewhere")]);
    world.restore(&other, &[], "t", true).unwrap();
    assert_eq!(
        base.join("t/sub").read_link().unwrap(),
        Path::new("elsewhere")
    );
    assert_eq!(
        names_in(&base.join("t")),
        ["file", "sub"],
        "no temporary link is left"
    );
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_not_be_written_is_filled_all_the_same() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let mut locked = world.tree(
        "locked",
        vec![
            world.file("x", b"x"),
            world.tree("sub", vec![world.link("l", "x")]),
        ],
    );
    locked.mode = 0o500;
    let root = world.tree("root", vec![locked]);
    world.restore(&root, &[], "t", false).unwrap();
    let path = world.folder.path().join("t/locked");
    let is = path.metadata().unwrap();
    assert_eq!(is.permissions().mode() & 0o777, 0o500);
    let since = is
        .modified()
        .unwrap()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    assert_eq!(since.as_secs(), 1_700_000_000);
    assert_eq!(read(&path.join("x")), b"x");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[cfg(unix)]
#[test]
fn a_folder_that_was_there_keeps_its_mode_and_time() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let folder = world.folder.path().join("t");
    std::fs::create_dir_all(folder.join("etc")).unwrap();
    for path in [&folder, &folder.join("etc")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o711)).unwrap();
    }
    world.restore(&world.small_tree(), &[], "t", false).unwrap();
    for path in [&folder, &folder.join("etc")] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o711);
    }
}

#[test]
fn a_stopped_restore_leaves_no_half_file() {
    let world = World::new();
    let root = world.tree("root", vec![world.file("big", &random(30_000_000))]);
    world.writer.flush().unwrap();
    for (name, progress) in [("a", stopped()), ("b", StopAtFirstPiece::progress())] {
        let target = world.folder.path().join(name);
        let error = files::to_folder(&world.repo, &root, &[], &target, &options(false), &progress)
            .unwrap_err();
        assert_eq!(error.kind(), RestoreErrorKind::Stopped);
        assert!(!target.exists() || names_in(&target).is_empty());
    }
}

#[test]
fn lost_data_is_damage_or_the_stores_failure_and_leaves_no_half_file() {
    let world = World::new();
    let root = world.tree(
        "root",
        vec![
            world.file("big", &random(30_000_000)),
            world.file("small", b"small"),
        ],
    );
    world.writer.flush().unwrap();
    world.lose_data();
    let error = world.restore(&root, &[], "t", false).unwrap_err();
    assert!(
        matches!(
            error.kind(),
            RestoreErrorKind::Damaged | RestoreErrorKind::Repo(_)
        ),
        "{error}"
    );
    assert!(names_in(&world.folder.path().join("t")).is_empty());
}

#[test]
fn what_is_neither_file_folder_nor_link_is_left_out_with_a_warning() {
    let world = World::new();
    let device = entry(
        "device",
        EntryType::Other("c".into()),
        world.object(None, b"", 1 << 20),
        0,
    );
    let root = world.tree("root", vec![device, world.file("x", b"x")]);
    let done = world.restore(&root, &[], "t", false).unwrap();
    assert_eq!(done.files, 1);
    assert_eq!(
        done.warnings
            .iter()
            .filter(|warning| warning.contains("left out"))
            .count(),
        1,
        "{:?}",
        done.warnings
    );
    assert_eq!(names_in(&world.folder.path().join("t")), ["x"]);
}

#[test]
fn a_target_that_is_a_file_is_refused() {
    let world = World::new();
    std::fs::write(world.folder.path().join("t"), b"file").unwrap();
    let error = world
        .restore(&world.small_tree(), &[], "t", true)
        .unwrap_err();
    assert_eq!(error.kind(), RestoreErrorKind::TargetUnsuited);
}
