//! The lock of a client that upgrades a repository (Kopia spec 9.2).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A client's claim to have the repository to itself while it upgrades it.
///
/// Durations are nanoseconds. We honour locks and never set one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeLock {
    /// Who holds the lock.
    #[serde(default, rename = "ownerID")]
    pub owner_id: String,
    /// When it was set.
    #[serde(default = "unset_time")]
    pub creation_time: Timestamp,
    /// How long after that the upgrade is meant to begin.
    #[serde(default, rename = "advanceNoticeDuration")]
    pub advance_notice_ns: i64,
    /// How long other clients may take to stop what they are doing.
    #[serde(default, rename = "ioDrainTimeout")]
    pub io_drain_timeout_ns: i64,
    /// How often waiting clients look again.
    #[serde(default, rename = "statusPollInterval")]
    pub status_poll_interval_ns: i64,
    /// What to tell people.
    #[serde(default)]
    pub message: String,
    /// How far clients' clocks may be apart.
    #[serde(default, rename = "maxPermittedClockDrift")]
    pub max_permitted_clock_drift_ns: i64,
}

impl UpgradeLock {
    /// Returns whether clients other than the owner must keep out by now.
    pub fn is_locked(&self, now: Timestamp) -> bool {
        let notice_ns = i128::from(self.advance_notice_ns);
        let drain_ns = self.drain_ns();
        notice_ns < drain_ns
            || now.as_nanosecond() >= self.creation_time.as_nanosecond() + notice_ns - drain_ns
    }

    /// Returns whether every client that honours the lock has stopped by now.
    pub fn is_drained(&self, now: Timestamp) -> bool {
        let notice_ns = i128::from(self.advance_notice_ns);
        now.as_nanosecond() >= self.creation_time.as_nanosecond() + notice_ns.max(self.drain_ns())
    }

    fn drain_ns(&self) -> i128 {
        i128::from(self.max_permitted_clock_drift_ns) + 2 * i128::from(self.io_drain_timeout_ns)
    }
}

/// Go's zero time, which stands for a time that was not given.
fn unset_time() -> Timestamp {
    Timestamp::new(-62_135_596_800, 0).expect("year 1 is in range")
}
