//! Where state and cache are kept if nobody says otherwise.

use std::path::PathBuf;

use crate::failure::Failure;

/// Returns the folder for bases, journals and locks.
pub fn state_folder() -> Result<PathBuf, Failure> {
    system::state_folder()
}

/// Returns the folder for repositories' indexes.
pub fn cache_folder() -> Result<PathBuf, Failure> {
    system::cache_folder()
}

/// Returns the folder for the service's log.
pub fn log_folder() -> Result<PathBuf, Failure> {
    // All of the service's folders lie side by side.
    let state = state_folder()?;
    Ok(state.with_file_name("logs"))
}

/// Returns the service's configuration file.
pub fn config_file() -> Result<PathBuf, Failure> {
    match cfg!(windows) {
        true => Ok(state_folder()?.with_file_name("agent.conf")),
        false => Ok("/etc/e3-backup-agent/agent.conf".into()),
    }
}

/// Returns the folder that a variable names, if it names one by its whole path.
fn folder_in(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

#[cfg(unix)]
mod system {
    use super::{Failure, PathBuf, folder_in};

    const NAME: &str = "e3-backup-agent";

    pub(super) fn state_folder() -> Result<PathBuf, Failure> {
        folder(
            "/var/lib/e3-backup-agent/state",
            "XDG_STATE_HOME",
            ".local/state",
            "--state-dir",
        )
    }

    pub(super) fn cache_folder() -> Result<PathBuf, Failure> {
        folder(
            "/var/cache/e3-backup-agent",
            "XDG_CACHE_HOME",
            ".cache",
            "--cache-dir",
        )
    }

    fn folder(
        of_root: &str,
        variable: &str,
        below_home: &str,
        option: &str,
    ) -> Result<PathBuf, Failure> {
        if rustix::process::geteuid().is_root() {
            return Ok(of_root.into());
        }
        let parent = folder_in(variable).or_else(|| Some(folder_in("HOME")?.join(below_home)));
        parent.map(|parent| parent.join(NAME)).ok_or_else(|| {
            Failure::wrong_usage(format!("there is no home folder; say {option} DIR"))
        })
    }
}

#[cfg(windows)]
mod system {
    use super::{Failure, PathBuf, folder_in};

    pub(super) fn state_folder() -> Result<PathBuf, Failure> {
        folder("state", "--state-dir")
    }

    pub(super) fn cache_folder() -> Result<PathBuf, Failure> {
        folder("cache", "--cache-dir")
    }

    fn folder(name: &str, option: &str) -> Result<PathBuf, Failure> {
        folder_in("ProgramData")
            .map(|parent| parent.join("E3Backup").join(name))
            .ok_or_else(|| {
                Failure::wrong_usage(format!("%ProgramData% names no folder; say {option} DIR"))
            })
    }
}
