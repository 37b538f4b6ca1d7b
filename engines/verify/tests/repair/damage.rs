//! Flips, cuts and deletion of every kind of blob.

use blob::BlobStore as _;
use repo::RepoErrorKind;
use verify::BlobRole;

use crate::world::{World, look, repair, repair_with};

#[derive(Debug, Clone, Copy)]
enum Damage {
    FlipAt(f64),
    CutTo(f64),
    Delete,
}

const ALL: [Damage; 7] = [
    Damage::FlipAt(0.0),
    Damage::FlipAt(0.3),
    Damage::FlipAt(0.6),
    Damage::FlipAt(1.0),
    Damage::CutTo(0.0),
    Damage::CutTo(0.7),
    Damage::Delete,
];

fn do_to(world: &World, name: &str, damage: Damage) {
    let mut bytes = world.store.get(name).unwrap();
    let place = |share: f64| (bytes.len() as f64 * share) as usize;
    match damage {
        Damage::FlipAt(share) => {
            let place = place(share).min(bytes.len() - 1);
            bytes[place] ^= 0x10;
        }
        Damage::CutTo(share) => bytes.truncate(place(share)),
        Damage::Delete => return world.store.delete(name).unwrap(),
    }
    world.put(name, &bytes);
}

/// The damages that are tried of a blob: one in the short form, all in the long one.
fn damages(short: Damage) -> Vec<Damage> {
    match std::env::var_os("E3_TEST_LONG") {
        Some(_) => ALL.to_vec(),
        None => vec![short],
    }
}

/// Damages one blob of each kind in every way, repairs, and judges: what is whole afterwards is at
/// least what was before, what is not is named, and where all is found the second reader agrees.
fn storm(kinds: &[(&str, Damage)], data_may_be_lost: bool) {
    let sound = World::with_every_kind_of_blob();
    for (number, (prefix, short)) in kinds.iter().enumerate() {
        let names = sound.names(prefix);
        let name = &names[number % names.len()];
        for damage in damages(*short) {
            let context = format!("{damage:?} of {name}");
            let world = sound.copy();
            do_to(&world, name, damage);
            let repo = world.open_cold().unwrap();
            let before = world.whole(&repo);
            let dry = repair_with(&repo, true, true).unwrap();
            assert_eq!(world.whole(&repo), before, "{context}: a dry run");
            let repaired = repair(&repo).unwrap();
            let after = world.whole(&repo);
            assert!(
                before.iter().all(|id| after.contains(id)),
                "{context}: worse than before: {repaired:?}"
            );
            let named = |id: &String| {
                let mut damages = repaired.found.damages.iter();
                // Which points a manifest that is lost had, nobody can say; its content is named.
                damages.any(|damage| {
                    let is_manifest = damage.source.is_empty();
                    is_manifest || damage.point_id == *id
                })
            };
            for id in world.ids().iter().filter(|id| !after.contains(id)) {
                assert!(data_may_be_lost, "{context}: {id} is lost: {repaired:?}");
                assert!(named(id), "{context}: {id} is not named: {repaired:?}");
            }
            assert_eq!(
                dry.mended.is_empty(),
                repaired.mended.is_empty(),
                "{context}: a dry run tells whether there is something to do"
            );
            if after == world.ids() {
                assert!(repaired.found.is_sound(), "{context}: {repaired:?}");
                world.assert_sound(name, &context);
                let anew = world.open();
                assert_eq!(world.whole(&anew), after, "{context}: opened anew");
                let again = repair(&anew).unwrap();
                assert_eq!(again.mended, [], "{context}: nothing is left to mend");
            }
        }
    }
}

#[test]
fn index_blobs_of_every_kind_are_rebuilt_from_packs() {
    let kinds = [
        ("xr0_7_", Damage::FlipAt(0.3)),
        ("xs8_", Damage::CutTo(0.7)),
        ("xn9_", Damage::Delete),
        ("xn10_", Damage::FlipAt(1.0)),
    ];
    storm(&kinds, false);
}

#[test]
fn markers_sessions_and_the_schedule_are_mended_or_harmless() {
    let kinds = [
        ("xe10", Damage::Delete),
        ("s", Damage::FlipAt(0.6)),
        ("kopia.maintenance", Damage::CutTo(0.7)),
    ];
    storm(&kinds, false);
}

#[test]
fn what_is_lost_with_a_pack_is_named_and_nothing_else_suffers() {
    let kinds = [
        ("p", Damage::FlipAt(0.3)),
        ("q", Damage::Delete),
        ("p", Damage::FlipAt(1.0)),
        ("p", Damage::CutTo(0.7)),
        ("q", Damage::CutTo(0.0)),
    ];
    storm(&kinds, true);
}

#[test]
fn every_index_blob_and_marker_may_go_at_once() {
    let sound = World::with_every_kind_of_blob();
    let world = sound.copy();
    for name in world.names("xe").iter().chain(&world.names("xn")) {
        do_to(&world, name, Damage::Delete);
    }
    for name in world.names("xs").iter().chain(&world.names("xr")) {
        do_to(&world, name, Damage::FlipAt(0.5));
    }
    let repo = world.open_cold().unwrap();
    assert_eq!(world.whole(&repo), Vec::<String>::new());
    let repaired = repair(&repo).unwrap();
    assert!(repaired.found.is_sound(), "{repaired:?}");
    assert_eq!(world.whole(&world.open()), world.ids());
    world.assert_sound("", "all at once");
}

#[test]
fn an_index_that_is_gone_as_a_whole_is_damage_and_is_rebuilt() {
    let world = World::with_every_kind_of_blob();
    for prefix in ["xn", "xs", "xr", "xe"] {
        for name in world.names(prefix) {
            do_to(&world, &name, Damage::Delete);
        }
    }
    let repo = world.open_cold().unwrap();
    assert!(repo.index_is_empty());
    let found = look(&repo);
    assert!(!found.is_sound(), "{found:?}");
    assert_eq!(found.blobs[0].role, BlobRole::IndexGone);
    let repaired = repair(&repo).unwrap();
    assert!(repaired.found.is_sound(), "{repaired:?}");
    assert_eq!(world.whole(&world.open()), world.ids());
}

#[test]
fn damage_in_the_format_blobs_is_told_by_name() {
    let sound = World::new();
    for damage in [Damage::FlipAt(0.5), Damage::CutTo(0.9), Damage::CutTo(0.0)] {
        let world = sound.copy();
        do_to(&world, "kopia.repository", damage);
        let error = world.open_cold().unwrap_err();
        assert_ne!(error.kind(), RepoErrorKind::NoRepository, "{damage:?}");
        if matches!(damage, Damage::FlipAt(_)) {
            assert!(error.to_string().contains("kopia.repository"), "{error}");
        }
    }
    for damage in ALL {
        let world = sound.copy();
        do_to(&world, "kopia.blobcfg", damage);
        match world.open_cold() {
            Ok(_) => assert!(matches!(damage, Damage::Delete), "it may be missing"),
            Err(error) => assert!(error.to_string().contains("kopia.blobcfg"), "{error}"),
        }
    }
    let world = sound.copy();
    do_to(&world, "kopia.repository", Damage::Delete);
    let error = world.open_cold().unwrap_err();
    assert_eq!(error.kind(), RepoErrorKind::NoRepository);
}

#[test]
fn a_cache_that_knows_a_damaged_index_blob_gives_it_back_tombstones_and_all() {
    tombstones_come_back_from_what_is_known(&|_| {});
}

#[test]
fn tables_that_are_open_give_back_what_another_process_removed_from_the_cache() {
    tombstones_come_back_from_what_is_known(&|world| world.clean_cache("warm"));
}

/// `disturb` is done to the world before the repair, when the repository is open.
fn tombstones_come_back_from_what_is_known(disturb: &dyn Fn(&World)) {
    let mut world = World::new();
    let repo = world.open();
    let id = world.back_up(&repo, &[1, 2]);
    let writer = repo::Writer::new(&repo, 1).unwrap();
    // Sixteen manifests are compacted into one, and the old ones are marked deleted.
    for seed in 0..16 {
        world.back_up(&repo, &[seed]);
    }
    writer.compact_manifests().unwrap();
    snapshot::Snapshots::delete(&writer, &id).unwrap();
    world.snapshots.remove(&id);
    drop(writer);
    let names = world.names("xn0_");
    let tombstones = |repo: &std::sync::Arc<repo::Repository>| {
        let mut count = 0;
        repo.for_each_content(Some(b'm'), &mut |record| {
            count += u32::from(record.deleted);
            Ok(())
        })
        .unwrap();
        count
    };
    let before = tombstones(&repo);
    assert!(before >= 16);
    for name in &names {
        do_to(&world, name, Damage::FlipAt(0.5));
    }
    let repo = world
        .open_despite_damage_on(world.store.clone(), "warm")
        .unwrap();
    let found = look(&repo);
    assert_eq!(found.blobs.len(), names.len(), "{found:?}");
    disturb(&world);
    let repaired = repair(&repo).unwrap();
    assert!(repaired.found.is_sound(), "{repaired:?}");
    assert_eq!(world.whole(&world.open()), world.ids());
    assert!(tombstones(&world.open()) >= before);
    let listed = snapshot::Snapshots::load(&world.open()).unwrap();
    assert_eq!(
        listed.iter().count(),
        world.ids().len(),
        "nothing comes back"
    );
    world.assert_sound("", "from the cache");
}
