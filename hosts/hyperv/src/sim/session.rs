//! One step of the simulated host: the lock, the state, and how a step survives being killed.
//!
//! Whatever a step does, `host.json` is replaced as a whole, once, when everything it names is
//! in place. Files that are made before that moment, or removed after it, stand in the list of
//! doomed files while there is doubt about them; whoever locks the host next removes them.
//!
//! ```text
//! intend(new files) ─► make them ─► change the state, spare them ─► save
//! change the state, doom(old files) ─► save ─► remove them
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use super::SimHost;
use super::fault::SimFault;
use super::io_error::io_error;
use super::state::{FORMAT, HostState, VmRecord};
use crate::{HypervError, HypervErrorKind, VmId, codes};

const STATE_FILE: &str = "host.json";
const NEW_STATE_FILE: &str = "host.json.new";
const LOCK_FILE: &str = "host.lock";
const STATE_BYTES_MAX: u64 = 256 << 20;

/// The host while it is locked by one step.
pub(super) struct Session<'a> {
    pub host: &'a SimHost,
    pub state: HostState,
    _lock: File,
}

impl SimHost {
    /// Locks the host against every other process and thread and reads its state.
    pub(super) fn session(&self) -> Result<Session<'_>, HypervError> {
        let lock = lock_host(&self.root)?;
        let mut session = Session {
            host: self,
            state: read_state(&self.root)?,
            _lock: lock,
        };
        session.sweep()?;
        Ok(session)
    }

    /// Writes the first state of a new host.
    pub(super) fn write_first_state(&self, state: HostState) -> Result<(), HypervError> {
        let lock = lock_host(&self.root)?;
        if self.root.join(STATE_FILE).exists() {
            return Err(HypervError::new(
                HypervErrorKind::Invalid,
                format!("there is a host in {} already", self.root.display()),
            )
            .with_code(codes::FILE_EXISTS));
        }
        let mut session = Session {
            host: self,
            state,
            _lock: lock,
        };
        session.save()
    }
}

impl Session<'_> {
    /// Replaces `host.json` by the present state.
    pub(super) fn save(&mut self) -> Result<(), HypervError> {
        self.host.fuse.burn()?;
        let text = serde_json::to_vec_pretty(&self.state).map_err(|error| {
            HypervError::new(HypervErrorKind::Invalid, "put the host's state into words")
                .caused_by(error)
        })?;
        let new = self.host.root.join(NEW_STATE_FILE);
        let written = File::create(&new).and_then(|mut file| file.write_all(&text));
        written
            .and_then(|()| local_file::take_the_name_of(&new, &self.host.root.join(STATE_FILE)))
            .map_err(|error| io_error("write", &new, error))
    }

    /// Remembers files or folders about to be made: they vanish unless they are spared.
    pub(super) fn intend(&mut self, files: &[PathBuf]) -> Result<(), HypervError> {
        if files.is_empty() {
            return Ok(());
        }
        self.state.doomed.extend_from_slice(files);
        self.save()
    }

    /// Keeps what [`intend`](Self::intend) named, from the next save on.
    pub(super) fn spare(&mut self, files: &[PathBuf]) {
        self.state.doomed.retain(|doomed| !files.contains(doomed));
    }

    /// Gives files up: they vanish after the next save.
    pub(super) fn doom(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        self.state.doomed.extend(files);
    }

    /// Saves, then removes what is doomed.
    pub(super) fn finish(&mut self) -> Result<(), HypervError> {
        self.save()?;
        self.sweep()
    }

    fn sweep(&mut self) -> Result<(), HypervError> {
        if self.state.doomed.is_empty() {
            return Ok(());
        }
        let mut left = Vec::new();
        for path in std::mem::take(&mut self.state.doomed) {
            self.host.fuse.burn()?;
            // Whatever happened to the state: nothing outside the host is ever removed.
            if path
                .components()
                .any(|part| !matches!(part, Component::Normal(_)))
            {
                continue;
            }
            let whole = self.path(&path);
            let removed = if whole.is_dir() {
                fs::remove_dir_all(&whole)
            } else {
                fs::remove_file(&whole)
            };
            match removed {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => left.push(path),
            }
        }
        self.state.doomed = left;
        self.save()
    }

    /// Returns where a file of the state lies.
    pub(super) fn path(&self, relative: &Path) -> PathBuf {
        self.host.root.join(relative)
    }

    /// Returns where the files of a chain lie.
    pub(super) fn paths(&self, chain: &[PathBuf]) -> Vec<PathBuf> {
        chain.iter().map(|file| self.path(file)).collect()
    }

    /// Returns the place of a VM that is here.
    pub(super) fn index(&self, vm: VmId) -> Result<usize, HypervError> {
        self.state
            .vms
            .iter()
            .position(|record| record.id == vm && !record.away)
            .ok_or_else(|| {
                HypervError::new(
                    HypervErrorKind::NotFound,
                    format!("find VM {vm} on this host"),
                )
            })
    }

    /// Returns a VM that is here.
    pub(super) fn vm(&self, vm: VmId) -> Result<&VmRecord, HypervError> {
        Ok(&self.state.vms[self.index(vm)?])
    }

    /// Returns a VM that is here, to be changed.
    pub(super) fn vm_mut(&mut self, vm: VmId) -> Result<&mut VmRecord, HypervError> {
        let index = self.index(vm)?;
        Ok(&mut self.state.vms[index])
    }

    /// Takes one strike of a VM's fault that `matches`, durably.
    pub(super) fn strike(
        &mut self,
        vm: VmId,
        matches: impl Fn(&SimFault) -> bool,
    ) -> Result<Option<SimFault>, HypervError> {
        let faults = &mut self.vm_mut(vm)?.faults;
        let struck = super::fault::strike(faults, matches);
        if struck.is_some() {
            self.save()?;
        }
        Ok(struck)
    }
}

fn lock_host(root: &Path) -> Result<File, HypervError> {
    let path = root.join(LOCK_FILE);
    let lock = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| io_error("open", &path, error))?;
    lock.lock()
        .map_err(|error| io_error("lock", &path, error))?;
    Ok(lock)
}

fn read_state(root: &Path) -> Result<HostState, HypervError> {
    let path = root.join(STATE_FILE);
    let text = read_bounded(&path, STATE_BYTES_MAX)?;
    let state: HostState = serde_json::from_slice(&text).map_err(|error| {
        HypervError::new(
            HypervErrorKind::Failed,
            format!("understand {}", path.display()),
        )
        .caused_by(error)
    })?;
    if state.format != FORMAT {
        return Err(HypervError::new(
            HypervErrorKind::Unsupported,
            format!("read {} of format {}", path.display(), state.format),
        ));
    }
    Ok(state)
}

/// Reads a whole file of at most `bytes_max`.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, HypervError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| io_error("open", path, error))?;
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| io_error("read", path, error))?;
    if bytes.len() as u64 > bytes_max {
        return Err(HypervError::new(
            HypervErrorKind::Failed,
            format!(
                "read {}: it is larger than {bytes_max} bytes",
                path.display()
            ),
        ));
    }
    Ok(bytes)
}
