//! Retention: which snapshots of a source are kept, and why.
//!
//! Kopia spec 7.6. A function from a policy, the snapshots of one source and a time zone to what
//! each rule says about each snapshot. Knows neither pins nor manifests, and deletes nothing.
//!
//! Two things surprise. All rules share one set of keys, so that the month `2026-05` and the ISO
//! week `2026-05` are one and the same: whichever comes first takes it. And while years, months,
//! days and hours are UTC's, ISO weeks and the calendar arithmetic of the cut-offs are those of
//! the client's time zone.

use std::collections::HashSet;
use std::fmt;

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Span, Timestamp};

use crate::policy::RetentionPolicy;

/// Incomplete snapshots younger than this, measured from the newest, are kept …
const INCOMPLETE_AGE_MAX: SignedDuration = SignedDuration::from_hours(4);
/// … and so many in any case.
const INCOMPLETE_KEPT_MIN: usize = 3;

/// What retention has to know of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// When it was begun.
    pub start: Timestamp,
    /// When it was finished.
    pub end: Timestamp,
    /// Whether everything is there.
    pub complete: bool,
}

/// A rule of retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The newest ones.
    Latest,
    /// One per hour.
    Hourly,
    /// One per day.
    Daily,
    /// One per ISO week.
    Weekly,
    /// One per month.
    Monthly,
    /// One per year.
    Annual,
}

/// What a rule says about a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is the rule's nth, counted from the newest, and stays.
    Kept(i64),
    /// The policy has no such rule.
    NoRule,
    /// It is older than the rule reaches.
    TooOld,
    /// A newer snapshot, or another rule, has taken its hour, day, week, month or year.
    Taken,
    /// The rule has kept as many as it may.
    Full,
}

/// What retention says about a snapshot, pins apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Of a complete snapshot: what each rule says, from latest to annual.
    Complete([(Rule, Finding); 6]),
    /// Of an incomplete one: whether it is kept for a while.
    Incomplete {
        /// Whether it is.
        kept: bool,
    },
}

impl Rule {
    /// All rules, in the order in which Kopia lists reasons.
    pub const ALL: [Self; 6] = [
        Self::Latest,
        Self::Hourly,
        Self::Daily,
        Self::Weekly,
        Self::Monthly,
        Self::Annual,
    ];
    /// All rules, in the order in which they take keys.
    const TAKING: [Self; 6] = [
        Self::Latest,
        Self::Annual,
        Self::Monthly,
        Self::Weekly,
        Self::Daily,
        Self::Hourly,
    ];

    /// Returns Kopia's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Annual => "annual",
        }
    }

    /// Returns how many snapshots the rule keeps, if the policy has it.
    pub fn limit(self, policy: &RetentionPolicy) -> Option<i64> {
        match self {
            Self::Latest if keeps_all(policy) => Some(i64::MAX),
            Self::Latest => policy.keep_latest,
            Self::Hourly => policy.keep_hourly,
            Self::Daily => policy.keep_daily,
            Self::Weekly => policy.keep_weekly,
            Self::Monthly => policy.keep_monthly,
            Self::Annual => policy.keep_annual,
        }
    }
}

/// Says whether the numbers of the policy add up to nothing, which Kopia takes for "keep all".
pub fn keeps_all(policy: &RetentionPolicy) -> bool {
    let sum: i128 = [
        policy.keep_latest,
        policy.keep_hourly,
        policy.keep_daily,
        policy.keep_weekly,
        policy.keep_monthly,
        policy.keep_annual,
    ]
    .iter()
    .map(|number| i128::from(number.unwrap_or(0)))
    .sum();
    sum == 0
}

impl Verdict {
    /// Says whether retention keeps the snapshot.
    pub fn is_kept(&self) -> bool {
        match self {
            Self::Complete(findings) => findings
                .iter()
                .any(|(_, finding)| matches!(finding, Finding::Kept(_))),
            Self::Incomplete { kept } => *kept,
        }
    }

    /// Returns why it is kept, in Kopia's words and order: `latest-1`, `daily-3`, `incomplete`.
    pub fn reasons(&self) -> Vec<String> {
        match self {
            Self::Complete(findings) => findings
                .iter()
                .filter_map(|(rule, finding)| match finding {
                    Finding::Kept(number) => Some(format!("{rule}-{number}")),
                    _ => None,
                })
                .collect(),
            Self::Incomplete { kept: true } => vec!["incomplete".to_owned()],
            Self::Incomplete { kept: false } => Vec::new(),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Returns what the policy says about each snapshot of one source, in the order given. `zone` is
/// the time zone of the client that decides.
pub fn verdicts(
    policy: &RetentionPolicy,
    snapshots: &[Candidate],
    zone: &TimeZone,
) -> Vec<Verdict> {
    let mut newest_first: Vec<usize> = (0..snapshots.len()).collect();
    newest_first.sort_by_key(|&at| std::cmp::Reverse((snapshots[at].start, snapshots[at].end)));
    let mut verdicts = vec![Verdict::Incomplete { kept: false }; snapshots.len()];
    let newest_complete = newest_first
        .iter()
        .map(|&at| &snapshots[at])
        .find(|snapshot| snapshot.complete);
    if let Some(newest) = newest_complete {
        let mut rules = Rules::new(policy, newest.start, zone);
        for (place, &at) in newest_first.iter().enumerate() {
            if snapshots[at].complete {
                verdicts[at] = rules.judge(place, snapshots[at].start);
            }
        }
    }
    let newest = newest_first.first().map(|&at| snapshots[at].start);
    for (place, &at) in newest_first.iter().enumerate() {
        let snapshot = &snapshots[at];
        let young =
            newest.is_some_and(|newest| newest.duration_since(snapshot.start) < INCOMPLETE_AGE_MAX);
        if snapshot.complete || !(young || place < INCOMPLETE_KEPT_MIN) {
            break;
        }
        verdicts[at] = Verdict::Incomplete { kept: true };
    }
    verdicts
}

/// The rules at work: what they have kept so far.
struct Rules<'z> {
    zone: &'z TimeZone,
    rules: [RuleState; 6],
    taken: HashSet<String>,
}

struct RuleState {
    rule: Rule,
    limit: Option<i64>,
    cut_off: Timestamp,
    kept: i64,
}

impl<'z> Rules<'z> {
    fn new(policy: &RetentionPolicy, newest: Timestamp, zone: &'z TimeZone) -> Self {
        let rules = Rule::TAKING.map(|rule| {
            let limit = rule.limit(policy);
            RuleState {
                rule,
                limit,
                cut_off: cut_off(rule, limit.unwrap_or(0), newest, zone),
                kept: 0,
            }
        });
        Self {
            zone,
            rules,
            taken: HashSet::new(),
        }
    }

    fn judge(&mut self, place: usize, start: Timestamp) -> Verdict {
        let mut findings = Rule::ALL.map(|rule| (rule, Finding::NoRule));
        for state in &mut self.rules {
            let finding = match state.limit {
                None => Finding::NoRule,
                Some(_) if start < state.cut_off => Finding::TooOld,
                Some(limit) => {
                    let key = key(state.rule, place, start, self.zone);
                    if self.taken.contains(&key) {
                        Finding::Taken
                    } else if state.kept >= limit {
                        Finding::Full
                    } else {
                        self.taken.insert(key);
                        state.kept += 1;
                        Finding::Kept(state.kept)
                    }
                }
            };
            let (_, place) = findings
                .iter_mut()
                .find(|(rule, _)| *rule == state.rule)
                .expect("both lists have every rule");
            *place = finding;
        }
        Verdict::Complete(findings)
    }
}

/// Returns what a snapshot takes from others under a rule. One set holds the keys of all rules.
fn key(rule: Rule, place: usize, start: Timestamp, zone: &TimeZone) -> String {
    let utc = Offset::UTC.to_datetime(start);
    match rule {
        Rule::Latest => place.to_string(),
        Rule::Annual => format!("{:04}", utc.year()),
        Rule::Monthly => format!("{:04}-{:02}", utc.year(), utc.month()),
        Rule::Weekly => {
            let local = zone.to_datetime(start).date().iso_week_date();
            format!("{:04}-{:02}", local.year(), local.week())
        }
        Rule::Daily => format!("{:04}-{:02}-{:02}", utc.year(), utc.month(), utc.day()),
        Rule::Hourly => format!(
            "{:04}-{:02}-{:02} {:02}",
            utc.year(),
            utc.month(),
            utc.day(),
            utc.hour()
        ),
    }
}

/// Returns the time before which a rule keeps nothing: so many periods before the newest complete
/// snapshot. Where the calendar does not reach, nothing is too old.
fn cut_off(rule: Rule, periods: i64, newest: Timestamp, zone: &TimeZone) -> Timestamp {
    let local = zone.to_datetime(newest);
    let civil = match rule {
        Rule::Latest => None,
        Rule::Annual => back(local, periods.checked_mul(12), Some(0)),
        Rule::Monthly => back(local, Some(periods), Some(0)),
        Rule::Weekly => back(local, Some(0), periods.checked_mul(7)),
        Rule::Daily => back(local, Some(0), Some(periods)),
        Rule::Hourly => {
            let seconds = periods.checked_mul(3600);
            let back = seconds.map(SignedDuration::from_secs);
            return back
                .and_then(|back| newest.checked_sub(back).ok())
                .unwrap_or(Timestamp::MIN);
        }
    };
    civil
        .and_then(|civil| to_timestamp(civil, zone))
        .unwrap_or(Timestamp::MIN)
}

/// Goes back by the calendar, as Go does: a day that the month does not have runs over into the
/// next month, so that a month before 31 March is 3 March (or 2 March).
fn back(from: DateTime, months: Option<i64>, days: Option<i64>) -> Option<DateTime> {
    let month = i64::from(from.year()) * 12 + i64::from(from.month()) - 1;
    let month = month.checked_sub(months?)?;
    let first = Date::new(
        i16::try_from(month.div_euclid(12)).ok()?,
        i8::try_from(month.rem_euclid(12)).ok()? + 1,
        1,
    )
    .ok()?;
    let days = i64::from(from.day()).checked_sub(1)?.checked_sub(days?)?;
    let date = first.checked_add(Span::new().try_days(days).ok()?).ok()?;
    Some(date.to_datetime(from.time()))
}

/// Returns the instant that a clock in the zone shows so, resolved as Go does where clocks change:
/// by the offset that was in force at about that time.
fn to_timestamp(civil: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let as_utc = Offset::UTC.to_timestamp(civil).ok()?;
    let at = |offset: Offset| {
        let ahead = SignedDuration::from_secs(offset.seconds().into());
        as_utc.checked_sub(ahead).ok()
    };
    let about = at(zone.to_offset(as_utc))?;
    at(zone.to_offset(about))
}

#[cfg(test)]
mod tests;
