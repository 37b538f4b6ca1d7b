//! What must survive a crash: bases, the journal of side effects, locks.
//!
//! Small JSON documents in the state folder, each replaced as a whole: written beside, synced,
//! renamed, and the folder synced. A reader sees the old one or the new one, never half.
//!
//! ```text
//! locks/<vm>.lock                    held by the one process that works on the VM
//! locks/selftest.lock                held by the self-test that has made a VM for itself
//! locks/files-<hash>.lock            held by the one that backs a source of files up
//! journal/<vm>.json                  what is being done to the host right now
//! bases/<repository>/<vm>.json       what the next increment builds on
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hyperv::{CheckpointId, ReferencePointId, VmId};
use kopia::snapshot::SnapshotSource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::announced::Announced;
use super::increment_base::Base;
use crate::error::{BackupError, BackupErrorKind};
use crate::run_lock::{LockWait, RunLock};

/// The state folder.
#[derive(Debug, Clone)]
pub struct StateFolder {
    root: PathBuf,
}

/// What is being done to a VM on the host, written before it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The run.
    pub run: Uuid,
    /// The name our checkpoint carries.
    pub mark: String,
    /// What its checkpoint is known by until it carries that name; older agents noted nothing.
    #[serde(default)]
    pub announced: Option<Announced>,
    /// The checkpoint, once it is known.
    pub checkpoint: Option<CheckpointId>,
    /// The conversion that has begun, if it has: the point is published by then.
    pub converting: Option<Converting>,
}

/// A conversion whose outcome may not be known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Converting {
    /// The repository the base is for, as 64 hex digits.
    pub repository: String,
    /// The reference points listed before.
    pub before: Vec<ReferencePointId>,
    /// The base as it will be; its reference point is filled in afterwards.
    pub base: Base,
}

/// A VM's base in one repository, and reference points of ours that are to go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseFile {
    /// The base.
    pub base: Option<Base>,
    /// Reference points that were replaced and are not destroyed yet.
    pub to_drop: Vec<ReferencePointId>,
}

impl StateFolder {
    /// Opens or makes the folder, readable by its owner alone.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, BackupError> {
        let root = root.into();
        for folder in ["locks", "journal", "bases"] {
            local_file::create_private_folders(&root.join(folder))
                .map_err(failed("create the state folder", &root))?;
        }
        Ok(Self { root })
    }

    /// Takes the VM's lock, if nobody holds it.
    ///
    /// # Errors
    /// `Locked` if another process works on the VM; it says which.
    pub fn lock(&self, vm: VmId) -> Result<RunLock, BackupError> {
        RunLock::take(&self.lock_path(vm), "this VM")
    }

    /// Takes the lock of the VM that a self-test makes for itself.
    ///
    /// # Errors
    /// `Locked` if another process works with one; it says which.
    pub fn lock_self_test(&self) -> Result<RunLock, BackupError> {
        let path = self.root.join("locks").join("selftest.lock");
        RunLock::take(&path, "a VM of the self-test's own")
    }

    /// Takes the VM's lock as soon as nobody else holds it.
    ///
    /// # Errors
    /// `Locked` if another process works on the VM for longer; it says which. `Stopped` if the work was
    /// told to stop.
    pub fn lock_waiting(&self, vm: VmId, wait: &LockWait<'_>) -> Result<RunLock, BackupError> {
        RunLock::wait_for(&self.lock_path(vm), "this VM", wait)
    }

    /// Takes the lock of a source of files in a repository as soon as nobody else holds it.
    ///
    /// # Errors
    /// `Locked` if another process backs the source up to this repository for longer; it says which.
    /// `Stopped` if the work was told to stop.
    pub fn lock_source(
        &self,
        repository: &str,
        source: &SnapshotSource,
        wait: &LockWait<'_>,
    ) -> Result<RunLock, BackupError> {
        let mut hasher = Sha256::new();
        for part in [repository, &source.user_name, &source.host, &source.path] {
            hasher.update(part);
            hasher.update("\0");
        }
        let name = hex::encode(&hasher.finalize()[..16]);
        let path = self.root.join("locks").join(format!("files-{name}.lock"));
        RunLock::wait_for(&path, "these files", wait)
    }

    fn lock_path(&self, vm: VmId) -> PathBuf {
        self.root.join("locks").join(format!("{vm}.lock"))
    }

    /// Returns what was being done to the VM when a run died, if anything.
    pub fn journal(&self, vm: VmId) -> Result<Option<JournalEntry>, BackupError> {
        read_document(&self.journal_path(vm))
    }

    /// Writes down what is about to be done to the VM.
    pub fn write_journal(&self, vm: VmId, entry: &JournalEntry) -> Result<(), BackupError> {
        write_document(&self.journal_path(vm), entry)
    }

    /// Notes that nothing of ours is left on the VM.
    pub fn clear_journal(&self, vm: VmId) -> Result<(), BackupError> {
        let path = self.journal_path(vm);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("delete", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Returns the VM's base in a repository.
    pub fn base(&self, repository: &str, vm: VmId) -> Result<BaseFile, BackupError> {
        Ok(read_document(&self.base_path(repository, vm))?.unwrap_or_default())
    }

    /// Remembers the VM's base in a repository.
    pub fn write_base(
        &self,
        repository: &str,
        vm: VmId,
        base: &BaseFile,
    ) -> Result<(), BackupError> {
        let path = self.base_path(repository, vm);
        let folder = path.parent().expect("a base lies in a folder");
        local_file::create_private_folders(folder).map_err(failed("create", folder))?;
        write_document(&path, base)
    }

    /// Returns the VM's bases in all repositories.
    pub fn bases(&self, vm: VmId) -> Result<Vec<BaseFile>, BackupError> {
        let folder = self.root.join("bases");
        let mut bases = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed("read", &folder))? {
            let entry = entry.map_err(failed("read", &folder))?;
            bases.extend(read_document::<BaseFile>(
                &entry.path().join(format!("{vm}.json")),
            )?);
        }
        Ok(bases)
    }

    fn journal_path(&self, vm: VmId) -> PathBuf {
        self.root.join("journal").join(format!("{vm}.json"))
    }

    fn base_path(&self, repository: &str, vm: VmId) -> PathBuf {
        self.root
            .join("bases")
            .join(repository)
            .join(format!("{vm}.json"))
    }
}

fn failed<'a>(doing: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> BackupError + 'a {
    move |error| {
        BackupError::new(
            BackupErrorKind::State,
            format!("{doing} {}", path.display()),
        )
        .caused_by(error)
    }
}

/// Reads a document; one that is missing or was cut by a full disk counts as none, since losing
/// state costs a full read and nothing else.
fn read_document<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, BackupError> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

fn write_document<T: Serialize>(path: &Path, document: &T) -> Result<(), BackupError> {
    let bytes =
        serde_json::to_vec_pretty(document).expect("state documents have no maps with odd keys");
    local_file::replace(path, &bytes).map_err(failed("write", path))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use progress::Progress;
    use time_and_chance::{ManualClock, Timestamp};

    use super::*;

    fn vm() -> VmId {
        VmId(Uuid::from_u128(5))
    }

    fn entry() -> JournalEntry {
        JournalEntry {
            run: Uuid::from_u128(1),
            mark: "mark".into(),
            announced: Some(Announced {
                at: Timestamp::UNIX_EPOCH,
                vm_name: "web".into(),
                before: vec![CheckpointId(Uuid::from_u128(2))],
            }),
            checkpoint: None,
            converting: None,
        }
    }

    #[test]
    fn a_journal_is_there_until_it_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert_eq!(state.journal(vm()).unwrap(), None);
        state.write_journal(vm(), &entry()).unwrap();
        assert_eq!(
            StateFolder::open(folder.path())
                .unwrap()
                .journal(vm())
                .unwrap(),
            Some(entry())
        );
        state.clear_journal(vm()).unwrap();
        assert_eq!(state.journal(vm()).unwrap(), None);
    }

    #[test]
    fn a_journal_of_an_older_agent_still_names_its_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let id = CheckpointId(Uuid::from_u128(7));
        let mut document = serde_json::to_value(JournalEntry {
            checkpoint: Some(id),
            ..entry()
        })
        .unwrap();
        document.as_object_mut().unwrap().remove("announced");
        fs::write(state.journal_path(vm()), document.to_string()).unwrap();
        let found = state.journal(vm()).unwrap().unwrap();
        assert_eq!((found.announced, found.checkpoint), (None, Some(id)));
    }

    #[test]
    fn only_one_holds_a_lock() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let held = state.lock(vm()).unwrap();
        assert_eq!(
            state.lock(vm()).unwrap_err().kind(),
            BackupErrorKind::Locked
        );
        drop(held);
        state.lock(vm()).unwrap();
    }

    #[test]
    fn files_are_locked_by_source_and_repository() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let source = |path: &str| SnapshotSource {
            host: "host".to_owned(),
            user_name: "user".to_owned(),
            path: path.to_owned(),
        };
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let wait = LockWait {
            clock: &*clock,
            progress: &Progress::silent(),
            max: Duration::from_secs(5),
        };
        let lock = |repository, path| state.lock_source(repository, &source(path), &wait);
        let held = lock("r1", "/home").unwrap();
        let refused = lock("r1", "/home").unwrap_err();
        assert_eq!(refused.kind(), BackupErrorKind::Locked);
        lock("r2", "/home").unwrap();
        lock("r1", "/etc").unwrap();
        drop(held);
        lock("r1", "/home").unwrap();
    }

    #[test]
    fn a_cut_document_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        state.write_journal(vm(), &entry()).unwrap();
        let path = state.journal_path(vm());
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(state.journal(vm()).unwrap(), None);
    }
}
