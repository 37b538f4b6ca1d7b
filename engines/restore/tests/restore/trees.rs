//! Trees of files: what is asked for, whatever is there already, whoever stored it.

use std::collections::BTreeMap;
use std::path::Path;

use blob::Operation;
use kopia::content_id::prefix;
use kopia::directory::{Directory, DirectoryEntry, EntryType};
use kopia::object_id::ObjectId;
use progress::Progress;
use repo::Encoder;
use restore::files::{self, Existing, FilesOptions, RestoredFiles};
use restore::{RestoreError, RestoreErrorKind};
use time_and_chance::{Chance, Timestamp};

use crate::world::{StopAtFirstPiece, World, file_options, names_in, stopped};

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
        self.restore_as(root, paths, name, &file_options(overwrite))
    }

    fn restore_as(
        &self,
        root: &DirectoryEntry,
        paths: &[&str],
        name: &str,
        options: &FilesOptions,
    ) -> Result<RestoredFiles, RestoreError> {
        self.writer.flush().unwrap();
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let target = self.folder.path().join(name);
        files::to_folder(
            &self.repo,
            root,
            &paths,
            &target,
            options,
            &Progress::silent(),
        )
    }

    fn small_tree_below(&self, name: &str) -> DirectoryEntry {
        DirectoryEntry {
            name: name.into(),
            ..self.small_tree()
        }
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
            // A whole path of Windows might be a name on Unix.
            let expected = match cfg!(windows) && name == absolute {
                true => RestoreErrorKind::TargetUnsuited,
                false => RestoreErrorKind::Damaged,
            };
            assert_eq!(error.kind(), expected, "{name:?}: {error}");
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
        let error = files::to_folder(
            &world.repo,
            &root,
            &[],
            &target,
            &file_options(false),
            &progress,
        )
        .unwrap_err();
        assert_eq!(error.kind(), RestoreErrorKind::Stopped);
        assert!(!target.exists() || names_in(&target).is_empty());
    }
}

#[test]
fn lost_data_is_damage_and_leaves_no_half_file() {
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
    assert_eq!(error.kind(), RestoreErrorKind::Damaged, "{error}");
    assert!(names_in(&world.folder.path().join("t")).is_empty());
}

/// Returns folders of small files, and a link in each; stored as a backup does it, which takes the
/// folder found last first.
fn small_files(world: &World) -> DirectoryEntry {
    let folders = (0..8).rev().map(|folder| {
        let files = (0..500).map(|file| {
            let content = format!("{folder} {file} ").repeat(100);
            world.file(&format!("file-{file:03}"), content.as_bytes())
        });
        let link = std::iter::once_with(|| world.link("link", &format!("file-{folder}")));
        let entries = files.chain(link).collect();
        world.tree(&format!("folder-{folder}"), entries)
    });
    let mut folders: Vec<DirectoryEntry> = folders.collect();
    folders.reverse();
    let root = world.tree("root", folders);
    world.writer.flush().unwrap();
    root
}

#[test]
fn small_files_that_lie_side_by_side_are_fetched_together() {
    let world = World::new();
    let root = small_files(&world);
    let one_worker = FilesOptions {
        workers: 1,
        ..file_options(false)
    };
    world.requests.take();
    let done = world.restore_as(&root, &[], "t", &one_worker).unwrap();
    assert_eq!((done.files, done.symlinks), (4000, 8));
    // One for each folder, and one for each 256 files.
    let requests = world.requests.count(Operation::GetRange);
    assert!(requests <= 9 + 4008 / 256 + 1, "{requests} requests");
    for folder in 0..8 {
        let folder_path = world.folder.path().join(format!("t/folder-{folder}"));
        for file in 0..500 {
            let content = format!("{folder} {file} ").repeat(100);
            let path = folder_path.join(format!("file-{file:03}"));
            assert_eq!(read(&path), content.as_bytes(), "{}", path.display());
        }
        let link = folder_path.join("link").read_link().unwrap();
        assert_eq!(link.to_str().unwrap(), format!("file-{folder}"));
    }
}

#[test]
fn a_damaged_one_among_small_files_is_named_and_hurts_no_other() {
    let world = World::new();
    let lost = world.file("file-77", b"what is lost");
    world.writer.flush().unwrap();
    world.lose_data();
    let mut entries: Vec<DirectoryEntry> = (0..500)
        .filter(|number| *number != 77)
        .map(|number| world.file(&format!("file-{number}"), format!("{number}").as_bytes()))
        .collect();
    entries.push(lost);
    let root = world.tree("root", entries);
    world.writer.flush().unwrap();
    let skipping = FilesOptions {
        skip_failing: true,
        workers: 1,
        ..file_options(false)
    };
    world.requests.take();
    let done = world.restore_as(&root, &[], "t", &skipping).unwrap();
    let path = world.folder.path().join("t/file-77");
    assert_eq!((done.files, done.failed), (499, 1), "{done:?}");
    assert_eq!(done.failed_first[0].path, path);
    let requests = world.requests.count(Operation::GetRange);
    assert!(requests < 50, "{requests} requests");
    let error = world.restore(&root, &[], "other", false).unwrap_err();
    assert_eq!(error.kind(), RestoreErrorKind::Damaged);
    assert!(error.to_string().contains("file-77"), "{error}");
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

#[test]
fn wildcards_find_what_no_name_is() {
    let world = World::new();
    let odd = world.tree("odd", vec![world.file("*", b"star"), world.file("a", b"a")]);
    let root = world.tree("root", vec![world.small_tree_below("home"), odd]);
    for (number, (paths, expected)) in [
        (&["home/etc/h*"][..], 1),
        (&["**/x"], 1),
        (&["home/*/below", "home/etc/hosts"], 3),
        (&["**"], 7),
        (&["*/etc/**/y", "**/y"], 1),
        // The one that is called so is meant.
        (&["odd/*"], 1),
    ]
    .into_iter()
    .enumerate()
    {
        let done = world
            .restore(&root, paths, &number.to_string(), false)
            .unwrap();
        assert_eq!(done.files, expected, "{paths:?}");
    }
    let error = world
        .restore(&root, &["home/z*"], "none", false)
        .unwrap_err();
    assert_eq!(error.kind(), RestoreErrorKind::NotFound);
    assert!(!world.folder.path().join("none").exists());
}

#[test]
fn a_restore_that_was_interrupted_goes_on_without_reading_what_is_there() {
    let world = World::new();
    let root = world.small_tree();
    let folder = world.folder.path().join("t");
    world.restore(&root, &[], "t", false).unwrap();
    std::fs::remove_file(folder.join("etc/below/x")).unwrap();
    std::fs::write(folder.join("etc/hosts"), b"later").unwrap();
    let resume = FilesOptions {
        existing: Existing::ReplaceDifferent,
        ..file_options(false)
    };
    let done = world.restore_as(&root, &[], "t", &resume).unwrap();
    assert_eq!((done.files, done.kept, done.replaced), (2, 3, 1));
    assert_eq!(done.replaced_first, [folder.join("etc/hosts")]);
    assert_eq!(read(&folder.join("etc/hosts")), b"hosts");

    world.lose_data();
    let done = world.restore_as(&root, &[], "t", &resume).unwrap();
    assert_eq!((done.files, done.kept), (0, 5));
    let keep = FilesOptions {
        existing: Existing::Keep,
        ..file_options(false)
    };
    std::fs::write(folder.join("etc/hosts"), b"mine").unwrap();
    let done = world.restore_as(&root, &[], "t", &keep).unwrap();
    assert_eq!((done.files, done.kept), (0, 5));
    assert_eq!(read(&folder.join("etc/hosts")), b"mine");
}

#[test]
fn newer_files_stay_where_only_older_ones_are_to_be_replaced() {
    let world = World::new();
    let root = world.small_tree();
    let folder = world.folder.path().join("t");
    std::fs::create_dir_all(folder.join("etc")).unwrap();
    for (name, seconds) in [("hosts", 1_600_000_000), ("passwd", 1_800_000_000)] {
        let file = std::fs::File::create(folder.join("etc").join(name)).unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        file.set_modified(time).unwrap();
    }
    let options = FilesOptions {
        existing: Existing::ReplaceOlder,
        ..file_options(false)
    };
    let done = world.restore_as(&root, &[], "t", &options).unwrap();
    assert_eq!((done.kept, done.replaced, done.files), (1, 1, 4));
    assert_eq!(read(&folder.join("etc/hosts")), b"hosts");
    assert_eq!(read(&folder.join("etc/passwd")), b"");
}

#[test]
fn a_dry_run_says_what_would_be_and_writes_nothing() {
    let world = World::new();
    let root = world.small_tree();
    let dry = FilesOptions {
        dry_run: true,
        ..file_options(false)
    };
    let said = world.restore_as(&root, &["etc"], "t", &dry).unwrap();
    assert!(world.names().is_empty());
    assert_eq!(said, world.restore(&root, &["etc"], "t", false).unwrap());

    let folder = world.folder.path().join("t");
    std::fs::remove_file(folder.join("etc/below/x")).unwrap();
    let said = world.restore_as(&root, &["etc"], "t", &dry).unwrap();
    assert_eq!((said.files, said.failed), (1, 3));
    assert!(
        said.failed_first[0].reason.contains("--overwrite"),
        "{said:?}"
    );
    let replacing = FilesOptions {
        existing: Existing::Replace,
        ..dry
    };
    let said = world.restore_as(&root, &["etc"], "t", &replacing).unwrap();
    assert_eq!((said.files, said.replaced, said.failed), (4, 3, 0));
    assert!(!folder.join("etc/below/x").exists());
}

#[test]
fn what_is_lost_is_named_and_the_rest_restored_if_that_was_asked_for() {
    let world = World::new();
    let lost = vec![
        world.file("big", &random(30_000_000)),
        world.file("small", b"small"),
        world.link("link", "small"),
    ];
    world.writer.flush().unwrap();
    world.lose_data();
    let mut sub = world.tree("sub", lost);
    sub.mode = 0o500;
    let outside = DirectoryEntry {
        name: "../outside".into(),
        ..world.file("x", b"evil")
    };
    let json = serde_json::json!({
        "stream": "kopia:directory",
        "entries": [outside, sub, world.file("whole", b"whole")],
        "summary": null
    });
    let object = world.object(
        Some(prefix::DIRECTORY),
        json.to_string().as_bytes(),
        1 << 20,
    );
    let root = entry("root", EntryType::Directory, object, 0);
    let skipping = FilesOptions {
        skip_failing: true,
        ..file_options(false)
    };
    let done = world.restore_as(&root, &[], "t", &skipping).unwrap();
    assert_eq!((done.files, done.failed), (1, 4), "{done:?}");
    let folder = world.folder.path().join("t");
    let named: Vec<_> = done
        .failed_first
        .iter()
        .map(|failed| &failed.path)
        .collect();
    assert!(named.contains(&&folder.join("sub/big")), "{named:?}");
    assert_eq!(read(&folder.join("whole")), b"whole");
    assert!(names_in(&folder.join("sub")).is_empty());
    assert_eq!(world.names(), ["t"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = folder.join("sub").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o500, "the folder is completed all the same");
    }
}

#[cfg(unix)]
#[test]
fn attributes_are_left_out_if_that_was_asked_for() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new();
    let mut file = world.file("x", b"x");
    file.mode = 0o4711;
    // Nobody can be given this file, so it must not say "as the owner" either.
    file.uid = u32::MAX;
    let mut sub = world.tree("sub", vec![file]);
    sub.mode = 0o701;
    let root = world.tree("root", vec![sub]);
    let places = |name: &str| {
        let sub = world.folder.path().join(name).join("sub");
        [sub.join("x"), sub].map(|path| path.metadata().unwrap())
    };
    let done = world.restore(&root, &[], "all", false).unwrap();
    assert!(
        done.warnings[0].contains("belong to whoever restored"),
        "{done:?}"
    );
    assert_eq!(places("all").map(|is| is.mode() & 0o7777), [0o711, 0o701]);
    assert_eq!(places("all").map(|is| is.mtime()), [1_700_000_000; 2]);

    let none = FilesOptions {
        attributes: files::Attributes {
            owners: false,
            permissions: false,
            times: false,
        },
        ..file_options(false)
    };
    let done = world.restore_as(&root, &[], "none", &none).unwrap();
    assert!(done.warnings.is_empty(), "{done:?}");
    std::fs::write(world.folder.path().join("plain"), b"").unwrap();
    std::fs::create_dir(world.folder.path().join("folder")).unwrap();
    let plain = ["plain", "folder"].map(|name| world.folder.path().join(name).metadata().unwrap());
    assert_eq!(
        places("none").map(|is| is.mode()),
        plain.map(|is| is.mode())
    );
    assert!(places("none").iter().all(|is| is.mtime() > 1_750_000_000));
}

#[cfg(unix)]
#[test]
fn zeros_are_holes_or_written_as_was_asked_for() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new();
    let mut small = vec![0; 1 << 20];
    small[700_000] = 1;
    let mut big = vec![0; 6_000_000];
    big[1] = 1;
    let root = world.tree(
        "root",
        vec![world.file("small", &small), world.file("big", &big)],
    );
    let dense = FilesOptions {
        sparse: false,
        ..file_options(false)
    };
    world.restore(&root, &[], "sparse", false).unwrap();
    world.restore_as(&root, &[], "dense", &dense).unwrap();
    for (name, content) in [("small", &small), ("big", &big)] {
        let path = |folder: &str| world.folder.path().join(folder).join(name);
        assert!(read(&path("sparse")) == *content && read(&path("dense")) == *content);
        let blocks = |folder: &str| path(folder).metadata().unwrap().blocks() * 512;
        assert!(blocks("sparse") < 200_000, "{name}: {}", blocks("sparse"));
        assert!(
            blocks("dense") >= content.len() as u64 / 2,
            "{name}: {}",
            blocks("dense")
        );
    }
}

#[test]
fn a_tree_deeper_than_any_system_has_ends_cleanly() {
    let world = World::new();
    let mut deep = world.tree("d", vec![]);
    for _ in 0..1010 {
        deep = world.tree("d", vec![deep]);
    }
    for dry_run in [true, false] {
        let options = FilesOptions {
            dry_run,
            skip_failing: true,
            ..file_options(false)
        };
        let done = world.restore_as(&deep, &[], "t", &options).unwrap();
        assert_eq!(done.failed, 1, "{done:?}");
    }
}
