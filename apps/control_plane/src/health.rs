//! How well a VM is protected, and how its last days went: judgements on facts, without a database or a clock.
//!
//! ```text
//! worst first:  excused  unprotected  bad (nothing to go back to in time)  warning (look at it)  good
//! ```

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::run_rules::points::DAMAGED;

const HOUR_MS: i64 = 3_600_000;

/// A point may be dated so much after now: servers of one database have clocks of their own.
pub const AHEAD_MS: i64 = 10 * 60_000;

/// What is held against a VM that no job and no person gave an objective.
pub const OBJECTIVE_HOURS: i64 = 24;

/// How well a VM is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Its last good point is as young as it is to be.
    Good,
    /// It can be restored in time, but something is to be looked at.
    Warning,
    /// Its last good point is too old, or there is none.
    Bad,
    /// No active job protects it.
    Unprotected,
    /// Somebody decided that it needs no backup.
    Excused,
}

impl Health {
    /// Returns how soon somebody should look at a VM of this kind: those with the smallest number first.
    pub fn urgency(self) -> u8 {
        match self {
            Self::Bad => 0,
            Self::Unprotected => 1,
            Self::Warning => 2,
            Self::Good => 3,
            Self::Excused => 4,
        }
    }
}

/// How something of a VM went on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There is a point, and nothing to be said.
    Good,
    /// There is a point, but a run failed or was missed too, or the point has warnings.
    Warning,
    /// A run was due and did not take place.
    Missed,
    /// A run failed.
    Failed,
    /// Nothing happened.
    None,
}

/// In which state a guest was frozen, or is to be; each is worth less than those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consistency {
    /// Its applications had prepared.
    Application,
    /// As after a loss of power.
    Crash,
    /// The same, without a checkpoint: disks may be of different moments.
    CrashNoCheckpoint,
}

impl Consistency {
    /// Reads the word of a point or of a job.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "application" | "require-application" => Some(Self::Application),
            "crash" => Some(Self::Crash),
            "crash-no-checkpoint" => Some(Self::CrashNoCheckpoint),
            _ => None,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Application => "application-consistent",
            Self::Crash => "crash-consistent",
            Self::CrashNoCheckpoint => "crash-consistent without a checkpoint",
        }
    }
}

/// What is known of a VM.
#[derive(Clone, Debug, Default)]
pub struct Facts<'a> {
    /// Whether somebody decided that it needs no backup.
    pub is_excused: bool,
    /// Since when active jobs protect it (milliseconds); none: no active one does.
    pub protected_since: Option<i64>,
    /// Whether a job that is paused would protect it.
    pub is_paused: bool,
    /// Whether its host is disabled, so that no job of it is carried out.
    pub is_host_disabled: bool,
    /// How old its last good point may be.
    pub objective_hours: i64,
    /// Its last good point.
    pub last: Option<LastPoint<'a>>,
    /// The best that a job asks for.
    pub asked: Option<Consistency>,
    /// What happened last of all runs that should have made a point of it, and when.
    pub last_outcome: Option<(i64, Outcome)>,
    /// When a job that was to take it last ended well and had no point of it (milliseconds).
    pub passed_over_at: Option<i64>,
}

/// The last good point of a VM.
#[derive(Clone, Debug)]
pub struct LastPoint<'a> {
    /// When it was made (milliseconds).
    pub at: i64,
    /// In which state the guest was.
    pub consistency: Option<Consistency>,
    /// What it warns of first, if anything.
    pub warning: Option<&'a str>,
    /// How many disks the VM has more than it.
    pub missing_disks: usize,
    /// Since when nobody confirmed that it is still there (milliseconds), if that is long ago.
    pub unconfirmed_since: Option<i64>,
    /// The name of its repository, where the last verification of that failed and the point was not proven since.
    pub unverifiable_in: Option<&'a str>,
}

/// A judgement, with what it rests on, the gravest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// How well the VM is protected.
    pub health: Health,
    /// Why.
    pub reasons: Vec<String>,
}

impl Judgement {
    /// Returns the reasons as one text.
    pub fn reason(&self) -> String {
        self.reasons.join("; ")
    }
}

/// Judges a VM at `now` (milliseconds).
pub fn judge(facts: &Facts<'_>, now: i64) -> Judgement {
    let judged = |health, reasons| Judgement { health, reasons };
    let age = facts.last.as_ref().map(|last| now - last.at);
    let last_is = age.map(|age| format!("last good point is {} old", age_text(age)));
    if facts.is_excused {
        let why = "somebody decided that it needs no backup".to_owned();
        return judged(Health::Excused, vec![why]);
    }
    let Some(since) = facts.protected_since else {
        let why = match (facts.is_host_disabled, facts.is_paused) {
            (true, _) => "its host is disabled, so no job backs it up",
            (false, true) => "the job that protects it is paused",
            (false, false) => "no job protects it",
        };
        let mut reasons = vec![why.to_owned()];
        reasons.extend(last_is);
        return judged(Health::Unprotected, reasons);
    };
    let objective = facts.objective_hours.saturating_mul(HOUR_MS);
    let mut reasons = Vec::new();
    let mut health = Health::Good;
    match (age, last_is) {
        (Some(age), _) if age < -AHEAD_MS => {
            health = Health::Bad;
            reasons.push(
                "its last point is dated in the future, so nobody knows how old it is: see the server's clock".to_owned(),
            );
        }
        (Some(age), Some(last_is)) if age > objective => {
            health = Health::Bad;
            reasons.push(format!("{last_is}, objective is {}", age_text(objective)));
        }
        (Some(_), _) => {}
        (None, _) if now - since <= objective => {
            health = Health::Warning;
            reasons.push("it is protected since a short while, and has no point yet".to_owned());
        }
        (None, _) => {
            health = Health::Bad;
            reasons.push(format!(
                "it has no point, though it is protected since {}",
                age_text(now - since)
            ));
        }
    }
    let last_warning = facts.last.as_ref().and_then(|last| last.warning);
    if last_warning == Some(DAMAGED) {
        health = Health::Bad;
    }
    let remarks = remarks(facts, now);
    if !remarks.is_empty() {
        health = health.max(Health::Warning);
        reasons.extend(remarks);
    }
    if reasons.is_empty() {
        let age = age.map(age_text).unwrap_or_default();
        reasons.push(format!("last good point is {age} old"));
    }
    judged(health, reasons)
}

fn remarks(facts: &Facts<'_>, now: i64) -> Vec<String> {
    let mut remarks = Vec::new();
    let is_newer = |at| facts.last.as_ref().is_none_or(|last| at > last.at);
    let outcome = facts.last_outcome.filter(|(at, _)| is_newer(*at));
    let is_passed_over = facts.passed_over_at.is_some_and(is_newer);
    match outcome.map(|(_, outcome)| outcome) {
        Some(Outcome::Failed) => remarks.push("its last run failed".to_owned()),
        Some(Outcome::Missed) => remarks.push("its last run did not take place".to_owned()),
        // Whoever reads that its run failed knows why the job, which went on, has no point of it.
        _ if is_passed_over => remarks
            .push("a job that is to take it ended well since and made no point of it".to_owned()),
        _ => {}
    }
    let Some(last) = &facts.last else {
        return remarks;
    };
    if let (Some(got), Some(asked)) = (last.consistency, facts.asked)
        && got > asked
    {
        remarks.push(format!(
            "its last point is {}, {} was asked for",
            got.text(),
            asked.text()
        ));
    }
    match last.missing_disks {
        0 => {}
        1 => remarks.push("it has a disk that its last point does not hold".to_owned()),
        some => remarks.push(format!(
            "it has {some} disks that its last point does not hold"
        )),
    }
    if let Some(since) = last.unconfirmed_since {
        let age = age_text(now - since);
        remarks.push(format!(
            "nobody has confirmed for {age} that its last point is still there"
        ));
    }
    if let Some(repository) = last.unverifiable_in {
        remarks.push(format!(
            "the last verification of {repository} failed, so nobody knows whether its points can be restored"
        ));
    }
    if let Some(warning) = last.warning {
        remarks.push(format!("its last point has a warning: {warning}"));
    }
    remarks
}

/// Returns an age in words: minutes, then hours up to two days, then days.
pub fn age_text(ms: i64) -> String {
    match ms.max(0) / 60_000 {
        minutes @ 0..60 => format!("{minutes} min"),
        minutes if minutes < 48 * 60 => format!("{} h", minutes / 60),
        minutes => format!("{} days", minutes / 60 / 24),
    }
}

/// Something that happened to a VM, or should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// The day that it counts for, in the tenant's zone.
    pub day: Date,
    /// When (milliseconds).
    pub at: i64,
    /// How it went; never [`Outcome::None`].
    pub outcome: Outcome,
    /// The run.
    pub run_id: String,
}

/// A day of a VM's strip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StripDay {
    /// The day, in the tenant's time zone.
    #[schema(value_type = String, format = Date)]
    pub day: Date,
    /// How it went.
    pub outcome: Outcome,
    /// The run that says so.
    pub run_id: Option<String>,
}

/// Returns how each of `count` days went, the last of them being `today`.
pub fn strip(today: Date, count: usize, happenings: &[Happening]) -> Vec<StripDay> {
    days_until(today, count)
        .into_iter()
        .map(|day| {
            let of_day = happenings.iter().filter(|it| it.day == day);
            let (outcome, run_id) = match day_outcome(of_day) {
                Some((outcome, run_id)) => (outcome, Some(run_id.to_owned())),
                None => (Outcome::None, None),
            };
            StripDay {
                day,
                outcome,
                run_id,
            }
        })
        .collect()
}

/// Returns `count` days, the last of them being `today`.
pub fn days_until(today: Date, count: usize) -> Vec<Date> {
    let mut days = Vec::with_capacity(count);
    let mut day = today;
    for _ in 0..count {
        days.push(day);
        let Ok(before) = day.yesterday() else { break };
        day = before;
    }
    days.reverse();
    days
}

/// A point makes up for what failed on its day, but does not hide it.
fn day_outcome<'a>(
    of_day: impl Iterator<Item = &'a Happening> + Clone,
) -> Option<(Outcome, &'a str)> {
    let newest = |wanted: Outcome| {
        let those = of_day.clone().filter(|it| it.outcome == wanted);
        those.max_by_key(|it| it.at).map(|it| &*it.run_id)
    };
    let (good, warning) = (newest(Outcome::Good), newest(Outcome::Warning));
    let (failed, missed) = (newest(Outcome::Failed), newest(Outcome::Missed));
    let trouble = warning.or(failed).or(missed);
    match (good.or(warning), trouble) {
        (Some(run_id), None) => Some((Outcome::Good, run_id)),
        (Some(_), Some(run_id)) => Some((Outcome::Warning, run_id)),
        (None, _) => failed
            .map(|run_id| (Outcome::Failed, run_id))
            .or(missed.map(|run_id| (Outcome::Missed, run_id))),
    }
}

/// Returns the median of what changes in a day, of the days that have a figure.
pub fn change_rate(by_day: &[i64]) -> Option<i64> {
    let mut sorted = by_day.to_vec();
    sorted.sort_unstable();
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(
            sorted[middle - 1] / 2
                + sorted[middle] / 2
                + (sorted[middle - 1] % 2 + sorted[middle] % 2) / 2,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000 * HOUR_MS;

    fn protected() -> Facts<'static> {
        Facts {
            protected_since: Some(0),
            objective_hours: 24,
            asked: Some(Consistency::Application),
            ..Facts::default()
        }
    }

    fn point(hours_old: i64) -> Option<LastPoint<'static>> {
        Some(LastPoint {
            at: NOW - hours_old * HOUR_MS,
            consistency: Some(Consistency::Application),
            warning: None,
            missing_disks: 0,
            unconfirmed_since: None,
            unverifiable_in: None,
        })
    }

    fn judged(facts: &Facts<'_>) -> (Health, String) {
        let judgement = judge(facts, NOW);
        (judgement.health, judgement.reason())
    }

    #[test]
    fn a_vm_is_as_safe_as_its_last_good_point_is_young() {
        let with = |last| Facts {
            last,
            ..protected()
        };
        for (facts, health, reason) in [
            (with(point(3)), Health::Good, "last good point is 3 h old"),
            (with(point(24)), Health::Good, "last good point is 24 h old"),
            (
                with(point(31)),
                Health::Bad,
                "last good point is 31 h old, objective is 24 h",
            ),
            (
                with(None),
                Health::Bad,
                "it has no point, though it is protected since 41 days",
            ),
            (
                Facts {
                    protected_since: Some(NOW - HOUR_MS),
                    ..protected()
                },
                Health::Warning,
                "it is protected since a short while, and has no point yet",
            ),
            (
                Facts {
                    protected_since: None,
                    ..with(point(72))
                },
                Health::Unprotected,
                "no job protects it; last good point is 3 days old",
            ),
            (
                Facts {
                    protected_since: None,
                    is_paused: true,
                    ..protected()
                },
                Health::Unprotected,
                "the job that protects it is paused",
            ),
            (
                Facts {
                    is_excused: true,
                    ..with(None)
                },
                Health::Excused,
                "somebody decided that it needs no backup",
            ),
        ] {
            assert_eq!(judged(&facts), (health, reason.to_owned()));
        }
    }

    #[test]
    fn what_is_to_be_looked_at_is_a_warning_and_never_hides_what_is_worse() {
        let crash = LastPoint {
            at: NOW - HOUR_MS,
            consistency: Some(Consistency::Crash),
            warning: Some("checkpoints are disabled"),
            missing_disks: 0,
            unconfirmed_since: None,
            unverifiable_in: None,
        };
        let facts = Facts {
            last: Some(crash.clone()),
            ..protected()
        };
        assert_eq!(
            judged(&facts),
            (
                Health::Warning,
                "its last point is crash-consistent, application-consistent was asked for; \
                 its last point has a warning: checkpoints are disabled"
                    .to_owned()
            )
        );
        let content = Facts {
            last: Some(LastPoint {
                warning: None,
                ..crash
            }),
            asked: Some(Consistency::Crash),
            ..protected()
        };
        assert_eq!(judged(&content).0, Health::Good);
        let failed = Facts {
            last_outcome: Some((NOW, Outcome::Failed)),
            last: point(20),
            ..protected()
        };
        assert_eq!(
            judged(&failed),
            (Health::Warning, "its last run failed".to_owned())
        );
        let failed_and_old = Facts {
            last: point(30),
            ..failed.clone()
        };
        assert_eq!(judged(&failed_and_old).0, Health::Bad);
        let made_up_for = Facts {
            last_outcome: Some((NOW - 21 * HOUR_MS, Outcome::Missed)),
            ..failed
        };
        assert_eq!(judged(&made_up_for).0, Health::Good);
    }

    #[test]
    fn a_vm_is_not_good_for_any_reason_to_doubt_that_it_is() {
        type Change = Box<dyn Fn(&mut Facts<'static>)>;
        let last = |change: fn(&mut LastPoint<'static>)| {
            move |facts: &mut Facts<'static>| change(facts.last.as_mut().expect("a point"))
        };
        let cases: [(&str, Change, Health, &str); 14] = [
            (
                "a host that is disabled",
                Box::new(|facts: &mut Facts<'static>| {
                    facts.protected_since = None;
                    facts.is_host_disabled = true;
                }),
                Health::Unprotected,
                "its host is disabled",
            ),
            (
                "a job that was switched off",
                Box::new(|facts: &mut Facts<'static>| {
                    facts.protected_since = None;
                    facts.is_paused = true;
                }),
                Health::Unprotected,
                "is paused",
            ),
            (
                "a pattern that no longer matches, a VM made anew or moved to a host without a job",
                Box::new(|facts: &mut Facts<'static>| facts.protected_since = None),
                Health::Unprotected,
                "no job protects it",
            ),
            (
                "a VM made anew that a job takes",
                Box::new(|facts: &mut Facts<'static>| {
                    facts.protected_since = Some(NOW - HOUR_MS);
                    facts.last = None;
                }),
                Health::Warning,
                "has no point yet",
            ),
            (
                "a point that is damaged",
                Box::new(last(|last| last.warning = Some(DAMAGED))),
                Health::Bad,
                "found it damaged",
            ),
            (
                "a disk that was left out",
                Box::new(last(|last| {
                    last.warning = Some("not in the point: PhysicalDisk2 (pass-through)")
                })),
                Health::Warning,
                "pass-through",
            ),
            (
                "a disk of which the agent says nothing",
                Box::new(last(|last| last.missing_disks = 1)),
                Health::Warning,
                "a disk that its last point does not hold",
            ),
            (
                "a clock that was set back",
                Box::new(last(|last| last.at = NOW + 3 * 24 * HOUR_MS)),
                Health::Bad,
                "dated in the future",
            ),
            (
                "a point that retention may have removed",
                Box::new(last(|last| {
                    last.unconfirmed_since = Some(NOW - 9 * 24 * HOUR_MS)
                })),
                Health::Warning,
                "nobody has confirmed for 9 days",
            ),
            (
                "a repository of which the last verification failed",
                Box::new(last(|last| last.unverifiable_in = Some("Vault"))),
                Health::Warning,
                "the last verification of Vault failed, so nobody knows whether its points can be restored",
            ),
            (
                "a run that ended well without it",
                Box::new(|facts: &mut Facts<'static>| facts.passed_over_at = Some(NOW)),
                Health::Warning,
                "made no point of it",
            ),
            (
                "a run in which it failed",
                Box::new(|facts: &mut Facts<'static>| {
                    facts.last_outcome = Some((NOW, Outcome::Failed))
                }),
                Health::Warning,
                "its last run failed",
            ),
            (
                "a run that did not take place",
                Box::new(|facts: &mut Facts<'static>| {
                    facts.last_outcome = Some((NOW, Outcome::Missed))
                }),
                Health::Warning,
                "did not take place",
            ),
            (
                "less than was asked for",
                Box::new(last(|last| {
                    last.consistency = Some(Consistency::CrashNoCheckpoint)
                })),
                Health::Warning,
                "was asked for",
            ),
        ];
        for (what, change, health, reason) in cases {
            let mut facts = Facts {
                last: point(1),
                ..protected()
            };
            assert_eq!(judged(&facts).0, Health::Good);
            change(&mut facts);
            let (got, why) = judged(&facts);
            assert_eq!(got, health, "{what}: {why}");
            assert!(why.contains(reason), "{what}: {why}");
        }
        // Of clocks that differ a little nothing is said.
        let mut ahead = Facts {
            last: point(1),
            ..protected()
        };
        ahead.last.as_mut().expect("a point").at = NOW + 60_000;
        assert_eq!(judged(&ahead).0, Health::Good);
        // That the job went on without it is no second reason.
        let failed = Facts {
            last: point(1),
            last_outcome: Some((NOW, Outcome::Failed)),
            passed_over_at: Some(NOW),
            ..protected()
        };
        assert_eq!(judged(&failed).1, "its last run failed");
    }

    #[test]
    fn a_day_is_as_good_as_its_point_and_shows_what_failed() {
        let today: Date = "2026-03-10".parse().unwrap();
        let on = |day: &str, at, outcome, run: &str| Happening {
            day: day.parse().unwrap(),
            at,
            outcome,
            run_id: run.to_owned(),
        };
        let happenings = [
            on("2026-03-10", 9, Outcome::Failed, "failed"),
            on("2026-03-10", 10, Outcome::Good, "retried"),
            on("2026-03-09", 8, Outcome::Missed, "missed"),
            on("2026-03-08", 6, Outcome::Failed, "first"),
            on("2026-03-08", 7, Outcome::Failed, "second"),
            on("2026-03-07", 5, Outcome::Good, "good"),
            on("2026-02-01", 1, Outcome::Failed, "long ago"),
        ];
        let strip = strip(today, 30, &happenings);
        assert_eq!(strip.len(), 30);
        assert_eq!(strip[0].day.to_string(), "2026-02-09");
        let last: Vec<(Outcome, Option<&str>)> = strip[25..]
            .iter()
            .map(|day| (day.outcome, day.run_id.as_deref()))
            .collect();
        assert_eq!(
            last,
            [
                (Outcome::None, None),
                (Outcome::Good, Some("good")),
                (Outcome::Failed, Some("second")),
                (Outcome::Missed, Some("missed")),
                (Outcome::Warning, Some("failed")),
            ]
        );
    }

    #[test]
    fn the_rate_of_change_is_a_median() {
        assert_eq!(change_rate(&[]), None);
        assert_eq!(change_rate(&[7]), Some(7));
        assert_eq!(change_rate(&[1_000, 1, 3]), Some(3));
        assert_eq!(change_rate(&[4, 1, 7, 9]), Some(5));
        assert_eq!(change_rate(&[i64::MAX, i64::MAX]), Some(i64::MAX));
    }
}
