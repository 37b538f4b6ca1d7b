//! A repository's index costs little memory however many contents it names, and says of each
//! what was written.

#![expect(
    clippy::unwrap_used,
    reason = "in tests and their helpers a panic is the report"
)]

use std::path::Path;
use std::sync::Arc;

use blob::FilesystemStore;
use repo::Repository;
use scale::{AnonymousMemory, Contents, PASSWORD, make, newest_record, surroundings};
use time_and_chance::{Chance, SystemClock};

/// The promise for any repository (DESIGN section 5).
const MEMORY_BYTES_MAX: u64 = 512 << 20;

fn open(folder: &Path, cache: &Path) -> Arc<Repository> {
    let store = Arc::new(FilesystemStore::open(folder, Chance::from_seed(1)).unwrap());
    Repository::open(store, PASSWORD, surroundings(cache, 2)).unwrap()
}

/// Looks up so many contents, and as many that are not there.
fn look_up(repository: &Repository, contents: &Contents, count: u64) {
    let chance = Chance::from_seed(3);
    for _ in 0..count {
        let number = chance.below(contents.count());
        let found = repository.find(&contents.id(number)).unwrap().unwrap();
        assert_eq!(found, newest_record(contents, number), "content {number}");
        assert_eq!(repository.find(&contents.absent_id(number)).unwrap(), None);
    }
}

#[test]
fn any_number_of_contents_is_opened_and_found_in_bounded_memory() {
    let long = std::env::var("E3_TEST_LONG").is_ok_and(|long| long == "1");
    let (count, lookups) = if long {
        (50_000_000, 1 << 20)
    } else {
        (300_000, 20_000)
    };
    let folder = tempfile::tempdir().unwrap();
    let (repository, cache) = (folder.path().join("repo"), folder.path().join("cache"));
    let contents = Contents::new(count, 256 << 10);
    let made = make(&repository, &contents).unwrap();
    if long {
        assert!(
            made.bytes_max > MEMORY_BYTES_MAX,
            "one blob alone would not fit"
        );
    }
    let memory = AnonymousMemory::watch(SystemClock::new());
    let before = memory.take_peak_bytes();
    let opened = open(&repository, &cache);
    look_up(&opened, &contents, lookups);
    drop(opened);
    // A second client of the same cache finds it ready.
    look_up(&open(&repository, &cache), &contents, lookups / 10);
    if let (Some(before), Some(peak)) = (before, memory.take_peak_bytes()) {
        let taken = peak.saturating_sub(before);
        assert!(taken < MEMORY_BYTES_MAX / 2, "{taken} bytes of memory");
    }
    let mut walked = 0;
    if !long {
        let all = open(&repository, &cache);
        all.for_each_content(None, &mut |_| {
            walked += 1;
            Ok(())
        })
        .unwrap();
        // What creating the repository wrote is there too.
        assert!((count..count + 10).contains(&walked), "{walked} of {count}");
    }
}
