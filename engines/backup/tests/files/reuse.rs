//! What is taken over from an earlier snapshot is there, whoever deletes that snapshot meanwhile.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use backup::files::FileSource;
use progress::{Monitor, News, Progress, StopSignal};
use repo::{LostContents, Writer};
use snapshot::{KnownDamage, Snapshots};
use time_and_chance::{Clock, ManualClock, Stopped, SystemClock, Timestamp};

use crate::world::{HOST, USER, World, options};

/// Does something once, when a phase begins.
struct AtPhase<'w> {
    phase: &'static str,
    act: Mutex<Option<Box<dyn FnOnce() + Send + 'w>>>,
}

impl fmt::Debug for AtPhase<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.phase)
    }
}

impl Monitor for AtPhase<'_> {
    fn hear(&self, news: &News<'_>) {
        if let News::Phase { phase, .. } = news
            && *phase == self.phase
            && let Some(act) = self.act.lock().unwrap().take()
        {
            act();
        }
    }
}

#[test]
fn a_base_that_another_client_deletes_meanwhile_takes_nothing_with_it() {
    for phase in ["reading files", "publishing the snapshot"] {
        let world = World::new();
        for number in 0..40 {
            let content = format!("{number}").repeat(1000);
            world.write(&format!("tree/{}/{number}", number % 7), content.as_bytes());
        }
        let source = world.source("tree");
        let first = world.back_up(&source, &options()).unwrap();
        world.write("tree/0/new", b"new");
        let client = world.foreign_client();
        let base = first.point_id.clone();
        let act = Box::new(move || {
            client.delete_snapshot(&base).unwrap();
            client.full_maintenance().unwrap();
        });
        let progress = Progress {
            monitor: Arc::new(AtPhase {
                phase,
                act: Mutex::new(Some(act)),
            }),
            ..Progress::silent()
        };
        let second = world.back_up_heard(&source, &options(), &progress).unwrap();
        assert_eq!(second.counts.files, 41, "{phase}");
        assert_eq!(
            world.snapshots(true),
            std::slice::from_ref(&second.point_id),
            "{phase}"
        );
        world.audit();
        let restored = world.restore(&second.point_id);
        for number in 0..40 {
            let path = format!("tree/{}/{number}", number % 7);
            assert_eq!(
                std::fs::read(restored.path().join(&path)).unwrap(),
                std::fs::read(world.path(&path)).unwrap(),
                "{phase}: {path}"
            );
        }
    }
}

#[test]
fn an_unchanged_tree_stores_nothing_but_its_manifest() {
    let world = World::new();
    for number in 0..50 {
        world.write(&format!("tree/{}/{number}", number % 3), b"content");
    }
    let source = world.source("tree");
    let first = world.back_up(&source, &options()).unwrap();
    let second = world.back_up(&source, &options()).unwrap();
    assert_eq!(second.root, first.root);
    assert_eq!(second.counts.cached_files, 50);
    assert_eq!(second.counts.uploaded_bytes, 0);
    world.audit();
}

#[test]
fn what_kopia_pinned_or_edited_is_still_a_base() {
    let world = World::new();
    world.write("tree/file", b"content");
    let source = world.source("tree");
    let first = world.back_up(&source, &options()).unwrap();
    world
        .foreign_client()
        .pin_snapshot(&first.point_id)
        .unwrap();
    let second = world.back_up(&source, &options()).unwrap();
    assert_eq!(second.counts.read_files, 0);
    world.audit();
}

#[test]
fn nothing_is_taken_over_from_a_snapshot_that_is_known_to_be_damaged() {
    let world = World::new();
    world.write("tree/file", b"content");
    let source = world.source("tree");
    let first = world.back_up(&source, &options()).unwrap();
    let writer = Writer::new(&world.repo, 1).unwrap();
    let mut verified = Snapshots::load(&world.repo).unwrap().verified().clone();
    let damage = KnownDamage::new(world.repo.clock().now(), Vec::new(), 0);
    verified.note_damage(first.root, damage);
    verified.save(&writer).unwrap();

    let second = world.back_up(&source, &options()).unwrap();
    assert_eq!(second.counts.read_files, 1);
    assert!(
        second.warnings[0].contains(&first.point_id),
        "{:?}",
        second.warnings
    );
}

#[test]
fn sources_that_change_places_are_not_taken_for_each_other() {
    let world = World::new();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    for (site, content) in [("one/data", b"id=1"), ("two/data", b"id=2")] {
        world.write(&format!("{site}/file"), content);
        let file = world.path(site).join("file");
        write_at(&file, content, time);
    }
    let several = |names: &[&str]| {
        let paths: Vec<PathBuf> = names.iter().map(|name| world.path(name)).collect();
        FileSource::several(USER, HOST, "sites", &paths)
    };
    let as_before = several(&["one/data", "two/data"]);
    world.back_up(&as_before, &options()).unwrap();
    let again = world.back_up(&as_before, &options()).unwrap();
    assert_eq!(again.counts.read_files, 0);
    let swapped = several(&["two/data", "one/data"]);
    let swapped = world.back_up(&swapped, &options()).unwrap();
    let restored = world.restore(&swapped.point_id);
    let file = restored.path().join("tree/data/file");
    assert_eq!(std::fs::read(file).unwrap(), b"id=2");
}

#[test]
fn what_is_known_to_be_lost_is_stored_again_although_nothing_changed() {
    let world = World::new();
    world.write("tree/a/file", b"content");
    world.write("tree/b/file", b"other content");
    let source = world.source("tree");
    let first = world.back_up(&source, &options()).unwrap();
    let object = world.entries(&first.point_id)["a/file"].object;
    let record = world.repo.find(&object.content).unwrap().unwrap();
    let mut verified = Snapshots::load(&world.repo).unwrap().verified().clone();
    verified.note_lost(LostContents {
        packs: [record.pack_blob.clone()].into(),
        ..LostContents::default()
    });
    verified.save(&world.writer).unwrap();
    let second = world.back_up(&source, &options()).unwrap();
    assert_eq!(second.root, first.root);
    let again = world.repo.find(&object.content).unwrap().unwrap();
    assert_ne!(again.pack_blob, record.pack_blob);
    assert!(world.repo.is_live(&object.content).unwrap());
}

/// A clock by which somebody writes a file again and again, without ever another time.
#[derive(Debug)]
struct BusyClock {
    clock: Arc<ManualClock>,
    file: PathBuf,
    time: SystemTime,
}

impl Clock for BusyClock {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn sleep(&self, duration: Duration, stop: &StopSignal) -> Result<(), Stopped> {
        write_at(&self.file, b"after", self.time);
        self.clock.sleep(duration, stop)
    }
}

fn write_at(path: &PathBuf, content: &[u8], time: SystemTime) {
    std::fs::write(path, content).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

#[test]
fn what_is_written_in_the_tick_in_which_a_file_is_looked_at_is_in_the_snapshot() {
    for (nanosecond, tick_ms) in [(4_000_000_u32, 20), (0, 2000)] {
        let folder = tempfile::tempdir().unwrap();
        let second = SystemClock::new().now().as_second();
        let written = Timestamp::new(second, nanosecond.cast_signed()).unwrap();
        let clock = ManualClock::at(written + Duration::from_millis(tick_ms - 1));
        let file = folder.path().join("tree/file");
        let time = SystemTime::UNIX_EPOCH + Duration::new(second.unsigned_abs(), nanosecond);
        std::fs::create_dir(folder.path().join("tree")).unwrap();
        let busy = BusyClock {
            clock: Arc::clone(&clock),
            file: file.clone(),
            time,
        };
        let world = World::with_clock(folder, Arc::new(busy));
        write_at(&file, b"first", time);
        let report = world.back_up(&world.source("tree"), &options()).unwrap();
        let restored = world.restore(&report.point_id);
        let content = std::fs::read(restored.path().join("tree/file")).unwrap();
        assert_eq!(content, b"after", "a later run would take it over as it is");
        assert_eq!(clock.monotonic(), Duration::from_millis(1));
    }
}

#[test]
fn a_source_that_is_empty_by_now_is_warned_of() {
    let world = World::new();
    world.write("mount/a", b"a");
    let source = world.source("mount");
    let first = world.back_up(&source, &options()).unwrap();
    assert_eq!(first.warnings, Vec::<String>::new());
    std::fs::remove_file(world.path("mount/a")).unwrap();
    let empty = world.back_up(&source, &options()).unwrap();
    assert!(
        matches!(&empty.warnings[..], [one] if one.contains("is the file system mounted?")),
        "{:?}",
        empty.warnings
    );
    let again = world.back_up(&source, &options()).unwrap();
    assert_eq!(again.warnings, Vec::<String>::new(), "it is told once");
}
