//! A small world for end-to-end stories: a simulated host, a repository, a state folder.
//!
//! Every story in `tests/` tells one thing that must hold from a guest's write to its restore.

mod hooked_store;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backup::BackupError;
use backup::vm::{Options, PointReport, StateFolder, Step, VmBackup};
use blob::{FilesystemStore, MemoryStore, NewLayout, SharedBlobStore};
use disk::BlockRead;
use foreign_client::ForeignClient;
use hyperv::sim::{SimDisk, SimHost, SimOptions, SimVm};
use hyperv::{CheckpointKind, HypervHost, VmId};
use image::ImageReader;
use point::Points;
use progress::Progress;
use repo::{CreateOptions, Identity, Repository, Surroundings, Writer};
use time_and_chance::{Chance, ManualClock, SharedClock, StopSignal, SystemClock};

pub use hooked_store::{BeforeWrite, HookedStore};

/// The password of every repository here.
pub const PASSWORD: &str = "scenario";

/// A host, a place for repositories, and state.
#[derive(Debug)]
pub struct World {
    root: PathBuf,
    /// Removes the folder in the end; a world that was entered leaves that to its maker.
    _folder: Option<tempfile::TempDir>,
    clock: SharedClock,
    /// What the repository is stored in, where that is no folder.
    memory: Option<SharedBlobStore>,
    seed: u64,
    /// The simulated host.
    pub host: SimHost,
    /// How VMs are backed up.
    pub options: Options,
}

impl World {
    /// Returns a world whose chance follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self::with_clock(seed, SystemClock::new())
    }

    /// Returns a world whose time passes as `clock` says; its one repository is in memory, since
    /// files have the times of the real clock.
    pub fn with_manual_clock(seed: u64, clock: &Arc<ManualClock>) -> Self {
        Self {
            memory: Some(Arc::new(MemoryStore::new(clock.clone()))),
            ..Self::with_clock(seed, clock.clone())
        }
    }

    fn with_clock(seed: u64, clock: SharedClock) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let host = SimHost::create(
            &folder.path().join("host"),
            SimOptions::default(),
            clock.clone(),
            Chance::from_seed(seed),
        )
        .expect("a host can be made");
        Self {
            root: folder.path().to_owned(),
            _folder: Some(folder),
            clock,
            memory: None,
            seed,
            host,
            options: options(),
        }
    }

    /// Enters the world at `root`, which another process made.
    pub fn enter(root: PathBuf, seed: u64) -> Self {
        let clock = SystemClock::new();
        let host = SimHost::open(&root.join("host"), clock.clone(), Chance::from_system())
            .expect("the host opens");
        Self {
            root,
            _folder: None,
            clock,
            memory: None,
            seed,
            host,
            options: options(),
        }
    }

    /// Returns a path inside the world's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Adds a VM with one thin disk.
    pub fn add_vm(&self, name: &str, virtual_bytes: u64) -> VmId {
        self.host
            .add_vm(&SimVm::new(name, vec![SimDisk::new(virtual_bytes)]))
            .expect("a VM can be added")
    }

    /// Returns what the guest sees on a disk now.
    pub fn disk(&self, vm: VmId, number: u32) -> Vec<u8> {
        let disk = self
            .host
            .open_live_disk(vm, number)
            .expect("the disk opens");
        read_all(&disk)
    }

    /// Opens the repository `name`, which is made if it is not there.
    pub fn repository(&self, name: &str) -> Arc<Repository> {
        let path = self.path(name);
        let chance = Chance::from_seed(self.seed ^ path.exists() as u64);
        let (store, is_new): (SharedBlobStore, bool) = match &self.memory {
            Some(memory) => {
                let blobs = memory.list_all("").expect("memory can be listed");
                (memory.clone(), blobs.is_empty())
            }
            None if path.exists() => {
                let store = FilesystemStore::open(path, chance);
                (
                    Arc::new(store.expect("the repository's folder opens")),
                    false,
                )
            }
            None => {
                let store = FilesystemStore::create(path, NewLayout::Sharded, chance);
                (Arc::new(store.expect("a folder can be made")), true)
            }
        };
        if is_new {
            self.create_in(store, &CreateOptions::default())
        } else {
            self.open_repository(store)
        }
    }

    /// Makes the repository `name`, of a kind, in a folder that is not there yet.
    pub fn create_repository(&self, name: &str, kind: &CreateOptions) -> Arc<Repository> {
        let path = self.path(name);
        let store = FilesystemStore::create(path, NewLayout::Sharded, Chance::from_seed(self.seed));
        self.create_in(Arc::new(store.expect("a folder can be made")), kind)
    }

    fn create_in(&self, store: SharedBlobStore, kind: &CreateOptions) -> Arc<Repository> {
        repo::create(store, PASSWORD, kind, self.surroundings()).expect("a repository can be made")
    }

    /// Opens the repository in a store, which may be a wrapped one.
    pub fn open_repository(&self, store: SharedBlobStore) -> Arc<Repository> {
        Repository::open(store, PASSWORD, self.surroundings()).expect("the repository opens")
    }

    /// Returns another client of the repository `name`, which must be there.
    pub fn foreign_client(&self, name: &str) -> ForeignClient {
        let chance = Chance::from_system();
        ForeignClient::open(&self.path(name), PASSWORD, self.clock.clone(), chance)
            .expect("the repository opens for others")
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings {
            cache_folder: self.path("cache"),
            identity: Identity {
                username: "agent".into(),
                hostname: "host".into(),
            },
            clock: self.clock.clone(),
            chance: Chance::from_system(),
            stop: StopSignal::new(),
        }
    }

    /// Opens the state folder.
    pub fn state(&self) -> StateFolder {
        StateFolder::open(self.path("state")).expect("the state folder opens")
    }

    /// Backs a VM up into the repository `name` as a new process would.
    pub fn back_up(&self, vm: VmId, repository: &str) -> Result<PointReport, BackupError> {
        self.back_up_until(vm, repository, &|_| true)
    }

    /// Backs a VM up as a new process that dies where `goes_on` says no.
    pub fn back_up_until(
        &self,
        vm: VmId,
        repository: &str,
        goes_on: &(dyn Fn(Step) -> bool + Sync),
    ) -> Result<PointReport, BackupError> {
        self.back_up_heard(vm, repository, &Progress::silent(), goes_on)
    }

    /// Backs a VM up as a new process whose news are heard, and which dies where `goes_on` says
    /// no.
    pub fn back_up_heard(
        &self,
        vm: VmId,
        repository: &str,
        progress: &Progress,
        goes_on: &(dyn Fn(Step) -> bool + Sync),
    ) -> Result<PointReport, BackupError> {
        self.back_up_with(vm, &self.repository(repository), progress, goes_on)
    }

    /// Backs a VM up as a new process before each of whose writes something is done.
    pub fn back_up_hooked(
        &self,
        vm: VmId,
        repository: &str,
        before_write: Box<BeforeWrite>,
    ) -> Result<PointReport, BackupError> {
        let store = FilesystemStore::open(self.path(repository), Chance::from_system())
            .expect("the repository's folder opens");
        let store = HookedStore::new(Arc::new(store), before_write);
        let repo = self.open_repository(Arc::new(store));
        self.back_up_with(vm, &repo, &Progress::silent(), &|_| true)
    }

    fn back_up_with(
        &self,
        vm: VmId,
        repo: &Arc<Repository>,
        progress: &Progress,
        goes_on: &(dyn Fn(Step) -> bool + Sync),
    ) -> Result<PointReport, BackupError> {
        let writer = Writer::new(repo, 2).expect("the repository can be written");
        let backup = VmBackup {
            host: &self.host,
            writer: &writer,
            state: &self.state(),
            options: &self.options,
            goes_on,
        };
        backup.run(vm, progress)
    }

    /// Returns the content of every listed point's first disk, by the point's UUID.
    pub fn points(&self, repository: &str) -> BTreeMap<String, Vec<u8>> {
        let repo = self.repository(repository);
        let points = Points::load(&repo).expect("points can be listed");
        assert!(points.snapshots().unreadable().is_empty());
        points
            .iter()
            .map(|point| {
                let opened = point.open(&repo).expect("a listed point opens");
                let disk = &opened.descriptor().disks[0];
                let object = opened.disk_object(disk).expect("the point holds its disk");
                let image = ImageReader::open(&repo, &object).expect("the image opens");
                (opened.descriptor().point.to_string(), read_all(&image))
            })
            .collect()
    }

    /// Asserts that no checkpoint of ours is on the VM.
    pub fn assert_no_checkpoint(&self, vm: VmId) {
        let checkpoints = self
            .host
            .checkpoints(vm)
            .expect("checkpoints can be listed");
        let left: Vec<_> = checkpoints
            .iter()
            .filter(|checkpoint| checkpoint.kind == CheckpointKind::Recovery)
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn options() -> Options {
    Options {
        workers: 2,
        flush_patience: Duration::ZERO,
        merge_wait: Duration::from_secs(5),
        free_bytes_min: 1 << 20,
        ..Options::default()
    }
}

fn read_all(disk: &dyn BlockRead) -> Vec<u8> {
    let mut bytes =
        vec![0; usize::try_from(disk.size_bytes()).expect("a test disk fits into memory")];
    disk.read_at(0, &mut bytes).expect("the disk can be read");
    bytes
}
