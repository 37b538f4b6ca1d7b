//! A backup whose store dies at any of its requests.

use std::sync::Arc;

use backup::files::FileBackup;
use blob::Dying;
use progress::Progress;
use repo::Writer;

use crate::trees::look;
use crate::world::{World, options};

/// So many places are tried in the short form.
const PLACES_SHORT: u64 = 5;

#[test]
fn a_backup_that_dies_at_any_request_harms_nothing_and_the_next_is_whole() {
    let world = World::new();
    for number in 0..12 {
        world.write(&format!("tree/{}/{number}", number % 3), &[number; 5000]);
    }
    let source = world.source("tree");
    let old = world.back_up(&source, &options()).unwrap().point_id;
    let old_tree = look(&world.restore(&old).path().join("tree"));
    for number in 8..16 {
        world.write(
            &format!("tree/{}/{number}", number % 3),
            &[number + 100; 6000],
        );
    }
    let tree = look(&world.path("tree"));
    let run = |die_at: u64| {
        let mut dying = None;
        let (folder, repo) = world.copy_on(|store| {
            let store = Arc::new(Dying::new(store));
            dying = Some(store.clone());
            store
        });
        let dying = dying.expect("the store was wrapped");
        dying.die_at(die_at);
        let is_done = Writer::new(&repo, 2).is_ok_and(|writer| {
            let backup = FileBackup {
                writer: &writer,
                options: &options(),
            };
            backup.run(&source, &Progress::silent()).is_ok()
        });
        (folder, is_done, dying.asked())
    };

    let (_, is_done, requests) = run(u64::MAX);
    assert!(is_done, "the backup is done where nothing dies");
    let step = match std::env::var("E3_TEST_LONG").is_ok_and(|long| long == "1") {
        true => 1,
        false => (requests / PLACES_SHORT).max(1),
    };
    for die_at in (1..=requests).step_by(step as usize) {
        let context = format!("died at request {die_at} of {requests}");
        let (folder, _, _) = run(die_at);
        let after = World::of_folder(folder);
        for id in after.snapshots(true) {
            let expected = if id == old { &old_tree } else { &tree };
            let restored = look(&after.restore(&id).path().join("tree"));
            assert_eq!(restored, *expected, "{context}: {id}");
        }
        let next = after.back_up(&source, &options()).unwrap();
        let restored = look(&after.restore(&next.point_id).path().join("tree"));
        assert_eq!(restored, tree, "{context}");
        assert!(after.snapshots(true).contains(&old), "{context}");
        let mut findings = after.findings();
        findings.retain(|finding| !is_left_to_maintenance(finding));
        assert_eq!(findings, Vec::<String>::new(), "{context}");
    }
}

/// Returns whether a finding is what a session that died may leave for maintenance to remove.
fn is_left_to_maintenance(finding: &str) -> bool {
    finding.ends_with("is a session marker left over") || finding.ends_with("no index knows it")
}
