//! VSS as a model: what each call of a requester leads to.

mod faults;
mod manners;
mod requester;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use time_and_chance::Chance;
use uuid::Uuid;
use volume::sim::SimVolumeHost;
use windows_host::vss::{Requester, Vss, VssError};

pub use faults::Fault;
pub use manners::Manners;
pub(crate) use requester::FakeRequester;

/// VSS of a simulated machine.
#[derive(Debug, Clone)]
pub struct FakeVss {
    host: SimVolumeHost,
    /// Of the machine.
    folder: PathBuf,
    manners: Manners,
    chance: Chance,
    /// The set that is being made, of which there is one at most.
    making: Arc<Mutex<Option<Uuid>>>,
}

impl FakeVss {
    /// Returns VSS of the machine in `folder`.
    pub fn new(folder: &Path, host: SimVolumeHost, manners: Manners, chance: Chance) -> Self {
        Self {
            host,
            folder: folder.to_path_buf(),
            manners,
            chance,
            making: Arc::default(),
        }
    }

    /// Has a call fail, in every process that uses this machine.
    ///
    /// # Errors
    /// What the file system says.
    pub fn add_fault(&self, fault: Fault) -> std::io::Result<()> {
        faults::add(&self.folder, fault)
    }

    pub(crate) fn requester(&self) -> Result<FakeRequester, u32> {
        faults::strike(&self.folder, "InitializeForBackup")?;
        Ok(FakeRequester::new(self.clone()))
    }
}

impl Vss for FakeVss {
    fn begin(&self) -> Result<Box<dyn Requester>, VssError> {
        let requester = self.requester();
        let requester = requester.map_err(|code| VssError::code("begin with VSS", code))?;
        Ok(Box::new(requester))
    }
}
