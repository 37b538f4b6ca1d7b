//! What a backup of VMs works with.

use std::sync::Arc;

use hyperv::HypervHost;
use repo::{Repository, Writer};
use time_and_chance::{Chance, SharedClock};

use super::options::{Options, Step};
use super::state::StateFolder;
use crate::error::{BackupError, BackupErrorKind};

/// Where VMs are backed up from and to.
pub struct VmBackup<'a> {
    /// The host.
    pub host: &'a dyn HypervHost,
    /// The repository's writer.
    pub writer: &'a Writer,
    /// Bases, journal, locks.
    pub state: &'a StateFolder,
    /// How.
    pub options: &'a Options,
    /// Asked after every step whether to go on; a test says no.
    pub goes_on: &'a (dyn Fn(Step) -> bool + Sync),
}

impl VmBackup<'_> {
    pub(super) fn after(&self, step: Step) -> Result<(), BackupError> {
        if (self.goes_on)(step) {
            Ok(())
        } else {
            Err(BackupError::new(
                BackupErrorKind::Killed,
                format!("go on after {step:?}"),
            ))
        }
    }

    pub(super) fn repo(&self) -> &Arc<Repository> {
        self.writer.repository()
    }

    pub(super) fn clock(&self) -> &SharedClock {
        self.repo().clock()
    }

    pub(super) fn chance(&self) -> &Chance {
        self.repo().chance()
    }
}
