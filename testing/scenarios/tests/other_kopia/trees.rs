//! Trees of files: ours as another client restores them, and the other client's as we do, both compared
//! by a full walk of names, kinds, modes, owners, times, link targets and content.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use backup::files::{FileBackup, FileOptions, FileSource};
use point::Points;
use progress::Progress;
use repo::{CreateOptions, Repository, Writer};
use restore::files::{FilesOptions, to_folder};
use scenarios::World;
use time_and_chance::Chance;

use crate::is_long;
use crate::kinds::kinds;
use crate::other_client::OtherClient as _;
use crate::stock::{StockKopia, find_or_leave_out};

const REPOSITORY: &str = "repo";

/// What stores a folder and returns the snapshot's id, and what restores one.
struct Client<'c> {
    store: &'c dyn Fn(&Path) -> String,
    restore: &'c dyn Fn(&str, &Path),
}

#[test]
fn trees_come_back_whichever_client_stored_them_and_whichever_restores() {
    let what = "trees that stock Kopia restores from us and we from it, compared by a full walk";
    let Some(kopia) = find_or_leave_out(what) else {
        return;
    };
    for (number, kind) in kinds().take(if is_long() { 16 } else { 2 }).enumerate() {
        let world = world_with_tree(80 + number as u64, &kind);
        let stock = StockKopia::connect(&kopia, &world.path(REPOSITORY), &world.path("other"));
        let other = Client {
            store: &|folder| stock.store(folder),
            restore: &|id, to| stock.restore(id, to),
        };
        judge(&world, &other);
        stock.verify();
    }
}

/// The part of the test above that needs no other client.
#[test]
fn trees_that_we_store_come_back() {
    let world = world_with_tree(80, &CreateOptions::default());
    let ourselves = Client {
        store: &|folder| store(&world, folder),
        restore: &|id, to| restore_to(&world.repository(REPOSITORY), id, to),
    };
    judge(&world, &ourselves);
}

fn judge(world: &World, other: &Client<'_>) {
    let tree = world.path("tree");
    let expected = walk(&tree);
    let ours = store(world, &tree);
    let theirs = (other.store)(&tree);
    for (number, id) in [&ours, &theirs].into_iter().enumerate() {
        let to = world.path(&format!("by-them-{number}"));
        (other.restore)(id, &to);
        compare(&expected, &walk(&to), &format!("{id} as they restore it"));
        let to = world.path(&format!("by-us-{number}"));
        restore_to(&world.repository(REPOSITORY), id, &to);
        compare(&expected, &walk(&to), &format!("{id} as we restore it"));
    }
}

fn compare(expected: &BTreeMap<String, String>, found: &BTreeMap<String, String>, context: &str) {
    for (path, entry) in expected {
        assert_eq!(found.get(path), Some(entry), "{context}: {path}");
    }
    assert_eq!(found.len(), expected.len(), "{context}");
}

fn store(world: &World, folder: &Path) -> String {
    let repo = world.repository(REPOSITORY);
    let writer = Writer::new(&repo, 2).unwrap();
    let backup = FileBackup {
        writer: &writer,
        options: &FileOptions::default(),
    };
    let source = FileSource::one("us", "here", folder);
    let report = backup.run(&source, &Progress::silent()).unwrap();
    assert_eq!(report.counts.failed, 0, "{report:?}");
    report.point_id
}

fn restore_to(repo: &Arc<Repository>, id: &str, to: &Path) {
    let points = Points::load(repo).unwrap();
    let point = points.find(id).unwrap();
    let (root, options) = (point.root().unwrap(), FilesOptions::default());
    to_folder(repo, root, &[], to, &options, &Progress::silent()).unwrap();
}

/// Returns a world with a repository of this kind and a tree in which there is everything that the format
/// has room for.
fn world_with_tree(seed: u64, kind: &CreateOptions) -> World {
    let world = World::new(seed);
    world.create_repository(REPOSITORY, kind);
    let tree = world.path("tree");
    let chance = Chance::from_seed(seed);
    let noise = |bytes: usize| {
        let mut noise = vec![0; bytes];
        chance.fill(&mut noise);
        noise
    };
    for folder in [
        "a/b/c/d",
        "empty folder",
        "many",
        "grün/\u{1F40B}",
        "closed",
    ] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("a/b/c/d/deep", noise(1)),
        ("a/long", noise(9 << 20)),
        ("a/text", b"the same words again and again\n".repeat(5000)),
        ("grün/\u{1F40B}/\"quoted\" & <odd>", noise(100)),
        ("two\nlines", noise(10)),
        (".hidden", noise(10)),
        ("closed/secret", noise(10)),
    ] {
        fs::write(tree.join(name), bytes).unwrap();
    }
    for number in 0..300 {
        fs::write(tree.join(format!("many/{number}")), number.to_string()).unwrap();
    }
    let sparse = File::create(tree.join("a/sparse")).unwrap();
    sparse.set_len(12 << 20).unwrap();
    sparse.write_all_at(b"island", 6 << 20).unwrap();
    symlink("nowhere/at all", tree.join("a/dangling")).unwrap();
    symlink("../a", tree.join("many/to a folder")).unwrap();
    symlink("/etc/hostname", tree.join("absolute")).unwrap();
    for (name, mode) in [
        ("a/text", 0o4751),
        ("empty", 0o2600),
        (".hidden", 0o400),
        ("closed/secret", 0o400),
        ("many", 0o1777),
        ("closed", 0o700),
    ] {
        fs::set_permissions(tree.join(name), Permissions::from_mode(mode)).unwrap();
    }
    let old = SystemTime::UNIX_EPOCH + Duration::new(86_400, 123_456_789);
    for name in ["a/text", "many", "a/b/c", "grün"] {
        let entry = File::open(tree.join(name)).unwrap();
        entry.set_modified(old).unwrap();
    }
    world
}

/// Returns what a full walk finds below a folder: paths, and of each all that a snapshot holds.
fn walk(root: &Path) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is = path.symlink_metadata().unwrap();
            let what = if is.is_symlink() {
                format!("link to {:?}", path.read_link().unwrap())
            } else if is.is_dir() {
                folders.push(path.clone());
                format!("folder {:o}", is.mode())
            } else {
                let bytes = fs::read(&path).unwrap();
                let sum = bytes.iter().fold(0u64, |sum, byte| {
                    sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte)
                });
                format!("file {:o} of {} bytes, {sum:x}", is.mode(), bytes.len())
            };
            let (owner, time) = ((is.uid(), is.gid()), (is.mtime(), is.mtime_nsec()));
            let relative = path.strip_prefix(root).unwrap().display().to_string();
            seen.insert(relative, format!("{what}, of {owner:?} at {time:?}"));
        }
    }
    seen
}
