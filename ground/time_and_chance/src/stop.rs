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
    parent: Option<Box<StopSignal>>,
}

/// A waiting child looks at its parent this often.
const PARENT_LOOK: Duration = Duration::from_millis(100);

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

    /// Returns a switch that counts as thrown when this one is, but not the other way round.
    pub fn child(&self) -> Self {
        Self {
            inner: Arc::default(),
            parent: Some(Box::new(self.clone())),
        }
    }

    /// Tells everyone who watches to stop.
    pub fn stop(&self) {
        *self.lock() = true;
        self.inner.changed.notify_all();
    }

    /// Returns whether the switch was thrown.
    pub fn is_stopped(&self) -> bool {
        *self.lock()
            || self
                .parent
                .as_ref()
                .is_some_and(|parent| parent.is_stopped())
    }

    /// Returns `Err(Stopped)` once the switch was thrown, for use with `?`.
    pub fn check(&self) -> Result<(), Stopped> {
        if self.is_stopped() {
            Err(Stopped)
        } else {
            Ok(())
        }
    }

    /// Waits for real time to pass, or until told to stop, whichever comes first.
    ///
    /// For a real clock, and for watchers, which look now and then without moving a simulated
    /// clock; everyone else takes [`Clock::sleep`](crate::Clock::sleep).
    pub fn wait_real_time(&self, duration: Duration) -> Result<(), Stopped> {
        let mut left = duration;
        while !left.is_zero() {
            self.check()?;
            let turn = if self.parent.is_some() {
                left.min(PARENT_LOOK)
            } else {
                left
            };
            drop(
                self.inner
                    .changed
                    .wait_timeout_while(self.lock(), turn, |thrown| !*thrown)
                    .expect("no thread panics while it holds the switch"),
            );
            left -= turn;
        }
        self.check()
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
    fn a_child_stops_with_its_parent_but_not_the_other_way_round() {
        let parent = StopSignal::new();
        let child = parent.child();
        child.stop();
        assert_eq!(parent.check(), Ok(()));
        let other = parent.child();
        parent.stop();
        assert_eq!(
            other.wait_real_time(Duration::from_secs(3600)),
            Err(Stopped)
        );
    }

    #[test]
    fn waiting_ends_when_stopped() {
        let signal = StopSignal::new();
        signal.stop();
        assert_eq!(
            signal.wait_real_time(Duration::from_secs(3600)),
            Err(Stopped)
        );
    }
}
