//! What a channel is told, and when: one message for many changes, nothing but the worst at night. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::schedule::Window;
use crate::watch::Severity;

const MINUTE_MS: i64 = 60_000;

/// Changes that are not critical wait this long for others, so that a channel gets one message in this time.
pub const GROUP_MS: i64 = 5 * MINUTE_MS;

/// How long a message is tried again.
pub const TRIES_MS: i64 = 24 * 3_600_000;

/// Between two tries there is no longer pause.
pub const PAUSE_MAX_MS: i64 = 60 * MINUTE_MS;

/// A change of an alarm that a channel has not been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untold {
    /// The alarm.
    pub alarm_id: i64,
    /// How bad it is.
    pub severity: Severity,
    /// The same, more finely.
    pub grade: i64,
    /// Whether it is over; else it has begun.
    pub is_resolved: bool,
    /// Whether it was told when it was less bad.
    pub is_worse: bool,
    /// Since when it could have been told (milliseconds since 1970).
    pub since: i64,
}

/// What a channel was told of an alarm's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// How bad it was then.
    pub grade: i64,
    /// Whether the message was given up.
    pub is_given_up: bool,
}

/// What is to be told of an open alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// That it has begun.
    Begun,
    /// That it is worse than it was told.
    Worse,
}

/// Returns what is to be told of an open alarm; none: what it is was told.
pub fn telling(told: Option<Told>, grade: i64) -> Option<Telling> {
    match told {
        None => Some(Telling::Begun),
        Some(told) if told.is_given_up => Some(Telling::Begun),
        Some(told) => (grade > told.grade).then_some(Telling::Worse),
    }
}

/// Returns those changes that go out now, in one message; none when it is not time.
pub fn choose(
    untold: &[Untold],
    quiet_hours: Option<Window>,
    zone: &TimeZone,
    now: Timestamp,
) -> Vec<Untold> {
    let is_urgent = |it: &Untold| !it.is_resolved && it.severity == Severity::Critical;
    let is_quiet = quiet_hours.is_some_and(|window| window.is_open(now, zone));
    if is_quiet {
        return untold.iter().filter(|it| is_urgent(it)).copied().collect();
    }
    let has_waited = |it: &Untold| now.as_millisecond() - it.since >= GROUP_MS;
    if untold.iter().any(|it| is_urgent(it) || has_waited(it)) {
        untold.to_vec()
    } else {
        Vec::new()
    }
}

/// Returns when a message is tried again after it failed for the `attempts`th time; none when it is given up.
pub fn next_try(attempts: i64, created_at: i64, now_ms: i64) -> Option<i64> {
    let pause_ms = match attempts {
        ..=1 => MINUTE_MS,
        2 => 2 * MINUTE_MS,
        3 => 5 * MINUTE_MS,
        4 => 15 * MINUTE_MS,
        5 => 30 * MINUTE_MS,
        _ => PAUSE_MAX_MS,
    };
    let next = now_ms + pause_ms;
    (next - created_at <= TRIES_MS).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untold(alarm_id: i64, severity: Severity, is_resolved: bool, since: i64) -> Untold {
        Untold {
            alarm_id,
            severity,
            grade: 0,
            is_resolved,
            is_worse: false,
            since,
        }
    }

    fn chosen(untold: &[Untold], quiet: bool, now_ms: i64) -> Vec<i64> {
        let window: Window =
            serde_json::from_str(r#"{"from":"22:00","to":"06:00"}"#).expect("a window");
        let now = Timestamp::from_millisecond(now_ms).expect("in range");
        choose(untold, quiet.then_some(window), &TimeZone::UTC, now)
            .iter()
            .map(|it| it.alarm_id)
            .collect()
    }

    #[test]
    fn what_is_not_urgent_waits_for_company_and_at_night_for_the_morning() {
        use Severity::{Critical, Warning};
        let (night, day) = (3_600_000, 12 * 3_600_000);
        let warnings = |now: i64, ago: i64| {
            [
                untold(1, Warning, false, now - ago),
                untold(2, Warning, true, now - 1),
            ]
        };
        assert_eq!(chosen(&warnings(day, GROUP_MS - 1), true, day), [0_i64; 0]);
        assert_eq!(chosen(&warnings(day, GROUP_MS), true, day), [1, 2]);
        assert_eq!(chosen(&warnings(night, GROUP_MS), true, night), [0_i64; 0]);
        assert_eq!(chosen(&warnings(night, GROUP_MS), false, night), [1, 2]);
        let urgent = [
            untold(1, Warning, false, day),
            untold(2, Critical, false, day),
        ];
        assert_eq!(chosen(&urgent, true, day), [1, 2]);
        let urgent = [
            untold(1, Warning, false, night),
            untold(2, Critical, false, night),
            untold(3, Critical, true, night),
        ];
        assert_eq!(chosen(&urgent, true, night), [2]);
        // That something critical is over can wait.
        assert_eq!(
            chosen(&[untold(3, Critical, true, day)], true, day),
            [0_i64; 0]
        );
    }

    #[test]
    fn what_got_worse_and_what_reached_nobody_is_told_again() {
        let told = |grade, is_given_up| Some(Told { grade, is_given_up });
        assert_eq!(telling(None, 100), Some(Telling::Begun));
        assert_eq!(telling(told(100, false), 100), None);
        assert_eq!(telling(told(101, false), 100), None);
        assert_eq!(telling(told(100, false), 101), Some(Telling::Worse));
        assert_eq!(telling(told(100, true), 100), Some(Telling::Begun));
    }

    #[test]
    fn a_message_is_tried_for_a_day() {
        let (mut now, mut attempts) = (0, 0);
        while let Some(next) = next_try(attempts + 1, 0, now) {
            assert!(next > now);
            (now, attempts) = (next, attempts + 1);
        }
        assert!((23 * 3_600_000..=TRIES_MS).contains(&now), "{now}");
        assert!((20..40).contains(&attempts), "{attempts}");
    }
}
