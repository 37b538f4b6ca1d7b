//! Ctrl-C and SIGTERM: the first one cancels cleanly, the second one ends the program at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use time_and_chance::{SharedClock, StopSignal};

use crate::failure::{CANCELLED, Failure, FailureKind};

/// A signal that comes again so soon is the same one: `timeout` and service managers send it to
/// the process and to its group.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// Hears the signals for as long as the program runs.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    stop: StopSignal,
    /// Somebody is being asked something: there is nothing to cancel yet.
    asking: Arc<AtomicBool>,
}

impl Signals {
    /// Begins to listen.
    pub fn listen(clock: SharedClock) -> Result<Self, Failure> {
        let signals = Self::default();
        let heard = signals.clone();
        let first_at = OnceLock::new();
        ctrlc::set_handler(move || {
            let now = clock.monotonic();
            let is_same = now.saturating_sub(*first_at.get_or_init(|| now)) < SAME_SIGNAL;
            let is_again = heard.stop.is_stopped() && !is_same;
            if heard.asking.load(Ordering::Relaxed) || is_again {
                std::process::exit(i32::from(CANCELLED));
            }
            if heard.stop.is_stopped() {
                return;
            }
            eprintln!("cancelling: cleaning up first; once more ends at once");
            heard.stop.stop();
        })
        .map_err(|error| {
            Failure::new(
                FailureKind::Failed,
                format!("failed to listen for Ctrl-C: {error}"),
            )
        })?;
        Ok(signals)
    }

    /// Returns signals that somebody else hears, who throws `stop`.
    #[cfg(windows)]
    pub fn heard_by(stop: StopSignal) -> Self {
        Self {
            stop,
            asking: Arc::default(),
        }
    }

    /// Returns the switch that the signals throw.
    pub fn stop(&self) -> &StopSignal {
        &self.stop
    }

    /// Asks somebody something; a signal ends the program meanwhile.
    pub fn while_asking<T>(&self, ask: impl FnOnce() -> T) -> T {
        self.asking.store(true, Ordering::Relaxed);
        let answer = ask();
        self.asking.store(false, Ordering::Relaxed);
        answer
    }
}
