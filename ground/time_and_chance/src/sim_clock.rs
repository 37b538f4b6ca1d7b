//! A clock that several programs share through one small file, for simulations: server, agent and
//! host live through thirty nights in minutes, and agree on what time it is.
//!
//! ```text
//! revision 4
//! time 2026-10-27T21:00:00Z        what it says…
//! since 2026-11-26T05:00:00.25Z    …at this real moment
//! rate 20                          and how many times faster than real time it goes on; 0: it stands still
//! ```
//!
//! Whoever moves the clock replaces the file as a whole. Readers look at it again now and then, so they
//! follow a little later. A clock of the real kind never reads a file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{Clock, SharedClock, StopSignal, Stopped, SystemClock};

/// The environment variable that names the file.
pub const SIM_CLOCK_VARIABLE: &str = "E3_SIM_CLOCK";

/// The file is read again after so much real time.
const LOOK: Duration = Duration::from_millis(20);
/// It goes no faster: a day in less than a second.
const RATE_MAX: u32 = 100_000;

/// What the file of a simulated clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimTime {
    /// Grows each time the clock is moved.
    pub revision: u64,
    /// What the clock says at `since`.
    pub time: Timestamp,
    /// A moment of real time.
    pub since: Timestamp,
    /// How many times faster than real time it goes on from there; 0: it stands still.
    pub rate: u32,
}

/// A simulated clock's file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("read the simulated clock {}: {why}", path.display())]
pub struct SimClockError {
    path: PathBuf,
    why: String,
}

impl SimTime {
    /// Returns the first setting of a clock.
    pub fn first(time: Timestamp, since: Timestamp, rate: u32) -> Self {
        Self {
            revision: 1,
            time,
            since,
            rate: rate.min(RATE_MAX),
        }
    }

    /// Reads what the file says.
    ///
    /// # Errors
    /// If there is no such file, or it makes no sense.
    pub fn read(path: &Path) -> Result<Self, SimClockError> {
        let wrong = |why: String| SimClockError {
            path: path.to_owned(),
            why,
        };
        let text = std::fs::read_to_string(path).map_err(|error| {
            wrong(format!(
                "{error}; `e3-backup-agent sim clock FILE set TIME` makes one"
            ))
        })?;
        text.parse().map_err(wrong)
    }

    /// Returns what the clock says at a moment of real time.
    pub fn at(&self, real: Timestamp) -> Timestamp {
        let passed = real.duration_since(self.since).max(SignedDuration::ZERO);
        let passed = passed.checked_mul(self.rate.min(RATE_MAX).cast_signed());
        let moment = passed.and_then(|passed| self.time.checked_add(passed).ok());
        moment.unwrap_or(Timestamp::MAX)
    }

    /// Returns the clock set to a time.
    #[must_use]
    pub fn set_to(&self, time: Timestamp, real: Timestamp) -> Self {
        Self {
            revision: self.revision.saturating_add(1),
            time,
            since: real,
            rate: self.rate,
        }
    }

    /// Returns the clock moved on.
    #[must_use]
    pub fn advanced(&self, by: Duration, real: Timestamp) -> Self {
        let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        let time = self.at(real).saturating_add(by).unwrap_or(Timestamp::MAX);
        self.set_to(time, real)
    }

    /// Returns the clock going on so many times faster than real time.
    #[must_use]
    pub fn running(&self, rate: u32, real: Timestamp) -> Self {
        Self {
            rate: rate.min(RATE_MAX),
            ..self.set_to(self.at(real), real)
        }
    }
}

impl fmt::Display for SimTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "revision {}", self.revision)?;
        writeln!(f, "time {}", self.time)?;
        writeln!(f, "since {}", self.since)?;
        writeln!(f, "rate {}", self.rate)
    }
}

impl FromStr for SimTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = |name: &str| {
            let mut lines = text.lines();
            lines
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .ok_or_else(|| format!("it has no line of {name}"))
        };
        fn number<T: FromStr>(name: &str, word: &str) -> Result<T, String> {
            word.trim()
                .parse()
                .map_err(|_| format!("{word:?} is no {name}"))
        }
        Ok(Self {
            revision: number("revision", word("revision")?)?,
            time: number("time", word("time")?)?,
            since: number("time", word("since")?)?,
            rate: number::<u32>("rate", word("rate")?)?.min(RATE_MAX),
        })
    }
}

/// A clock that follows a file.
#[derive(Debug)]
pub struct SimClock {
    path: PathBuf,
    /// Real time, to look at the file now and then.
    real: SharedClock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    setting: SimTime,
    /// When the file was read, in real time.
    read_at: Duration,
    /// What the clock said last.
    last: Timestamp,
    /// How much time has passed on it; moved back, none passes.
    passed: Duration,
}

impl SimClock {
    /// Returns the clock that follows a file.
    ///
    /// # Errors
    /// If there is no such file, or it makes no sense. One that is lost later is passed over: the clock
    /// goes on as it was set.
    pub fn following(path: &Path) -> Result<SharedClock, SimClockError> {
        let setting = SimTime::read(path)?;
        let real = SystemClock::new();
        Ok(Arc::new(Self {
            path: path.to_owned(),
            state: Mutex::new(State {
                setting,
                read_at: real.monotonic(),
                last: setting.at(real.now()),
                passed: Duration::ZERO,
            }),
            real,
        }))
    }

    /// Looks at the file again if it is time to, and brings what the clock says up to date.
    fn look(&self) -> MutexGuard<'_, State> {
        let mut state = self
            .state
            .lock()
            .expect("no thread panics while it holds the clock");
        let real = self.real.monotonic();
        if real.saturating_sub(state.read_at) >= LOOK {
            state.read_at = real;
            if let Ok(setting) = SimTime::read(&self.path) {
                state.setting = setting;
            }
        }
        let now = state.setting.at(self.real.now());
        let passed = Duration::try_from(now.duration_since(state.last));
        state.passed = state.passed.saturating_add(passed.unwrap_or_default());
        state.last = now;
        state
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.look().last
    }

    fn monotonic(&self) -> Duration {
        self.look().passed
    }

    fn sleep(&self, duration: Duration, stop: &StopSignal) -> Result<(), Stopped> {
        let wake = self.monotonic().saturating_add(duration);
        loop {
            stop.check()?;
            let (left, rate) = {
                let state = self.look();
                (wake.saturating_sub(state.passed), state.setting.rate)
            };
            if left.is_zero() {
                return Ok(());
            }
            let real_left = left.checked_div(rate).unwrap_or(LOOK);
            stop.wait_real_time(real_left.clamp(Duration::from_millis(1), LOOK))?;
        }
    }

    fn is_simulated(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn write(path: &Path, setting: SimTime) {
        let new = path.with_extension("new");
        std::fs::write(&new, setting.to_string()).expect("written");
        std::fs::rename(&new, path).expect("replaced");
    }

    #[test]
    fn what_is_written_is_read_back_and_nonsense_is_refused() {
        let setting = SimTime::first(
            at("2026-10-27T21:00:00Z"),
            at("2026-11-26T05:00:00.25Z"),
            20,
        );
        assert_eq!(setting.to_string().parse(), Ok(setting));
        let whole = setting.to_string();
        for wrong in [
            "",
            "revision 1\n",
            &whole.replace("time 2026-10", "time 2026-13"),
            &whole.replace("rate 20", "rate fast"),
        ] {
            assert!(wrong.parse::<SimTime>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn it_stands_still_or_goes_at_its_rate_and_never_before_it_was_set() {
        let (time, real) = (at("2026-10-27T21:00:00Z"), at("2026-11-26T05:00:00Z"));
        let later = at("2026-11-26T05:00:03Z");
        let still = SimTime::first(time, real, 0);
        assert_eq!(still.at(later), time);
        let fast = still.running(60, real);
        assert_eq!(fast.at(later), at("2026-10-27T21:03:00Z"));
        assert_eq!(fast.at(at("2026-11-26T04:00:00Z")), time);
        let moved = fast.advanced(Duration::from_secs(3_600), later);
        assert_eq!(moved.at(later), at("2026-10-27T22:03:00Z"));
        assert_eq!((moved.revision, moved.rate), (3, 60));
        assert_eq!(
            SimTime {
                rate: u32::MAX,
                ..moved
            }
            .at(Timestamp::MAX),
            Timestamp::MAX
        );
    }

    #[test]
    fn whoever_sleeps_wakes_when_the_file_says_that_it_is_time_and_time_never_runs_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("clock");
        assert!(SimClock::following(&path).is_err());
        let first = SimTime::first(at("2026-10-27T21:00:00Z"), Timestamp::UNIX_EPOCH, 0);
        write(&path, first);
        let clock = SimClock::following(&path).expect("it is there");
        let never = StopSignal::new();
        std::thread::scope(|scope| {
            let slept = scope.spawn(|| clock.sleep(Duration::from_secs(8 * 3_600), &never));
            assert_eq!(clock.now(), first.time);
            write(
                &path,
                first.advanced(Duration::from_secs(9 * 3_600), Timestamp::UNIX_EPOCH),
            );
            assert_eq!(slept.join().expect("no panic"), Ok(()));
        });
        let passed = clock.monotonic();
        assert_eq!(passed, Duration::from_secs(9 * 3_600));
        write(&path, first);
        while clock.now() != first.time {
            never.wait_real_time(LOOK).expect("nobody stops it");
        }
        assert_eq!(clock.monotonic(), passed);
        // A file that is lost leaves the clock as it is.
        std::fs::remove_file(&path).expect("removed");
        never.wait_real_time(LOOK).expect("nobody stops it");
        assert_eq!(clock.now(), first.time);
    }

    #[test]
    fn whoever_sleeps_on_a_clock_that_stands_still_hears_the_stop() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("clock");
        write(
            &path,
            SimTime::first(Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH, 0),
        );
        let clock = SimClock::following(&path).expect("it is there");
        let stop = StopSignal::new();
        std::thread::scope(|scope| {
            let slept = scope.spawn(|| clock.sleep(Duration::from_secs(1), &stop));
            stop.stop();
            assert_eq!(slept.join().expect("no panic"), Err(Stopped));
        });
    }
}
