//! Long backups protect what is stored; stopped ones leave no point and serve the next run.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backup::BackupErrorKind;
use backup::files::FileOptions;
use kopia::policy::Policy;
use progress::{Monitor, News, Progress, StopSignal};
use time_and_chance::Chance;

use crate::trees::save;
use crate::world::{World, options};

/// Stops the run when something was read so many times.
#[derive(Debug)]
struct StopAfter {
    left: AtomicU32,
    stop: StopSignal,
}

impl Monitor for StopAfter {
    fn hear(&self, news: &News<'_>) {
        if matches!(news, News::DiskAdvances { .. })
            && self.left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.stop.stop();
        }
    }
}

fn stop_after(times: u32) -> Progress {
    let stop = StopSignal::new();
    Progress {
        monitor: Arc::new(StopAfter {
            left: AtomicU32::new(times),
            stop: stop.clone(),
        }),
        stop,
        subject: String::new(),
    }
}

fn world() -> World {
    let world = World::new();
    for number in 0..60 {
        let content = format!("{number}").repeat(500);
        let path = format!("tree/{}/{}/{number}", number % 3, number % 5);
        world.write(&path, content.as_bytes());
    }
    world
}

#[test]
fn a_stopped_run_leaves_no_point_and_the_next_goes_on_from_what_it_protected() {
    let world = world();
    let source = world.source("tree");
    let all_the_time = FileOptions {
        checkpoint_manifest_every: Duration::ZERO,
        workers: 1,
        ..options()
    };
    let error = world
        .back_up_heard(&source, &all_the_time, &stop_after(6))
        .unwrap_err();
    assert_eq!(error.kind(), BackupErrorKind::Stopped);
    assert!(world.snapshots(true).is_empty());
    assert_eq!(
        world.snapshots(false).len(),
        1,
        "one protects what is stored"
    );
    world.audit();
    world.foreign_client().full_maintenance().unwrap();

    let next = world.back_up(&source, &options()).unwrap();
    assert!(next.counts.cached_files > 0, "{:?}", next.counts);
    assert!(next.counts.read_files > 0, "{:?}", next.counts);
    assert_eq!(next.counts.files, 60);
    assert!(
        world.snapshots(false).is_empty(),
        "nothing unfinished is left"
    );
    world.audit();
}

#[test]
fn a_run_that_protects_itself_all_the_time_ends_with_one_point() {
    let world = world();
    let all_the_time = FileOptions {
        checkpoint_manifest_every: Duration::ZERO,
        ..options()
    };
    let report = world.back_up(&world.source("tree"), &all_the_time).unwrap();
    assert_eq!(world.snapshots(true), [report.point_id]);
    assert!(world.snapshots(false).is_empty());
    world.audit();
}

#[test]
fn a_run_stopped_before_anything_is_read_leaves_nothing() {
    let world = world();
    let source = world.source("tree");
    let progress = Progress::silent();
    progress.stop.stop();
    let error = world
        .back_up_heard(&source, &options(), &progress)
        .unwrap_err();
    assert_eq!(error.kind(), BackupErrorKind::Stopped);
    assert!(world.snapshots(true).is_empty() && world.snapshots(false).is_empty());
    world.back_up(&source, &options()).unwrap();
    world.audit();
}

#[test]
fn a_stopped_run_protects_all_it_read_and_the_next_reads_only_the_rest() {
    let mut world = world();
    let source = world.source("tree");
    let all_bytes: u64 = (0..60).map(|n: u64| n.to_string().len() as u64 * 500).sum();
    let one_worker = FileOptions {
        workers: 1,
        ..options()
    };
    let mut done_bytes = 0;
    for turn in 1..=2 {
        // As in a program, the repository hears the signal, too.
        let progress = stop_after(10 * turn);
        world.reopen(progress.stop.clone(), u64::from(turn) + 10);
        world
            .back_up_heard(&source, &one_worker, &progress)
            .unwrap_err();
        world.reopen(StopSignal::new(), u64::from(turn) + 20);
        assert!(world.snapshots(true).is_empty());
        let left = world.count(&source);
        assert!(left.cached_bytes > done_bytes, "{left:?}");
        assert_eq!(left.cached_bytes + left.read_bytes, all_bytes);
        done_bytes = left.cached_bytes;
    }
    world.audit();
    world.foreign_client().full_maintenance().unwrap();
    let last = world.back_up(&source, &options()).unwrap();
    assert_eq!(last.counts.cached_bytes, done_bytes);
    assert_eq!(last.counts.read_bytes, all_bytes - done_bytes);
    assert!(
        world.snapshots(false).is_empty(),
        "not even the first ones are left"
    );
    world.audit();
}

/// Takes the store away when the run is told to stop.
#[derive(Debug)]
struct Unplug {
    stop: StopSignal,
    store: PathBuf,
    warnings: Mutex<Vec<String>>,
}

impl Monitor for Unplug {
    fn hear(&self, news: &News<'_>) {
        match news {
            News::DiskAdvances { packed_bytes, .. }
                if *packed_bytes > 0 && !self.stop.is_stopped() =>
            {
                self.stop.stop();
                std::fs::rename(&self.store, self.store.with_extension("away")).unwrap();
            }
            News::Warning { text, .. } => self.warnings.lock().unwrap().push((*text).to_owned()),
            _ => {}
        }
    }
}

#[test]
fn a_run_stopped_while_the_store_is_away_ends_and_says_what_is_not_protected() {
    let world = world();
    let monitor = Arc::new(Unplug {
        stop: StopSignal::new(),
        store: world.path("repo"),
        warnings: Mutex::default(),
    });
    let progress = Progress {
        stop: monitor.stop.clone(),
        monitor: Arc::clone(&monitor) as _,
        subject: String::new(),
    };
    let error = world
        .back_up_heard(&world.source("tree"), &options(), &progress)
        .unwrap_err();
    assert_eq!(error.kind(), BackupErrorKind::Stopped);
    let warnings = monitor.warnings.lock().unwrap().clone();
    assert!(
        matches!(&warnings[..], [one] if one.contains("is not protected")),
        "{warnings:?}"
    );
}

#[test]
fn what_is_stored_of_one_long_file_is_protected_and_not_stored_again() {
    // A whole number of parts, so that the last part is empty, as Kopia has it.
    protect_one_file(12 << 20);
    protect_one_file((12 << 20) + 1000);
}

fn protect_one_file(bytes: usize) {
    let world = World::new();
    let mut content = vec![0; bytes];
    Chance::from_seed(1).fill(&mut content);
    world.write("disk.img", &content);
    let source = world.source("disk.img");
    let policy =
        r#"{"upload":{"parallelUploadAboveSize":1048576},"splitter":{"algorithm":"FIXED-1M"}}"#;
    save(&world, &source.identity, &Policy::parse(policy).unwrap());
    let all_the_time = FileOptions {
        checkpoint_manifest_every: Duration::ZERO,
        workers: 1,
        ..options()
    };
    world
        .back_up_heard(&source, &all_the_time, &stop_after(8))
        .unwrap_err();
    assert!(world.snapshots(true).is_empty());
    assert_eq!(world.snapshots(false).len(), 1);
    world.audit();
    world.foreign_client().full_maintenance().unwrap();

    let next = world.back_up(&source, &options()).unwrap();
    assert_eq!(next.counts.read_files, 1, "what is protected is no file");
    let stored = next.counts.uploaded_bytes;
    assert!(stored < (10 << 20), "{stored} bytes were stored again");
    assert!(world.snapshots(false).is_empty());
    let restored = world.restore(&next.point_id);
    let path = restored.path().join("tree/disk.img");
    assert!(std::fs::read(path).unwrap() == content, "it is restored");
    world.audit();
}
