//! Ctrl-C and SIGTERM: the first one cancels cleanly, the second one ends the program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use time_and_chance::StopSignal;

use crate::failure::{CANCELLED, Failure, FailureKind};

/// Hears the signals for as long as the program runs.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    stop: StopSignal,
    /// Somebody is being asked something: there is nothing to cancel yet.
    asking: Arc<AtomicBool>,
}

impl Signals {
    /// Begins to listen.
    pub fn listen() -> Result<Self, Failure> {
        let signals = Self::default();
        let heard = signals.clone();
        ctrlc::set_handler(move || {
            if heard.asking.load(Ordering::Relaxed) || heard.stop.is_stopped() {
                std::process::exit(i32::from(CANCELLED));
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
