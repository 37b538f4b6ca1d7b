//! Changes of listed points whose index blob is lost.

use std::time::Duration;

use blob::BlobStore as _;
use repo::Writer;
use snapshot::Snapshots;

use crate::world::{World, repair};

/// A world with a point to which `change` is done, whose index blob is then gone.
fn world_without_the_index_of(change: impl FnOnce(&Writer, &str)) -> (World, String) {
    let mut world = World::new();
    let repo = world.open();
    let id = world.back_up(&repo, &[1, 2]);
    let before = world.names("xn");
    world.clock.advance(Duration::from_secs(60));
    let writer = Writer::new(&repo, 1).unwrap();
    change(&writer, &id);
    writer.flush().unwrap();
    drop(writer);
    let names = world.names("xn");
    let new: Vec<&String> = names.iter().filter(|name| !before.contains(name)).collect();
    assert!(!new.is_empty());
    for name in new {
        world.store.delete(name).unwrap();
    }
    world.clock.advance(Duration::from_secs(60));
    (world, id)
}

#[test]
fn a_pin_whose_index_is_lost_is_found_in_its_pack() {
    let (world, id) = world_without_the_index_of(|writer, id| {
        Snapshots::edit(writer, id, |manifest| manifest.pins.push("kept".into())).unwrap();
    });
    let pins = || {
        let listed = Snapshots::load(&world.open()).unwrap();
        let point = listed.iter().find(|it| it.id == id).unwrap();
        point.manifest.pins.clone()
    };
    assert_eq!(pins(), Vec::<String>::new(), "the pin is lost");
    let repaired = repair(&world.open_cold().unwrap()).unwrap();
    assert_eq!(pins(), ["kept"], "{repaired:?}");
    assert_eq!(repaired.left, []);
    assert_eq!(world.whole(&world.open()), world.ids());
    let again = repair(&world.open_cold().unwrap()).unwrap();
    assert_eq!(again.mended, []);
}

#[test]
fn a_deletion_whose_index_is_lost_is_told_and_neither_done_nor_thrown_away() {
    let (world, id) = world_without_the_index_of(|writer, id| {
        Snapshots::delete(writer, id).unwrap();
    });
    for round in 0..2 {
        let repaired = repair(&world.open_cold().unwrap()).unwrap();
        assert_eq!(repaired.mended, [], "{round}");
        let left: Vec<&str> = repaired.left.iter().map(|it| it.0.as_str()).collect();
        assert_eq!(left, [id.as_str()], "{round}: {repaired:?}");
        assert_eq!(world.whole(&world.open()), world.ids());
    }
    let repo = world.open();
    Snapshots::delete(&Writer::new(&repo, 1).unwrap(), &id).unwrap();
    let repaired = repair(&world.open_cold().unwrap()).unwrap();
    assert_eq!(repaired.left, []);
    assert_eq!(Snapshots::load(&world.open()).unwrap().iter().count(), 0);
}
