//! Maintenance that dies at any of its writes.

use std::sync::Arc;

use blob::Dying;

use crate::world::{FULL, HOUR, World, maintain};

fn dying(world: &World, after: u64) -> Arc<Dying> {
    let dying = Dying::new(world.store.clone());
    dying.die_at(after);
    Arc::new(dying)
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
    let operations = store.asked();
    let step = match std::env::var_os("E3_TEST_LONG") {
        Some(_) => 1,
        None => operations / 8,
    };
    let opening = {
        let store = dying(&world, u64::MAX);
        drop(world.copy().open_on(store.clone()));
        store.asked()
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
