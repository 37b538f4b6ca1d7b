//! A repository in memory, whose times are those of a clock that the test moves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use blob::{BlobStore, FilesystemStore, MemoryStore, NewLayout, PutOptions, SharedBlobStore};
use foreign_client::ForeignClient;
use kopia::directory::EntryType;
use kopia::indirect::IndirectEntry;
use kopia::snapshot::{SnapshotManifest, SnapshotSource, SnapshotStats};
use maintain::{MaintainError, Maintenance, Options, Report};
use progress::Progress;
use repo::{CreateOptions, Encoder, Identity, Repository, Surroundings, Writer, create};
use second_reader::SecondReader;
use snapshot::{Snapshots, TreeWriter, read_directory};
use time_and_chance::{Chance, Clock, ManualClock, StopSignal, Timestamp};

pub const PASSWORD: &str = "maintained";
pub const HOUR: Duration = Duration::from_hours(1);
pub const FULL: Options = Options {
    full: true,
    dry_run: false,
    take_ownership: false,
    memory_bytes: 512 << 20,
};

/// Files by path.
type Files = BTreeMap<String, Vec<u8>>;

pub struct World {
    pub store: Arc<MemoryStore>,
    pub clock: Arc<ManualClock>,
    caches: tempfile::TempDir,
    chances: AtomicU64,
    /// What each listed snapshot holds.
    pub snapshots: BTreeMap<String, Files>,
}

impl World {
    pub fn new() -> Self {
        let clock = ManualClock::at(Timestamp::from_second(1_790_000_000).unwrap());
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let world = Self {
            store: store.clone(),
            clock,
            caches: tempfile::tempdir().unwrap(),
            chances: AtomicU64::new(1),
            snapshots: BTreeMap::new(),
        };
        let options = CreateOptions::default();
        create(store, PASSWORD, &options, world.surroundings("agent")).unwrap();
        world
    }

    /// Returns a world of its own that is as this one is now.
    pub fn copy(&self) -> Self {
        let clock = ManualClock::at(self.clock.now());
        Self {
            store: Arc::new(self.store.copy_with(clock.clone())),
            clock,
            caches: tempfile::tempdir().unwrap(),
            chances: AtomicU64::new(self.chances.load(Ordering::Relaxed)),
            snapshots: self.snapshots.clone(),
        }
    }

    fn chance(&self) -> Chance {
        Chance::from_seed(self.chances.fetch_add(1, Ordering::Relaxed))
    }

    pub fn surroundings(&self, user: &str) -> Surroundings {
        Surroundings {
            cache_folder: self.caches.path().join(user),
            identity: Identity {
                username: user.into(),
                hostname: "host".into(),
            },
            clock: self.clock.clone(),
            chance: self.chance(),
            stop: StopSignal::new(),
        }
    }

    /// Opens the repository as its owner would, behind `store`.
    pub fn open_on(&self, store: SharedBlobStore) -> Arc<Repository> {
        Repository::open(store, PASSWORD, self.surroundings("agent")).unwrap()
    }

    pub fn open(&self) -> Arc<Repository> {
        self.open_on(self.store.clone())
    }

    pub fn maintain(&self, options: Options) -> Result<Report, MaintainError> {
        maintain(&self.open(), options)
    }

    /// Runs full maintenance once a day.
    pub fn days(&self, days: u32) -> Vec<Report> {
        let repo = self.open();
        let day = |_| {
            self.clock.advance(24 * HOUR);
            maintain(&repo, FULL).unwrap()
        };
        (0..days).map(day).collect()
    }

    /// Backs up a file that `seeds` say, one part each: equal parts are shared.
    pub fn back_up(&mut self, repo: &Arc<Repository>, seeds: &[u64]) -> String {
        let writer = Writer::new(repo, 1).unwrap();
        let (id, files) = back_up(&writer, seeds, "");
        self.snapshots.insert(id.clone(), files);
        id
    }

    pub fn delete(&mut self, repo: &Arc<Repository>, id: &str) {
        Snapshots::delete(&Writer::new(repo, 1).unwrap(), id).unwrap();
        self.snapshots.remove(id).unwrap();
    }

    /// Asserts that every snapshot is listed and holds what it held.
    pub fn assert_whole(&self, context: &str) {
        self.assert_whole_in(&self.open(), context);
    }

    pub fn assert_whole_in(&self, repo: &Arc<Repository>, context: &str) {
        let snapshots = Snapshots::load(repo).unwrap();
        assert!(snapshots.unreadable().is_empty(), "{context}");
        let found: BTreeMap<String, Files> = snapshots
            .iter()
            .filter(|snapshot| snapshot.manifest.incomplete.is_empty())
            .map(|snapshot| {
                let root = snapshot.manifest.root_entry.as_ref().unwrap();
                let directory = read_directory(repo, &root.object).unwrap();
                let files = directory.entries.into_iter().map(|entry| {
                    assert_eq!(entry.entry_type, EntryType::File);
                    let bytes = repo.read_object(&entry.object, 1 << 30).unwrap();
                    (entry.name, bytes)
                });
                (snapshot.id.clone(), files.collect())
            })
            .collect();
        assert!(found == self.snapshots, "{context}: snapshots differ");
    }

    /// Asserts that the second reader finds no fault.
    pub fn assert_sound(&self, context: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("repo");
        self.export(&path);
        let second = SecondReader::open(&path, PASSWORD).unwrap();
        assert_eq!(second.audit(), Vec::<String>::new(), "{context}");
    }

    fn export(&self, path: &std::path::Path) -> FilesystemStore {
        let target = FilesystemStore::create(path, NewLayout::Sharded, self.chance()).unwrap();
        for blob in self.store.list_all("").unwrap() {
            let bytes = self.store.get(&blob.name).unwrap();
            put(&target, &blob.name, &bytes);
        }
        target
    }

    /// Lets another client, which works on a folder, do something to the repository.
    pub fn foreign(&self, work: impl FnOnce(&ForeignClient)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("repo");
        let target = self.export(&path);
        let client =
            ForeignClient::open(&path, PASSWORD, self.clock.clone(), self.chance()).unwrap();
        work(&client);
        let names = |store: &dyn BlobStore| -> Vec<String> {
            let blobs = store.list_all("").unwrap();
            blobs.into_iter().map(|blob| blob.name).collect()
        };
        let (before, after) = (names(self.store.as_ref()), names(&target));
        for gone in before.iter().filter(|name| !after.contains(name)) {
            self.store.delete(gone).unwrap();
        }
        for new in after.iter().filter(|name| !before.contains(name)) {
            put(self.store.as_ref(), new, &target.get(new).unwrap());
        }
    }

    /// Returns how many bytes of packs there are.
    pub fn pack_bytes(&self) -> u64 {
        let packs = ["p", "q"].map(|prefix| self.store.list_all(prefix).unwrap());
        packs.iter().flatten().map(|blob| blob.bytes).sum()
    }
}

pub fn maintain(repo: &Arc<Repository>, options: Options) -> Result<Report, MaintainError> {
    let maintenance = Maintenance {
        repo,
        options,
        progress: &Progress::silent(),
    };
    maintenance.run()
}

fn put(store: &dyn BlobStore, name: &str, bytes: &[u8]) {
    store.put(name, &[bytes], &PutOptions::default()).unwrap();
}

pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    Chance::from_seed(seed).fill(&mut noise);
    noise
}

/// Publishes a snapshot with a file of a part for each seed, in a list, and a small file.
pub fn back_up(writer: &Writer, seeds: &[u64], incomplete: &str) -> (String, Files) {
    const PART_BYTES: usize = 20_000;
    let mut encoder = Encoder::new(None);
    let mut large = Vec::new();
    let mut entries = Vec::new();
    for seed in seeds {
        let part = noise(*seed, PART_BYTES);
        let object = writer.write_object(&mut encoder, None, &part, 1 << 20);
        entries.push(IndirectEntry {
            start: large.len() as u64,
            bytes: PART_BYTES as u64,
            object: object.unwrap(),
        });
        large.extend(part);
    }
    let list = writer.write_list(&mut Encoder::metadata(), entries.into_iter());
    let now = writer.repository().clock().now();
    let small = format!("{seeds:?} at {now}").into_bytes();
    let mut tree = TreeWriter::new(writer, now);
    let files = vec![
        tree.stored_file("large", list.unwrap().object, large.len() as u64),
        tree.file("small", &small).unwrap(),
    ];
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
        stats: SnapshotStats {
            total_size: large.len() as i64,
            file_count: 2,
            ..SnapshotStats::default()
        },
        incomplete: incomplete.into(),
        root_entry: Some(root),
        tags: BTreeMap::new(),
        storage_stats: None,
        pins: Vec::new(),
        other: BTreeMap::new(),
    };
    let published = Snapshots::publish(writer, &manifest).unwrap();
    writer.flush().unwrap();
    let files = [("large", large), ("small", small)];
    let files = files.map(|(name, bytes)| (name.to_owned(), bytes));
    (published.id().to_owned(), BTreeMap::from(files))
}
