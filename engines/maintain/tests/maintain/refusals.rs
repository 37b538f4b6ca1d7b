//! When maintenance does not go on.

use blob::{BlobStore, PutOptions};
use kopia::manifest::TYPE_LABEL;
use maintain::{MaintainErrorKind, Options};
use repo::{Repository, ScheduleKeeper, Writer};
use serde_json::value::RawValue;
use time_and_chance::{Clock, ManualClock, SignedDuration};

use crate::world::{FULL, HOUR, PASSWORD, World, maintain};

#[test]
fn only_the_owner_maintains_until_another_takes_over() {
    let world = World::new();
    let other = Repository::open(world.store.clone(), PASSWORD, world.surroundings("other"));
    let other = other.unwrap();
    let error = maintain(&other, FULL).unwrap_err();
    assert_eq!(error.kind(), MaintainErrorKind::NotOwner);
    let text = error.to_string();
    assert!(
        text.contains("agent@host") && text.contains("other@host"),
        "{text}"
    );
    let take_over = Options {
        take_ownership: true,
        ..FULL
    };
    assert_eq!(maintain(&other, take_over).unwrap().owner, "other@host");
    assert_eq!(
        world.maintain(FULL).unwrap_err().kind(),
        MaintainErrorKind::NotOwner
    );
    maintain(&other, FULL).unwrap();
}

#[test]
fn a_clock_five_minutes_off_deletes_nothing() {
    for off in [-301, 301] {
        let mut world = World::new();
        let repo = world.open();
        let id = world.back_up(&repo, &[1]);
        world.delete(&repo, &id);
        world.days(2);
        world.clock.advance(24 * HOUR);
        let mut surroundings = world.surroundings("agent");
        let now = world.clock.now() + SignedDuration::from_secs(off);
        surroundings.clock = ManualClock::at(now);
        let names = || -> Vec<_> {
            world
                .store
                .list_all("")
                .unwrap()
                .into_iter()
                .map(|it| it.name)
                .collect()
        };
        let before = names();
        let wrong = Repository::open(world.store.clone(), PASSWORD, surroundings).unwrap();
        let error = maintain(&wrong, FULL).unwrap_err();
        assert_eq!(error.kind(), MaintainErrorKind::ClockSkew);
        assert!(error.to_string().contains("301 seconds"), "{error}");
        assert_eq!(names(), before);
    }
}

#[test]
fn a_manifest_that_makes_no_sense_stops_the_collection() {
    let mut world = World::new();
    let repo = world.open();
    let id = world.back_up(&repo, &[1, 2]);
    world.delete(&repo, &id);
    let writer = Writer::new(&repo, 1).unwrap();
    let labels = [(TYPE_LABEL.to_owned(), "snapshot".to_owned())];
    let data = RawValue::from_string(r#"{"source":7}"#.to_owned()).unwrap();
    let entry = writer.new_manifest(labels.into(), data);
    writer.write_manifests(vec![entry]).unwrap();
    writer.flush().unwrap();
    for report in world.days(4) {
        assert!(report.collection_stopped.is_some(), "{report:?}");
        assert!(!report.is_whole());
        assert_eq!(report.collected.buried.count, 0);
        assert_eq!(report.deleted.packs.count, 0);
    }
}

#[test]
fn a_folder_that_cannot_be_read_stops_the_collection() {
    let mut world = World::new();
    let repo = world.open();
    world.back_up(&repo, &[1, 2]);
    let gone = world.back_up(&repo, &[3]);
    world.delete(&repo, &gone);
    for pack in world.store.list_all("q").unwrap() {
        let mut bytes = world.store.get(&pack.name).unwrap();
        let mut contents = Vec::new();
        repo.for_each_content(Some(b'k'), &mut |record| {
            contents.push(record);
            Ok(())
        })
        .unwrap();
        for record in contents.iter().filter(|it| *it.pack_blob == *pack.name) {
            bytes[record.pack_offset as usize + 20] ^= 1;
        }
        world
            .store
            .put(&pack.name, &[&bytes], &PutOptions::default())
            .unwrap();
    }
    let report = world.days(1).remove(0);
    let why = report.collection_stopped.unwrap();
    assert!(why.contains("altered"), "{why}");
    assert_eq!(report.collected.buried.count, 0);
}

#[test]
fn packs_that_were_emptied_a_moment_ago_stay() {
    let mut world = World::new();
    let repo = world.open();
    for seed in 0..4 {
        world.back_up(&repo, &[seed]);
    }
    world.clock.advance(48 * HOUR);
    assert!(world.maintain(FULL).unwrap().rewritten.packs >= 4);
    let soon = world.maintain(FULL).unwrap();
    assert_eq!(soon.deleted.packs.count, 0);
    assert!(
        soon.put_off.iter().any(|why| why.contains("an hour")),
        "{soon:?}"
    );
    world.clock.advance(2 * HOUR);
    assert!(world.maintain(FULL).unwrap().deleted.packs.count >= 4);
    world.assert_whole("later");
}

#[test]
fn the_schedule_tells_what_was_done() {
    let world = World::new();
    world.days(2);
    let repo = world.open();
    let schedule = ScheduleKeeper::new(&repo).unwrap().read().unwrap().unwrap();
    assert_eq!(schedule.successes("snapshot-gc").count(), 2);
    assert_eq!(schedule.successes("full-delete-blobs").count(), 2);
    let due = schedule
        .next_full_maintenance
        .duration_since(world.clock.now());
    assert_eq!(due.as_hours(), 24);
}
