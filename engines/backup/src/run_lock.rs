//! One run at a time on one thing, over all processes.
//!
//! A lock of the operating system on a file, which dies with its holder. The file itself stays, and
//! says who holds it.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use progress::Progress;
use time_and_chance::{Clock, Timestamp};

use crate::error::{BackupError, BackupErrorKind, stopped};

/// How often one that waits looks whether the lock is free.
const LOOK: Duration = Duration::from_secs(1);

/// No process id is longer than this.
const HOLDER_BYTES_MAX: u64 = 20;

/// How a lock is waited for that another holds: a clean-up, an end of retention, another run.
#[derive(Debug, Clone, Copy)]
pub struct LockWait<'a> {
    /// The time.
    pub clock: &'a dyn Clock,
    /// Hears what is waited for, and ends the wait.
    pub progress: &'a Progress,
    /// How long is waited.
    pub max: Duration,
}

impl LockWait<'_> {
    /// So long a run waits unless somebody says otherwise: what a service does beside its runs is
    /// over by then.
    pub const USUAL_MAX: Duration = Duration::from_mins(10);
}

/// Held while something is worked on; the operating system lets go of it when its holder dies.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// Takes the lock in the file at `path`, for work on `what`, as soon as nobody else holds it.
    ///
    /// # Errors
    /// `Locked` if another still holds it after all that patience; it says who. `Stopped` if the work
    /// was told to stop.
    pub(crate) fn wait_for(
        path: &Path,
        what: &str,
        wait: &LockWait<'_>,
    ) -> Result<Self, BackupError> {
        let begun = wait.clock.monotonic();
        let mut is_told = false;
        loop {
            let held_by = match Self::try_take(path)? {
                Ok(lock) => return Ok(lock),
                Err(holder) => holder.unwrap_or_default(),
            };
            let waited = wait.clock.monotonic().saturating_sub(begun);
            if waited >= wait.max {
                let after = match wait.max.as_secs() {
                    0 => String::new(),
                    seconds if seconds < 120 => format!(", after {seconds} s of waiting"),
                    seconds => format!(", after {} minutes of waiting", seconds / 60),
                };
                return Err(locked(what, &format!("{held_by}{after}")));
            }
            if !is_told {
                wait.progress.waits(&format!(
                    "waiting until another run lets go of {what}{held_by}"
                ));
                is_told = true;
            }
            let pause = LOOK.min(wait.max - waited);
            let stop = &wait.progress.stop;
            wait.clock.sleep(pause, stop).map_err(stopped)?;
        }
    }

    /// Takes the lock in the file at `path`, for work on `what`, if nobody holds it.
    ///
    /// # Errors
    /// `Locked` if another process holds it.
    pub(crate) fn take(path: &Path, what: &str) -> Result<Self, BackupError> {
        Self::try_take(path)?.map_err(|holder| locked(what, &holder.unwrap_or_default()))
    }

    /// Takes the lock, or returns who holds it.
    fn try_take(path: &Path) -> Result<Result<Self, Option<String>>, BackupError> {
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
                Ok(Ok(Self { _file: file }))
            }
            Err(TryLockError::WouldBlock) => Ok(Err(holder(&mut file))),
            Err(TryLockError::Error(error)) => Err(failed("take a lock", path)(error)),
        }
    }
}

fn locked(what: &str, more: &str) -> BackupError {
    BackupError::new(
        BackupErrorKind::Locked,
        format!("begin: another run works on {what}{more}; wait until it is over, or stop it"),
    )
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
    use std::sync::{Arc, Mutex};

    use progress::{Monitor, News};
    use time_and_chance::{ManualClock, StopSignal, Stopped};

    use super::*;

    /// A clock in whose third sleep the other one lets go.
    #[derive(Debug)]
    struct Releasing {
        clock: Arc<ManualClock>,
        held: Mutex<(u32, Option<RunLock>)>,
    }

    impl Clock for Releasing {
        fn now(&self) -> Timestamp {
            self.clock.now()
        }

        fn monotonic(&self) -> Duration {
            self.clock.monotonic()
        }

        fn sleep(&self, duration: Duration, stop: &StopSignal) -> Result<(), Stopped> {
            let mut held = self.held.lock().unwrap();
            held.0 += 1;
            if held.0 == 3 {
                held.1 = None;
            }
            self.clock.sleep(duration, stop)
        }
    }

    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Monitor for Heard {
        fn hear(&self, news: &News<'_>) {
            let News::Waits { subject, text } = news else {
                panic!("{news:?}");
            };
            self.0.lock().unwrap().push(format!("{subject}: {text}"));
        }
    }

    fn progress(heard: &Arc<Heard>) -> Progress {
        Progress {
            monitor: Arc::clone(heard) as _,
            ..Progress::silent()
        }
        .about("web")
    }

    #[test]
    fn a_lock_is_waited_for_with_one_word_about_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = RunLock::take(&path, "it").unwrap();
        let clock = Releasing {
            clock: ManualClock::at(Timestamp::UNIX_EPOCH),
            held: Mutex::new((0, Some(held))),
        };
        let heard = Arc::new(Heard::default());
        let wait = LockWait {
            clock: &clock,
            progress: &progress(&heard),
            max: LockWait::USUAL_MAX,
        };
        let _lock = RunLock::wait_for(&path, "this VM", &wait).unwrap();
        assert_eq!(clock.monotonic(), 3 * LOOK);
        let heard = heard.0.lock().unwrap();
        let [told] = &heard[..] else {
            panic!("{heard:?}");
        };
        let words = "web: waiting until another run lets go of this VM";
        assert!(told.starts_with(words), "{told}");
    }

    #[test]
    fn nobody_waits_for_ever_nor_after_a_stop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let _held = RunLock::take(&path, "it").unwrap();
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let heard = Arc::new(Heard::default());
        let progress = progress(&heard);
        let wait = LockWait {
            clock: &*clock,
            progress: &progress,
            max: LockWait::USUAL_MAX,
        };
        let refused = RunLock::wait_for(&path, "it", &wait).unwrap_err();
        assert_eq!(refused.kind(), BackupErrorKind::Locked);
        let told = refused.to_string();
        assert!(told.contains("after 10 minutes of waiting"), "{told}");
        assert_eq!(clock.monotonic(), LockWait::USUAL_MAX);
        progress.stop.stop();
        let ended = RunLock::wait_for(&path, "it", &wait).unwrap_err();
        assert_eq!(ended.kind(), BackupErrorKind::Stopped);
    }

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
