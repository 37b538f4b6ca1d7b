//! The clock port, the system's clock and one that a test moves by hand.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::{StopSignal, Stopped};

/// A clock shared by everything in one world.
pub type SharedClock = Arc<dyn Clock>;

/// Tells the time and waits.
///
/// Implementers promise that `monotonic` never goes backwards, and that `sleep` returns
/// promptly with [`Stopped`] once its signal is thrown.
pub trait Clock: Send + Sync + Debug {
    /// Returns the wall-clock time in UTC; it may jump.
    fn now(&self) -> Timestamp;

    /// Returns the time since some fixed moment; for measuring durations.
    fn monotonic(&self) -> Duration;

    /// Waits for `duration`, or until `stop` is thrown.
    fn sleep(&self, duration: Duration, stop: &StopSignal) -> Result<(), Stopped>;

    /// Returns whether the time is one that several programs play together: what they store has to be dated
    /// by this clock too, since the system's says another time.
    fn is_simulated(&self) -> bool {
        false
    }
}

/// The operating system's clock.
#[derive(Debug)]
pub struct SystemClock {
    started: std::time::Instant,
}

impl SystemClock {
    /// Returns the system's clock, ready to share.
    #[expect(
        clippy::new_ret_no_self,
        reason = "a clock is only ever used shared; handing out the bare type would invite a second one"
    )]
    pub fn new() -> SharedClock {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that asks the system"
        )]
        let started = std::time::Instant::now();
        Arc::new(Self { started })
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn sleep(&self, duration: Duration, stop: &StopSignal) -> Result<(), Stopped> {
        stop.wait_real_time(duration)
    }
}

/// Returns the time zone this machine is set to; UTC if it does not say.
pub fn system_time_zone() -> TimeZone {
    TimeZone::system()
}

/// A clock that stands still until it is moved; sleeping moves it.
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<ManualState>,
}

#[derive(Debug)]
struct ManualState {
    now: Timestamp,
    passed: Duration,
}

impl ManualClock {
    /// Returns a clock that stands at `now`.
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(ManualState {
                now,
                passed: Duration::ZERO,
            }),
        })
    }

    /// Lets `duration` pass.
    pub fn advance(&self, duration: Duration) {
        let mut state = self.lock();
        state.now +=
            SignedDuration::try_from(duration).expect("tests advance by less than 292 years");
        state.passed += duration;
    }

    /// Moves the wall clock without any time passing, as an administrator or NTP does.
    pub fn set(&self, now: Timestamp) {
        self.lock().now = now;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ManualState> {
        self.state
            .lock()
            .expect("no thread panics while it holds the clock")
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn monotonic(&self) -> Duration {
        self.lock().passed
    }

    fn sleep(&self, duration: Duration, stop: &StopSignal) -> Result<(), Stopped> {
        stop.check()?;
        self.advance(duration);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_moves_a_manual_clock() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        clock
            .sleep(Duration::from_secs(90), &StopSignal::new())
            .expect("nobody stops it");
        assert_eq!(clock.now().as_second(), 90);
        assert_eq!(clock.monotonic(), Duration::from_secs(90));
    }

    #[test]
    fn setting_the_wall_clock_leaves_the_monotonic_one_alone() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        clock.set(Timestamp::from_second(1_000).expect("in range"));
        assert_eq!(clock.monotonic(), Duration::ZERO);
    }
}
