//! Data that is lost, or lies elsewhere too; and what is remembered of it.

use blob::BlobStore as _;
use progress::{Monitor, News, Progress};
use repo::{LostContents, Writer};
use snapshot::Snapshots;
use time_and_chance::ManualClock;
use verify::{MendedKind, VerifyErrorKind, VerifyOptions, remember, verify};

use crate::world::{World, all_data, back_up, look, repair, repair_with};

/// Damages the bytes of every content in a pack of data.
fn spoil(world: &World, pack: &str) {
    let mut bytes = world.store.get(pack).unwrap();
    let end = bytes.len().min(15_000);
    for byte in &mut bytes[40..end] {
        *byte ^= 1;
    }
    world.put(pack, &bytes);
}

#[test]
fn a_copy_in_another_pack_takes_the_place_of_what_is_damaged() {
    let mut world = World::new();
    // Two clients that do not know of each other store the same data.
    let (one, two) = (world.open(), world.open());
    let writer = Writer::new(&two, 1).unwrap();
    world.back_up(&one, &[1, 2]);
    let (id, files) = back_up(&writer, &[1, 2]).unwrap();
    world.snapshots.insert(id, files);
    let repo = world.open();
    let object = repo.content_id(None, &crate::world::noise(1, 5000));
    let pack = repo.find(&object).unwrap().unwrap().pack_blob;
    spoil(&world, &pack);
    let found = look(&repo);
    assert!(!found.is_sound());
    let repaired = repair(&repo).unwrap();
    assert!(repaired.found.is_sound(), "{repaired:?}");
    let kinds: Vec<_> = repaired.mended.iter().map(|it| it.what).collect();
    assert!(kinds.contains(&MendedKind::Contents), "{repaired:?}");
    assert_eq!(world.whole(&world.open()), world.ids());
    world.assert_sound(&pack, "copied");
}

#[test]
fn lost_chunks_are_stored_again_by_the_next_backup_and_make_old_points_whole() {
    for loss in ["damaged", "gone"] {
        let mut world = World::new();
        let repo = world.open();
        let first = world.back_up(&repo, &[1, 2, 3]);
        let object = repo.content_id(None, &crate::world::noise(1, 5000));
        let pack = repo.find(&object).unwrap().unwrap().pack_blob;
        match loss {
            "gone" => world.store.delete(&pack).unwrap(),
            _ => spoil(&world, &pack),
        }
        let repaired = repair(&repo).unwrap();
        let damages = &repaired.found.damages;
        let large = damages
            .iter()
            .find(|damage| damage.path == "large")
            .unwrap();
        assert_eq!(large.point_id, first);
        assert_eq!(large.ranges, [(0, 15_000)], "{loss}");
        let time = repo.clock().now();
        let verified = repaired.found.remembered(&repo, time, 100.0).unwrap();
        remember(&repo, &verified).unwrap();

        // Another client of ours, which was told nothing but what the repository remembers.
        let other = world.open();
        let snapshots = Snapshots::load(&other).unwrap();
        let root = snapshots.iter().next().unwrap().manifest.root_entry.clone();
        let known = snapshots.verified().of(&root.unwrap().object).unwrap();
        assert!(known.damage.as_ref().unwrap().hurts("large"), "{loss}");
        let second = world.back_up(&other, &[1, 2, 3]);
        let whole = world.whole(&other);
        assert!(
            whole.contains(&second),
            "{loss}: what was lost is stored again"
        );
        let found = look(&world.open());
        let hurt: Vec<_> = found.damages.iter().map(|it| it.path.as_str()).collect();
        // The small file of the first lies in the same pack, and nobody stored it again.
        assert!(!hurt.contains(&"large"), "{loss}: {found:?}");
    }
}

#[test]
fn what_is_remembered_goes_with_the_damage_and_with_the_points() {
    let mut world = World::new();
    let repo = world.open();
    let first = world.back_up(&repo, &[1]);
    let object = repo.content_id(None, &crate::world::noise(1, 5000));
    let pack = repo.find(&object).unwrap().unwrap().pack_blob;
    let whole = world.store.get(&pack).unwrap();
    let keep = |percent: f64| {
        let options = VerifyOptions {
            data_percent: percent,
            ..all_data()
        };
        let found = verify(&repo, &options, &Progress::silent()).unwrap();
        let time = repo.clock().now();
        let verified = found.remembered(&repo, time, percent).unwrap();
        remember(&repo, &verified).unwrap();
        Snapshots::load(&repo).unwrap().verified().clone()
    };
    let snapshots = Snapshots::load(&repo).unwrap();
    let root = snapshots.iter().next().unwrap().manifest.root_entry.clone();
    let root = root.unwrap().object;
    assert_eq!(
        keep(100.0).of(&root).unwrap().deepest().unwrap().percent,
        100.0
    );
    spoil(&world, &pack);
    world.clock.advance(std::time::Duration::from_secs(60));
    assert!(keep(100.0).of(&root).unwrap().damage.is_some());
    world.clock.advance(std::time::Duration::from_secs(60));
    // What is known to be lost is looked at whatever the depth.
    assert!(keep(0.0).of(&root).unwrap().damage.is_some());
    world.put(&pack, &whole);
    world.clock.advance(std::time::Duration::from_secs(60));
    let verified = keep(0.0);
    assert_eq!(verified.of(&root).unwrap().damage, None);
    assert!(verified.lost().is_empty());
    Snapshots::delete(&Writer::new(&repo, 1).unwrap(), &first).unwrap();
    assert_eq!(keep(0.0).of(&root), None);
}

#[test]
fn a_pack_of_which_all_counts_as_lost_is_looked_at_at_every_depth() {
    let mut world = World::new();
    let repo = world.open();
    let first = world.back_up(&repo, &[1, 2]);
    let object = repo.content_id(None, &crate::world::noise(1, 5000));
    let pack = repo.find(&object).unwrap().unwrap().pack_blob;
    let whole = world.store.get(&pack).unwrap();
    spoil(&world, &pack);
    let remembered =
        |repo: &std::sync::Arc<repo::Repository>| Snapshots::load(repo).unwrap().verified().clone();
    // As if more were lost than is told apart.
    let mut verified = remembered(&repo);
    verified.note_lost(LostContents {
        packs: [pack.clone()].into(),
        ..LostContents::default()
    });
    remember(&repo, &verified).unwrap();
    let keep = |points: Vec<String>| {
        world.clock.advance(std::time::Duration::from_secs(60));
        let options = VerifyOptions {
            data_percent: 0.0,
            points,
            ..all_data()
        };
        let found = verify(&repo, &options, &Progress::silent()).unwrap();
        let verified = found.remembered(&repo, repo.clock().now(), 0.0).unwrap();
        remember(&repo, &verified).unwrap();
        found.damages
    };
    let damages = keep(Vec::new());
    assert!(damages.iter().any(|it| it.path == "large"), "{damages:?}");
    assert!(!repo.is_live(&object).unwrap(), "it is stored again");
    // No point that is looked at needs it, and still it is not forgotten.
    let mut verified = remembered(&repo);
    verified.note_lost(LostContents {
        packs: [pack.clone()].into(),
        ..LostContents::default()
    });
    remember(&repo, &verified).unwrap();
    keep(vec!["none of these".to_owned()]);
    assert!(remembered(&repo).lost().contents.contains_key(&object));
    world.put(&pack, &whole);
    assert_eq!(keep(vec![first]), []);
    assert!(remembered(&repo).lost().is_empty());
}

#[test]
fn only_the_owner_mends_and_only_one_at_a_time() {
    let world = World::new();
    let repo = world.open();
    let lock = repo.lock_maintenance().unwrap().unwrap();
    let error = repair(&repo).unwrap_err();
    assert_eq!(error.kind(), VerifyErrorKind::Locked);
    drop(lock);
    let foreign = kopia::maintenance::MaintenanceParameters::new("other@host");
    Writer::new(&repo, 1)
        .unwrap()
        .set_maintenance(&foreign)
        .unwrap();
    let error = repair_with(&repo, false, false).unwrap_err();
    assert_eq!(error.kind(), VerifyErrorKind::NotOwner);
    assert!(error.to_string().contains("repair"), "{error}");
    repair(&repo).unwrap();
}

#[test]
fn a_deleted_point_does_not_come_back_and_a_failed_one_that_is_not_whole_does_not_appear() {
    let mut world = World::new();
    let repo = world.open();
    let id = world.back_up(&repo, &[1, 2]);
    world.back_up(&repo, &[3]);
    Snapshots::delete(&Writer::new(&repo, 1).unwrap(), &id).unwrap();
    world.snapshots.remove(&id);
    let repaired = repair(&repo).unwrap();
    assert_eq!(repaired.mended, []);
    let listed = Snapshots::load(&repo).unwrap();
    assert_eq!(listed.iter().count(), 1);
}

#[test]
fn what_is_kept_on_one_machine_counts_there_as_if_the_repository_remembered_it() {
    let mut world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let here = |world: &World| {
        let repo = world.open();
        repo.keep_notes_in(folder.path().join("verified"));
        repo
    };
    let repo = here(&world);
    world.back_up(&repo, &[1, 2, 3]);
    let object = repo.content_id(None, &crate::world::noise(1, 5000));
    let pack = repo.find(&object).unwrap().unwrap().pack_blob;
    spoil(&world, &pack);
    let manifests = world.names("q");
    let time = repo.clock().now();
    let kept = look(&repo).remembered(&repo, time, 100.0).unwrap();
    kept.keep_here(&repo).unwrap();
    assert_eq!(world.names("q"), manifests, "nothing is written");

    let elsewhere = world.open();
    let of_all = Snapshots::load(&elsewhere).unwrap();
    assert!(of_all.verified().lost().is_empty());
    let repo = here(&world);
    let snapshots = Snapshots::load(&repo).unwrap();
    let root = snapshots.iter().next().unwrap().manifest.root_entry.clone();
    let root = root.unwrap().object;
    assert!(snapshots.verified().of(&root).unwrap().damage.is_some());
    let second = world.back_up(&repo, &[1, 2, 3]);
    assert!(world.whole(&repo).contains(&second), "it is stored again");

    // Once the repository can be written, it remembers, and the machine need not.
    let time = repo.clock().now();
    let all = look(&repo).remembered(&repo, time, 100.0).unwrap();
    remember(&repo, &all).unwrap();
    assert_eq!(repo.local_note().unwrap(), None);
    let of_all = Snapshots::load(&elsewhere).unwrap();
    assert!(of_all.verified().of(&root).is_some());
}

/// Lets the time that a portion has be over with its first point.
#[derive(Debug)]
struct Slow(std::sync::Arc<ManualClock>);

impl Monitor for Slow {
    fn hear(&self, news: &News<'_>) {
        if matches!(news, News::Ends { .. }) {
            self.0.advance(std::time::Duration::from_secs(60));
        }
    }
}

#[test]
fn portions_go_on_from_what_is_kept_on_this_machine() {
    let mut world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let repo = world.open();
    repo.keep_notes_in(folder.path().to_owned());
    for part in 1..=3 {
        world.back_up(&repo, &[part]);
    }
    for portion in 1..=3 {
        let minute = std::time::Duration::from_secs(60);
        let options = VerifyOptions {
            until: Some(repo.clock().monotonic() + minute),
            ..all_data()
        };
        let progress = Progress {
            monitor: std::sync::Arc::new(Slow(world.clock.clone())),
            ..Progress::silent()
        };
        let found = verify(&repo, &options, &progress).unwrap();
        assert_eq!(found.points, 1);
        let time = repo.clock().now();
        let kept = found.remembered(&repo, time, 100.0).unwrap();
        kept.keep_here(&repo).unwrap();
        let snapshots = Snapshots::load(&repo).unwrap();
        let proven = snapshots.iter().filter(|snapshot| {
            let root = snapshot.manifest.root_entry.as_ref().unwrap();
            snapshots.verified().of(&root.object).is_some()
        });
        assert_eq!(proven.count(), portion);
    }
}
