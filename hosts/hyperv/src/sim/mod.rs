//! A folder that behaves like a Hyper-V host.
//!
//! ```text
//! DIR/host.json                      what the host knows, replaced as a whole
//! DIR/host.lock                      held by whoever is in a call, in any process
//! DIR/vms/<name>/<disk>.vhdx         a VM's disks: ordinary VHDX files
//! DIR/vms/<name>/<disk>_<GUID>.avhdx what the guest writes while a checkpoint exists
//! DIR/vms/<name>/<disk>.vhdx.rct     the disk's write history
//! DIR/vms/<name>/Virtual Machines/   the VM's configuration files
//! DIR/vms/<name>/Snapshots/          the configuration files of its checkpoints
//! ```
//!
//! Several processes may use a host at once, and any of them may be killed at any moment: the
//! next call finds a whole state and cleans up. It is safe against killed processes, not against
//! power loss: it does not wait for disks.
//!
//! Open disks hold an operating-system lock on every file of their chain, so handles of other
//! processes count, and die with them. Background merges go on with each call about their VM.
//!
//! It knows nothing of backups: it is only as strict as the real host.

mod administrator;
mod calls;
mod changes;
mod checkpoint;
mod container;
mod defined;
mod fault;
mod file_owner;
mod folder;
mod frozen;
mod fuse;
mod guest;
mod holes;
mod io_error;
mod merge;
mod new_vm;
mod planned;
mod port;
mod session;
mod show;
mod sparse_file;
mod state;
mod tracking;
mod truth;
mod user_checkpoint;
mod virtual_disk;
mod vm_configuration;
mod writing;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use time_and_chance::{Chance, SharedClock};

pub use changes::SimTracking;
pub use container::Subformat;
pub use defined::PlannedPart;
pub use fault::{FaultRecord, SimFault, Step};
pub use new_vm::{SimDisk, SimDiskContent, SimGuest, SimVm};
pub use show::{SimPlannedView, SimPointView, SimView, SimVmView};
pub use truth::{SimCheckpointTruth, SimDiskTruth, SimPlannedTruth, SimTruth, SimVmTruth};
pub use virtual_disk::{SimAccess, SimDiskFacts, SimVirtualDisk};

use crate::HypervError;
use fuse::Fuse;
use io_error::io_error;
use state::{FORMAT, HostState};

/// A simulated Hyper-V host.
///
/// Clones are the same host. NTFS's sparse attribute, which Hyper-V refuses on disk files, is a
/// file `<disk>.sparse-attribute` beside the disk ([`SimHost::set_sparse_attribute`]): other file
/// systems have holes but no such attribute.
#[derive(Debug, Clone)]
pub struct SimHost {
    root: Arc<Path>,
    clock: SharedClock,
    chance: Chance,
    fuse: Arc<Fuse>,
}

/// What may differ between simulated hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimOptions {
    /// The host's name.
    pub name: String,
    /// The newest configuration version it can run.
    pub configuration_version: String,
    /// Its virtual switches.
    pub switches: Vec<String>,
    /// How finely writes are tracked; ranges are rounded outwards to it.
    pub tracking_block_bytes: u64,
    /// How many calls see a merge run before it is done.
    pub merge_calls: u32,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            name: "sim".to_owned(),
            configuration_version: "10.0".to_owned(),
            switches: vec!["Default Switch".to_owned()],
            tracking_block_bytes: 64 << 10,
            merge_calls: 1,
        }
    }
}

impl SimHost {
    /// Makes a host in a folder, which is made too if it is not there.
    ///
    /// # Errors
    /// `Invalid` if there is a host in it already.
    pub fn create(
        folder: &Path,
        options: SimOptions,
        clock: SharedClock,
        chance: Chance,
    ) -> Result<Self, HypervError> {
        let vms = folder.join("vms");
        fs::create_dir_all(&vms).map_err(|error| io_error("make", &vms, error))?;
        let host = Self::in_folder(folder, clock, chance)?;
        host.write_first_state(HostState {
            format: FORMAT,
            name: options.name,
            configuration_version: options.configuration_version,
            switches: options.switches,
            tracking_block_bytes: options.tracking_block_bytes.max(512),
            merge_calls: options.merge_calls,
            vms: Vec::new(),
            planned: Vec::new(),
            faults: Vec::new(),
            doomed: Vec::new(),
        })?;
        Ok(host)
    }

    /// Opens the host in a folder.
    ///
    /// # Errors
    /// `Failed` if there is none.
    pub fn open(folder: &Path, clock: SharedClock, chance: Chance) -> Result<Self, HypervError> {
        let state = folder.join("host.json");
        fs::metadata(&state).map_err(|error| io_error("open", &state, error))?;
        let host = Self::in_folder(folder, clock, chance)?;
        drop(host.session()?);
        Ok(host)
    }

    fn in_folder(folder: &Path, clock: SharedClock, chance: Chance) -> Result<Self, HypervError> {
        let root =
            local_file::real_path(folder).map_err(|error| io_error("open", folder, error))?;
        Ok(Self {
            root: root.into(),
            clock,
            chance,
            fuse: Arc::new(Fuse::endless()),
        })
    }

    /// Returns the host's folder.
    pub fn folder(&self) -> &Path {
        &self.root
    }

    /// Lets `steps` more durable steps pass; then everything through this value and its clones
    /// fails with `Unavailable`, as if their process had been killed right there.
    pub fn die_after(&self, steps: u64) {
        self.fuse.set(steps);
    }
}
