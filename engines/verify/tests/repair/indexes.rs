//! Index blobs that a foreign writer made wrong, that may not be deleted, that others supersede.

use std::sync::Arc;

use blob::{BlobErrorKind, BlobStore as _, Faulty, Operation, Rule, Strike};
use kopia::maintenance::MAINTENANCE_TYPE;
use kopia::record::ContentRecord;
use repo::Writer;
use snapshot::Snapshots;
use time_and_chance::StopSignal;
use verify::BlobRole;

use crate::world::{World, look, noise, repair};

/// Puts an index blob in place of `blob`: authentic, named as it should be, and with this payload.
fn replace(world: &World, blob: &str, payload: &[u8]) -> String {
    let format = world.open_cold().unwrap().format();
    let hash = format.hasher().unwrap().hash(payload);
    let mut sealed = Vec::new();
    let nonce = noise(7, 12).try_into().unwrap();
    let cipher = format.cipher().unwrap();
    cipher.seal_into(&hash.iv(), nonce, payload, &mut sealed);
    let (stem, set) = blob.split_once('-').unwrap();
    let stem = stem.rsplit_once('_').unwrap().0;
    let name = format!("{stem}_{}-{set}", hash.to_hex());
    world.store.delete(blob).unwrap();
    world.put(&name, &sealed);
    name
}

fn damage(world: &World, blob: &str) {
    let mut bytes = world.store.get(blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    world.put(blob, &bytes);
}

#[test]
fn index_blobs_that_open_and_make_no_sense_are_rebuilt_from_packs() {
    let sound = World::with_every_kind_of_blob();
    let mut records: Vec<ContentRecord> = Vec::new();
    let repo = sound.open_cold().unwrap();
    repo.for_each_content(None, &mut |record| {
        records.push(record);
        Ok(())
    })
    .unwrap();
    records.truncate(5);
    let payload = kopia::index::write_index(2, &records).unwrap();
    let row = usize::from(payload[1]) + usize::from(payload[2]) * 256 + usize::from(payload[3]);
    let altered = |place: usize, byte: u8| {
        let mut payload = payload.clone();
        payload[place] = byte;
        payload
    };
    let faults = [
        ("an unknown version", altered(0, 9)),
        ("short entries", altered(3, 2)),
        ("cut", payload[..17 + 3 * row].to_vec()),
        ("out of order", altered(17, 0xff)),
        ("packs it does not name", altered(11, 0)),
        ("empty", Vec::new()),
    ];
    for (number, (fault, payload)) in faults.iter().enumerate() {
        let kind = ["xn10_", "xs8_", "xr0_7_"][number % 3];
        let world = sound.copy();
        let blob = replace(&world, &world.names(kind)[0], payload);
        let repo = world.open_cold().unwrap();
        let found = look(&repo);
        let named: Vec<_> = found.blobs.iter().filter(|it| it.blob == blob).collect();
        assert_eq!(named.len(), 1, "{fault}: {found:?}");
        assert_eq!(named[0].role, BlobRole::Index, "{fault}");
        let repaired = repair(&repo).unwrap();
        assert!(repaired.found.is_sound(), "{fault}: {repaired:?}");
        assert_eq!(world.names(&blob), Vec::<String>::new(), "{fault}");
        assert_eq!(world.whole(&world.open()), world.ids(), "{fault}");
        world.assert_sound("", fault);
    }
}

#[test]
fn keys_that_may_not_delete_mend_the_rest_and_name_what_remains_to_be_done() {
    let world = World::with_every_kind_of_blob();
    let mut blobs = Vec::new();
    for kind in ["xr0_7_", "xs8_", "xn9_", "xn10_"] {
        let blob = world.names(kind).remove(0);
        damage(&world, &blob);
        blobs.push(blob);
    }
    world.put("kopia.maintenance", b"nonsense");
    let faulty = Faulty::new(world.store.clone(), world.clock.clone(), StopSignal::new());
    let denied = Strike::Fail(BlobErrorKind::Denied);
    faulty.add(Rule::on(Operation::Delete, denied).times(u64::MAX));
    let repo = world.open_despite_damage_on(Arc::new(faulty), "cold");
    let repo = repo.unwrap();
    let repaired = repair(&repo).unwrap();
    // A new set may come to count in place of the damaged one: readers take the first that is whole.
    for blob in &blobs {
        let left = repaired.left.iter().find(|(name, _)| name == blob);
        let (_, reason) = left.unwrap_or_else(|| panic!("{blob} is not named: {repaired:?}"));
        assert!(reason.contains("with keys that may delete"), "{reason}");
        assert!(repaired.needs_other_keys.contains(blob));
        assert_eq!(world.names(blob).len(), 1, "{blob} is still there");
    }
    assert!(!repaired.found.is_sound());
    assert!(repaired.only_needs_other_keys(), "{repaired:?}");
    assert_eq!(world.whole(&repo), world.ids(), "all else is mended");

    let before = world.names("x");
    let again = repair(&repo).unwrap();
    assert!(again.only_needs_other_keys(), "{again:?}");
    assert_eq!(world.names("x"), before, "nothing is written twice");

    let repaired = repair(&world.open_cold().unwrap()).unwrap();
    assert!(repaired.found.is_sound(), "{repaired:?}");
    assert!(!repaired.only_needs_other_keys());
    assert_eq!(world.whole(&world.open()), world.ids());
    world.assert_sound("", "with keys that may");
}

#[test]
fn what_was_compacted_and_is_still_there_gives_a_compacted_index_back() {
    let world = World::with_superseded_indexes();
    for kind in ["xr0_7_", "xs8_"] {
        damage(&world, &world.names(kind)[0]);
    }
    // No pack says what it holds.
    for pack in world.names("p").iter().chain(&world.names("q")) {
        let mut bytes = world.store.get(pack).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        world.put(pack, &bytes);
    }
    let repo = world.open_cold().unwrap();
    assert_ne!(world.whole(&repo), world.ids());
    let repaired = repair(&repo).unwrap();
    assert!(repaired.found.is_sound(), "{repaired:?}");
    let repo = world.open();
    assert_eq!(world.whole(&repo), world.ids());
    let manifests = repo.manifests().unwrap();
    assert_eq!(manifests.find(MAINTENANCE_TYPE, &[]).count(), 1);
}

#[test]
fn what_only_a_lost_index_knew_to_be_deleted_is_not_taken_for_stored() {
    let mut world = World::new();
    let repo = world.open();
    let id = world.back_up(&repo, &[1, 2, 3]);
    world.snapshots.remove(&id);
    Snapshots::delete(&Writer::new(&repo, 1).unwrap(), &id).unwrap();
    // Long ago: everything that it needed was collected, and its packs are gone.
    let mut records = Vec::new();
    let collected = repo.for_each_content(None, &mut |record| {
        records.push(record);
        Ok(())
    });
    collected.unwrap();
    records.retain(|record| record.pack_blob.starts_with('p'));
    assert!(!records.is_empty());
    let before = world.names("xn");
    let writer = Writer::new(&repo, 1).unwrap();
    for record in &records {
        writer.bury(record).unwrap();
    }
    writer.flush().unwrap();
    drop(writer);
    for pack in world.names("p") {
        world.store.delete(&pack).unwrap();
    }
    let after = world.names("xn");
    let deletions: Vec<_> = after.iter().filter(|it| !before.contains(it)).collect();
    assert!(!deletions.is_empty());
    for blob in deletions {
        damage(&world, blob);
    }

    let repaired = repair(&world.open_cold().unwrap()).unwrap();
    assert!(repaired.found.is_sound(), "{repaired:?}");
    let other = world.open();
    Snapshots::load(&other).unwrap();
    world.back_up(&other, &[1, 2, 3]);
    assert_eq!(world.whole(&other), world.ids());
}
