//! Beside other clients: what they may do at any time, and what we owe them (Kopia spec 5.7, 8.4, 9).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use blob::{BlobErrorKind, Faulty, Operation, PutOptions, Recorded, Rule, Strike};
use kopia::format_blob::{FormatBlob, UpgradeLock};
use kopia::manifest::ManifestEntry;
use repo::{RepoErrorKind, Repository, Writer};
use time_and_chance::{Clock, StopSignal};

use crate::world::{PASSWORD, World, bytes, plain};

impl World {
    /// Opens the repository through a store that fails as it is told.
    fn open_faulty(&self, client: u64) -> (Arc<Faulty>, Arc<Repository>) {
        let faulty = Arc::new(Faulty::new(
            self.store.clone(),
            self.clock.clone(),
            StopSignal::new(),
        ));
        let repo = Repository::open(faulty.clone(), PASSWORD, self.surroundings(client)).unwrap();
        (faulty, repo)
    }
}

fn write_one(writer: &Writer, content: &[u8]) -> kopia::content_id::ContentId {
    writer
        .write_content(&mut plain(), None, content)
        .unwrap()
        .id
}

fn manifest(writer: &Writer, name: &str) -> ManifestEntry {
    let labels = [("type", "test"), ("name", name)]
        .map(|(label, value)| (label.to_owned(), value.to_owned()));
    let data = serde_json::value::RawValue::from_string("{}".into()).unwrap();
    writer.new_manifest(BTreeMap::from(labels), data)
}

#[test]
fn manifests_that_compact_to_what_an_old_content_holds_survive() {
    let world = World::new();
    let repo = world.open(1);
    let writer = Writer::new(&repo, 1).unwrap();
    for number in 0..20 {
        let kept = manifest(&writer, &number.to_string());
        writer.write_manifests(vec![kept]).unwrap();
        writer.flush().unwrap();
    }
    world.clock.advance(Duration::from_secs(5));
    writer.compact_manifests().unwrap();
    // What is made and deleted again leaves the very manifests of the last compaction.
    for number in 0..10 {
        world.clock.advance(Duration::from_secs(5));
        let passing = manifest(&writer, &format!("passing {number}"));
        writer.write_manifests(vec![passing.clone()]).unwrap();
        writer.flush().unwrap();
        writer.delete_manifest(&passing).unwrap();
        writer.flush().unwrap();
    }
    writer.compact_manifests().unwrap();
    let manifests = world.open(2).manifests().unwrap();
    assert_eq!(manifests.find("test", &[]).count(), 20);
    let mut live = 0;
    world
        .open(2)
        .for_each_content(Some(b'm'), &mut |record| {
            live += u32::from(!record.deleted);
            Ok(())
        })
        .unwrap();
    assert_eq!(live, 1);
}

#[test]
fn a_pack_that_is_collected_before_its_index_is_written_is_in_no_index() {
    let world = World::new();
    let (faulty, repo) = world.open_faulty(1);
    let writer = Writer::new(&repo, 2).unwrap();
    faulty.add(Rule::on(Operation::Put, Strike::Lose).named("p"));
    let lost = write_one(&writer, &bytes(1, 5000));
    let kept = writer
        .write_manifests(vec![manifest(&writer, "kept")])
        .unwrap();
    writer.flush().unwrap();
    let other = world.open(2);
    assert_eq!(other.find(&lost).unwrap(), None);
    assert!(other.is_live(&kept).unwrap());
    assert!(!repo.is_live(&lost).unwrap(), "and we know it");
    assert!(world.names("s").is_empty());
    write_one(&writer, &bytes(1, 5000));
    writer.flush().unwrap();
    assert_eq!(world.open(2).read_content(&lost).unwrap(), bytes(1, 5000));
}

#[test]
fn old_manifests_stay_where_the_content_that_replaces_them_is_lost() {
    let world = World::new();
    let (faulty, repo) = world.open_faulty(1);
    let writer = Writer::new(&repo, 1).unwrap();
    for number in 0..20 {
        let kept = manifest(&writer, &number.to_string());
        writer.write_manifests(vec![kept]).unwrap();
        writer.flush().unwrap();
    }
    faulty.add(Rule::on(Operation::Put, Strike::Lose).named("q"));
    writer.compact_manifests().unwrap();
    assert_eq!(faulty.struck(), 1);
    let manifests = world.open(2).manifests().unwrap();
    assert_eq!(manifests.find("test", &[]).count(), 20);
}

#[test]
fn an_upgrade_stops_readers_and_writers_that_have_the_repository_open() {
    for suspended in [false, true] {
        let world = World::new();
        let reader = world.open(1);
        let writer = Writer::new(&world.open(2), 1).unwrap();
        let id = write_one(&writer, b"content");
        writer.flush().unwrap();
        reader.refresh().unwrap();
        let blob = FormatBlob::parse(&world.store.get("kopia.repository").unwrap()).unwrap();
        let key = blob.format_key(PASSWORD).unwrap();
        let mut format = blob.open(&key).unwrap();
        format.upgrade_lock = Some(UpgradeLock {
            owner_id: "someone".into(),
            creation_time: world.clock.now(),
            advance_notice_ns: 0,
            io_drain_timeout_ns: 15 * 60 * 1_000_000_000,
            status_poll_interval_ns: 0,
            message: String::new(),
            max_permitted_clock_drift_ns: 0,
        });
        let derivation = kopia::key::KeyDerivation::Scrypt65536_8_1;
        let locked = FormatBlob::seal(&blob.unique_id, derivation, &key, &format, [9; 12]).unwrap();
        world
            .store
            .put(
                "kopia.repository",
                &[&locked.to_bytes()],
                &PutOptions::default(),
            )
            .unwrap();
        assert_eq!(reader.read_content(&id).unwrap(), b"content");
        let passed = Duration::from_mins(16);
        if suspended {
            // The monotonic clock of a machine stands still while it sleeps.
            world.clock.set(world.clock.now() + passed);
        } else {
            world.clock.advance(passed);
        }
        let kinds = [
            reader.read_content(&id).unwrap_err().kind(),
            reader.refresh().unwrap_err().kind(),
            writer
                .write_content(&mut plain(), None, b"more")
                .unwrap_err()
                .kind(),
        ];
        assert_eq!(kinds, [RepoErrorKind::UpgradeInProgress; 3], "{suspended}");
    }
}

#[test]
fn what_others_wrote_meanwhile_is_not_stored_again_by_a_writer_that_slept() {
    let world = World::new();
    let slow = Writer::new(&world.open(1), 1).unwrap();
    let quick = Writer::new(&world.open(2), 1).unwrap();
    write_one(&quick, b"content");
    quick.flush().unwrap();
    world.clock.advance(Duration::from_mins(16));
    let written = slow.write_content(&mut plain(), None, b"content").unwrap();
    assert_eq!(written.packed_bytes, 0);
}

#[test]
fn an_index_that_took_too_long_to_list_is_listed_again() {
    let world = World::new();
    let (faulty, _) = world.open_faulty(1);
    let recorded = Arc::new(Recorded::new(faulty.clone()));
    let repo = Repository::open(recorded.clone(), PASSWORD, world.surroundings(1)).unwrap();
    recorded.take();
    faulty.add(Rule::on(Operation::List, Strike::Slow(Duration::from_mins(21))).named("xs"));
    repo.refresh().unwrap();
    let lists = |prefix: &str| {
        recorded
            .take()
            .iter()
            .filter(|request| request.operation == Operation::List && request.name == prefix)
            .count()
    };
    assert_eq!(lists("xe"), 2);
    repo.refresh().unwrap();
    assert_eq!(lists("xe"), 1);
}

#[test]
fn packs_of_a_dead_session_that_are_gone_or_old_are_left_alone() {
    for old in [false, true] {
        let world = World::new();
        let writer = Writer::new(&world.open(1), 1).unwrap();
        for seed in 0..25 {
            write_one(&writer, &bytes(seed, 1 << 20));
        }
        drop(writer);
        if old {
            world.clock.advance(Duration::from_hours(73));
        }
        let before = world.names("xn");
        let (faulty, repo) = world.open_faulty(1);
        if !old {
            faulty.add(
                Rule::on(Operation::GetRange, Strike::Fail(BlobErrorKind::NotFound)).named("p"),
            );
        }
        let next = Writer::new(&repo, 1).unwrap();
        assert_eq!(world.names("xn"), before, "old: {old}");
        assert_eq!(world.names("s").len(), usize::from(old));
        assert!(
            next.write_content(&mut plain(), None, &bytes(0, 1 << 20))
                .unwrap()
                .packed_bytes
                > 0
        );
    }
}

#[test]
fn what_is_taken_over_from_a_dead_session_counts_as_written_now() {
    let world = World::new();
    let writer = Writer::new(&world.open(1), 1).unwrap();
    let ids: Vec<_> = (0..25)
        .map(|seed| write_one(&writer, &bytes(seed, 1 << 20)))
        .collect();
    drop(writer);
    world.clock.advance(Duration::from_hours(30));
    let repo = world.open(1);
    Writer::new(&repo, 1).unwrap();
    let record = repo.find(&ids[0]).unwrap().unwrap();
    assert_eq!(record.timestamp_seconds, world.clock.now().as_second());
    assert_eq!(repo.read_content(&ids[0]).unwrap(), bytes(0, 1 << 20));
}

#[test]
fn a_manifest_that_never_became_visible_does_not_appear_when_its_session_is_taken_over() {
    let world = World::new();
    let (faulty, repo) = world.open_faulty(1);
    let writer = Writer::new(&repo, 1).unwrap();
    let content = write_one(&writer, &bytes(1, 1 << 20));
    let unseen = manifest(&writer, "unseen");
    writer.write_manifests(vec![unseen.clone()]).unwrap();
    faulty.add(Rule::on(Operation::Put, Strike::Fail(BlobErrorKind::Denied)).named("xn"));
    writer.flush().unwrap_err();
    drop(writer);

    let repo = world.open(1);
    Writer::new(&repo, 1).unwrap();
    assert!(repo.is_live(&content).unwrap(), "its data is taken over");
    assert!(repo.manifests().unwrap().get(&unseen.id).is_none());
}

#[test]
fn a_manifest_that_was_deleted_meanwhile_does_not_return_when_its_session_is_taken_over() {
    let world = World::new();
    let (faulty, repo) = world.open_faulty(1);
    let writer = Writer::new(&repo, 1).unwrap();
    let deleted = manifest(&writer, "deleted");
    writer.write_manifests(vec![deleted.clone()]).unwrap();
    faulty.add(Rule::on(Operation::Delete, Strike::Fail(BlobErrorKind::Unavailable)).named("s"));
    writer.flush().unwrap_err();
    drop(writer);

    let other = world.open(2);
    assert!(other.manifests().unwrap().get(&deleted.id).is_some());
    let writer = Writer::new(&other, 1).unwrap();
    writer.delete_manifest(&deleted).unwrap();
    for number in 0..20 {
        world.clock.advance(Duration::from_secs(5));
        let kept = manifest(&writer, &number.to_string());
        writer.write_manifests(vec![kept]).unwrap();
        writer.flush().unwrap();
    }
    writer.compact_manifests().unwrap();

    let repo = world.open(1);
    Writer::new(&repo, 1).unwrap();
    let manifests = repo.manifests().unwrap();
    assert!(manifests.get(&deleted.id).is_none());
    assert_eq!(manifests.find("test", &[]).count(), 20);
}
