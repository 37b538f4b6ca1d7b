//! What retention would keep of the points that a schedule makes: the very rules that agents apply, played over the
//! moments of the past. Pure.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use kopia::policy::Policy;
use kopia::retention::{Candidate, verdicts};
use protocol::retention::Retention;
use snapshot::{RetentionNumbers, RetentionRule};

use crate::schedule::Schedule;

/// How far back the schedule is played.
const DAYS: i64 = 400;

/// How many moments are played, at most: each hour of those days.
const MOMENTS_MAX: usize = 10_000;

/// How many moments tell how close together they are.
const SAMPLE: usize = 24;

/// A point that would be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// When it would have been made.
    pub at: Timestamp,
    /// Why, in Kopia's words: `latest-1`, `daily-3`; `no-rule`: nothing is ever removed.
    pub reasons: Vec<String>,
}

/// What retention would have done by now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Played {
    /// What it would have kept, newest first.
    pub kept: Vec<Kept>,
    /// How many points it would have removed.
    pub dropped_count: usize,
}

/// Plays a schedule over the last 400 days, and the retention over what it made. A schedule of more than ten thousand
/// moments is played over its last ones.
pub fn play(
    schedule: &Schedule,
    retention: &Retention,
    now: Timestamp,
    zone: &TimeZone,
    job_id: &str,
) -> Played {
    let moments = moments(schedule, now, zone, job_id);
    let Some(rule) = rule_of(retention) else {
        // Agents are not told to remove anything then.
        let stays = |&at: &Timestamp| Kept {
            at,
            reasons: vec!["no-rule".to_owned()],
        };
        return Played {
            kept: moments.iter().rev().map(stays).collect(),
            dropped_count: 0,
        };
    };
    // What a rule leaves open, Kopia's own numbers say, as with agents.
    let own = Policy {
        retention: rule.to_policy(),
        ..Policy::default()
    };
    let policy = Policy::merge([&own, &Policy::defaults()]).retention;
    let candidates: Vec<Candidate> = moments
        .iter()
        .map(|&at| Candidate {
            start: at,
            end: at,
            complete: true,
        })
        .collect();
    let verdicts = verdicts(&policy, &candidates, zone);
    let mut kept: Vec<Kept> = moments
        .iter()
        .zip(&verdicts)
        .filter(|(_, verdict)| verdict.is_kept())
        .map(|(&at, verdict)| Kept {
            at,
            reasons: verdict.reasons(),
        })
        .collect();
    kept.reverse();
    Played {
        dropped_count: moments.len() - kept.len(),
        kept,
    }
}

/// Returns the rule that agents make of what they are sent.
fn rule_of(sent: &Retention) -> Option<RetentionRule> {
    RetentionRule::of(&RetentionNumbers {
        keep_last: sent.keep_last,
        keep_days: sent.keep_days,
        hourly: sent.hourly,
        daily: sent.daily,
        weekly: sent.weekly,
        monthly: sent.monthly,
        yearly: sent.yearly,
    })
}

fn moments(schedule: &Schedule, now: Timestamp, zone: &TimeZone, job_id: &str) -> Vec<Timestamp> {
    let back = |span: SignedDuration| now.checked_sub(span).unwrap_or(Timestamp::MIN);
    let from = |begin: Timestamp| {
        std::iter::successors(schedule.next_after(begin, zone, job_id), |&last| {
            schedule.next_after(last, zone, job_id)
        })
        .take_while(|&moment| moment <= now)
    };
    let begin = back(SignedDuration::from_hours(24 * DAYS));
    let sample: Vec<Timestamp> = from(begin).take(SAMPLE).collect();
    let (Some(first), Some(last)) = (sample.first(), sample.last()) else {
        return Vec::new();
    };
    let seconds = last.duration_since(*first).as_secs().max(1);
    let fits = seconds.saturating_mul(MOMENTS_MAX as i64) / SAMPLE as i64;
    let begin = begin.max(back(SignedDuration::from_secs(fits)));
    from(begin).take(MOMENTS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(schedule: &str, retention: &str) -> Played {
        let schedule: Schedule = serde_json::from_str(schedule).unwrap();
        let retention: Retention = serde_json::from_str(retention).unwrap();
        let now: Timestamp = "2026-03-10T12:00:00Z".parse().unwrap();
        play(&schedule, &retention, now, &TimeZone::UTC, "job")
    }

    #[test]
    fn tiers_keep_what_they_name_and_kopias_own_numbers_what_they_leave_open() {
        let nightly = r#"{"kind":"daily","at":"22:00"}"#;
        let all = r#"{"hourly":0,"daily":30,"weekly":8,"monthly":12,"yearly":3}"#;
        let played = played(nightly, all);
        assert_eq!(played.kept.len() + played.dropped_count, 400);
        let newest = &played.kept[0];
        assert_eq!(newest.at.to_string(), "2026-03-09T22:00:00Z");
        assert_eq!(newest.reasons[0], "latest-1");
        let of = |rule: &str| {
            let by = |kept: &&Kept| kept.reasons.iter().any(|it| it.starts_with(rule));
            played.kept.iter().filter(by).count()
        };
        assert_eq!(of("latest-"), 10, "Kopia's own number");
        assert_eq!(of("hourly-"), 0);
        assert!((29..=30).contains(&of("daily-")), "{}", of("daily-"));
        assert!(played.kept.len() < 60, "{}", played.kept.len());
    }

    #[test]
    fn without_a_rule_everything_stays() {
        let played = played(r#"{"kind":"daily","at":"22:00"}"#, "{}");
        assert_eq!((played.kept.len(), played.dropped_count), (400, 0));
    }

    #[test]
    fn a_schedule_that_never_starts_makes_nothing_and_one_of_every_minute_is_bounded() {
        assert_eq!(played(r#"{"kind":"manual"}"#, "{}"), Played::default());
        let minutes = r#"{"kind":"cron","expression":"* * * * *"}"#;
        let played = played(minutes, r#"{"keep_last":5}"#);
        let count = played.kept.len() + played.dropped_count;
        assert!((9_000..=MOMENTS_MAX).contains(&count), "{count}");
        assert_eq!(played.kept[0].at.to_string(), "2026-03-10T12:00:00Z");
    }
}
