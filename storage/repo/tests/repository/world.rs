//! A store in memory that several clients open.

use std::path::Path;
use std::sync::Arc;

use blob::{MemoryStore, SharedBlobStore};
use repo::{CreateOptions, Encoder, Identity, Repository, Surroundings, create};
use time_and_chance::{Chance, ManualClock, SharedClock, StopSignal, Timestamp};

pub const PASSWORD: &str = "correct horse";

pub fn surroundings(cache: &Path, clock: SharedClock, seed: u64) -> Surroundings {
    Surroundings {
        cache_folder: cache.to_owned(),
        identity: Identity {
            username: "agent".into(),
            hostname: "host".into(),
        },
        clock,
        chance: Chance::from_seed(seed),
        stop: StopSignal::new(),
    }
}

/// A world with one store in memory that several clients open.
pub struct World {
    pub store: SharedBlobStore,
    pub clock: Arc<ManualClock>,
    pub caches: tempfile::TempDir,
    /// Every opening draws other random numbers, as every process does.
    openings: std::sync::atomic::AtomicU64,
}

impl World {
    pub fn new() -> Self {
        let clock = ManualClock::at(Timestamp::from_second(1_790_000_000).unwrap());
        let store: SharedBlobStore = Arc::new(MemoryStore::new(clock.clone()));
        let world = Self {
            store,
            clock,
            caches: tempfile::tempdir().unwrap(),
            openings: Default::default(),
        };
        world.create(&CreateOptions::default());
        world
    }

    pub fn create(&self, options: &CreateOptions) {
        create(self.store.clone(), PASSWORD, options, self.surroundings(1)).unwrap();
    }

    pub fn surroundings(&self, client: u64) -> Surroundings {
        let opening = self
            .openings
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        surroundings(
            &self.caches.path().join(client.to_string()),
            self.clock.clone(),
            1000 + opening,
        )
    }

    pub fn open(&self, client: u64) -> Arc<Repository> {
        Repository::open(self.store.clone(), PASSWORD, self.surroundings(client)).unwrap()
    }

    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.store
            .list_all(prefix)
            .unwrap()
            .into_iter()
            .map(|blob| blob.name)
            .collect()
    }
}

pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Chance::from_seed(seed).fill(&mut bytes);
    bytes
}

pub fn plain() -> Encoder {
    Encoder::new(None)
}
