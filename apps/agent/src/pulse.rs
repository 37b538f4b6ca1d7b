//! Signs that the service lives, for whoever starts a hung one anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Goes on beating as long as the service looks for work; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Says that the service lives.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often it has said so.
    pub fn beats(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
