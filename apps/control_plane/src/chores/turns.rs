//! Whether the chores' turns go on: when one was last completed, as `/healthz` and `/metrics` say it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use time_and_chance::{SharedClock, SystemClock};

/// Without a completed turn for this long, a server counts as not well.
pub const SILENCE_MAX: Duration = Duration::from_secs(5 * 60);

/// What is known of the turns of one instance.
///
/// Time is measured by the plane's clock. One that is simulated stands still or leaps by hours, so there it is real
/// time, and only while a turn goes on: between two turns the thread waits for the simulation, however long that takes.
#[derive(Debug)]
pub struct Turns {
    measure: SharedClock,
    waits_count: bool,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// When the last turn was completed; before that, when the instance was made.
    last: Duration,
    /// Since when the thread has been at a turn, those before it included that did not come to their end; none: it
    /// waits for the next.
    begun: Option<Duration>,
}

impl Turns {
    /// Returns the turns of an instance that has made none.
    pub fn new(clock: &SharedClock) -> Self {
        match clock.is_simulated() {
            true => Self::measured_by(SystemClock::new(), false),
            false => Self::measured_by(Arc::clone(clock), true),
        }
    }

    fn measured_by(measure: SharedClock, waits_count: bool) -> Self {
        Self {
            state: Mutex::new(State {
                last: measure.monotonic(),
                begun: None,
            }),
            measure,
            waits_count,
        }
    }

    /// A turn begins.
    pub(super) fn begin(&self) {
        let now = self.measure.monotonic();
        self.state().begun.get_or_insert(now);
    }

    /// The turn came to its end.
    pub(super) fn complete(&self) {
        let now = self.measure.monotonic();
        *self.state() = State {
            last: now,
            begun: None,
        };
    }

    /// Returns for how long no turn has been completed.
    pub fn silence(&self) -> Duration {
        let state = *self.state();
        let since = match (self.waits_count, state.begun) {
            (true, _) => state.last,
            (false, Some(begun)) => begun.max(state.last),
            (false, None) => return Duration::ZERO,
        };
        self.measure.monotonic().saturating_sub(since)
    }

    /// Returns why the server is not well, if its chores are the reason.
    pub fn trouble(&self) -> Option<String> {
        let silence = self.silence();
        (silence > SILENCE_MAX).then(|| {
            format!(
                "the server's own chores (schedules, watchdog, alarms, messages) have not gone through for {} minutes; see its log, and restart it",
                silence.as_secs() / 60
            )
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no thread panics while it looks at the turns")
    }
}

#[cfg(test)]
mod tests {
    use time_and_chance::{ManualClock, Timestamp};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn turns_that_do_not_end_well_are_trouble_after_five_minutes_and_none_any_more_after_a_good_one()
     {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let turns = Turns::measured_by(clock.clone(), true);
        clock.advance(5 * MINUTE);
        assert_eq!(turns.trouble(), None);
        for _ in 0..2 {
            turns.begin();
            clock.advance(MINUTE);
        }
        assert_eq!(turns.silence(), 7 * MINUTE);
        assert!(turns.trouble().is_some_and(|why| why.contains("7 minutes")));
        turns.begin();
        turns.complete();
        assert_eq!(turns.trouble(), None);
        // A thread that died begins no turn any more.
        clock.advance(6 * MINUTE);
        assert!(turns.trouble().is_some());
    }

    #[test]
    fn who_waits_for_a_simulated_clock_is_well_and_who_is_stuck_in_a_turn_is_not() {
        let real = ManualClock::at(Timestamp::UNIX_EPOCH);
        let turns = Turns::measured_by(real.clone(), false);
        real.advance(600 * MINUTE);
        assert_eq!(turns.trouble(), None);
        turns.begin();
        real.advance(6 * MINUTE);
        assert!(turns.trouble().is_some());
        turns.complete();
        real.advance(600 * MINUTE);
        assert_eq!(turns.trouble(), None);
    }
}
