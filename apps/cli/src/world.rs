//! What every command works with: clock, chance, signals, folders, display.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use backup::vm::StateFolder;
use blob::OutageListener;
use progress::{Monitor as _, News, Progress};
use repo::Repository;
use time_and_chance::{Chance, SharedClock, StopSignal, SystemClock, TimeZone, system_time_zone};
use zeroize::Zeroizing;

use crate::amounts;
use crate::display::{Display, Subjects};
use crate::failure::Failure;
use crate::globals::Globals;
use crate::password::FoundPassword;
use crate::shares::Shares;
use crate::signals::Signals;
use crate::stderr;
use crate::supervisor::Supervisor;
use crate::{password, places};

/// The world around a command.
#[derive(Debug)]
pub struct World {
    clock: SharedClock,
    chance: Chance,
    signals: Signals,
    supervisor: Supervisor,
    state_folder: Option<PathBuf>,
    cache_folder: Option<PathBuf>,
    password_file: Option<PathBuf>,
    json: bool,
    /// The repository that was opened, to be asked what it has to say in the end.
    repository: OnceLock<Arc<Repository>>,
    /// Connections to shares that paths lie on.
    shares: Shares,
    /// The display, for as long as somebody shows progress on it.
    display: Arc<Mutex<Weak<Display>>>,
}

impl World {
    /// Returns the real world, as the command line wants it, with the clock that it lives by.
    pub fn new(
        globals: &Globals,
        supervisor: Supervisor,
        clock: SharedClock,
    ) -> Result<Self, Failure> {
        let signals = match &supervisor {
            // A service hears of a logoff what others hear of Ctrl-C, and must not stop for it.
            #[cfg(windows)]
            Supervisor::Windows(manager) => Signals::heard_by(manager.stop().clone()),
            _ => Signals::listen(SystemClock::new())?,
        };
        Ok(Self {
            signals,
            supervisor,
            clock,
            chance: Chance::from_system(),
            state_folder: globals.state_dir.clone(),
            cache_folder: globals.cache_dir.clone(),
            password_file: globals.password_file.clone(),
            json: globals.json,
            repository: OnceLock::new(),
            shares: Shares::default(),
            display: Arc::default(),
        })
    }

    /// Makes sure that a path can be reached that may lie on a share.
    pub fn reach(&self, path: &Path) -> Result<(), Failure> {
        self.shares.reach(path)
    }

    /// Returns the clock.
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// Returns whether the answer is to be a document.
    pub fn wants_json(&self) -> bool {
        self.json
    }

    /// Returns the time zone that weeks are counted in.
    pub fn time_zone(&self) -> TimeZone {
        system_time_zone()
    }

    /// Returns the source of chance.
    pub fn chance(&self) -> &Chance {
        &self.chance
    }

    /// Returns what Ctrl-C throws.
    pub fn stop(&self) -> &StopSignal {
        self.signals.stop()
    }

    /// Returns whoever keeps this program running.
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// Returns progress that is shown on stderr.
    pub fn progress(&self, subjects: Subjects) -> Progress {
        let display = Arc::new(Display::new(self.clock.clone(), subjects));
        *self
            .display
            .lock()
            .expect("no thread panics while it looks for the display") = Arc::downgrade(&display);
        Progress {
            monitor: display,
            stop: self.stop().clone(),
            subject: String::new(),
        }
    }

    /// Returns what tells of outages: through the display once there is one, so that neither
    /// spoils the other.
    pub fn outage_listener(&self) -> OutageListener {
        let display = Arc::clone(&self.display);
        Arc::new(move |error, total_max| {
            let text = format!(
                "the repository's store does not answer; trying again for up to {} (failed to {error})",
                amounts::duration(total_max)
            );
            let display = display
                .lock()
                .expect("no thread panics while it looks for the display")
                .upgrade();
            match display {
                Some(display) => display.hear(&News::Warning {
                    subject: "",
                    text: &text,
                }),
                None => stderr::warn(&text),
            }
        })
    }

    /// Opens the state folder, which is made if it is not there.
    pub fn state(&self) -> Result<StateFolder, Failure> {
        Ok(StateFolder::open(self.state_folder()?)?)
    }

    /// Returns the state folder, whether it is there or not.
    pub fn state_folder(&self) -> Result<PathBuf, Failure> {
        match &self.state_folder {
            Some(folder) => Ok(folder.clone()),
            None => places::state_folder(),
        }
    }

    /// Returns the folders for state and cache, as far as somebody named them.
    pub fn named_folders(&self) -> [Option<&Path>; 2] {
        [&self.state_folder, &self.cache_folder].map(|it| it.as_deref())
    }

    /// Returns the folder for the service's log.
    pub fn log_folder(&self) -> Result<PathBuf, Failure> {
        match &self.state_folder {
            Some(folder) => Ok(folder.join("logs")),
            None => places::log_folder(),
        }
    }

    /// Returns the folder for repositories' indexes.
    pub fn cache_folder(&self) -> Result<PathBuf, Failure> {
        match &self.cache_folder {
            Some(folder) => Ok(folder.clone()),
            None => places::cache_folder(),
        }
    }

    /// Remembers the repository that was opened.
    pub fn opened(&self, repository: &Arc<Repository>) {
        // A command opens one; a second would have the same to say.
        let _ = self.repository.set(Arc::clone(repository));
    }

    /// Tells what an operator should know of a command that is over.
    pub fn tell_notes(&self) {
        if self.repository.get().is_some_and(|it| it.leaves_markers()) {
            eprintln!(
                "note: these keys may not delete, so session markers stay in the store; they are harmless, and full maintenance with other keys removes them"
            );
        }
    }

    /// Asks somebody something; a signal ends the program meanwhile.
    pub fn while_asking<T>(&self, ask: impl FnOnce() -> T) -> T {
        self.signals.while_asking(ask)
    }

    /// Returns the password of a repository that exists, of which `remembered` may be remembered.
    pub fn password(&self, remembered: password::Remembered<'_>) -> Result<FoundPassword, Failure> {
        password::password(self.password_file.as_deref(), remembered, &self.signals)
    }

    /// Returns the password of a new repository.
    pub fn first_password(&self) -> Result<Zeroizing<String>, Failure> {
        password::first_password(self.password_file.as_deref(), &self.signals)
    }

    /// Returns the password of a login at the control plane.
    pub fn login_password(&self, file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
        password::login_password(file, &self.signals)
    }

    /// Returns the password that is to replace the repository's.
    pub fn new_password(&self, file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
        password::new_password(file, &self.signals)
    }
}
