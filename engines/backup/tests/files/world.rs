//! A repository in a folder and trees to be backed up into it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup::BackupError;
use backup::files::{FileBackup, FileCounts, FileOptions, FileReport, FileSource};
use blob::{FilesystemStore, NewLayout, SharedBlobStore};
use foreign_client::ForeignClient;
use kopia::directory::{DirectoryEntry, EntryType};
use progress::{Progress, StopSignal};
use repo::{CreateOptions, Identity, Repository, Surroundings, Writer};
use restore::files::FilesOptions;
use second_reader::SecondReader;
use snapshot::{Snapshots, read_directory};
use time_and_chance::{Chance, SharedClock, SystemClock};

pub const USER: &str = "fixture-user";
pub const HOST: &str = "fixture-host";
const PASSWORD: &str = "password";

pub struct World {
    pub folder: tempfile::TempDir,
    pub repo: Arc<Repository>,
    pub writer: Writer,
}

impl World {
    /// Opens a copy of a fixture's repository.
    pub fn of_fixture(name: &str) -> Self {
        let fixture = testdata().join(name).join("repo");
        let folder = tempfile::tempdir().unwrap();
        copy_tree(&fixture, &folder.path().join("repo"));
        Self::open(folder, "fixture-password", SystemClock::new())
    }

    /// Returns a new repository.
    pub fn new() -> Self {
        Self::with_clock(tempfile::tempdir().unwrap(), SystemClock::new())
    }

    /// Returns a new repository in a folder, for whom a clock tells the time.
    pub fn with_clock(folder: tempfile::TempDir, clock: SharedClock) -> Self {
        let place = folder.path().join("repo");
        std::fs::create_dir(&place).unwrap();
        let store: SharedBlobStore = Arc::new(
            FilesystemStore::create(&place, NewLayout::Sharded, Chance::from_seed(1)).unwrap(),
        );
        let surroundings = surroundings(folder.path(), Arc::clone(&clock));
        repo::create(store, PASSWORD, &CreateOptions::default(), surroundings).unwrap();
        Self::open(folder, PASSWORD, clock)
    }

    fn open(folder: tempfile::TempDir, password: &str, clock: SharedClock) -> Self {
        let store: SharedBlobStore = Arc::new(
            FilesystemStore::open(folder.path().join("repo"), Chance::from_seed(1)).unwrap(),
        );
        let surroundings = surroundings(folder.path(), clock);
        let repo = Repository::open(store, password, surroundings).unwrap();
        let writer = Writer::new(&repo, 2).unwrap();
        Self {
            folder,
            repo,
            writer,
        }
    }

    /// Returns a copy of the repository, opened by way of what `wrap` makes of its store.
    pub fn copy_on(
        &self,
        wrap: impl FnOnce(SharedBlobStore) -> SharedBlobStore,
    ) -> (tempfile::TempDir, Arc<Repository>) {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("repo");
        copy_tree(&self.path("repo"), &place);
        let store = wrap(Arc::new(
            FilesystemStore::open(&place, Chance::from_seed(1)).unwrap(),
        ));
        // No two processes draw the same names.
        let chance = Chance::from_seed(3);
        let surroundings = with_chance(folder.path(), SystemClock::new(), chance);
        let repo = Repository::open(store, PASSWORD, surroundings).unwrap();
        (folder, repo)
    }

    /// Opens a repository that lies in `folder`, as a process that begins does.
    pub fn of_folder(folder: tempfile::TempDir) -> Self {
        Self::open(folder, PASSWORD, SystemClock::new())
    }

    /// Opens the repository again, as another process does that draws its names from a seed and
    /// is told to stop by `stop`.
    pub fn reopen(&mut self, stop: StopSignal, seed: u64) {
        let store: SharedBlobStore =
            Arc::new(FilesystemStore::open(self.path("repo"), Chance::from_seed(seed)).unwrap());
        let surroundings = Surroundings {
            stop,
            ..with_chance(
                self.folder.path(),
                SystemClock::new(),
                Chance::from_seed(seed),
            )
        };
        self.repo = Repository::open(store, PASSWORD, surroundings).unwrap();
        self.writer = Writer::new(&self.repo, 2).unwrap();
    }

    /// Counts what a run would read.
    pub fn count(&self, source: &FileSource) -> FileCounts {
        let backup = FileBackup {
            writer: &self.writer,
            options: &options(),
        };
        let estimate = backup.estimate(source, &Progress::silent()).unwrap();
        estimate.counts
    }

    /// Returns a path beside the repository.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn back_up(
        &self,
        source: &FileSource,
        options: &FileOptions,
    ) -> Result<FileReport, BackupError> {
        self.back_up_heard(source, options, &Progress::silent())
    }

    pub fn back_up_heard(
        &self,
        source: &FileSource,
        options: &FileOptions,
        progress: &Progress,
    ) -> Result<FileReport, BackupError> {
        let backup = FileBackup {
            writer: &self.writer,
            options,
        };
        backup.run(source, progress)
    }

    /// Returns the source that a folder beside the repository is.
    pub fn source(&self, name: &str) -> FileSource {
        FileSource::one(USER, HOST, &self.path(name))
    }

    /// Writes a file beside the repository, with a time that tells it from later ones.
    pub fn write(&self, path: &str, content: &[u8]) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Restores a snapshot into a new folder.
    pub fn restore(&self, id: &str) -> tempfile::TempDir {
        let target = tempfile::tempdir().unwrap();
        let root = &self.entries(id)[""];
        restore::files::to_folder(
            &self.repo,
            root,
            &[],
            &target.path().join("tree"),
            &FilesOptions::default(),
            &Progress::silent(),
        )
        .unwrap();
        target
    }

    /// Lets the second reader judge the repository.
    pub fn audit(&self) {
        assert_eq!(self.findings(), Vec::<String>::new());
    }

    /// Returns what the second reader finds wrong with the repository.
    pub fn findings(&self) -> Vec<String> {
        let reader = SecondReader::open(&self.path("repo"), PASSWORD).unwrap();
        reader.audit()
    }

    /// Returns another client of the repository.
    pub fn foreign_client(&self) -> ForeignClient {
        let chance = Chance::from_seed(7);
        ForeignClient::open(&self.path("repo"), PASSWORD, SystemClock::new(), chance).unwrap()
    }

    /// Returns the ids of snapshots, complete ones or the others.
    pub fn snapshots(&self, complete: bool) -> Vec<String> {
        let listed = Snapshots::load(&self.repo).unwrap();
        let wanted = listed
            .iter()
            .filter(|snapshot| snapshot.manifest.incomplete.is_empty() == complete);
        wanted.map(|snapshot| snapshot.id.clone()).collect()
    }

    /// Returns every entry of a snapshot by its path, the root under "".
    pub fn entries(&self, id: &str) -> BTreeMap<String, DirectoryEntry> {
        let snapshots = Snapshots::load(&self.repo).unwrap();
        let snapshot = snapshots.iter().find(|snapshot| snapshot.id == id).unwrap();
        let root = snapshot.manifest.root_entry.clone().unwrap();
        let mut entries = BTreeMap::new();
        self.collect(String::new(), root, &mut entries);
        entries
    }

    fn collect(
        &self,
        path: String,
        entry: DirectoryEntry,
        entries: &mut BTreeMap<String, DirectoryEntry>,
    ) {
        if entry.entry_type == EntryType::Directory {
            for below in read_directory(&self.repo, &entry.object).unwrap().entries {
                let path = match path.as_str() {
                    "" => below.name.clone(),
                    folder => format!("{folder}/{}", below.name),
                };
                self.collect(path, below, entries);
            }
        }
        entries.insert(path, entry);
    }
}

fn surroundings(folder: &Path, clock: SharedClock) -> Surroundings {
    with_chance(folder, clock, Chance::from_seed(2))
}

fn with_chance(folder: &Path, clock: SharedClock, chance: Chance) -> Surroundings {
    Surroundings {
        cache_folder: folder.join("cache"),
        identity: Identity {
            username: USER.into(),
            hostname: HOST.into(),
        },
        clock,
        chance,
        stop: StopSignal::new(),
    }
}

pub fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/kopia")
}

pub fn options() -> FileOptions {
    FileOptions {
        workers: 3,
        ..FileOptions::default()
    }
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in from.read_dir().unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Whether owners can be restored: only then are folders equal to Kopia's.
#[cfg(unix)]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
pub fn is_root() -> bool {
    false
}
