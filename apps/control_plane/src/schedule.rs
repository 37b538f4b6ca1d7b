//! When a job runs: a schedule as the people's API writes it, and the moments it stands for. Pure.
//!
//! ```text
//! civil moments ─► only those in the window ─► as moments in the zone ─► moved by the job's own part of the spread
//! ```
//!
//! A civil time that daylight saving leaves out stands for the first moment after the gap; one that comes twice, for
//! its first. It knows nothing of jobs that run, or were missed.

use std::fmt;
use std::str::FromStr;

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, TimeZone};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

/// How far a start may be spread, in minutes: half a day.
pub const SPREAD_MINUTES_MAX: u32 = 720;

/// A cron expression is at most this long.
const EXPRESSION_CHARS_MAX: usize = 200;

/// How many civil moments are looked at for one answer: a spread's worth of every minute, and each day of five years.
const LOOKS_MAX: usize = 2_600;

/// When a job runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Schedule {
    /// The civil moments.
    pub when: When,
    /// The IANA name of the zone that they are in; none: the tenant's.
    pub time_zone: Option<String>,
    /// When a run may start; none: at any time.
    pub window: Option<Window>,
    /// A start is moved by 0 to this many minutes, the same for one job every time.
    pub spread_minutes: u32,
}

/// Civil moments.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// Never by itself.
    Manual,
    /// Every so many hours, counted from each midnight.
    Hourly {
        /// 1 to 24.
        every_hours: u32,
        /// 0 to 59.
        minute: u32,
    },
    /// Once a day.
    Daily {
        /// When.
        at: TimeOfDay,
        /// On which days; none: on each.
        days: Option<Vec<Weekday>>,
    },
    /// As a line of cron says: minute, hour, day of the month, month, day of the week.
    Cron {
        /// The five fields.
        expression: String,
    },
}

/// A part of each day; it may reach over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Its first minute.
    #[schema(value_type = String, example = "20:00")]
    pub from: TimeOfDay,
    /// The minute after its last.
    #[schema(value_type = String, example = "06:00")]
    pub to: TimeOfDay,
}

/// A minute of the day, written `HH:MM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay {
    minutes: u16,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// A schedule that cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ScheduleError {
    /// The member that is wrong.
    pub member: &'static str,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

fn wrong(member: &'static str, message: impl Into<String>) -> ScheduleError {
    ScheduleError {
        member,
        message: message.into(),
    }
}

impl Schedule {
    /// Returns one that never starts by itself.
    pub fn manual() -> Self {
        Self {
            when: When::Manual,
            time_zone: None,
            window: None,
            spread_minutes: 0,
        }
    }

    /// Tells whether the schedule can be kept: its numbers are in range, its zone and expression are known, and there
    /// is a moment at which it starts something.
    pub fn check(&self) -> Result<(), ScheduleError> {
        match &self.when {
            When::Manual => {}
            When::Hourly {
                every_hours,
                minute,
            } => {
                if !(1..=24).contains(every_hours) {
                    return Err(wrong("every_hours", "say every 1 to 24 hours"));
                }
                if *minute > 59 {
                    return Err(wrong("minute", "a minute is 0 to 59"));
                }
            }
            When::Daily { days, .. } => {
                if days.as_ref().is_some_and(Vec::is_empty) {
                    return Err(wrong("days", "name a day, or leave the days out for all"));
                }
            }
            When::Cron { expression } => {
                crontab(expression).map_err(|e| wrong("expression", e))?;
            }
        }
        let zone = match &self.time_zone {
            Some(name) => TimeZone::get(name).map_err(|_| {
                wrong(
                    "time_zone",
                    "this zone is not known; write it as Europe/Berlin",
                )
            })?,
            None => TimeZone::UTC,
        };
        if self.window.is_some_and(|window| window.from == window.to) {
            return Err(wrong(
                "window",
                "a window ends at another time than it begins; leave it out for all day",
            ));
        }
        if self.spread_minutes > SPREAD_MINUTES_MAX {
            return Err(wrong(
                "spread_minutes",
                format!("starts can be spread by up to {SPREAD_MINUTES_MAX} minutes"),
            ));
        }
        if self.when != When::Manual && self.next_after(a_monday(), &zone, "").is_none() {
            return Err(wrong(
                if self.window.is_some() {
                    "window"
                } else {
                    "expression"
                },
                "it would never start: no moment of the schedule lies in its window",
            ));
        }
        Ok(())
    }

    /// Returns the first moment after `after` at which the job `job_id` of a tenant in `tenant_zone` starts.
    ///
    /// The moments of a job are a fixed set, so this never goes back when `after` goes on. None: it never starts by
    /// itself, or the schedule is not one that [`Self::check`] lets pass.
    pub fn next_after(
        &self,
        after: Timestamp,
        tenant_zone: &TimeZone,
        job_id: &str,
    ) -> Option<Timestamp> {
        let zone = self.zone(tenant_zone)?;
        let civil_moments = self.civil_moments()?;
        let spread = i64::from(self.spread_minutes.min(SPREAD_MINUTES_MAX)) * MINUTE;
        let mut at = civil(
            Timestamp::from_second(after.as_second().checked_sub(spread)?).ok()?,
            &zone,
        );
        let mut first: Option<Timestamp> = None;
        for _ in 0..LOOKS_MAX {
            at = match civil_moments.next(at) {
                Some(next) => next,
                None => break,
            };
            if let Some(window) = self.window
                && !window.holds(at)
            {
                at = window.next_opening(at) - 1;
                continue;
            }
            let Some(start) = moment(at, &zone) else {
                break;
            };
            // Nothing that starts later can be moved before it.
            if first.is_some_and(|first| start >= first) {
                break;
            }
            // Daylight saving may have put it behind the window's end.
            if self
                .window
                .is_some_and(|window| !window.holds(civil(start, &zone)))
            {
                continue;
            }
            let moved = self.moved(start, &zone, job_id);
            if moved > after {
                first = Some(first.map_or(moved, |first| first.min(moved)));
            }
        }
        first
    }

    /// Tells whether a run that should have started at `moment` may still start at `now`: within the very window
    /// that `moment` lies in; without a window, within `grace_seconds`.
    pub fn may_still_start(
        &self,
        moment: Timestamp,
        now: Timestamp,
        tenant_zone: &TimeZone,
        grace_seconds: i64,
    ) -> bool {
        let late = now.as_second() - moment.as_second();
        match (self.window, self.zone(tenant_zone)) {
            (Some(window), Some(zone)) => {
                let planned = civil(moment, &zone);
                window.holds(planned)
                    && window.holds(civil(now, &zone))
                    && late < window.seconds_left(planned)
            }
            _ => late < grace_seconds,
        }
    }

    fn zone(&self, tenant_zone: &TimeZone) -> Option<TimeZone> {
        match &self.time_zone {
            Some(name) => TimeZone::get(name).ok(),
            None => Some(tenant_zone.clone()),
        }
    }

    fn civil_moments(&self) -> Option<CivilMoments<'_>> {
        Some(match &self.when {
            When::Manual => return None,
            When::Hourly {
                every_hours,
                minute,
            } => CivilMoments::Hourly {
                every_hours: i64::from((*every_hours).clamp(1, 24)),
                minute: i64::from(*minute),
            },
            When::Daily { at, days } => CivilMoments::Daily {
                at: at.seconds(),
                days: days.as_deref(),
            },
            When::Cron { expression } => CivilMoments::Cron(Box::new(crontab(expression).ok()?)),
        })
    }

    /// Moves a start by the job's own part of the spread, and never out of the window.
    fn moved(&self, start: Timestamp, zone: &TimeZone, job_id: &str) -> Timestamp {
        let mut most = i64::from(self.spread_minutes.min(SPREAD_MINUTES_MAX));
        if let Some(window) = self.window {
            most = most.min(window.seconds_left(civil(start, zone)) / MINUTE - 1);
        }
        if most <= 0 {
            return start;
        }
        let digest = Sha256::digest(job_id.as_bytes());
        let chance = digest[..4]
            .iter()
            .fold(0_i64, |sum, byte| (sum << 8) | i64::from(*byte));
        let seconds = chance % (most + 1) * MINUTE;
        let moved = Timestamp::from_second(start.as_second() + seconds).unwrap_or(start);
        // Clocks may have been changed in between.
        if self
            .window
            .is_some_and(|window| !window.holds(civil(moved, zone)))
        {
            return start;
        }
        moved
    }
}

impl Window {
    /// Tells whether a civil moment lies in it.
    fn holds(self, civil: i64) -> bool {
        let minute = civil.rem_euclid(DAY);
        let (from, to) = (self.from.seconds(), self.to.seconds());
        if from <= to {
            (from..to).contains(&minute)
        } else {
            minute >= from || minute < to
        }
    }

    /// Returns when it next opens after a civil moment.
    fn next_opening(self, civil: i64) -> i64 {
        let past = (civil - self.from.seconds()).rem_euclid(DAY);
        civil - past + DAY
    }

    /// Returns how long it stays open after a civil moment that lies in it.
    fn seconds_left(self, civil: i64) -> i64 {
        (self.to.seconds() - civil).rem_euclid(DAY)
    }

    /// Tells whether it is open at `now` in a zone.
    pub fn is_open(self, now: Timestamp, zone: &TimeZone) -> bool {
        self.holds(civil(now, zone))
    }
}

impl TimeOfDay {
    /// Returns the seconds since midnight.
    fn seconds(self) -> i64 {
        i64::from(self.minutes) * MINUTE
    }

    /// Returns when it is this time on the day of `now` in a zone.
    pub fn on_the_day_of(self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let at = civil(now, zone);
        moment(at - at.rem_euclid(DAY) + self.seconds(), zone)
    }
}

/// Returns the day of `now` in a zone, `YYYY-MM-DD`.
pub fn day_of(now: Timestamp, zone: &TimeZone) -> String {
    zone.to_datetime(now).date().to_string()
}

impl FromStr for TimeOfDay {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write a time of day as HH:MM, from 00:00 to 23:59";
        let number = |text: &str| {
            let is_two_digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
            is_two_digits.then(|| text.parse::<u16>().ok()).flatten()
        };
        let (hour, minute) = text.split_once(':').ok_or(wrong)?;
        match (number(hour), number(minute)) {
            (Some(hour @ 0..24), Some(minute @ 0..60)) => Ok(Self {
                minutes: hour * 60 + minute,
            }),
            _ => Err(wrong),
        }
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        time.to_string()
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

/// What makes civil moments, as seconds since 1970 on a clock at the wall.
enum CivilMoments<'a> {
    Hourly {
        every_hours: i64,
        minute: i64,
    },
    Daily {
        at: i64,
        days: Option<&'a [Weekday]>,
    },
    Cron(Box<Crontab>),
}

impl CivilMoments<'_> {
    /// Returns the first one after `after`.
    fn next(&self, after: i64) -> Option<i64> {
        let today = after.div_euclid(DAY);
        match self {
            Self::Hourly {
                every_hours,
                minute,
            } => {
                let mut hour = 0;
                while hour < 24 {
                    let at = today * DAY + hour * HOUR + minute * MINUTE;
                    if at > after {
                        return Some(at);
                    }
                    hour += every_hours;
                }
                Some((today + 1) * DAY + minute * MINUTE)
            }
            Self::Daily { at, days } => (today..=today + 8)
                .filter(|day| days.is_none_or(|days| days.contains(&weekday(*day))))
                .map(|day| day * DAY + at)
                .find(|at| *at > after),
            Self::Cron(crontab) => {
                let after = MakeTimestamp::from_second(after).ok()?;
                Some(crontab.find_next(after).ok()?.timestamp().as_second())
            }
        }
    }
}

/// Reads a cron expression. It is played on a clock without a zone, so that gaps and repeated hours are ours to
/// decide.
fn crontab(expression: &str) -> Result<Crontab, String> {
    if expression.chars().count() > EXPRESSION_CHARS_MAX {
        return Err(format!(
            "a cron expression has at most {EXPRESSION_CHARS_MAX} characters"
        ));
    }
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let &[_, _, day_of_month, _, day_of_week] = fields.as_slice() else {
        return Err(
            "write five fields: minute, hour, day of the month, month, day of the week".to_owned(),
        );
    };
    // cronexpr 1.7 never finds the last day of a December.
    if [day_of_month, day_of_week]
        .iter()
        .any(|field| field.contains(['L', 'l']))
    {
        return Err("L, the last day, is not supported; name the days".to_owned());
    }
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::UTC;
    cronexpr::parse_crontab_with(&fields.join(" "), options).map_err(|error| {
        // The first line says what; the others repeat the expression.
        let said = error.to_string();
        let last = said.lines().next_back().unwrap_or_default().trim();
        format!(
            "this is no cron expression: {}",
            last.trim_start_matches('^').trim()
        )
    })
}

fn weekday(day: i64) -> Weekday {
    use Weekday::{Fri, Mon, Sat, Sun, Thu, Tue, Wed};
    // The first day of 1970 was a Thursday.
    match day.rem_euclid(7) {
        0 => Thu,
        1 => Fri,
        2 => Sat,
        3 => Sun,
        4 => Mon,
        5 => Tue,
        _ => Wed,
    }
}

/// A moment from which [`Schedule::check`] looks for a start.
fn a_monday() -> Timestamp {
    Timestamp::from_second(1_767_571_200).expect("2026 is in range")
}

/// Returns what a clock at a wall in `zone` shows, as seconds since 1970.
fn civil(at: Timestamp, zone: &TimeZone) -> i64 {
    at.as_second() + i64::from(zone.to_offset(at).seconds())
}

/// Returns when a clock at a wall in `zone` shows a civil moment first; where it never does, when it first shows a
/// later one.
fn moment(civil: i64, zone: &TimeZone) -> Option<Timestamp> {
    let shown = TimeZone::UTC.to_datetime(Timestamp::from_second(civil).ok()?);
    let there = zone.to_ambiguous_timestamp(shown);
    let is_left_out = matches!(there.offset(), AmbiguousOffset::Gap { .. });
    let earlier = there.earlier().ok()?;
    if is_left_out {
        // Read with the offset after the gap, it lies before the clocks are changed.
        return zone.following(earlier).next().map(|jump| jump.timestamp());
    }
    Some(earlier)
}

/// A schedule as it is written.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Schedule)]
struct Written {
    /// `manual`, `hourly`, `daily` or `cron`.
    kind: Kind,
    /// Of `hourly`: every 1 to 24 hours, counted from each midnight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 24)]
    every_hours: Option<u32>,
    /// Of `hourly`: at which minute of the hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 59)]
    minute: Option<u32>,
    /// Of `daily`: `HH:MM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "22:00")]
    at: Option<TimeOfDay>,
    /// Of `daily`: on which days; all, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    days: Option<Vec<Weekday>>,
    /// Of `cron`: minute, hour, day of the month, month, day of the week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    expression: Option<String>,
    /// The IANA name of its zone; the tenant's, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    /// Runs start inside of it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<Window>,
    /// Starts are moved by 0 to this many minutes, the same for one job every time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 720)]
    spread_minutes: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    #[default]
    Manual,
    Hourly,
    Daily,
    Cron,
}

impl TryFrom<Written> for Schedule {
    type Error = ScheduleError;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let foreign = |kinds: &[Kind], is_there: bool, member: &'static str| {
            if is_there && !kinds.contains(&written.kind) {
                return Err(wrong(
                    member,
                    format!("{member} does not belong to a schedule of this kind"),
                ));
            }
            Ok(())
        };
        foreign(
            &[Kind::Hourly],
            written.every_hours.is_some(),
            "every_hours",
        )?;
        foreign(&[Kind::Hourly], written.minute.is_some(), "minute")?;
        foreign(&[Kind::Daily], written.at.is_some(), "at")?;
        foreign(&[Kind::Daily], written.days.is_some(), "days")?;
        foreign(&[Kind::Cron], written.expression.is_some(), "expression")?;
        let when = match written.kind {
            Kind::Manual => When::Manual,
            Kind::Hourly => When::Hourly {
                every_hours: written
                    .every_hours
                    .ok_or_else(|| wrong("every_hours", "an hourly schedule says every_hours"))?,
                minute: written.minute.unwrap_or(0),
            },
            Kind::Daily => When::Daily {
                at: written
                    .at
                    .ok_or_else(|| wrong("at", "a daily schedule says at which time"))?,
                days: written.days,
            },
            Kind::Cron => When::Cron {
                expression: written
                    .expression
                    .ok_or_else(|| wrong("expression", "a cron schedule has an expression"))?,
            },
        };
        Ok(Self {
            when,
            time_zone: written.time_zone,
            window: written.window,
            spread_minutes: written.spread_minutes.unwrap_or(0),
        })
    }
}

impl From<Schedule> for Written {
    fn from(schedule: Schedule) -> Self {
        let mut written = Self {
            time_zone: schedule.time_zone,
            window: schedule.window,
            spread_minutes: (schedule.spread_minutes > 0).then_some(schedule.spread_minutes),
            ..Self::default()
        };
        match schedule.when {
            When::Manual => {}
            When::Hourly {
                every_hours,
                minute,
            } => {
                written.kind = Kind::Hourly;
                written.every_hours = Some(every_hours);
                written.minute = Some(minute);
            }
            When::Daily { at, days } => {
                written.kind = Kind::Daily;
                written.at = Some(at);
                written.days = days;
            }
            When::Cron { expression } => {
                written.kind = Kind::Cron;
                written.expression = Some(expression);
            }
        }
        written
    }
}

impl PartialSchema for Schedule {
    fn schema() -> RefOr<Schema> {
        Written::schema()
    }
}

impl ToSchema for Schedule {
    fn name() -> std::borrow::Cow<'static, str> {
        "Schedule".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Written::schemas(schemas);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str) -> Schedule {
        serde_json::from_str(json).expect("a schedule")
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").expect("known")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn next(json: &str, after: &str) -> String {
        read(json)
            .next_after(at(after), &berlin(), "a job")
            .map_or_else(|| "never".to_owned(), |next| next.to_string())
    }

    #[test]
    fn each_kind_starts_when_it_says_in_the_tenants_zone() {
        let cases = [
            (r#"{"kind":"manual"}"#, "2026-03-01T10:00:00Z", "never"),
            (
                r#"{"kind":"hourly","every_hours":6,"minute":15}"#,
                "2026-03-01T10:00:00Z",
                "2026-03-01T11:15:00Z",
            ),
            (
                r#"{"kind":"daily","at":"22:00"}"#,
                "2026-03-01T10:00:00Z",
                "2026-03-01T21:00:00Z",
            ),
            // Exactly then is not after then.
            (
                r#"{"kind":"daily","at":"22:00"}"#,
                "2026-03-01T21:00:00Z",
                "2026-03-02T21:00:00Z",
            ),
            // The first of March 2026 is a Sunday.
            (
                r#"{"kind":"daily","at":"22:00","days":["wed","sat"]}"#,
                "2026-03-01T10:00:00Z",
                "2026-03-04T21:00:00Z",
            ),
            (
                r#"{"kind":"cron","expression":"0 22 * * 1-5"}"#,
                "2026-03-01T10:00:00Z",
                "2026-03-02T21:00:00Z",
            ),
            (
                r#"{"kind":"cron","expression":"30 4 29 2 *"}"#,
                "2026-03-01T10:00:00Z",
                "2028-02-29T03:30:00Z",
            ),
            (
                r#"{"kind":"daily","at":"22:00","time_zone":"America/New_York"}"#,
                "2026-03-01T10:00:00Z",
                "2026-03-02T03:00:00Z",
            ),
            (
                r#"{"kind":"hourly","every_hours":1,"window":{"from":"20:00","to":"06:00"}}"#,
                "2026-03-01T10:00:00Z",
                "2026-03-01T19:00:00Z",
            ),
            (
                r#"{"kind":"hourly","every_hours":1,"window":{"from":"20:00","to":"06:00"}}"#,
                "2026-03-01T04:00:00Z",
                "2026-03-01T19:00:00Z",
            ),
        ];
        for (json, after, expected) in cases {
            assert_eq!(next(json, after), expected, "{json} after {after}");
        }
    }

    #[test]
    fn a_time_that_is_left_out_starts_at_the_next_one_and_a_repeated_one_once() {
        // In Berlin 02:00–03:00 is missing on 29 March 2026 and comes twice on 25 October.
        let daily = r#"{"kind":"daily","at":"02:30"}"#;
        assert_eq!(next(daily, "2026-03-28T12:00:00Z"), "2026-03-29T01:00:00Z");
        assert_eq!(next(daily, "2026-03-29T01:00:00Z"), "2026-03-30T00:30:00Z");
        assert_eq!(next(daily, "2026-10-24T12:00:00Z"), "2026-10-25T00:30:00Z");
        assert_eq!(next(daily, "2026-10-25T00:30:00Z"), "2026-10-26T01:30:00Z");
        let cron = r#"{"kind":"cron","expression":"*/30 * * * *"}"#;
        assert_eq!(next(cron, "2026-03-29T00:30:00Z"), "2026-03-29T01:00:00Z");
        assert_eq!(next(cron, "2026-03-29T01:00:00Z"), "2026-03-29T01:30:00Z");
        assert_eq!(next(cron, "2026-10-25T00:30:00Z"), "2026-10-25T02:00:00Z");
    }

    #[test]
    fn a_job_has_its_own_place_in_the_spread_and_jobs_have_different_ones() {
        let schedule = read(
            r#"{"kind":"daily","at":"22:00","window":{"from":"20:00","to":"22:30"},"spread_minutes":120}"#,
        );
        let starts: std::collections::BTreeSet<Timestamp> = (0..200)
            .filter_map(|job| {
                let start =
                    |day: &str| schedule.next_after(at(day), &berlin(), &format!("job {job}"));
                let (first, second) =
                    (start("2026-03-01T10:00:00Z"), start("2026-03-02T10:00:00Z"));
                assert_eq!(
                    second.map(|s| s.as_second()),
                    first.map(|s| s.as_second() + DAY)
                );
                first
            })
            .collect();
        assert!(starts.len() > 20, "{starts:?}");
        assert!(starts.first() >= Some(&at("2026-03-01T21:00:00Z")));
        assert!(starts.last() < Some(&at("2026-03-01T21:30:00Z")));
    }

    #[test]
    fn what_cannot_be_kept_is_refused_and_says_which_member() {
        let cases = [
            (r#"{"kind":"hourly","every_hours":0}"#, "every_hours"),
            (r#"{"kind":"hourly","every_hours":25}"#, "every_hours"),
            (r#"{"kind":"hourly","every_hours":1,"minute":60}"#, "minute"),
            (r#"{"kind":"daily","at":"22:00","days":[]}"#, "days"),
            (
                r#"{"kind":"daily","at":"22:00","time_zone":"Mars/Olympus"}"#,
                "time_zone",
            ),
            (
                r#"{"kind":"daily","at":"12:00","window":{"from":"20:00","to":"06:00"}}"#,
                "window",
            ),
            (
                r#"{"kind":"daily","at":"12:00","window":{"from":"06:00","to":"06:00"}}"#,
                "window",
            ),
            (
                r#"{"kind":"daily","at":"12:00","spread_minutes":721}"#,
                "spread_minutes",
            ),
            (r#"{"kind":"cron","expression":"0 22 * *"}"#, "expression"),
            (
                r#"{"kind":"cron","expression":"0 22 * * * Europe/Berlin"}"#,
                "expression",
            ),
            (
                r#"{"kind":"cron","expression":"99 22 * * *"}"#,
                "expression",
            ),
            (r#"{"kind":"cron","expression":"0 22 L * *"}"#, "expression"),
            (
                r#"{"kind":"cron","expression":"0 22 31 2 *"}"#,
                "expression",
            ),
        ];
        for (json, member) in cases {
            let error = read(json).check().expect_err(json);
            assert_eq!(error.member, member, "{json}: {error}");
        }
        for json in [
            r#"{"kind":"daily"}"#,
            r#"{"kind":"daily","at":"24:00"}"#,
            r#"{"kind":"daily","at":"9:00"}"#,
            r#"{"kind":"daily","at":"22:00","minute":3}"#,
            r#"{"kind":"manual","else":1}"#,
            r#"{"kind":"weekly"}"#,
            r#"{"at":"22:00"}"#,
        ] {
            assert!(serde_json::from_str::<Schedule>(json).is_err(), "{json}");
        }
        assert_eq!(Schedule::manual().check(), Ok(()));
    }

    #[test]
    fn it_is_written_as_it_was_read() {
        for json in [
            r#"{"kind":"manual"}"#,
            r#"{"kind":"hourly","every_hours":4,"minute":5}"#,
            r#"{"kind":"daily","at":"02:30","days":["mon","sun"],"time_zone":"Europe/Berlin","window":{"from":"20:00","to":"06:00"},"spread_minutes":30}"#,
            r#"{"kind":"cron","expression":"0 22 * * 1-5"}"#,
        ] {
            let schedule = read(json);
            assert_eq!(schedule.check(), Ok(()), "{json}");
            assert_eq!(serde_json::to_string(&schedule).expect("written"), json);
        }
    }

    #[test]
    fn a_late_start_is_made_up_for_within_its_window_or_its_grace() {
        let windowed =
            read(r#"{"kind":"daily","at":"22:00","window":{"from":"20:00","to":"06:00"}}"#);
        let free = read(r#"{"kind":"daily","at":"22:00"}"#);
        let planned = at("2026-03-01T21:00:00Z");
        let may = |schedule: &Schedule, now: &str| {
            schedule.may_still_start(planned, at(now), &berlin(), 6 * HOUR)
        };
        assert!(may(&windowed, "2026-03-02T04:59:00Z"));
        assert!(!may(&windowed, "2026-03-02T05:00:00Z"));
        // The same window a day later is another one.
        assert!(!may(&windowed, "2026-03-02T21:00:00Z"));
        assert!(may(&free, "2026-03-02T02:59:00Z"));
        assert!(!may(&free, "2026-03-02T03:00:00Z"));
    }

    fn any_schedule() -> impl Strategy<Value = Schedule> {
        let time = (0_u16..1_440).prop_map(|minutes| TimeOfDay { minutes });
        let window = (time.clone(), time.clone()).prop_map(|(from, to)| Window { from, to });
        let when = prop_oneof![
            (1_u32..=24, 0_u32..60).prop_map(|(every_hours, minute)| When::Hourly {
                every_hours,
                minute
            }),
            (
                time,
                prop::option::of(prop::sample::subsequence(
                    vec![Weekday::Mon, Weekday::Wed, Weekday::Sun],
                    1..=3
                ))
            )
                .prop_map(|(at, days)| When::Daily { at, days }),
            prop::sample::select(vec![
                "*/7 * * * *",
                "0 2 * * *",
                "30 2,3 * * 0",
                "15 */3 1-15 * *"
            ])
            .prop_map(|expression| When::Cron {
                expression: expression.to_owned()
            }),
        ];
        (
            when,
            prop::option::of(window),
            prop::sample::select(vec![0_u32, 1, 45, 720]),
            prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
        )
            .prop_map(|(when, window, spread_minutes, zone)| Schedule {
                when,
                time_zone: Some(zone.to_owned()),
                window,
                spread_minutes,
            })
            .prop_filter("it starts at all", |schedule| schedule.check().is_ok())
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 256,
            rng_seed: prop::test_runner::RngSeed::Fixed(7),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// Always later, inside of the window, never back, and nothing between is left out.
        #[test]
        fn moments_go_on_inside_of_the_window(
            schedule in any_schedule(),
            // From 2026 to 2029, so that each change of clocks is met.
            seconds in 1_767_225_600_i64..1_861_920_000,
            step in 0_i64..200_000,
        ) {
            let after = Timestamp::from_second(seconds).expect("in range");
            let zone = schedule.zone(&TimeZone::UTC).expect("known");
            let next = schedule.next_after(after, &TimeZone::UTC, "job").expect("it starts");
            prop_assert!(next > after);
            if let Some(window) = schedule.window {
                prop_assert!(window.is_open(next, &zone), "{next}");
            }
            let later = Timestamp::from_second(seconds + step).expect("in range");
            let after_that = schedule.next_after(later, &TimeZone::UTC, "job").expect("it starts");
            prop_assert!(after_that >= next);
            if later < next {
                prop_assert_eq!(after_that, next);
            }
        }
    }
}
