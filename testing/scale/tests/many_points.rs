//! Snapshots are listed and found, and their manifests tidied up, in little memory however many
//! there are.

use std::sync::Arc;

use blob::{FilesystemStore, NewLayout, SharedBlobStore};
use point::Points;
use repo::{CreateOptions, Repository, Writer, create};
use scale::{AnonymousMemory, PASSWORD, add_points, surroundings};
use snapshot::{Snapshots, plan_expiry};
use time_and_chance::{Chance, SystemClock, TimeZone};

/// The promise for any repository (DESIGN section 5).
const MEMORY_BYTES_MAX: u64 = 512 << 20;

#[test]
fn any_number_of_points_is_listed_and_found_in_bounded_memory() {
    let long = std::env::var("E3_TEST_LONG").is_ok_and(|long| long == "1");
    let (count, sources) = if long { (100_000, 400) } else { (400, 20) };
    let folder = tempfile::tempdir().unwrap();
    let (path, cache) = (folder.path().join("repo"), folder.path().join("cache"));
    let store = FilesystemStore::create(&path, NewLayout::Sharded, Chance::from_seed(1)).unwrap();
    let store: SharedBlobStore = Arc::new(store);
    let options = CreateOptions::default();
    let maker = create(
        Arc::clone(&store),
        PASSWORD,
        &options,
        surroundings(&cache, 2),
    );
    let ids = add_points(&maker.unwrap(), count, sources).unwrap();

    let memory = AnonymousMemory::watch(SystemClock::new());
    let before = memory.take_peak_bytes();
    let repo = Repository::open(store, PASSWORD, surroundings(&cache, 3)).unwrap();
    let listed = |points: &Points| -> Vec<String> {
        let listed = points.iter().map(|point| point.id().to_owned());
        listed.collect()
    };
    let points = Points::load(&repo).unwrap();
    assert_eq!(listed(&points), ids, "all of them, oldest first");
    for id in [&ids[0], &ids[ids.len() / 2]] {
        let point = points.find(&id[..12]).unwrap();
        assert!(point.open(&repo).is_ok(), "{id} is a VM's");
    }
    let plans = plan_expiry(points.snapshots(), &TimeZone::UTC).unwrap();
    assert_eq!(plans.len() as u64, sources);
    drop(plans);

    let writer = Writer::new(&repo, 1).unwrap();
    // One more than what calls for a compaction, whatever lies there already.
    for id in &ids[..6] {
        Snapshots::delete(&writer, id).unwrap();
    }
    drop(points);
    writer.compact_manifests().unwrap();
    assert_eq!(listed(&Points::load(&repo).unwrap()), ids[6..]);
    if let (Some(before), Some(peak)) = (before, memory.take_peak_bytes()) {
        let taken = peak.saturating_sub(before);
        assert!(taken < MEMORY_BYTES_MAX, "{taken} bytes of memory");
    }
}
