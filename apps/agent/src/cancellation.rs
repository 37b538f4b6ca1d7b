//! Ending one piece of work: its own signal, and those of what it uses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use time_and_chance::StopSignal;

/// Ends one run or command, together with the waits of the repository it uses.
#[derive(Debug, Clone)]
pub struct Cancellation {
    stop: StopSignal,
    others: Arc<Mutex<Vec<StopSignal>>>,
    is_wanted: Arc<AtomicBool>,
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

    /// Lets another signal be thrown when the work is cancelled.
    pub fn stops_too(&self, other: &StopSignal) {
        let mut others = self.others.lock().expect("nobody panics while he holds it");
        others.push(other.clone());
        if self.is_cancelled() {
            other.stop();
        }
    }

    /// Cancels the work.
    pub fn cancel(&self) {
        self.is_wanted.store(true, Ordering::SeqCst);
        self.stop.stop();
        let others = self.others.lock().expect("nobody panics while he holds it");
        others.iter().for_each(StopSignal::stop);
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
        work.stops_too(&early);
        work.cancel();
        work.stops_too(&late);
        assert!(work.is_cancelled() && work.stop().is_stopped());
        assert!(early.is_stopped() && late.is_stopped());
        service.stop();
        assert!(other.stop().is_stopped() && !other.is_cancelled());
    }
}
