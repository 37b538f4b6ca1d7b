//! Contents of manifests that are lost for good, and what it takes to go on without them.

use std::sync::Arc;
use std::time::Duration;

use blob::BlobStore as _;
use kopia::record::ContentRecord;
use maintain::{Maintenance, Options};
use progress::Progress;
use repo::{Repository, Writer};
use snapshot::Snapshots;

use crate::world::{World, give_up, look, repair};

const DAY: Duration = Duration::from_hours(24);

/// A world with two points, the manifest of the first in a pack of its own, with the pack's name.
fn world_with_a_pack_of_manifests() -> (World, String, String) {
    let mut world = World::new();
    let repo = world.open();
    let before = manifests_in(&world);
    let lost = world.back_up(&repo, &[1, 2]);
    let mut after = manifests_in(&world);
    after.retain(|record| !before.contains(record));
    let [manifest] = &after[..] else {
        panic!("there is one point");
    };
    let pack = manifest.pack_blob.to_string();
    world.clock.advance(Duration::from_secs(60));
    world.back_up(&repo, &[2, 3]);
    repair(&world.open_cold().unwrap()).unwrap();
    world.clock.advance(Duration::from_secs(60));
    (world, lost, pack)
}

/// Returns the contents of manifests that count.
fn manifests_in(world: &World) -> Vec<ContentRecord> {
    let mut records = Vec::new();
    let repo = world.open();
    let listed = repo.for_each_content(Some(b'm'), &mut |record| {
        if !record.deleted {
            records.push(record);
        }
        Ok(())
    });
    listed.unwrap();
    records
}

/// Maintains in full; says whether what no point needs could be collected.
fn collects(repo: &Arc<Repository>) -> bool {
    let options = Options {
        full: true,
        ..Options::default()
    };
    let maintenance = Maintenance {
        repo,
        options,
        progress: &Progress::silent(),
    };
    maintenance.run().unwrap().collection_stopped.is_none()
}

fn listed(world: &World) -> Vec<String> {
    let snapshots = Snapshots::load(&world.open()).unwrap();
    assert_eq!(snapshots.unreadable(), []);
    snapshots.iter().map(|it| it.id.clone()).collect()
}

#[test]
fn a_lost_manifest_stops_all_until_it_is_given_up_and_comes_back_with_its_blob() {
    let (world, lost, pack) = world_with_a_pack_of_manifests();
    let bytes = world.store.get(&pack).unwrap();
    for damage in ["gone", "cut"] {
        let mut world = world.copy();
        match damage {
            "gone" => world.store.delete(&pack).unwrap(),
            _ => world.put(&pack, &bytes[..20]),
        }
        let repo = world.open_cold().unwrap();
        let repaired = repair(&repo).unwrap();
        assert_eq!(repaired.given_up, []);
        assert!(!repaired.found.is_sound());
        assert_eq!(repaired.left.len(), 1, "{repaired:?}");
        world.clock.advance(DAY);
        assert!(!collects(&world.open()), "{damage}");

        let dry = give_up(&repo, true);
        assert_eq!(dry.given_up.len(), 1, "{dry:?}");
        assert!(!collects(&world.open()), "nothing changed");
        let repaired = give_up(&repo, false);
        assert_eq!(repaired.given_up, dry.given_up);
        assert_eq!(repaired.given_up[0].pack, pack);
        assert!(repaired.found.is_sound(), "{repaired:?}");
        let again = give_up(&repo, false);
        assert_eq!((again.given_up, again.mended), (vec![], vec![]));

        let whole: Vec<String> = world.ids().into_iter().filter(|id| *id != lost).collect();
        assert_eq!(listed(&world), whole);
        let repo = world.open();
        let newer = world.back_up(&repo, &[4]);
        world.clock.advance(DAY);
        assert!(collects(&world.open()));
        assert!(look(&world.open()).is_sound());
        assert!(world.whole(&world.open()).contains(&newer));
        assert!(listed(&world).contains(&newer));

        // What was collected so far is only marked deleted.
        world.put(&pack, &bytes);
        let repaired = repair(&world.open_cold().unwrap()).unwrap();
        assert!(repaired.found.is_sound(), "{damage}: {repaired:?}");
        assert_eq!(world.whole(&world.open()), world.ids(), "{damage}");
        let again = repair(&world.open_cold().unwrap()).unwrap();
        assert_eq!((again.left, again.mended), (vec![], vec![]), "{damage}");
        world.assert_sound("", damage);
    }
}

#[test]
fn what_was_given_up_is_collected_in_time() {
    let (mut world, lost, pack) = world_with_a_pack_of_manifests();
    world.store.delete(&pack).unwrap();
    give_up(&world.open_cold().unwrap(), false);
    world.snapshots.remove(&lost);
    let repo = world.open();
    let only_there = repo.content_id(None, &crate::world::noise(1, 5000));
    let shared = repo.content_id(None, &crate::world::noise(2, 5000));
    for _ in 0..6 {
        world.clock.advance(DAY);
        assert!(collects(&world.open()));
    }
    let repo = world.open();
    assert!(!repo.is_live(&only_there).unwrap());
    assert!(repo.is_live(&shared).unwrap());
    assert_eq!(world.whole(&repo), world.ids());
    world.assert_sound("", "collected");
}

#[test]
fn what_earlier_contents_of_manifests_tell_is_listed_again_before_anything_is_given_up() {
    let mut world = World::new();
    let repo = world.open();
    for seed in 0..16 {
        world.back_up(&repo, &[seed]);
    }
    world.clock.advance(Duration::from_secs(60));
    Writer::new(&repo, 1).unwrap().compact_manifests().unwrap();
    let [compacted] = &manifests_in(&world)[..] else {
        panic!("it is all in one content");
    };
    world.clock.advance(Duration::from_secs(60));
    let deleted = world.ids()[0].clone();
    Snapshots::delete(&Writer::new(&repo, 1).unwrap(), &deleted).unwrap();
    world.snapshots.remove(&deleted);
    world.store.delete(&compacted.pack_blob).unwrap();
    world.clock.advance(Duration::from_secs(60));
    let repaired = give_up(&world.open_cold().unwrap(), false);
    assert_eq!(repaired.given_up.len(), 1, "{repaired:?}");
    assert!(repaired.found.is_sound(), "{repaired:?}");
    assert_eq!(listed(&world), world.ids(), "deletions stay deletions");
    assert_eq!(world.whole(&world.open()), world.ids());
}

#[test]
fn manifests_that_another_pack_still_holds_are_not_given_up() {
    let (world, lost, pack) = world_with_a_pack_of_manifests();
    let in_pack = |pack: &str| {
        let mut all = manifests_in(&world).into_iter();
        all.find(|record| *record.pack_blob == *pack)
    };
    let record = in_pack(&pack).unwrap();
    let repo = world.open();
    let writer = Writer::new(&repo, 1).unwrap();
    assert!(writer.store_copy(&record).unwrap());
    writer.flush().unwrap();
    drop(writer);
    let newest = world.open().find(&record.id).unwrap().unwrap().pack_blob;
    assert_ne!(*newest, *pack);
    world.store.delete(&newest).unwrap();
    let cold = world.open_cold().unwrap();
    assert_eq!(give_up(&cold, true).given_up, []);
    let repaired = give_up(&cold, false);
    assert_eq!(repaired.given_up, []);
    assert!(repaired.found.is_sound(), "{repaired:?}");
    assert_eq!(world.whole(&world.open()), world.ids());
    assert!(listed(&world).contains(&lost));
}

#[test]
fn what_lay_beside_lost_manifests_is_stored_again_though_no_point_is_left_that_needs_it() {
    for damage in ["gone", "cut"] {
        let mut world = World::new();
        let repo = world.open();
        world.back_up(&repo, &[1, 2]);
        for pack in world.names("q") {
            match damage {
                "gone" => world.store.delete(&pack).unwrap(),
                _ => world.put(&pack, &[]),
            }
        }
        let repaired = give_up(&world.open_cold().unwrap(), false);
        assert!(repaired.found.is_sound(), "{repaired:?}");
        assert_eq!(listed(&world), Vec::<String>::new());
        world.snapshots.clear();
        // Another client, which was told nothing but what the repository remembers.
        let other = world.open();
        assert_eq!(Snapshots::load(&other).unwrap().iter().count(), 0);
        world.back_up(&other, &[1, 2]);
        assert_eq!(world.whole(&world.open()), world.ids(), "{damage}");
        assert!(look(&world.open()).is_sound(), "{damage}");
    }
}
