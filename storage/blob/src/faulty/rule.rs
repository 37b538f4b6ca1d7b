//! What goes wrong, and when: the lines of a fault table.

use std::time::Duration;

use crate::{BlobErrorKind, Operation};

/// What goes wrong with one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strike {
    /// It fails and nothing happens.
    Fail(BlobErrorKind),
    /// It is done and fails all the same: the answer was lost on the way.
    FailAfter(BlobErrorKind),
    /// It works on the first bytes only and says nothing: a put writes, a read returns no more
    /// than these; a listing finds no more blobs than this number.
    Truncate(u64),
    /// A listing fails after it handed over this many blobs; other requests fail at once.
    BreakOff {
        /// Blobs that are found before.
        after: u64,
        /// How it fails.
        kind: BlobErrorKind,
    },
    /// It takes this much longer by the clock.
    Slow(Duration),
    /// The blob is gone: a put says it wrote, reads find nothing, a listing does not show the
    /// blobs that begin with the rule's prefix.
    Lose,
    /// One bit of the content written or read is the other one: this bit, counted from the
    /// front, modulo the length. Requests without content pass.
    FlipBit(u64),
}

/// A strike and the requests that it hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub(super) operation: Operation,
    pub(super) prefix: String,
    pub(super) skip: u64,
    pub(super) times: u64,
    pub(super) strike: Strike,
}

impl Rule {
    /// Returns a rule that hits the next request of this operation, once.
    pub fn on(operation: Operation, strike: Strike) -> Self {
        Self {
            operation,
            prefix: String::new(),
            skip: 0,
            times: 1,
            strike,
        }
    }

    /// Narrows it to blobs whose name begins so; for a listing, its prefix, save for
    /// [`Strike::Lose`], which hits every listing and hides these blobs.
    pub fn named(self, prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            ..self
        }
    }

    /// Lets the first `count` matching requests pass.
    pub fn after(self, count: u64) -> Self {
        Self {
            skip: count,
            ..self
        }
    }

    /// Hits so many matching requests; `u64::MAX` means all.
    pub fn times(self, count: u64) -> Self {
        Self {
            times: count,
            ..self
        }
    }

    /// Counts a request if it matches, and returns whether it is hit.
    pub(super) fn hits(&mut self, operation: Operation, name: &str) -> bool {
        let hides = operation == Operation::List && self.strike == Strike::Lose;
        if self.operation != operation || !(hides || name.starts_with(&self.prefix)) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.times == 0 {
            return false;
        }
        if self.times != u64::MAX {
            self.times -= 1;
        }
        true
    }
}
