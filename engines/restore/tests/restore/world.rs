//! A repository in memory, disks to put into it, and folders to restore to.

use std::path::Path;
use std::sync::Arc;

use blob::{BlobStore, MemoryStore, Recorded};
use disk::{
    BlockRead, BlockWrite, ByteRange, ChangeId, Changes, DiskError, DiskSource, Geometry,
    MemoryDisk, UnknownReason,
};
use image::ImageWriter;
use kopia::object_id::ObjectId;
use progress::{Monitor, News, Progress, StopSignal};
use repo::{CreateOptions, Identity, Repository, Surroundings, Writer};
use restore::RestoreOptions;
use restore::files::{Existing, FilesOptions};
use time_and_chance::{Chance, ManualClock, Timestamp};
use uuid::Uuid;

pub struct World {
    pub store: Arc<MemoryStore>,
    /// What the store is asked.
    pub requests: Arc<Recorded>,
    pub repo: Arc<Repository>,
    pub writer: Writer,
    pub folder: tempfile::TempDir,
    _cache: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let clock = ManualClock::at(Timestamp::from_second(1_790_000_000).unwrap());
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let cache = tempfile::tempdir().unwrap();
        let surroundings = Surroundings {
            cache_folder: cache.path().to_owned(),
            identity: Identity {
                username: "agent".into(),
                hostname: "host".into(),
            },
            clock,
            chance: Chance::from_seed(1),
            stop: StopSignal::new(),
        };
        let requests = Arc::new(Recorded::new(store.clone()));
        let repo = repo::create(
            requests.clone(),
            "password",
            &CreateOptions::default(),
            surroundings,
        )
        .unwrap();
        let writer = Writer::new(&repo, 2).unwrap();
        Self {
            store,
            requests,
            repo,
            writer,
            folder: tempfile::tempdir().unwrap(),
            _cache: cache,
        }
    }

    /// Stores a disk and returns its object.
    pub fn store_disk(&self, source: &dyn DiskSource) -> (ObjectId, u64) {
        let progress = Progress::silent();
        let image = ImageWriter {
            writer: &self.writer,
            progress: &progress,
            disk_number: 0,
            compression: None,
            workers: 2,
            onlooker: None,
        };
        let written = image.write(source, None, self.repo.chance()).unwrap();
        self.writer.flush().unwrap();
        (written.object, written.file_bytes)
    }

    /// Deletes every pack with data, behind the repository's back.
    pub fn lose_data(&self) {
        let packs = self.store.list_all("p").unwrap();
        assert!(!packs.is_empty());
        for pack in packs {
            self.store.delete(&pack.name).unwrap();
        }
    }

    /// Returns the names in the folder, sorted.
    pub fn names(&self) -> Vec<String> {
        names_in(self.folder.path())
    }
}

pub fn names_in(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub fn options(overwrite: bool) -> RestoreOptions {
    RestoreOptions {
        overwrite,
        workers: 4,
    }
}

pub fn file_options(overwrite: bool) -> FilesOptions {
    let existing = match overwrite {
        true => Existing::Replace,
        false => Existing::Refuse,
    };
    FilesOptions {
        existing,
        workers: 4,
        ..FilesOptions::default()
    }
}

/// A frozen disk in memory.
pub struct TestDisk {
    pub disk: MemoryDisk,
    pub sector_bytes: u32,
    pub id: Uuid,
}

impl TestDisk {
    pub fn new(virtual_bytes: u64, sector_bytes: u32) -> Self {
        Self {
            disk: MemoryDisk::new(virtual_bytes),
            sector_bytes,
            id: Uuid::from_u128(0xD15C),
        }
    }

    /// Writes bytes that depend on where they are.
    pub fn fill(&self, offset: u64, bytes: usize) {
        let mut data = vec![0; bytes];
        Chance::from_seed(offset).fill(&mut data);
        self.disk.write_at(offset, &data).unwrap();
    }
}

impl BlockRead for TestDisk {
    fn size_bytes(&self) -> u64 {
        BlockRead::size_bytes(&self.disk)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.disk.read_at(offset, buf)
    }

    fn next_allocated(&self, from: u64) -> Result<Option<ByteRange>, DiskError> {
        self.disk.next_allocated(from)
    }
}

impl DiskSource for TestDisk {
    fn geometry(&self) -> Geometry {
        Geometry {
            virtual_bytes: BlockRead::size_bytes(&self.disk),
            logical_sector_bytes: self.sector_bytes,
            physical_sector_bytes: 4096,
        }
    }

    fn virtual_disk_id(&self) -> Uuid {
        self.id
    }

    fn change_id(&self) -> Result<Option<ChangeId>, DiskError> {
        Ok(None)
    }

    fn changes_since(&self, _: &ChangeId) -> Changes {
        Changes::Unknown(UnknownReason {
            code: None,
            text: "never tracked".into(),
        })
    }
}

/// Stops the work when a disk's transfer has brought something.
#[derive(Debug, Clone, Default)]
pub struct StopAtFirstPiece {
    stop: StopSignal,
}

impl StopAtFirstPiece {
    pub fn progress() -> Progress {
        let monitor = Self::default();
        Progress {
            stop: monitor.stop.clone(),
            monitor: Arc::new(monitor),
            subject: "test".into(),
        }
    }
}

impl Monitor for StopAtFirstPiece {
    fn hear(&self, news: &News<'_>) {
        if let News::DiskAdvances { .. } = news {
            self.stop.stop();
        }
    }
}

/// Returns progress that was stopped before it began.
pub fn stopped() -> Progress {
    let progress = Progress::silent();
    progress.stop.stop();
    progress
}
