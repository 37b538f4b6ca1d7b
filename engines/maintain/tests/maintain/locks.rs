//! Object locks that maintenance makes longer, blobs that it may not delete yet, and keys that may
//! not delete at all.

use std::sync::Arc;
use std::time::Duration;

use blob::{BlobErrorKind, BlobStore, Faulty, Operation, Rule, Strike};
use kopia::maintenance::MaintenanceParameters;
use maintain::MaintainErrorKind;
use repo::{LOCKED_PREFIXES, RepoErrorKind, ScheduleKeeper, Writer, lock_config};
use time_and_chance::{Clock, StopSignal};

use crate::world::{FULL, HOUR, World, back_up, maintain};

const PERIOD: Duration = Duration::from_hours(30 * 24);
const DENIED: Strike = Strike::Fail(BlobErrorKind::Denied);

impl World {
    /// Returns a world whose repository locks its blobs, with what was there before that.
    fn locked() -> Self {
        let mut world = Self::new();
        let repo = world.open();
        world.back_up(&repo, &[1, 2]);
        let config = lock_config("GOVERNANCE", PERIOD, 24 * HOUR).unwrap();
        repo.set_blob_config(&config).unwrap();
        let parameters = MaintenanceParameters {
            extend_object_locks: true,
            ..MaintenanceParameters::new("agent@host")
        };
        let writer = Writer::new(&repo, 1).unwrap();
        writer.set_maintenance(&parameters).unwrap();
        world
    }

    fn faulty(&self) -> Arc<Faulty> {
        let clock = self.clock.clone();
        Arc::new(Faulty::new(self.store.clone(), clock, StopSignal::new()))
    }

    /// Returns for how many hours a blob is still locked.
    fn locked_hours(&self, name: &str) -> Option<i64> {
        let (_, until) = self.store.retention(name)?;
        Some(until.duration_since(self.clock.now()).as_hours())
    }
}

#[test]
fn every_full_maintenance_makes_the_locks_of_what_is_in_use_longer() {
    let mut world = World::locked();
    let repo = world.open();
    for day in 0..3 {
        world.back_up(&repo, &[day + 10]);
        world.clock.advance(24 * HOUR);
        let report = world.maintain(FULL).unwrap();
        assert!(report.is_whole(), "{report:?}");
        let mut count = 0;
        for blob in world.store.list_all("").unwrap() {
            let wanted = LOCKED_PREFIXES.iter().any(|it| blob.name.starts_with(it));
            assert_eq!(
                world.locked_hours(&blob.name),
                wanted.then_some(30 * 24),
                "day {day}: {}",
                blob.name
            );
            count += u64::from(wanted);
        }
        assert!(report.locked.extended.count >= count - 3, "{report:?}");
    }
    let quick = world.maintain(maintain::Options::default()).unwrap();
    assert_eq!(quick.locked.extended.count, 0);
}

#[test]
fn what_is_locked_is_deleted_later_and_nothing_fails_for_it() {
    let mut world = World::locked();
    let repo = world.open();
    let gone = world.back_up(&repo, &[7, 8, 9]);
    world.delete(&repo, &gone);
    let faulty = world.faulty();
    faulty.add(
        Rule::on(Operation::Delete, DENIED)
            .named("p")
            .times(u64::MAX),
    );
    let mut kept = Vec::new();
    for _ in 0..5 {
        world.clock.advance(25 * HOUR);
        let report = maintain(&world.open_on(faulty.clone()), FULL).unwrap();
        assert!(report.is_whole(), "{report:?}");
        assert_eq!(report.deleted.packs.count, 0);
        kept = report.deleted.refused.into_iter().collect();
    }
    assert!(!kept.is_empty());
    // Its lock runs out instead of being made longer with the others.
    assert!(
        kept.iter()
            .any(|pack| world.locked_hours(pack) < Some(29 * 24))
    );
    faulty.clear();
    world.clock.advance(25 * HOUR);
    assert!(world.maintain(FULL).unwrap().deleted.packs.count > 0);
    world.assert_whole("after the locks");
}

#[test]
fn a_lock_that_the_store_will_not_change_is_told_and_the_rest_is_done() {
    let world = World::locked();
    world.clock.advance(25 * HOUR);
    let faulty = world.faulty();
    faulty.add(Rule::on(Operation::ExtendLock, DENIED));
    let report = maintain(&world.open_on(faulty), FULL).unwrap();
    assert!(!report.is_whole());
    assert_eq!(report.locked.failed, 1);
    assert!(report.locked.extended.count > 3, "{report:?}");
    let repo = world.open();
    let schedule = ScheduleKeeper::new(&repo).unwrap().read().unwrap().unwrap();
    let run = &schedule.runs["extend-blob-retention-time"][0];
    assert!(
        !run.success && run.error.contains("PutObjectRetention"),
        "{run:?}"
    );
}

#[test]
fn keys_that_may_not_delete_back_up_and_maintenance_asks_for_others() {
    let mut world = World::new();
    let faulty = world.faulty();
    faulty.add(Rule::on(Operation::Delete, DENIED).times(u64::MAX));
    for seed in 0..4 {
        let repo = world.open_on(faulty.clone());
        let writer = Writer::new(&repo, 1).unwrap();
        let (id, files) = back_up(&writer, &[seed, 50], "");
        world.snapshots.insert(id, files);
        assert!(repo.leaves_markers());
        world.clock.advance(HOUR);
    }
    let markers = world.store.list_all("s").unwrap().len();
    assert!(markers >= 4, "{markers}");
    // A session that left its marker is over: it is not taken for one that died.
    world.open_on(faulty.clone());
    world.assert_whole("with markers");

    world.clock.advance(100 * HOUR);
    let error = maintain(&world.open_on(faulty.clone()), FULL).unwrap_err();
    let denied = RepoErrorKind::Store(BlobErrorKind::Denied);
    assert_eq!(error.kind(), MaintainErrorKind::Repo(denied));
    assert!(error.to_string().contains("s3:DeleteObject"), "{error}");
    world.clock.advance(2 * HOUR);
    let report = world.maintain(FULL).unwrap();
    assert_eq!(report.deleted.sessions.count, markers as u64);
    world.assert_whole("after maintenance");
    world.assert_sound("after maintenance");
}

#[test]
fn periods_that_maintenance_cannot_keep_up_with_are_refused() {
    for (mode, hours, interval, refused) in [
        ("GOVERNANCE", 48, 24, false),
        ("COMPLIANCE", 47, 24, true),
        ("GOVERNANCE", 23, 0, true),
        ("GOVERNANCE", 24, 0, false),
        ("FOREVER", 480, 24, true),
    ] {
        let hours = Duration::from_hours(hours);
        let config = lock_config(mode, hours, Duration::from_hours(interval));
        let kind = config.err().map(|error| error.kind());
        assert_eq!(kind, refused.then_some(RepoErrorKind::Invalid));
    }
}
