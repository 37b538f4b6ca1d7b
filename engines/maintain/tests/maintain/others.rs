//! Other clients in the same repository, one of which maintains it without any margin.

use repo::Writer;

use crate::world::{FULL, HOUR, World, back_up};

#[test]
fn two_maintainers_by_turns_break_nothing_for_days() {
    let mut world = World::new();
    let mut ids = Vec::new();
    for day in 0..8u64 {
        let repo = world.open();
        ids.push(world.back_up(&repo, &[day, day + 1, day + 2, 50]));
        if ids.len() > 3 {
            let oldest = ids.remove(0);
            world.delete(&repo, &oldest);
        }
        world.clock.advance(23 * HOUR);
        if day % 2 == 1 {
            world.foreign(|client| client.full_maintenance().unwrap());
        } else {
            let report = world.maintain(FULL).unwrap();
            assert!(report.is_whole(), "day {day}: {report:?}");
        }
        let context = format!("day {day}");
        world.assert_whole(&context);
        world.assert_sound(&context);
        world.clock.advance(HOUR);
    }
}

#[test]
fn a_backup_that_goes_on_while_its_base_is_collected_is_whole() {
    let mut world = World::new();
    let repo = world.open();
    let base = world.back_up(&repo, &[1, 2, 3]);
    world.clock.advance(48 * HOUR);
    let writer = Writer::new(&repo, 1).unwrap();
    world.delete(&repo, &base);
    let report = world.maintain(FULL).unwrap();
    assert!(report.collected.buried.count >= 3, "{report:?}");
    // The writer refreshes its index when it is older than a quarter of an hour.
    world.clock.advance(HOUR);
    let (id, files) = back_up(&writer, &[1, 2, 3, 4], "");
    world.snapshots.insert(id, files);
    world.days(6);
    world.assert_whole("after a week");
    world.assert_sound("after a week");
}
