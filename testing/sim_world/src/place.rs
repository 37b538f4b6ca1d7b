//! Hosts, stores, state folders and the clock: everything that outlives an agent's process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backup::vm::StateFolder;
use blob::{Faulty, MemoryStore, RetryLimits, Retrying, SharedBlobStore};
use hyperv::sim::{SimHost, SimOptions};
use repo::{CreateOptions, Identity, RepoError, Repository, Surroundings};
use time_and_chance::{Chance, Clock, ManualClock, StopSignal, Timestamp};

/// The password of both repositories.
pub(crate) const PASSWORD: &str = "storm";

const HOST_NAMES: [&str; 2] = ["alpha", "beta"];
/// The machine that maintains the repositories.
const KEEPER: &str = "keeper";

/// What the world consists of.
#[derive(Debug)]
pub(crate) struct Place {
    folder: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) chance: Chance,
    /// The stores as they are.
    pub(crate) stores: [Arc<MemoryStore>; 2],
    /// The stores as agents meet them.
    pub(crate) faulty: [Arc<Faulty>; 2],
}

impl Place {
    pub(crate) fn new(chance: Chance) -> Self {
        let start = Timestamp::from_second(1_790_000_000).expect("a time in range");
        let clock = ManualClock::at(start);
        let stores = [(); 2].map(|()| Arc::new(MemoryStore::new(clock.clone())));
        let faulty = stores
            .clone()
            .map(|store| Arc::new(Faulty::new(store, clock.clone(), StopSignal::new())));
        let place = Self {
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
            clock,
            chance,
            stores,
            faulty,
        };
        for (number, name) in HOST_NAMES.into_iter().enumerate() {
            let options = SimOptions {
                name: name.to_owned(),
                merge_calls: 1 + place.chance.below(3) as u32,
                ..SimOptions::default()
            };
            let folder = place.path(&format!("host-{number}"));
            SimHost::create(&folder, options, place.clock.clone(), place.chance.clone())
                .expect("a host can be made");
            place.state(number);
        }
        for store in &place.stores {
            let surroundings = place.surroundings("creator");
            repo::create(
                store.clone(),
                PASSWORD,
                &CreateOptions::default(),
                surroundings,
            )
            .expect("a repository can be made");
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Opens a host as another process does.
    pub(crate) fn host(&self, number: usize) -> SimHost {
        let folder = self.path(&format!("host-{number}"));
        SimHost::open(&folder, self.clock.clone(), self.chance.clone()).expect("the host is there")
    }

    /// Opens the state folder of the agent on a host.
    pub(crate) fn state(&self, host: usize) -> StateFolder {
        StateFolder::open(self.path(&format!("state-{host}"))).expect("the state folder opens")
    }

    /// Puts the state folder of a host aside, or back in place of a newer one.
    pub(crate) fn copy_state(&self, host: usize, back: bool) -> bool {
        let (here, aside) = (
            self.path(&format!("state-{host}")),
            self.path(&format!("older-state-{host}")),
        );
        let (from, to) = if back { (aside, here) } else { (here, aside) };
        if !from.exists() {
            return false;
        }
        let _ = std::fs::remove_dir_all(&to);
        copy_folder(&from, &to);
        true
    }

    /// Deletes the cache of the agent on a host.
    pub(crate) fn lose_cache(&self, host: usize) {
        let _ = std::fs::remove_dir_all(self.path(HOST_NAMES[host]));
    }

    /// Returns the time.
    pub(crate) fn now(&self) -> Timestamp {
        Clock::now(self.clock.as_ref())
    }

    /// Opens a repository as the agent on a host meets it, faults included.
    pub(crate) fn open(
        &self,
        repository: usize,
        host: usize,
    ) -> Result<Arc<Repository>, RepoError> {
        self.open_as(HOST_NAMES[host], repository)
    }

    /// Opens a repository as the machine that maintains it meets it, faults included.
    pub(crate) fn open_as_keeper(&self, repository: usize) -> Result<Arc<Repository>, RepoError> {
        self.open_as(KEEPER, repository)
    }

    fn open_as(&self, name: &str, repository: usize) -> Result<Arc<Repository>, RepoError> {
        let limits = RetryLimits {
            total_max: Duration::from_secs(30),
            ..RetryLimits::default()
        };
        let store: SharedBlobStore = Arc::new(Retrying::new(
            self.faulty[repository].clone(),
            limits,
            self.clock.clone(),
            self.chance.clone(),
            StopSignal::new(),
        ));
        Repository::open(store, PASSWORD, self.surroundings(name))
    }

    /// Opens a repository as it is.
    pub(crate) fn observe(&self, repository: usize) -> Arc<Repository> {
        let store = self.stores[repository].clone();
        Repository::open(store, PASSWORD, self.surroundings("observer"))
            .expect("the repository is there")
    }

    fn surroundings(&self, name: &str) -> Surroundings {
        Surroundings {
            cache_folder: self.path(name),
            identity: Identity {
                username: "agent".into(),
                hostname: name.into(),
            },
            clock: self.clock.clone(),
            chance: self.chance.clone(),
            stop: StopSignal::new(),
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
