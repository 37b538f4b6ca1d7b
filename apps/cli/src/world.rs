//! What every command works with: clock, chance, signals, folders, display.

use std::path::PathBuf;
use std::sync::Arc;

use backup::vm::StateFolder;
use progress::Progress;
use time_and_chance::{Chance, SharedClock, StopSignal, SystemClock};

use crate::arguments::Globals;
use crate::display::{Display, Subjects};
use crate::failure::Failure;
use crate::places;
use crate::signals::Signals;

/// The world around a command.
#[derive(Debug)]
pub struct World {
    clock: SharedClock,
    chance: Chance,
    signals: Signals,
    state_folder: Option<PathBuf>,
    cache_folder: Option<PathBuf>,
    password_file: Option<PathBuf>,
}

impl World {
    /// Returns the real world, as the command line wants it.
    pub fn new(globals: &Globals) -> Result<Self, Failure> {
        Ok(Self {
            clock: SystemClock::new(),
            chance: Chance::from_system(),
            signals: Signals::listen()?,
            state_folder: globals.state_dir.clone(),
            cache_folder: globals.cache_dir.clone(),
            password_file: globals.password_file.clone(),
        })
    }

    /// Returns the clock.
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// Returns the source of chance.
    pub fn chance(&self) -> &Chance {
        &self.chance
    }

    /// Returns what Ctrl-C throws.
    pub fn stop(&self) -> &StopSignal {
        self.signals.stop()
    }

    /// Returns progress that is shown on stderr.
    pub fn progress(&self, subjects: Subjects) -> Progress {
        Progress {
            monitor: Arc::new(Display::new(self.clock.clone(), subjects)),
            stop: self.stop().clone(),
            subject: String::new(),
        }
    }

    /// Opens the state folder, which is made if it is not there.
    pub fn state(&self) -> Result<StateFolder, Failure> {
        let folder = match &self.state_folder {
            Some(folder) => folder.clone(),
            None => places::state_folder()?,
        };
        Ok(StateFolder::open(folder)?)
    }

    /// Returns the folder for repositories' indexes.
    pub fn cache_folder(&self) -> Result<PathBuf, Failure> {
        match &self.cache_folder {
            Some(folder) => Ok(folder.clone()),
            None => places::cache_folder(),
        }
    }

    /// Returns the repository's password.
    pub fn password(&self, twice: bool) -> Result<String, Failure> {
        crate::password::password(self.password_file.as_deref(), &self.signals, twice)
    }
}
