//! Whoever keeps this program running as a service and is told how it is: systemd, Windows' service
//! manager, or nobody.
//!
//! It does not install services (see `service_manager`), nor know what the service does.

#[cfg(unix)]
mod systemd;
#[cfg(windows)]
pub mod windows;

use time_and_chance::StopSignal;

/// Who is told.
#[derive(Debug)]
pub enum Supervisor {
    /// This program was started by hand, or by what asks for nothing.
    Nobody,
    /// systemd, which handed over a socket.
    #[cfg(unix)]
    Systemd(systemd::Systemd),
    /// Windows' service manager.
    #[cfg(windows)]
    Windows(windows::ServiceManager),
}

impl Supervisor {
    /// Returns who is to be told, as the environment says.
    pub fn of_this_process() -> Self {
        #[cfg(unix)]
        {
            let variable = |name: &str| std::env::var_os(name);
            match systemd::Systemd::of(&variable, std::process::id()) {
                Some(systemd) => Self::Systemd(systemd),
                None => Self::Nobody,
            }
        }
        #[cfg(windows)]
        Self::Nobody
    }

    /// Tells that the service does what it is there for.
    pub fn running(&self) {
        match self {
            Self::Nobody => {}
            #[cfg(unix)]
            Self::Systemd(systemd) => systemd.tell("READY=1"),
            #[cfg(windows)]
            Self::Windows(manager) => manager.running(),
        }
    }

    /// Tells that the service lives, for as long as `beats` goes up, and what it does, as `says`
    /// has it; that it is about to end once `stop` is thrown; and nothing any more after `done`.
    ///
    /// A supervisor that does not hear of the service any more starts it anew.
    pub fn watch(
        &self,
        beats: &dyn Fn() -> u64,
        says: &dyn Fn() -> String,
        stop: &StopSignal,
        done: &StopSignal,
    ) {
        match self {
            #[cfg(unix)]
            Self::Systemd(systemd) => systemd.watch(beats, says, stop, done),
            // Windows asks for no sign of life, and knows that it told the service to stop.
            _ => {
                let _ = (beats, says, stop, done);
            }
        }
    }
}

/// Returns whether what is written to stderr goes into systemd's journal.
pub fn stderr_is_the_journal() -> bool {
    #[cfg(unix)]
    {
        systemd::is_the_journal(&std::io::stderr(), std::env::var_os("JOURNAL_STREAM"))
    }
    #[cfg(windows)]
    false
}
