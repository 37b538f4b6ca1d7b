//! A clock that goes on only while nobody has anything to do, and no further than it is told: how much time
//! passes beside work does not depend on how fast the machine works.
//!
//! Loops that sleep have nothing to do, and once all do so, time goes on at once. While others may be at
//! work beside them, it goes on when the whole process is at rest ([`Rest`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use time_and_chance::{Clock, SignedDuration, StopSignal, Stopped, Timestamp};

use crate::rest::Rest;

/// How often whoever drives the clock looks, in real time.
const DRIVER_LOOK: Duration = Duration::from_millis(1);
/// How often whoever sleeps looks whether he was told to stop, in real time, when nobody drives the clock:
/// otherwise its driver does, and no sleeper disturbs the rest.
const LOOK: Duration = Duration::from_millis(5);

/// The clock.
#[derive(Debug)]
pub struct SteppedClock {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    passed: Duration,
    /// It stands still here.
    limit: Duration,
    /// So many threads have nothing to do but to sleep.
    loops: usize,
    /// Others may be at work beside them.
    has_work: bool,
    /// Nobody drives it any more: it goes on by itself.
    is_free: bool,
    sleepers: BTreeMap<u64, Sleeper>,
    next_sleeper: u64,
}

#[derive(Debug)]
struct Sleeper {
    wake: Duration,
    stop: StopSignal,
}

impl State {
    /// Returns when the next one is to be woken, if nobody who sleeps has something to do before.
    fn next(&self) -> Option<Duration> {
        let first = self.sleepers.values().map(|it| it.wake).min()?;
        let is_told = self.sleepers.values().any(|it| it.stop.is_stopped());
        let all_sleep = self.sleepers.len() >= self.loops;
        (all_sleep && first > self.passed && !is_told).then_some(first)
    }

    /// Whether it is enough that all loops sleep.
    fn is_idle(&self) -> bool {
        self.is_free || (!self.has_work && self.sleepers.len() == self.loops)
    }
}

impl SteppedClock {
    /// Returns a clock for so many loops, which stands still.
    pub fn new(loops: usize) -> Arc<Self> {
        let state = State {
            loops,
            ..State::default()
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        })
    }

    /// Says whether others than loops may be at work from now on.
    pub fn has_work(&self, has_work: bool) {
        self.lock().has_work = has_work;
    }

    /// Lets time pass until `moment`, and whatever happens until then happen.
    pub fn run_until(&self, moment: Duration) {
        let mut rest = Rest::default();
        let mut state = self.lock();
        state.limit = moment;
        self.changed.notify_all();
        loop {
            if state.sleepers.values().any(|it| it.stop.is_stopped()) {
                self.changed.notify_all();
            } else if let Some(next) = state.next() {
                let is_idle = state.is_idle();
                if !is_idle {
                    drop(state);
                    let is_at_rest = rest.is_reached();
                    state = self.lock();
                    // Nobody was at work, so nobody came here meanwhile.
                    if !is_at_rest || state.next() != Some(next) {
                        state = self.changed.wait_timeout(state, DRIVER_LOOK).unwrap().0;
                        continue;
                    }
                }
                if next > moment {
                    break;
                }
                // Whoever sleeps goes on by himself where that is enough, if he looks.
                if !is_idle {
                    state.passed = next;
                }
                self.changed.notify_all();
            }
            state = self.changed.wait_timeout(state, DRIVER_LOOK).unwrap().0;
        }
        state.passed = state.passed.max(moment);
    }

    /// Lets time pass by itself from now on, whoever sleeps: the services end.
    pub fn run_freely(&self) {
        let mut state = self.lock();
        state.limit = Duration::MAX;
        state.loops = 1;
        state.is_free = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        let begun = Timestamp::from_second(1_800_000_000).unwrap();
        begun + SignedDuration::try_from(self.monotonic()).unwrap()
    }

    fn monotonic(&self) -> Duration {
        self.lock().passed
    }

    fn sleep(&self, duration: Duration, stop: &StopSignal) -> Result<(), Stopped> {
        let mut state = self.lock();
        let me = state.next_sleeper;
        state.next_sleeper += 1;
        let wake = state.passed + duration;
        let stop = stop.clone();
        state.sleepers.insert(me, Sleeper { wake, stop });
        let slept = loop {
            if state.sleepers[&me].stop.is_stopped() {
                break Err(Stopped);
            }
            if state.passed >= wake {
                break Ok(());
            }
            let is_idle = state.is_idle();
            match state.next().filter(|next| is_idle && *next <= state.limit) {
                Some(next) => {
                    state.passed = next;
                    let mut others = state.sleepers.iter().filter(|(who, _)| **who != me);
                    if others.any(|(_, it)| it.wake <= next) {
                        self.changed.notify_all();
                    }
                }
                None if state.is_free => {
                    state = self.changed.wait_timeout(state, LOOK).unwrap().0;
                }
                None => state = self.changed.wait(state).unwrap(),
            }
        };
        state.sleepers.remove(&me);
        slept
    }
}
