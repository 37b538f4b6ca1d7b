//! Trees with everything in them are backed up, judged, restored and compared.

use std::collections::BTreeMap;
use std::path::Path;

use backup::BackupErrorKind;
use backup::files::{FileBackup, FileOptions, FileSource};
use kopia::policy::{Policy, PolicyTarget};
use kopia::snapshot::SnapshotSource;
use progress::Progress;

use crate::world::{HOST, USER, World, options};

/// Returns what a full walk finds: paths, and of each what can be told.
pub fn look(folder: &Path) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    look_below(folder, folder, &mut seen);
    seen
}

fn look_below(root: &Path, path: &Path, seen: &mut BTreeMap<String, String>) {
    let is = path.symlink_metadata().unwrap();
    let what = if is.is_symlink() {
        format!("link {:?}", path.read_link().unwrap())
    } else if is.is_dir() {
        for entry in path.read_dir().unwrap() {
            look_below(root, &entry.unwrap().path(), seen);
        }
        "folder".to_owned()
    } else {
        format!("file {:?}", std::fs::read(path).unwrap())
    };
    let relative = path.strip_prefix(root).unwrap();
    let rest = format!(" {:?} {:?}", is.permissions(), is.modified().unwrap());
    seen.insert(relative.display().to_string(), what + &rest);
}

#[cfg(unix)]
#[test]
fn what_is_restored_is_what_was_backed_up() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let world = World::new();
    world.write("tree/empty", b"");
    world.write("tree/a/b/c/deep.txt", b"deep");
    world.write("tree/a/\u{1F40B} \"quoted\" <&>", b"odd name");
    world.write("tree/setuid", b"x");
    std::fs::create_dir(world.path("tree/empty folder")).unwrap();
    symlink("nowhere/at all", world.path("tree/link")).unwrap();
    symlink("/etc", world.path("tree/a/to a folder")).unwrap();
    let mode = |bits| std::fs::Permissions::from_mode(bits);
    std::fs::set_permissions(world.path("tree/setuid"), mode(0o4751)).unwrap();
    std::fs::set_permissions(world.path("tree/a"), mode(0o1777)).unwrap();
    for number in 0..300 {
        world.write(
            &format!("tree/many/{number}"),
            number.to_string().as_bytes(),
        );
    }
    let report = world.back_up(&world.source("tree"), &options()).unwrap();
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    world.audit();
    let restored = world.restore(&report.point_id);
    assert_eq!(
        look(&restored.path().join("tree")),
        look(&world.path("tree"))
    );
}

#[cfg(target_os = "linux")]
#[test]
fn holes_are_not_read_and_come_back_as_zeros() {
    use std::os::unix::fs::FileExt;
    let world = World::new();
    world.write("tree/sparse", b"");
    let file = std::fs::File::options()
        .write(true)
        .open(world.path("tree/sparse"))
        .unwrap();
    file.set_len(40 << 20).unwrap();
    file.write_all_at(b"island", 20 << 20).unwrap();
    let report = world.back_up(&world.source("tree"), &options()).unwrap();
    assert_eq!(report.counts.bytes, 40 << 20);
    assert!(report.counts.read_bytes < 2 << 20, "{:?}", report.counts);
    assert!(
        report.counts.uploaded_bytes < 8 << 20,
        "{:?}",
        report.counts
    );
    world.audit();

    // The same bytes without holes get the same object.
    let whole = std::fs::read(world.path("tree/sparse")).unwrap();
    world.write("solid/sparse", &whole);
    let solid = world.back_up(&world.source("solid"), &options()).unwrap();
    assert_eq!(
        world.entries(&solid.point_id)["sparse"].object,
        world.entries(&report.point_id)["sparse"].object
    );
    let restored = world.restore(&report.point_id);
    assert!(std::fs::read(restored.path().join("tree/sparse")).unwrap() == whole);
}

#[test]
fn a_file_with_several_names_is_read_once() {
    let world = World::new();
    world.write("tree/one", &[7; 100_000]);
    std::fs::hard_link(world.path("tree/one"), world.path("tree/two")).unwrap();
    std::fs::hard_link(world.path("tree/one"), world.path("tree/three")).unwrap();
    let one_worker = FileOptions {
        workers: 1,
        ..options()
    };
    let report = world.back_up(&world.source("tree"), &one_worker).unwrap();
    assert_eq!(report.counts.files, 3);
    assert_eq!(report.counts.read_bytes, 100_000);
    let entries = world.entries(&report.point_id);
    assert_eq!(entries["one"].object, entries["three"].object);
}

#[cfg(unix)]
#[test]
fn what_no_snapshot_can_hold_is_named_and_ignored_unless_a_policy_minds() {
    let world = World::new();
    world.write("tree/file", b"x");
    let _socket = std::os::unix::net::UnixListener::bind(world.path("tree/socket")).unwrap();
    let source = world.source("tree");
    let report = world.back_up(&source, &options()).unwrap();
    assert_eq!((report.counts.failed, report.counts.ignored), (0, 1));
    assert_eq!(report.failures[0].path, "socket");
    let entries = world.entries(&report.point_id);
    let summary = entries[""].summary.as_ref().unwrap();
    assert_eq!((summary.num_failed, summary.num_ignored_errors), (0, 1));
    assert_eq!(summary.errors[0].path, "socket");
    world.audit();

    let mut policy = Policy::default();
    policy.error_handling.ignore_unknown_types = Some(false);
    save(&world, &source.identity, &policy);
    let report = world.back_up(&source, &options()).unwrap();
    assert_eq!((report.counts.failed, report.counts.ignored), (1, 0));
    let strict = FileOptions {
        fail_fast: true,
        ..options()
    };
    let before = world.snapshots(true);
    let error = world.back_up(&source, &strict).unwrap_err();
    assert_eq!(error.kind(), BackupErrorKind::Source);
    assert!(error.to_string().contains("socket"), "{error}");
    assert_eq!(world.snapshots(true), before, "there is no new snapshot");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_cannot_be_read_is_counted_and_the_rest_is_stored() {
    let world = World::new();
    world.write("tree/file", b"x");
    // Whoever reads this file from its beginning is told of an input error.
    let paths = [world.path("tree"), "/proc/self/mem".into()];
    let source = FileSource::several(USER, HOST, "both", &paths);
    let report = world.back_up(&source, &options()).unwrap();
    assert_eq!((report.counts.failed, report.counts.files), (1, 1));
    assert_eq!(report.failures[0].path, "mem");
    let entries = world.entries(&report.point_id);
    assert!(entries.contains_key("tree/file") && !entries.contains_key("mem"));
    assert_eq!(entries[""].summary.as_ref().unwrap().num_failed, 1);
    let strict = FileOptions {
        fail_fast: true,
        ..options()
    };
    world.back_up(&source, &strict).unwrap_err();
    assert_eq!(world.snapshots(true).len(), 1);
}

/// Takes a lease on a file, as Samba does, and gives it back when somebody else wants the file.
#[cfg(target_os = "linux")]
const LEASE: &str = "
import fcntl, os, signal, sys
file = os.open(sys.argv[1], os.O_RDWR)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
signal.sigwait([signal.SIGIO])
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
";

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_somebody_holds_a_lease_on_is_waited_for() {
    use std::io::Read;
    use std::process::{Command, Stdio};
    let world = World::new();
    world.write("tree/file", b"x");
    let mut holder = Command::new("/usr/bin/python3")
        .args(["-c", LEASE])
        .arg(world.path("tree/file"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 5];
    holder.stdout.take().unwrap().read_exact(&mut said).unwrap();
    let report = world.back_up(&world.source("tree"), &options()).unwrap();
    assert_eq!((report.counts.failed, report.counts.files), (0, 1));
    assert!(holder.wait().unwrap().success());
}

#[cfg(target_os = "linux")]
#[test]
fn the_length_of_a_file_is_that_of_what_was_read() {
    let world = World::new();
    // It says that it has no bytes, and has some.
    let source = FileSource::one(USER, HOST, Path::new("/proc/self/status"));
    let report = world.back_up(&source, &options()).unwrap();
    let root = &world.entries(&report.point_id)[""];
    assert_eq!(root.entry_type, kopia::directory::EntryType::File);
    let bytes = world.repo.open_object(&root.object).unwrap().len();
    assert!(bytes > 0);
    assert_eq!(root.size, bytes);
    assert_eq!(root.summary.as_ref().unwrap().files, 1);
    assert!(report.warnings[0].contains("changed while it was read"));
    world.audit();
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_are_stored_under_names_of_their_own() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let world = World::new();
    std::fs::create_dir(world.path("tree")).unwrap();
    for name in [b"a\xfe", b"a\xff"] {
        let path = world.path("tree").join(OsStr::from_bytes(name));
        std::fs::write(path, name).unwrap();
    }
    let source = world.source("tree");
    let report = world.back_up(&source, &options()).unwrap();
    assert_eq!(report.warnings.len(), 2, "{:?}", report.warnings);
    let names: Vec<String> = world.entries(&report.point_id).into_keys().collect();
    assert_eq!(names, ["", "a\u{fffd}", "a\u{fffd}_2"]);
    world.audit();
    // What is then the first of these names is another file of the same length and time.
    let path = |name: &[u8]| world.path("tree").join(OsStr::from_bytes(name));
    let time = path(b"a\xfe").metadata().unwrap().modified().unwrap();
    let other = std::fs::File::open(path(b"a\xff")).unwrap();
    other.set_modified(time).unwrap();
    std::fs::remove_file(path(b"a\xfe")).unwrap();
    let again = world.back_up(&source, &options()).unwrap();
    let object = world.entries(&again.point_id)["a\u{fffd}"].object;
    assert_eq!(world.repo.read_object(&object, 10).unwrap(), b"a\xff");
}

#[cfg(unix)]
#[test]
fn a_link_to_rules_that_leads_nowhere_takes_no_folder_with_it() {
    let world = World::new();
    world.write("tree/a/b/file", b"x");
    std::os::unix::fs::symlink("/nowhere", world.path("tree/a/.kopiaignore")).unwrap();
    let report = world.back_up(&world.source("tree"), &options()).unwrap();
    assert!(world.entries(&report.point_id).contains_key("a/b/file"));
    assert_eq!((report.counts.vanished, report.counts.failed), (0, 0));
    assert!(report.warnings[0].contains(".kopiaignore in a"));
}

#[test]
fn nothing_that_could_be_read_is_no_snapshot() {
    let world = World::new();
    let missing = ["one", "two"].map(|name| world.path(name));
    let source = FileSource::several(USER, HOST, "both", &missing);
    let error = world.back_up(&source, &options()).unwrap_err();
    assert_eq!(error.kind(), BackupErrorKind::Source);
    assert!(world.snapshots(true).is_empty());
}

#[cfg(unix)]
#[test]
fn an_estimate_goes_on_past_what_cannot_be_read() {
    let world = World::new();
    world.write("tree/file", b"x");
    let _socket = std::os::unix::net::UnixListener::bind(world.path("tree/socket")).unwrap();
    let paths = [world.path("tree"), world.path("missing")];
    let source = FileSource::several(USER, HOST, "both", &paths);
    let backup = FileBackup {
        writer: &world.writer,
        options: &options(),
    };
    let counts = backup
        .estimate(&source, &Progress::silent())
        .unwrap()
        .counts;
    assert_eq!((counts.files, counts.failed, counts.ignored), (1, 1, 1));
}

#[test]
fn policies_of_folders_below_count_there() {
    let world = World::new();
    for folder in ["plain", "packed"] {
        world.write(&format!("tree/{folder}/text.txt"), &[b'a'; 10_000]);
        world.write(&format!("tree/{folder}/text.log"), &[b'b'; 9_000]);
    }
    world.write("tree/packed/text.txt", &[b'c'; 10_000]);
    let source = world.source("tree");
    let below = SnapshotSource {
        path: format!("{}/packed", source.identity.path),
        ..source.identity.clone()
    };
    let mut policy = Policy::default();
    policy.compression.compressor_name = "zstd".to_owned();
    policy.files.ignore = vec!["*.log".to_owned()];
    save(&world, &below, &policy);
    let report = world.back_up(&source, &options()).unwrap();
    let entries = world.entries(&report.point_id);
    let compression = |path: &str| {
        let object = entries[path].object;
        let record = world.repo.find(&object.content).unwrap().unwrap();
        record.compression_header_id
    };
    assert_eq!(
        compression("plain/text.txt"),
        0x1101,
        "as the repository says"
    );
    assert_eq!(compression("packed/text.txt"), 0x1100, "as the folder says");
    assert!(entries.contains_key("plain/text.log"));
    assert!(!entries.contains_key("packed/text.log"));
    assert_eq!(report.counts.excluded_files, 1);
}

#[test]
fn an_estimate_tells_what_a_run_reads_and_stores_nothing() {
    let world = World::new();
    world.write("tree/a", b"aaa");
    world.write("tree/b/c", b"cc");
    world.write("tree/b/d.tmp", b"d");
    let source = world.source("tree");
    let options = FileOptions {
        exclude: vec!["*.tmp".to_owned()],
        ..options()
    };
    let backup = FileBackup {
        writer: &world.writer,
        options: &options,
    };
    let estimate = backup
        .estimate(&source, &Progress::silent())
        .unwrap()
        .counts;
    assert_eq!((estimate.read_files, estimate.read_bytes), (2, 5));
    assert_eq!((estimate.folders, estimate.excluded_files), (2, 1));
    assert!(world.snapshots(true).is_empty());
    let done = world.back_up(&source, &options).unwrap().counts;
    assert_eq!(done.read_files, estimate.read_files);
    world.write("tree/b/c", b"changed");
    let estimate = backup
        .estimate(&source, &Progress::silent())
        .unwrap()
        .counts;
    assert_eq!((estimate.read_files, estimate.cached_files), (1, 1));
}

pub fn save(world: &World, source: &SnapshotSource, policy: &Policy) {
    let target = PolicyTarget::source(source);
    snapshot::save_policy(&world.writer, &target, policy).unwrap();
}

#[cfg(windows)]
#[test]
fn a_file_that_another_program_keeps_to_itself_is_named() {
    use std::os::windows::fs::OpenOptionsExt as _;
    let world = World::new();
    world.write("tree/free", b"x");
    world.write("tree/held", b"y");
    let _held = std::fs::OpenOptions::new()
        .read(true)
        .share_mode(0)
        .open(world.path("tree/held"))
        .unwrap();
    let report = world.back_up(&world.source("tree"), &options()).unwrap();
    assert_eq!((report.counts.files, report.counts.failed), (1, 1));
    assert_eq!(report.failures[0].path, "held");
}

#[cfg(windows)]
#[test]
fn paths_may_be_longer_than_windows_takes_them() {
    let world = World::new();
    let folder = ["a folder with a name of some length"; 12].join("/");
    world.write("tree/short", b"x");
    let tree = world.path("tree").canonicalize().unwrap();
    let long = tree.join(folder.replace('/', "\\"));
    assert!(long.as_os_str().len() > 400);
    std::fs::create_dir_all(&long).unwrap();
    std::fs::write(long.join("file"), b"deep").unwrap();
    let report = world.back_up(&world.source("tree"), &options()).unwrap();
    assert_eq!(report.counts.failed, 0, "{:?}", report.failures);
    let entries = world.entries(&report.point_id);
    assert!(entries.contains_key(&format!("{folder}/file")));
}
