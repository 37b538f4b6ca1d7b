//! How much of what is damaged is kept in memory at a time, however much there is.

use kopia::content_id::ContentId;

use crate::harm::Window;

/// What is damaged and told apart, at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Bad contents kept with the reason, some 300 bytes each; the rest is read again where it is met.
    pub(crate) told: usize,
    /// Contents wanted from elsewhere at a time, some 50 bytes each; a repair goes on behind them.
    pub(crate) wanted: usize,
    /// Those of them that packs are searched for at a time, with the places they lie in: some 500
    /// bytes each.
    pub(crate) searched: usize,
    /// Damaged files that are kept by name, over all points; the rest is counted.
    pub(crate) named: usize,
}

impl Bounds {
    /// Returns the first window of what is wanted.
    pub(crate) fn first_window(&self) -> Window {
        self.window_behind(None)
    }

    /// Returns the window that begins behind this content.
    pub(crate) fn window_behind(&self, behind: Option<ContentId>) -> Window {
        let max = self.wanted;
        Window { behind, max }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            told: 1 << 17,
            wanted: 1 << 20,
            searched: 1 << 18,
            named: 10_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use blob::{BlobStore as _, MemoryStore, PutOptions};
    use kopia::content_id::ContentId;
    use kopia::snapshot::{SnapshotManifest, SnapshotSource, SnapshotStats};
    use progress::Progress;
    use repo::{CreateOptions, Encoder, Identity, Repository, Surroundings, Writer, create};
    use snapshot::{Snapshots, TreeWriter};
    use time_and_chance::{Chance, Clock as _, ManualClock, StopSignal, Timestamp};

    use super::Bounds;
    use crate::{Damage, MendedKind, Repair, Verification, VerifyOptions, verification};

    const PASSWORD: &str = "bounded";
    const FEW: Bounds = Bounds {
        told: 3,
        wanted: 7,
        searched: 2,
        named: 5,
    };

    struct World {
        store: Arc<MemoryStore>,
        clock: Arc<ManualClock>,
        cache: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            let clock = ManualClock::at(Timestamp::from_second(1_790_000_000).unwrap());
            let world = Self {
                store: Arc::new(MemoryStore::new(clock.clone())),
                clock,
                cache: tempfile::tempdir().unwrap(),
            };
            let store = world.store.clone();
            let options = CreateOptions::default();
            create(store, PASSWORD, &options, world.surroundings(1)).unwrap();
            world
        }

        fn surroundings(&self, seed: u64) -> Surroundings {
            Surroundings {
                cache_folder: self.cache.path().join(seed.to_string()),
                identity: Identity {
                    username: "agent".into(),
                    hostname: "host".into(),
                },
                clock: self.clock.clone(),
                chance: Chance::from_seed(seed),
                stop: StopSignal::new(),
            }
        }

        fn open(&self, seed: u64) -> Arc<Repository> {
            Repository::open(self.store.clone(), PASSWORD, self.surroundings(seed)).unwrap()
        }

        /// Turns a bit of each content where the index says that it lies.
        fn spoil(&self, repo: &Arc<Repository>, ids: &[ContentId]) {
            for id in ids {
                let record = repo.find(id).unwrap().unwrap();
                let mut pack = self.store.get(&record.pack_blob).unwrap();
                pack[record.pack_offset as usize + 20] ^= 1;
                let put = PutOptions::default();
                self.store.put(&record.pack_blob, &[&pack], &put).unwrap();
            }
        }
    }

    fn bytes_of(number: u32) -> Vec<u8> {
        let mut bytes = vec![0; 200];
        Chance::from_seed(u64::from(number)).fill(&mut bytes);
        bytes
    }

    fn ids(repo: &Repository, numbers: std::ops::Range<u32>) -> Vec<ContentId> {
        numbers
            .map(|number| repo.content_id(None, &bytes_of(number)))
            .collect()
    }

    /// Publishes a folder with a file for each number.
    fn back_up(writer: &Writer, numbers: std::ops::Range<u32>) -> String {
        let now = writer.repository().clock().now();
        let mut encoder = Encoder::new(None);
        let mut tree = TreeWriter::new(writer, now);
        let files = numbers.map(|number| {
            let bytes = bytes_of(number);
            let object = writer.write_object(&mut encoder, None, &bytes, 1 << 20);
            tree.stored_file(&format!("{number:03}"), object.unwrap(), 200)
        });
        let files: Vec<_> = files.collect();
        let root = tree.folder("", files).unwrap();
        let manifest = SnapshotManifest {
            id: String::new(),
            source: SnapshotSource {
                host: "host".into(),
                user_name: "user".into(),
                path: "/data".into(),
            },
            description: String::new(),
            start_time: now,
            end_time: now,
            stats: SnapshotStats::default(),
            incomplete: String::new(),
            root_entry: Some(root),
            tags: BTreeMap::new(),
            storage_stats: None,
            pins: Vec::new(),
            other: BTreeMap::new(),
        };
        writer.flush().unwrap();
        let published = Snapshots::publish(writer, &manifest).unwrap();
        writer.flush().unwrap();
        published.id().to_owned()
    }

    fn all_data() -> VerifyOptions {
        VerifyOptions {
            data_percent: 100.0,
            seed: 1,
            readers: 2,
            points: Vec::new(),
            until: None,
        }
    }

    fn look(repo: &Arc<Repository>, bounds: &Bounds) -> Verification {
        let (options, silent) = (all_data(), Progress::silent());
        let window = bounds.first_window();
        verification::verify_within(repo, &options, bounds, window, &silent).unwrap()
    }

    fn of_point<'f>(found: &'f Verification, id: &str) -> Vec<&'f Damage> {
        let damages = found.damages.iter();
        damages.filter(|damage| damage.point_id == id).collect()
    }

    #[test]
    fn more_damage_than_is_kept_in_memory_is_found_counted_remembered_and_mended() {
        let world = World::new();
        // Two clients that do not know of each other store 40 files; 10 more and 30 sound ones are
        // stored once, all in the same packs.
        let (one, two) = (world.open(2), world.open(3));
        let (first, second) = (Writer::new(&one, 1).unwrap(), Writer::new(&two, 1).unwrap());
        back_up(&first, 0..40);
        let hurt = back_up(&second, 0..50);
        let sound = back_up(&second, 100..130);
        let repo = world.open(4);
        world.spoil(&repo, &ids(&repo, 0..50));

        let found = look(&repo, &FEW);
        assert_eq!(found.damages.len(), 5);
        let all = found.damages.len() as u64 + found.damages_not_listed;
        assert_eq!(all, 40 + 50, "each file of each point counts");
        let plenty = look(&repo, &Bounds::default());
        assert_eq!(plenty.damages.len(), 90);
        assert!(of_point(&plenty, &sound).is_empty());
        let time = world.clock.now();
        let remembered = found.remembered(&repo, time, 100.0).unwrap();
        let points = Snapshots::load(&repo).unwrap();
        for point in points.iter() {
            let root = point.manifest.root_entry.as_ref().unwrap().object;
            let known = remembered.of(&root).unwrap();
            assert_eq!(known.damage.is_none(), point.id == sound, "{known:?}");
            if let Some(damage) = &known.damage {
                let count = damage.files.len() as u64 + damage.files_not_listed;
                assert!(!damage.files.is_empty(), "{damage:?}");
                assert_eq!(count, if point.id == hurt { 50 } else { 40 });
            }
        }
        let is_lost = |id: &ContentId| remembered.lost().contents.contains_key(id);
        assert!(ids(&repo, 0..50).iter().all(is_lost));

        let (options, silent) = (all_data(), Progress::silent());
        let repair = |dry_run| Repair {
            repo: &repo,
            options: &options,
            dry_run,
            take_ownership: true,
            give_up_lost_manifests: false,
            progress: &silent,
        };
        let count = |repaired: &crate::Repaired| -> u64 {
            let contents = repaired.mended.iter();
            contents
                .filter(|it| it.what == MendedKind::Contents)
                .map(|it| it.count)
                .sum()
        };
        assert_eq!(count(&repair(true).run_within(&FEW).unwrap()), 40);
        let repaired = repair(false).run_within(&FEW).unwrap();
        assert_eq!(count(&repaired), 40);
        let left = &repaired.found;
        assert_eq!(left.damages.len() as u64 + left.damages_not_listed, 10);
        assert!(left.damages.iter().all(|damage| damage.point_id == hurt));
        assert_eq!(look(&repo, &Bounds::default()).damages.len(), 10);
    }
}
