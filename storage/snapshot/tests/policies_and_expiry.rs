//! Policies and snapshots in a repository: changed by one client, seen by another.

#![expect(
    clippy::unwrap_used,
    reason = "in tests and their helpers a panic is the report"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use blob::{MemoryStore, SharedBlobStore};
use kopia::policy::{Policy, PolicyTarget};
use kopia::snapshot::{SnapshotManifest, SnapshotSource, SnapshotStats};
use repo::{CreateOptions, Identity, RepoErrorKind, Repository, Surroundings, Writer, create};
use snapshot::{
    Snapshots, TreeWriter, delete_policy, effective_policy, expires, plan_expiry, policies,
    policy_of, save_policy,
};
use time_and_chance::{Chance, ManualClock, SignedDuration, StopSignal, TimeZone, Timestamp};

/// A repository in memory that any number of clients open.
struct World {
    store: SharedBlobStore,
    clock: Arc<ManualClock>,
    caches: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::at("2026-03-15T12:00:00Z".parse().unwrap());
        let world = Self {
            store: Arc::new(MemoryStore::new(clock.clone())),
            clock,
            caches: tempfile::tempdir().unwrap(),
        };
        let options = CreateOptions::default();
        create(
            world.store.clone(),
            "secret",
            &options,
            world.surroundings(1),
        )
        .unwrap();
        world
    }

    fn surroundings(&self, client: u64) -> Surroundings {
        Surroundings {
            cache_folder: self.caches.path().join(client.to_string()),
            identity: Identity {
                username: "agent".into(),
                hostname: "host".into(),
            },
            clock: self.clock.clone(),
            chance: Chance::from_seed(client),
            stop: StopSignal::new(),
        }
    }

    fn open(&self, client: u64) -> Arc<Repository> {
        Repository::open(self.store.clone(), "secret", self.surroundings(client)).unwrap()
    }

    /// Stores a snapshot of the test's source; returns its id.
    fn publish(&self, writer: &Writer, hours_ago: i64, incomplete: &str) -> String {
        let time = "2026-03-15T12:00:00Z".parse::<Timestamp>().unwrap()
            - SignedDuration::from_hours(hours_ago);
        let mut tree = TreeWriter::new(writer, time);
        let root = tree.folder("", Vec::new()).unwrap();
        let manifest = SnapshotManifest {
            id: String::new(),
            source: source(),
            description: String::new(),
            start_time: time,
            end_time: time,
            stats: SnapshotStats::default(),
            incomplete: incomplete.to_owned(),
            root_entry: Some(root),
            tags: BTreeMap::from([("tag:run".to_owned(), hours_ago.to_string())]),
            storage_stats: None,
            pins: Vec::new(),
            other: BTreeMap::new(),
        };
        let published = Snapshots::publish(writer, &manifest).unwrap();
        writer.flush().unwrap();
        published.id().to_owned()
    }
}

fn source() -> SnapshotSource {
    SnapshotSource {
        host: "host".to_owned(),
        user_name: "agent".to_owned(),
        path: "hyperv/0a".to_owned(),
    }
}

fn keep_latest(count: i64) -> Policy {
    let mut policy = Policy::default();
    policy.retention.keep_latest = Some(count);
    policy
}

#[test]
fn a_pinned_snapshot_keeps_its_id_and_all_else() {
    let world = World::new();
    let writer = Writer::new(&world.open(2), 1).unwrap();
    let id = world.publish(&writer, 0, "");
    let other = world.publish(&writer, 1, "");
    let before = Snapshots::load(&world.open(3)).unwrap();
    let before = before.iter().find(|it| it.id == id).unwrap().clone();
    // Even by a clock that went backwards.
    for (now, pin) in [
        ("2026-03-15T12:00:00Z", "one"),
        ("2020-01-01T00:00:00Z", "two"),
    ] {
        world.clock.set(now.parse().unwrap());
        let edited = Snapshots::edit(&writer, &id, |it| it.pins.push(pin.to_owned())).unwrap();
        assert_eq!(edited.pins.last().unwrap(), pin);
    }
    let after = Snapshots::load(&world.open(4)).unwrap();
    assert_eq!(after.iter().count(), 2);
    let pinned = after.iter().find(|it| it.id == id).unwrap();
    let mut expected = before.manifest;
    expected.pins = vec!["one".to_owned(), "two".to_owned()];
    assert_eq!(pinned.manifest, expected);
    let untouched = after.iter().find(|it| it.id == other).unwrap();
    assert!(untouched.manifest.pins.is_empty());
}

#[test]
fn a_snapshot_that_has_gone_cannot_be_changed_and_does_not_come_back() {
    let world = World::new();
    let writer = Writer::new(&world.open(2), 1).unwrap();
    let id = world.publish(&writer, 0, "");
    assert_eq!(Snapshots::delete_all(&writer, [&*id]).unwrap(), 1);
    assert_eq!(Snapshots::delete_all(&writer, [&*id]).unwrap(), 0);
    let error = Snapshots::edit(&writer, &id, |it| it.pins.push("x".to_owned())).unwrap_err();
    assert_eq!(error.kind(), RepoErrorKind::NotFound);
    assert_eq!(Snapshots::load(&world.open(3)).unwrap().iter().count(), 0);
}

#[test]
fn an_edit_that_kopia_could_not_read_is_refused() {
    let world = World::new();
    let writer = Writer::new(&world.open(2), 1).unwrap();
    let id = world.publish(&writer, 0, "");
    let error = Snapshots::edit(&writer, &id, |it| it.root_entry = None).unwrap_err();
    assert_eq!(error.kind(), RepoErrorKind::Invalid);
}

#[test]
fn a_policy_replaces_the_one_before_it() {
    let world = World::new();
    let writer = Writer::new(&world.open(2), 1).unwrap();
    let target = PolicyTarget::source(&source());
    for count in [3, 5] {
        save_policy(&writer, &target, &keep_latest(count)).unwrap();
    }
    let repo = world.open(3);
    let manifests = repo.manifests().unwrap();
    let of_target = manifests.find("policy", &[("policyType", "path")]);
    assert_eq!(of_target.count(), 1);
    assert_eq!(
        policy_of(&manifests, &target).unwrap(),
        Some(keep_latest(5))
    );
    let targets: Vec<String> = policies(&manifests)
        .unwrap()
        .iter()
        .map(|(target, _)| target.to_string())
        .collect();
    assert_eq!(targets, ["(global)", "agent@host:hyperv/0a"]);
    let effective = effective_policy(&manifests, &target).unwrap();
    assert_eq!(effective.retention.keep_latest, Some(5));
    assert_eq!(effective.retention.keep_daily, Some(7));
    assert_eq!(effective.compression.compressor(), Some("zstd-fastest"));
    assert!(delete_policy(&writer, &target).unwrap());
    assert!(!delete_policy(&writer, &target).unwrap());
    let manifests = repo.manifests().unwrap();
    assert_eq!(policy_of(&manifests, &target).unwrap(), None);
}

#[test]
fn a_policy_that_kopia_could_not_carry_out_is_not_stored() {
    let world = World::new();
    let writer = Writer::new(&world.open(2), 1).unwrap();
    let target = PolicyTarget::global();
    let error = save_policy(&writer, &target, &keep_latest(-1)).unwrap_err();
    assert_eq!(error.kind(), RepoErrorKind::Invalid);
    let manifests = world.open(3).manifests().unwrap();
    let global = policy_of(&manifests, &target).unwrap().unwrap();
    assert_eq!(global.retention.keep_latest, Some(10));
}

#[test]
fn what_no_rule_keeps_and_nobody_pinned_goes() {
    let world = World::new();
    let writer = Writer::new(&world.open(2), 1).unwrap();
    let mut only_two = keep_latest(2);
    only_two.no_parent = true;
    save_policy(&writer, &PolicyTarget::source(&source()), &only_two).unwrap();
    let ids: Vec<String> = [4, 3, 2, 1]
        .iter()
        .map(|&hours| world.publish(&writer, hours, ""))
        .collect();
    let unfinished = world.publish(&writer, 0, "checkpoint");
    Snapshots::edit(&writer, &ids[0], |it| it.pins.push("keep".to_owned())).unwrap();
    let snapshots = Snapshots::load(&world.open(3)).unwrap();
    let plans = plan_expiry(&snapshots, &TimeZone::UTC).unwrap();
    assert_eq!(plans.len(), 1);
    assert_eq!(plans[0].retention, only_two.retention);
    let went: Vec<&str> = plans[0]
        .snapshots
        .iter()
        .filter(|(snapshot, verdict)| expires(snapshot, verdict))
        .map(|(snapshot, _)| &*snapshot.id)
        .collect();
    assert_eq!(went, [&*ids[1]]);
    let (last, verdict) = plans[0].snapshots.last().unwrap();
    assert_eq!(last.id, unfinished);
    assert_eq!(verdict.reasons(), ["incomplete"]);
}
