//! Maintenance that dies at any of its writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use blob::{BlobError, BlobErrorKind, BlobMetadata, BlobStore, PutOptions, SharedBlobStore, Space};

use crate::world::{FULL, HOUR, World, maintain};

/// A store that answers nothing any more from its operation of a number on. The last one may
/// still have been done.
#[derive(Debug)]
struct Dying {
    inner: SharedBlobStore,
    left: AtomicU64,
    asked: AtomicU64,
}

impl Dying {
    fn ask<T>(&self, work: impl FnOnce() -> Result<T, BlobError>) -> Result<T, BlobError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let dead = || Err(BlobError::new(BlobErrorKind::Stopped, "go on: it is dead"));
        let left = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        match left {
            Ok(1) => work().and_then(|_| dead()),
            Ok(_) => work(),
            Err(_) => dead(),
        }
    }
}

impl BlobStore for Dying {
    fn put(&self, name: &str, parts: &[&[u8]], options: &PutOptions) -> Result<(), BlobError> {
        self.ask(|| self.inner.put(name, parts, options))
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BlobError> {
        self.ask(|| self.inner.get(name))
    }

    fn get_range(&self, name: &str, offset: u64, bytes: u64) -> Result<Vec<u8>, BlobError> {
        self.ask(|| self.inner.get_range(name, offset, bytes))
    }

    fn metadata(&self, name: &str) -> Result<BlobMetadata, BlobError> {
        self.ask(|| self.inner.metadata(name))
    }

    fn list(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(BlobMetadata) -> Result<(), BlobError>,
    ) -> Result<(), BlobError> {
        self.ask(|| self.inner.list(prefix, each))
    }

    fn delete(&self, name: &str) -> Result<(), BlobError> {
        self.ask(|| self.inner.delete(name))
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn space(&self) -> Result<Option<Space>, BlobError> {
        self.inner.space()
    }
}

fn dying(world: &World, after: u64) -> Arc<Dying> {
    Arc::new(Dying {
        inner: world.store.clone(),
        left: AtomicU64::new(after),
        asked: AtomicU64::new(0),
    })
}

/// A world in which the next maintenance has something of everything to do.
fn busy_world() -> World {
    let mut world = World::new();
    let repo = world.open();
    let mut ids = Vec::new();
    for day in 0..4u64 {
        for part in 0..11 {
            world.clock.advance(2 * HOUR);
            ids.push(world.back_up(&repo, &[day * 100 + part, 5, 6]));
        }
        for id in ids.drain(..9) {
            world.delete(&repo, &id);
        }
        world.clock.advance(2 * HOUR);
        if day < 3 {
            world.maintain(FULL).unwrap();
        }
    }
    world.clock.advance(30 * HOUR);
    world
}

#[test]
fn a_maintenance_that_dies_at_any_operation_harms_nothing_and_the_next_finishes() {
    let world = busy_world();
    let whole = world.copy();
    let store = dying(&whole, u64::MAX);
    let report = maintain(&whole.open_on(store.clone()), FULL).unwrap();
    let did = [
        report.deleted.packs.count,
        report.collected.buried.count,
        report.rewritten.contents.count,
        report.epochs.watermark_seconds.map_or(0, |_| 1),
        report.deleted.markers.count,
        report.epochs.compactions.len() as u64,
    ];
    assert!(did.iter().all(|count| *count > 0), "{report:?}");
    let operations = store.asked.load(Ordering::Relaxed);
    let step = match std::env::var_os("E3_TEST_LONG") {
        Some(_) => 1,
        None => operations / 8,
    };
    let opening = {
        let store = dying(&world, u64::MAX);
        drop(world.copy().open_on(store.clone()));
        store.asked.load(Ordering::Relaxed)
    };
    for after in (opening + 1..=operations).step_by(step.max(1) as usize) {
        let context = format!("died at operation {after} of {operations}");
        let world = world.copy();
        let died = maintain(&world.open_on(dying(&world, after)), FULL);
        assert!(died.is_err(), "{context}");
        let repo = world.open();
        world.assert_whole_in(&repo, &context);
        for day in 0..5 {
            world.clock.advance(24 * HOUR);
            let next = maintain(&repo, FULL).unwrap();
            assert!(next.is_whole(), "{context}, day {day}: {next:?}");
        }
        world.assert_whole_in(&repo, &context);
        world.assert_sound(&context);
        let bytes = world.pack_bytes();
        whole_again(&whole, bytes, &context);
    }
}

/// Asserts that no more is left than a maintenance that was not interrupted leaves in time.
fn whole_again(whole: &World, bytes: u64, context: &str) {
    let uninterrupted = whole.pack_bytes();
    assert!(
        bytes <= uninterrupted + 100_000,
        "{context}: {bytes} bytes of packs are left, {uninterrupted} without"
    );
}
