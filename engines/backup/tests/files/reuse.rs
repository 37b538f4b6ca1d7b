//! What is taken over from an earlier snapshot is there, whoever deletes that snapshot meanwhile.

use std::fmt;
use std::sync::{Arc, Mutex};

use progress::{Monitor, News, Progress};
use repo::Writer;
use snapshot::{KnownDamage, Snapshots};

use crate::world::{World, options};

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
    let damage = KnownDamage::new(world.repo.clock().now(), Vec::new());
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
