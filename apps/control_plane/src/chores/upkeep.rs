//! Which work on a repository is due: maintenance and verification, by its own hours. Pure.

const HOUR_MS: i64 = 3_600_000;

/// Work on a repository that comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Quick maintenance.
    Quick,
    /// Full maintenance.
    Full,
    /// Reading a part of the data again; an operation of our own.
    Verify,
}

impl Upkeep {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Quick, Self::Full, Self::Verify];

    /// Returns the operation's kind on the wire.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Quick => "maintenance_quick",
            Self::Full => "maintenance_full",
            Self::Verify => "verify",
        }
    }
}

/// Returns when work last failed, if it has not ended well since.
pub fn still_failed(failed_at: Option<i64>, last_at: Option<i64>) -> Option<i64> {
    failed_at.filter(|failed| last_at.is_none_or(|last| *failed > last))
}

/// What is known of one kind of work on one repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// How often it is due; 0: never by us.
    pub every_hours: i64,
    /// When it last ended well (milliseconds since 1970).
    pub last_at: Option<i64>,
    /// When the repository was made (milliseconds since 1970).
    pub created_at: i64,
    /// Whether it is queued or going on.
    pub is_under_way: bool,
    /// When it last failed, if it has not ended well since (milliseconds since 1970).
    pub failed_at: Option<i64>,
}

impl Record {
    /// Returns from when its interval counts.
    pub fn counts_from(&self) -> i64 {
        self.last_at.unwrap_or(self.created_at)
    }

    /// Tells whether it is to be queued.
    pub fn is_due(&self, now_ms: i64) -> bool {
        if self.every_hours <= 0 || self.is_under_way {
            return false;
        }
        let interval = self.every_hours.saturating_mul(HOUR_MS);
        // What fails is tried again sooner than its next turn, but not all the time.
        let pause = (interval / 4).clamp(HOUR_MS / 4, 6 * HOUR_MS);
        now_ms.saturating_sub(self.counts_from()) >= interval
            && self.failed_at.is_none_or(|failed| now_ms - failed >= pause)
    }

    /// Tells whether it should have been done long ago: one and a half times its interval, and at least half a day
    /// more than it.
    pub fn is_overdue(&self, now_ms: i64) -> bool {
        if self.every_hours <= 0 {
            return false;
        }
        let interval = self.every_hours.saturating_mul(HOUR_MS);
        let limit = interval.saturating_add((interval / 2).max(12 * HOUR_MS));
        now_ms.saturating_sub(self.counts_from()) > limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_due_by_its_hours_and_failed_work_a_while_later() {
        let daily = Record {
            every_hours: 24,
            last_at: Some(0),
            created_at: -1_000_000,
            is_under_way: false,
            failed_at: None,
        };
        assert!(!daily.is_due(24 * HOUR_MS - 1));
        assert!(daily.is_due(24 * HOUR_MS));
        let never = Record {
            last_at: None,
            created_at: HOUR_MS,
            ..daily
        };
        assert!(!never.is_due(24 * HOUR_MS));
        assert!(never.is_due(25 * HOUR_MS));
        let failed = Record {
            failed_at: Some(24 * HOUR_MS),
            ..daily
        };
        assert!(!failed.is_due(29 * HOUR_MS));
        assert!(failed.is_due(30 * HOUR_MS));
        for nothing in [
            Record {
                every_hours: 0,
                ..daily
            },
            Record {
                is_under_way: true,
                ..daily
            },
        ] {
            assert!(!nothing.is_due(i64::MAX / 2));
        }
        assert!(!daily.is_overdue(36 * HOUR_MS));
        assert!(daily.is_overdue(36 * HOUR_MS + 1));
        let hourly = Record {
            every_hours: 1,
            ..daily
        };
        assert!(!hourly.is_overdue(13 * HOUR_MS));
        assert!(hourly.is_overdue(13 * HOUR_MS + 1));
    }
}
