//! Ending one piece of work: its own signal, and those of what it uses.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use time_and_chance::StopSignal;

/// Ends one run or command, together with the waits of the repository it uses.
#[derive(Debug, Clone)]
pub struct Cancellation {
    stop: StopSignal,
    others: Arc<Mutex<Others>>,
    is_wanted: Arc<AtomicBool>,
}

/// What is ended with the work, each under a number.
#[derive(Debug, Default)]
struct Others {
    next: u64,
    signals: BTreeMap<u64, StopSignal>,
}

impl Cancellation {
    /// Returns what ends work that ends with `service`, too.
    pub fn below(service: &StopSignal) -> Self {
        Self {
            stop: service.child(),
            others: Arc::default(),
            is_wanted: Arc::default(),
        }
    }

    /// Returns the signal that the work watches.
    pub fn stop(&self) -> &StopSignal {
        &self.stop
    }

    /// Lets another signal be thrown when the work is cancelled, until it is let go of by the number that this
    /// returns.
    pub fn stops_too(&self, other: &StopSignal) -> u64 {
        let mut others = self.lock();
        let number = others.next;
        others.next += 1;
        others.signals.insert(number, other.clone());
        if self.is_cancelled() {
            other.stop();
        }
        number
    }

    /// Lets go of a signal: once this returns, it is not thrown any more.
    pub fn lets_go_of(&self, number: u64) {
        self.lock().signals.remove(&number);
    }

    /// Cancels the work.
    pub fn cancel(&self) {
        self.is_wanted.store(true, Ordering::SeqCst);
        self.stop.stop();
        self.lock().signals.values().for_each(StopSignal::stop);
    }

    fn lock(&self) -> MutexGuard<'_, Others> {
        self.others.lock().expect("nobody panics while he holds it")
    }

    /// Returns whether somebody cancelled this very work, and not the whole service.
    pub fn is_cancelled(&self) -> bool {
        self.is_wanted.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancelling_throws_every_signal_and_a_service_that_stops_cancels_nothing() {
        let service = StopSignal::new();
        let (work, other) = (Cancellation::below(&service), Cancellation::below(&service));
        let (early, late) = (StopSignal::new(), StopSignal::new());
        let gone = StopSignal::new();
        work.stops_too(&early);
        let number = work.stops_too(&gone);
        work.lets_go_of(number);
        work.cancel();
        work.stops_too(&late);
        assert!(!gone.is_stopped());
        assert!(work.is_cancelled() && work.stop().is_stopped());
        assert!(early.is_stopped() && late.is_stopped());
        service.stop();
        assert!(other.stop().is_stopped() && !other.is_cancelled());
    }
}
