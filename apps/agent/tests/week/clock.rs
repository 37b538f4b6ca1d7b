//! A clock that goes on when all loops of all services sleep, and no further than it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use time_and_chance::{Clock, SignedDuration, StopSignal, Stopped, Timestamp};

/// How often whoever waits looks whether he was told to stop, in real time.
const LOOK: Duration = Duration::from_millis(5);
/// While work is carried out beside the loops, time passes a step at a time, each after so much real time.
const STEP: Duration = Duration::from_millis(1);

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
    /// When those who sleep are to be woken.
    sleepers: BTreeMap<u64, Duration>,
    next_sleeper: u64,
}

impl State {
    /// Returns when the next one is to be woken, if nobody has something to do before.
    fn next(&self) -> Option<Duration> {
        let first = *self.sleepers.values().min()?;
        (self.sleepers.len() >= self.loops && first > self.passed).then_some(first)
    }

    fn is_beyond_the_limit(&self) -> bool {
        self.next().is_some_and(|next| next > self.limit)
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

    /// Lets time pass until `moment`, and whatever happens until then happen.
    pub fn run_until(&self, moment: Duration) {
        let mut state = self.lock();
        state.limit = moment;
        self.changed.notify_all();
        while !state.is_beyond_the_limit() {
            state = self.changed.wait_timeout(state, STEP).unwrap().0;
        }
        state.passed = moment;
    }

    /// Lets time pass by itself from now on, whoever sleeps: the services end.
    pub fn run_freely(&self) {
        let mut state = self.lock();
        state.limit = Duration::MAX;
        state.loops = 1;
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
        state.sleepers.insert(me, wake);
        let slept = loop {
            if stop.is_stopped() {
                break Err(Stopped);
            }
            if state.passed >= wake {
                break Ok(());
            }
            let mut next = state.next().filter(|next| *next <= state.limit);
            if next.is_some() && state.sleepers.len() > state.loops {
                state = self.changed.wait_timeout(state, STEP).unwrap().0;
                next = state.next().filter(|next| *next <= state.limit);
            }
            match next {
                Some(next) => {
                    state.passed = next;
                    if state
                        .sleepers
                        .iter()
                        .any(|(who, at)| *who != me && *at <= next)
                    {
                        self.changed.notify_all();
                    }
                }
                None => state = self.changed.wait_timeout(state, LOOK).unwrap().0,
            }
        };
        state.sleepers.remove(&me);
        slept
    }
}
