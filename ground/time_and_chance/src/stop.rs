//! Being told to stop, and waiting in a way that hears it.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// The work was told to stop by its [`StopSignal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped on request")]
pub struct Stopped;

/// A switch that many threads watch and any of them may throw; once thrown it stays thrown.
///
/// Clones share the switch.
#[derive(Debug, Clone, Default)]
pub struct StopSignal {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    thrown: Mutex<bool>,
    changed: Condvar,
}

impl StopSignal {
    /// Returns a switch nobody has thrown yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells everyone who watches to stop.
    pub fn stop(&self) {
        *self.lock() = true;
        self.inner.changed.notify_all();
    }

    /// Returns whether the switch was thrown.
    pub fn is_stopped(&self) -> bool {
        *self.lock()
    }

    /// Returns `Err(Stopped)` once the switch was thrown, for use with `?`.
    pub fn check(&self) -> Result<(), Stopped> {
        if self.is_stopped() { Err(Stopped) } else { Ok(()) }
    }

    /// Waits for real time to pass, or until told to stop, whichever comes first.
    ///
    /// Only [`Clock::sleep`](crate::Clock::sleep) of a real clock should call this.
    pub(crate) fn wait(&self, duration: Duration) -> Result<(), Stopped> {
        let (thrown, _) = self
            .inner
            .changed
            .wait_timeout_while(self.lock(), duration, |thrown| !*thrown)
            .expect("no thread panics while it holds the switch");
        if *thrown { Err(Stopped) } else { Ok(()) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, bool> {
        self.inner
            .thrown
            .lock()
            .expect("no thread panics while it holds the switch")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_hears_the_stop() {
        let signal = StopSignal::new();
        let other = signal.clone();
        assert_eq!(other.check(), Ok(()));
        signal.stop();
        assert_eq!(other.check(), Err(Stopped));
    }

    #[test]
    fn waiting_ends_when_stopped() {
        let signal = StopSignal::new();
        signal.stop();
        assert_eq!(signal.wait(Duration::from_secs(3600)), Err(Stopped));
    }
}
