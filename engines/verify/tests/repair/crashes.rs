//! Repairs and backups that die at any of their operations.

use std::sync::Arc;

use blob::{BlobStore as _, Dying};
use repo::{Repository, Writer};

use crate::world::{World, back_up, look, repair};

/// Does `work` on copies of `world` that die at one operation each, after opening, and hands what
/// is left of each to `judge`.
fn die_everywhere(
    world: &World,
    work: &dyn Fn(&Arc<Repository>) -> bool,
    judge: &dyn Fn(&World, &str),
) {
    let open = |world: &World, after: u64| {
        let dying = Arc::new(Dying::new(world.store.clone()));
        let repo = world.open_despite_damage_on(dying.clone(), "dying");
        dying.die_at(after);
        (repo.unwrap(), dying)
    };
    let (repo, dying) = open(&world.copy(), u64::MAX);
    assert!(work(&repo), "the work is done where nothing dies");
    let operations = dying.asked();
    let step = match std::env::var_os("E3_TEST_LONG") {
        Some(_) => 1,
        None => (operations / 4).max(1),
    };
    for after in (1..=operations).step_by(step as usize) {
        let context = format!("died at operation {after} of {operations}");
        let world = world.copy();
        let (repo, _) = open(&world, after);
        // The number of operations varies a little, so the last ones may never come.
        let is_done = work(&repo);
        assert!(!is_done || after + 10 > operations, "{context}");
        drop(repo);
        judge(&world, &context);
    }
}

#[test]
fn a_repair_that_dies_at_any_operation_harms_nothing_and_the_next_finishes() {
    let world = World::with_every_kind_of_blob();
    for name in ["xr0_7_", "xs8_", "xn10_"] {
        let name = &world.names(name)[0];
        let mut bytes = world.store.get(name).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        world.put(name, &bytes);
    }
    die_everywhere(&world, &|repo| repair(repo).is_ok(), &|world, context| {
        let repo = world.open_cold().unwrap();
        let repaired = repair(&repo).unwrap();
        assert!(repaired.found.is_sound(), "{context}: {repaired:?}");
        assert_eq!(world.whole(&world.open()), world.ids(), "{context}");
        world.assert_sound("", context);
    });
}

#[test]
fn a_backup_that_dies_at_any_operation_leaves_a_repository_without_fault() {
    let mut world = World::new();
    let repo = world.open();
    world.back_up(&repo, &[1, 2]);
    world.back_up(&repo, &[2, 3]);
    drop(repo);
    let work = |repo: &Arc<Repository>| {
        Writer::new(repo, 1).is_ok_and(|writer| back_up(&writer, &[3, 4, 5]).is_ok())
    };
    die_everywhere(&world, &work, &|world, context| {
        let repo = world.open();
        let found = look(&repo);
        assert!(found.is_sound(), "{context}: {found:?}");
        assert_eq!(found.blobs, [], "{context}");
        assert_eq!(world.whole(&repo), world.ids(), "{context}");
        world.assert_sound("", context);
        let repaired = repair(&repo).unwrap();
        assert_eq!(world.whole(&repo), world.ids(), "{context}: {repaired:?}");
    });
}
