//! Dying on purpose: a counter of durable steps after which everything fails.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{HypervError, HypervErrorKind};

/// Counts down with every durable step; once burnt, every further step fails.
#[derive(Debug)]
pub(super) struct Fuse {
    steps_left: AtomicU64,
}

impl Fuse {
    /// Returns a fuse that never burns out.
    pub(super) fn endless() -> Self {
        Self {
            steps_left: AtomicU64::new(u64::MAX),
        }
    }

    /// Lets `steps` more steps pass.
    pub(super) fn set(&self, steps: u64) {
        self.steps_left.store(steps, Ordering::SeqCst);
    }

    /// Takes one step.
    pub(super) fn burn(&self) -> Result<(), HypervError> {
        self.steps_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
                u64::MAX => Some(left),
                _ => left.checked_sub(1),
            })
            .map(|_| ())
            .map_err(|_| {
                HypervError::new(
                    HypervErrorKind::Unavailable,
                    "go on: the host was killed here",
                )
            })
    }
}
