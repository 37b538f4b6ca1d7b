//! A repository in memory with index blobs of every kind, and what its snapshots hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use blob::{BlobStore, FilesystemStore, MemoryStore, NewLayout, PutOptions, SharedBlobStore};
use kopia::blob_name::BlobName;
use kopia::indirect::IndirectEntry;
use kopia::snapshot::{SnapshotManifest, SnapshotSource, SnapshotStats};
use maintain::{Maintenance, Options};
use progress::Progress;
use repo::{CreateOptions, Encoder, Identity, RepoError, Repository, Surroundings, Writer, create};
use second_reader::SecondReader;
use snapshot::{Snapshots, TreeWriter, read_directory};
use time_and_chance::{Chance, Clock, ManualClock, StopSignal, Timestamp};
use verify::{Repair, Repaired, Verification, VerifyError, VerifyOptions, verify};

pub const PASSWORD: &str = "repaired";
const HOUR: Duration = Duration::from_hours(1);
const PART_BYTES: usize = 5000;

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
        create(store, PASSWORD, &options, world.surroundings("first")).unwrap();
        world
    }

    /// A world with a range of epochs that is compacted, an epoch that is, epochs that are not, a
    /// schedule, and a session that is under way.
    pub fn with_every_kind_of_blob() -> Self {
        let world = Self::with_superseded_indexes();
        for blob in world.names("x") {
            let is_old = match BlobName::parse(&blob) {
                BlobName::IndexUncompacted { epoch, .. } => epoch <= 8,
                BlobName::IndexSingleEpoch { epoch } => epoch <= 7,
                _ => false,
            };
            if is_old {
                world.store.delete(&blob).unwrap();
            }
        }
        world
    }

    /// The same, with the index blobs that were compacted still there.
    pub fn with_superseded_indexes() -> Self {
        let mut world = Self::new();
        let repo = world.open();
        for epoch in 0..=10u64 {
            world.clock.advance(HOUR);
            world.back_up(&repo, &[epoch, 100, 101]);
            if epoch < 10 {
                repo.mark_epoch_begun(epoch + 1).unwrap();
            }
        }
        let quick = Options::default();
        let maintenance = Maintenance {
            repo: &repo,
            options: quick,
            progress: &Progress::silent(),
        };
        maintenance.run().unwrap();
        let listing = repo.list_epochs().unwrap();
        let parameters = &repo.format().epoch_parameters;
        let (first, last) = listing.range_to_compact(parameters).unwrap();
        assert_eq!((first, last), (0, 8));
        let blobs = listing.active_blobs(0, 7);
        repo.compact_epochs(0, 7, &blobs).unwrap();
        let writer = Writer::new(&repo, 1).unwrap();
        writer
            .write_content(&mut Encoder::new(None), None, &noise(999, 100))
            .unwrap();
        for kind in [
            "xr0_7_",
            "xs8_",
            "xn9_",
            "xn10_",
            "xe10",
            "s",
            "kopia.maintenance",
            "p",
            "q",
        ] {
            assert!(!world.names(kind).is_empty(), "{kind}");
        }
        world
    }

    /// Returns a world of its own that is as this one is now, with empty caches.
    pub fn copy(&self) -> Self {
        let clock = ManualClock::at(self.clock.now());
        Self {
            store: Arc::new(self.store.copy_with(clock.clone())),
            clock,
            caches: tempfile::tempdir().unwrap(),
            chances: AtomicU64::new(self.chances.load(Ordering::Relaxed) + 1000),
            snapshots: self.snapshots.clone(),
        }
    }

    fn surroundings(&self, cache: &str) -> Surroundings {
        Surroundings {
            cache_folder: self.caches.path().join(cache),
            identity: Identity {
                username: "agent".into(),
                hostname: "host".into(),
            },
            clock: self.clock.clone(),
            chance: Chance::from_seed(self.chances.fetch_add(1, Ordering::Relaxed)),
            stop: StopSignal::new(),
        }
    }

    /// Opens the repository as everyone does; its cache stays from time to time.
    pub fn open(&self) -> Arc<Repository> {
        Repository::open(self.store.clone(), PASSWORD, self.surroundings("warm")).unwrap()
    }

    /// Opens the repository despite damage, with a cache that knows nothing.
    pub fn open_cold(&self) -> Result<Arc<Repository>, RepoError> {
        self.open_despite_damage_on(self.store.clone(), "cold")
    }

    pub fn open_despite_damage_on(
        &self,
        store: SharedBlobStore,
        cache: &str,
    ) -> Result<Arc<Repository>, RepoError> {
        Repository::open_despite_damage(store, PASSWORD, self.surroundings(cache))
    }

    /// Removes every table from a cache, as another process may at any time.
    pub fn clean_cache(&self, cache: &str) {
        let mut folders = vec![self.caches.path().join(cache)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|it| it == "index") {
                    std::fs::remove_file(path).unwrap();
                }
            }
        }
    }

    pub fn names(&self, prefix: &str) -> Vec<String> {
        let blobs = self.store.list_all(prefix).unwrap();
        blobs.into_iter().map(|blob| blob.name).collect()
    }

    pub fn put(&self, name: &str, bytes: &[u8]) {
        put(self.store.as_ref(), name, bytes);
    }

    /// Backs up a file that `seeds` say, one part each: equal parts are shared.
    pub fn back_up(&mut self, repo: &Arc<Repository>, seeds: &[u64]) -> String {
        let writer = Writer::new(repo, 1).unwrap();
        let (id, files) = back_up(&writer, seeds).unwrap();
        self.snapshots.insert(id.clone(), files);
        id
    }

    /// Returns which of the snapshots that ought to be listed are, and hold what they held.
    pub fn whole(&self, repo: &Arc<Repository>) -> Vec<String> {
        let Ok(snapshots) = Snapshots::load(repo) else {
            return Vec::new();
        };
        let is_whole = |id: &String, files: &Files| {
            let snapshot = snapshots.iter().find(|snapshot| snapshot.id == *id)?;
            let root = snapshot.manifest.root_entry.as_ref()?;
            let read = read_directory(repo, &root.object).ok()?.entries;
            let mut found = Files::new();
            for entry in read {
                found.insert(entry.name, repo.read_object(&entry.object, 1 << 30).ok()?);
            }
            (found == *files).then_some(())
        };
        let whole = self.snapshots.iter();
        whole
            .filter(|(id, files)| is_whole(id, files).is_some())
            .map(|(id, _)| id.clone())
            .collect()
    }

    pub fn ids(&self) -> Vec<String> {
        self.snapshots.keys().cloned().collect()
    }

    /// Asserts that the second reader finds no fault, save with the blob that was damaged: if no
    /// index names it any more, it goes with a later maintenance.
    pub fn assert_sound(&self, damaged: &str, context: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("repo");
        let chance = Chance::from_seed(self.chances.fetch_add(1, Ordering::Relaxed));
        let target = FilesystemStore::create(&path, NewLayout::Sharded, chance).unwrap();
        for blob in self.store.list_all("").unwrap() {
            put(&target, &blob.name, &self.store.get(&blob.name).unwrap());
        }
        let second = SecondReader::open(&path, PASSWORD).unwrap();
        let markers = self.names("s");
        let open: Vec<&str> = markers
            .iter()
            .filter_map(|it| it.split_once('-'))
            .map(|it| it.1)
            .collect();
        let faults = second.audit().into_iter().filter(|fault| {
            // What is put back into the index lies in packs of other sessions.
            !fault.contains("names a pack of another session")
                && !open.iter().any(|session| fault.contains(session))
                && (damaged.is_empty() || !fault.contains(damaged))
        });
        assert_eq!(
            faults.collect::<Vec<_>>(),
            Vec::<String>::new(),
            "{context}"
        );
    }
}

pub fn all_data() -> VerifyOptions {
    VerifyOptions {
        data_percent: 100.0,
        seed: 1,
        readers: 1,
        points: Vec::new(),
        until: None,
    }
}

pub fn look(repo: &Arc<Repository>) -> Verification {
    verify(repo, &all_data(), &Progress::silent()).unwrap()
}

pub fn repair(repo: &Arc<Repository>) -> Result<Repaired, VerifyError> {
    repair_with(repo, false, true)
}

pub fn repair_with(
    repo: &Arc<Repository>,
    dry_run: bool,
    take_ownership: bool,
) -> Result<Repaired, VerifyError> {
    let repair = Repair {
        repo,
        options: &all_data(),
        dry_run,
        take_ownership,
        give_up_lost_manifests: false,
        progress: &Progress::silent(),
    };
    repair.run()
}

/// Repairs, and accepts that manifests are lost which cannot be had from anywhere.
pub fn give_up(repo: &Arc<Repository>, dry_run: bool) -> Repaired {
    let repair = Repair {
        repo,
        options: &all_data(),
        dry_run,
        take_ownership: true,
        give_up_lost_manifests: true,
        progress: &Progress::silent(),
    };
    repair.run().unwrap()
}

pub fn put(store: &dyn BlobStore, name: &str, bytes: &[u8]) {
    store.put(name, &[bytes], &PutOptions::default()).unwrap();
}

pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    Chance::from_seed(seed).fill(&mut noise);
    noise
}

/// Publishes a snapshot with a file of a part for each seed, in a list, and a small file.
pub fn back_up(writer: &Writer, seeds: &[u64]) -> Result<(String, Files), RepoError> {
    let mut encoder = Encoder::new(None);
    let mut large = Vec::new();
    let mut entries = Vec::new();
    for seed in seeds {
        let part = noise(*seed, PART_BYTES);
        let object = writer.write_object(&mut encoder, None, &part, 1 << 20)?;
        entries.push(IndirectEntry {
            start: large.len() as u64,
            bytes: PART_BYTES as u64,
            object,
        });
        large.extend(part);
    }
    let list = writer.write_list(&mut Encoder::metadata(), entries.into_iter())?;
    let now = writer.repository().clock().now();
    let small = format!("{seeds:?} at {now}").into_bytes();
    let mut tree = TreeWriter::new(writer, now);
    let files = vec![
        tree.stored_file("large", list.object, large.len() as u64),
        tree.file("small", &small)?,
    ];
    let root = tree.folder("", files)?;
    writer.flush()?;
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
        incomplete: String::new(),
        root_entry: Some(root),
        tags: BTreeMap::new(),
        storage_stats: None,
        pins: Vec::new(),
        other: BTreeMap::new(),
    };
    let published = Snapshots::publish(writer, &manifest)?;
    writer.flush()?;
    let files = [("large", large), ("small", small)];
    let files = files.map(|(name, bytes)| (name.to_owned(), bytes));
    Ok((published.id().to_owned(), BTreeMap::from(files)))
}
