//! One run at a time on one thing, over all processes.
//!
//! A lock of the operating system on a file, which dies with its holder. The file itself stays, and
//! says who holds it.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use time_and_chance::Timestamp;

use crate::error::{BackupError, BackupErrorKind};

/// No process id is longer than this.
const HOLDER_BYTES_MAX: u64 = 20;

/// Held while something is worked on; the operating system lets go of it when its holder dies.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// Takes the lock in the file at `path`, for work on `what`.
    ///
    /// # Errors
    /// `Locked` if another process holds it.
    pub(crate) fn take(path: &Path, what: &str) -> Result<Self, BackupError> {
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed("open a lock", path))?;
        match file.try_lock() {
            Ok(()) => {
                // It is there to be told; the lock holds without it.
                let _ = sign(&mut file);
                Ok(Self { _file: file })
            }
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut file).unwrap_or_default();
                Err(BackupError::new(
                    BackupErrorKind::Locked,
                    format!(
                        "begin: another run works on {what}{holder}; wait until it is over, or stop it"
                    ),
                ))
            }
            Err(TryLockError::Error(error)) => Err(failed("take a lock", path)(error)),
        }
    }
}

/// Writes down who holds the lock.
fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    write!(file, "{}", std::process::id())
}

/// Returns who holds the lock and since when, as far as that can be told: on Windows nobody else
/// reads a file that is locked.
fn holder(file: &mut File) -> Option<String> {
    let mut text = String::new();
    let mut start = io::Read::take(&mut *file, HOLDER_BYTES_MAX);
    start.read_to_string(&mut text).ok()?;
    let process: u32 = text.parse().ok()?;
    let since = file.metadata().and_then(|it| it.modified()).ok()?;
    let since = Timestamp::try_from(since).ok()?;
    Some(format!(" (process {process}, since {since:.0})"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_lock_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::fs::write(&path, "left by a process with a longer name").unwrap();
        let _held = RunLock::take(&path, "it").unwrap();
        let refused = RunLock::take(&path, "it").unwrap_err();
        assert_eq!(refused.kind(), BackupErrorKind::Locked);
        let process = format!("works on it (process {}, since 2", std::process::id());
        if cfg!(unix) {
            assert!(refused.to_string().contains(&process), "{refused}");
        }
    }
}
