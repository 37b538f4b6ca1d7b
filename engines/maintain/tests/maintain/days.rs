//! What is gone after days, and what is still there.

use std::collections::BTreeSet;
use std::sync::Arc;

use blob::{BlobStore, Operation, Recorded};
use maintain::{Census, Options};
use progress::Progress;
use repo::{Repository, Writer};
use snapshot::{Snapshots, TreeWriter};
use time_and_chance::{Clock, ManualClock, SignedDuration};

use crate::world::{FULL, HOUR, World, back_up, maintain};

#[test]
fn a_deleted_snapshot_leaves_no_packs_behind_and_no_other_is_touched() {
    let mut world = World::new();
    let repo = world.open();
    let large: Vec<u64> = (100..130).collect();
    let deleted = world.back_up(&repo, &large);
    world.back_up(&repo, &[1, 2, 3]);
    world.back_up(&repo, &[2, 3, 4, 100, 101]);
    let before = world.pack_bytes();
    world.delete(&repo, &deleted);
    let reports = world.days(7);
    for (day, report) in reports.iter().enumerate() {
        assert!(report.is_whole(), "day {day}: {report:?}");
    }
    let buried: u64 = reports.iter().map(|it| it.collected.buried.count).sum();
    assert!(buried >= 28, "28 parts are in no other snapshot: {buried}");
    let first = |wanted: fn(&maintain::Report) -> bool| reports.iter().position(wanted).unwrap();
    let collected = first(|it| it.collected.buried.count > 0);
    let freed = first(|it| it.deleted.packs.bytes > 500_000);
    assert!(freed >= collected + 2, "{collected} {freed}: no margin");
    let after = world.pack_bytes();
    assert!(
        after < before - 28 * 20_000 + 50_000,
        "{before} bytes of packs became {after}"
    );
    world.assert_whole("after a week");
    world.assert_sound("after a week");
    let quiet = world.days(2);
    for report in quiet {
        assert_eq!(report.collected.buried.count, 0, "{report:?}");
        assert_eq!(report.rewritten.packs, 0, "{report:?}");
    }
}

#[test]
fn short_packs_become_few() {
    let mut world = World::new();
    let repo = world.open();
    for seed in 0..10 {
        world.back_up(&repo, &[seed]);
    }
    assert!(world.store.list_all("p").unwrap().len() >= 10);
    let reports = world.days(3);
    assert!(
        reports[0].rewritten.contents.count >= 20,
        "{:?}",
        reports[0]
    );
    assert_eq!(world.store.list_all("p").unwrap().len(), 1);
    world.assert_whole("rewritten");
    world.assert_sound("rewritten");
}

#[test]
fn nothing_young_is_collected_whatever_time_its_writer_thought_it_was() {
    let world = World::new();
    world.clock.advance(100 * HOUR);
    // The contents say that they are 40 hours old; the store knows that they are new.
    let mut surroundings = world.surroundings("slow");
    let slow = ManualClock::at(world.clock.now());
    surroundings.clock = slow.clone();
    let repo = Repository::open(world.store.clone(), crate::world::PASSWORD, surroundings).unwrap();
    let writer = Writer::new(&repo, 1).unwrap();
    let mut encoder = repo::Encoder::new(None);
    writer
        .write_content(
            &mut encoder,
            None,
            b"begins the session while the clock is right",
        )
        .unwrap();
    let now = slow.now();
    slow.set(now - SignedDuration::from_hours(40));
    let written = writer.write_content(&mut encoder, None, b"not in a snapshot yet");
    writer.flush().unwrap();
    let id = written.unwrap().id;
    world.maintain(FULL).unwrap();
    let record = world.open().find(&id).unwrap().unwrap();
    assert!(!record.deleted, "{record:?}");
    world.days(1);
    assert!(
        world.open().find(&id).unwrap().unwrap().deleted,
        "a day later it is"
    );
}

#[test]
fn what_an_incomplete_snapshot_names_is_kept() {
    let world = World::new();
    let repo = world.open();
    let writer = Writer::new(&repo, 1).unwrap();
    back_up(&writer, &[1, 2, 3], "checkpoint");
    let reports = world.days(3);
    assert!(
        reports.iter().all(|it| it.collected.buried.count == 0),
        "{reports:?}"
    );
    assert_eq!(reports[0].collected.snapshots, 1);
}

#[test]
fn what_is_deleted_though_a_snapshot_needs_it_comes_back() {
    let mut world = World::new();
    let repo = world.open();
    let id = world.back_up(&repo, &[1, 2, 3]);
    let writer = Writer::new(&repo, 1).unwrap();
    let mut parts = Vec::new();
    repo.for_each_content(Some(0), &mut |record| {
        parts.push(record);
        Ok(())
    })
    .unwrap();
    for part in &parts {
        writer.bury(part).unwrap();
    }
    writer.flush().unwrap();
    let report = world.days(1).remove(0);
    assert_eq!(
        report.collected.revived.count,
        parts.len() as u64,
        "{id}: {report:?}"
    );
    world.days(5);
    world.assert_whole("brought back");
    world.assert_sound("brought back");
}

#[test]
fn each_list_is_opened_once_whatever_number_of_snapshots_share_it() {
    let mut world = World::new();
    let repo = world.open();
    for _ in 0..3 {
        world.clock.advance(HOUR);
        world.back_up(&repo, &[1, 2, 3]);
    }
    let report = world.maintain(FULL).unwrap();
    assert_eq!(report.collected.snapshots, 3);
    assert_eq!(report.collected.opened, 4, "three folders and one list");
}

#[test]
fn a_folder_that_is_found_at_several_depths_is_opened_once() {
    let mut world = World::new();
    let repo = world.open();
    world.back_up(&repo, &[1, 2, 3]);
    let writer = Writer::new(&repo, 1).unwrap();
    let snapshots = Snapshots::load(&repo).unwrap();
    let mut manifest = snapshots.iter().next().unwrap().manifest.clone();
    for _ in 0..3 {
        // Each holds what the one before is.
        let mut inner = manifest.root_entry.take().unwrap();
        inner.name = "inner".to_owned();
        let mut tree = TreeWriter::new(&writer, world.clock.now());
        manifest.root_entry = Some(tree.folder("", vec![inner]).unwrap());
        Snapshots::publish(&writer, &manifest).unwrap();
    }
    writer.flush().unwrap();
    let report = world.maintain(FULL).unwrap();
    assert_eq!(report.collected.snapshots, 4);
    assert_eq!(report.collected.opened, 5, "four folders and one list");
}

#[test]
fn a_dry_run_writes_nothing_and_tells_what_a_run_does() {
    let mut world = World::new();
    let repo = world.open();
    for seed in 0..5 {
        world.back_up(&repo, &[seed]);
    }
    let deleted = world.back_up(&repo, &[77]);
    world.delete(&repo, &deleted);
    world.clock.advance(48 * HOUR);
    let recorded = Arc::new(Recorded::new(world.store.clone()));
    let watched = world.open_on(recorded.clone());
    let dry = maintain(
        &watched,
        Options {
            dry_run: true,
            ..FULL
        },
    )
    .unwrap();
    let writes = [Operation::Put, Operation::Delete].map(|it| recorded.count(it));
    assert_eq!(writes, [0, 0]);
    let wet = world.maintain(FULL).unwrap();
    assert!(dry.collected.buried.count > 0);
    assert_eq!(dry.collected.buried, wet.collected.buried);
    assert_eq!(dry.collected.in_use, wet.collected.in_use);
}

#[test]
fn the_index_stays_small_for_weeks() {
    let mut world = World::new();
    let repo = world.open();
    let mut reports = Vec::new();
    let maintainer = world.open();
    for day in 0..24 {
        for part in 0..12 {
            world.clock.advance(2 * HOUR);
            let id = world.back_up(&repo, &[day * 100 + part, 5]);
            if part > 0 {
                world.delete(&repo, &id);
            }
        }
        reports.push(maintain(&maintainer, FULL).unwrap());
    }
    let epochs: BTreeSet<u64> = reports.iter().filter_map(|it| it.epochs.begun).collect();
    assert!(epochs.len() >= 9, "{epochs:?}");
    let compactions = reports.iter().flat_map(|it| &it.epochs.compactions);
    assert!(compactions.clone().any(|it| it.first == 0 && it.last == 7));
    let uncompacted = world.store.list_all("xn").unwrap().len();
    assert!(uncompacted < 300, "{uncompacted} index blobs of some 900");
    assert!(world.store.list_all("xe").unwrap().len() <= 2);
    world.assert_whole("after weeks");
    world.assert_sound("after weeks");
    assert_eq!(Snapshots::load(&world.open()).unwrap().iter().count(), 24);
}

#[test]
fn the_census_counts_what_is_there() {
    let mut world = World::new();
    let repo = world.open();
    world.back_up(&repo, &[1, 2]);
    let gone = world.back_up(&repo, &[3]);
    world.delete(&repo, &gone);
    world.clock.advance(48 * HOUR);
    world.maintain(FULL).unwrap();
    let repo = world.open();
    let census = Census::take(&repo, world.clock.now(), &Progress::silent()).unwrap();
    assert!(
        census.deleted.count >= 3,
        "a part, a file, a folder: {census:?}"
    );
    assert!(census.live.bytes > 40_000 && census.deleted.bytes > 20_000);
    assert!(census.live_original_bytes > 40_000);
    assert_eq!(census.packs.bytes, world.pack_bytes());
    assert!(census.packs.bytes >= census.live.bytes + census.deleted.bytes);
    let all = world.store.list_all("").unwrap();
    assert_eq!(census.blobs.count, all.len() as u64);
    assert_eq!((census.epoch, census.sessions_alive), (Some(0), 0));
}
