//! Retention, case by case, and beside a slow model that is written differently.

use super::*;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn at(text: &str) -> Candidate {
    Candidate {
        start: time(text),
        end: time(text),
        complete: true,
    }
}

fn incomplete(text: &str) -> Candidate {
    Candidate {
        complete: false,
        ..at(text)
    }
}

fn keep(rules: &[(Rule, i64)]) -> RetentionPolicy {
    let mut policy = RetentionPolicy::default();
    for &(rule, number) in rules {
        *match rule {
            Rule::Latest => &mut policy.keep_latest,
            Rule::Hourly => &mut policy.keep_hourly,
            Rule::Daily => &mut policy.keep_daily,
            Rule::Weekly => &mut policy.keep_weekly,
            Rule::Monthly => &mut policy.keep_monthly,
            Rule::Annual => &mut policy.keep_annual,
        } = Some(number);
    }
    policy
}

fn reasons(policy: &RetentionPolicy, snapshots: &[Candidate], zone: &TimeZone) -> Vec<String> {
    verdicts(policy, snapshots, zone)
        .iter()
        .map(|verdict| verdict.reasons().join(" "))
        .collect()
}

#[test]
fn each_rule_keeps_the_newest_of_its_periods() {
    let snapshots = [
        at("2026-03-01T08:00:00Z"),
        at("2026-03-01T09:00:00Z"),
        at("2026-03-01T09:30:00Z"),
        at("2026-02-28T23:00:00Z"),
        at("2026-02-20T10:00:00Z"),
        at("2025-12-01T10:00:00Z"),
    ];
    for (rule, number, expected) in [
        (Rule::Latest, 2, ["", "latest-2", "latest-1", "", "", ""]),
        (Rule::Hourly, 3, ["hourly-2", "", "hourly-1", "", "", ""]),
        (Rule::Daily, 2, ["", "", "daily-1", "daily-2", "", ""]),
        (Rule::Weekly, 3, ["", "", "weekly-1", "", "weekly-2", ""]),
        (
            Rule::Monthly,
            12,
            ["", "", "monthly-1", "monthly-2", "", "monthly-3"],
        ),
        (Rule::Annual, 1, ["", "", "annual-1", "", "", ""]),
        (Rule::Annual, 2, ["", "", "annual-1", "", "", "annual-2"]),
    ] {
        let found = reasons(&keep(&[(rule, number)]), &snapshots, &TimeZone::UTC);
        assert_eq!(found, expected, "{rule} {number}");
    }
}

#[test]
fn numbers_that_add_up_to_nothing_keep_everything() {
    let snapshots = [at("2020-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z")];
    let zeros = Rule::ALL.map(|rule| (rule, 0));
    for policy in [
        keep(&[]),
        keep(&zeros),
        keep(&[(Rule::Latest, -3), (Rule::Daily, 3)]),
    ] {
        let all = verdicts(&policy, &snapshots, &TimeZone::UTC);
        assert!(all.iter().all(Verdict::is_kept), "{policy:?}");
    }
    let none = keep(&[(Rule::Latest, 0), (Rule::Annual, -1)]);
    let all = verdicts(&none, &snapshots, &TimeZone::UTC);
    assert!(!all.iter().any(Verdict::is_kept));
}

#[test]
fn a_month_and_a_week_of_one_name_take_it_from_each_other() {
    // Week 5 of 2026 begins on 26 January; the snapshot of May takes `2026-05` as its month.
    let snapshots = [at("2026-05-20T12:00:00Z"), at("2026-01-28T12:00:00Z")];
    let both = keep(&[(Rule::Monthly, 12), (Rule::Weekly, 52)]);
    assert_eq!(
        reasons(&both, &snapshots, &TimeZone::UTC),
        ["weekly-1 monthly-1", "monthly-2"]
    );
    let weeks = keep(&[(Rule::Weekly, 52)]);
    assert_eq!(
        reasons(&weeks, &snapshots, &TimeZone::UTC),
        ["weekly-1", "weekly-2"]
    );
}

#[test]
fn weeks_are_of_the_time_zone_and_days_are_not() {
    // In Auckland it is Monday already.
    let snapshots = [at("2026-03-02T20:00:00Z"), at("2026-03-01T20:00:00Z")];
    let weeks = keep(&[(Rule::Weekly, 4)]);
    let days = keep(&[(Rule::Daily, 4)]);
    let auckland = TimeZone::get("Pacific/Auckland").unwrap();
    assert_eq!(
        reasons(&weeks, &snapshots, &TimeZone::UTC),
        ["weekly-1", "weekly-2"]
    );
    assert_eq!(reasons(&weeks, &snapshots, &auckland), ["weekly-1", ""]);
    for zone in [&TimeZone::UTC, &auckland] {
        assert_eq!(reasons(&days, &snapshots, zone), ["daily-1", "daily-2"]);
    }
}

#[test]
fn the_year_of_a_week_is_its_own() {
    // 30 December 2024 is in the first week of 2025.
    let snapshots = [at("2025-01-02T00:00:00Z"), at("2024-12-30T00:00:00Z")];
    let weeks = keep(&[(Rule::Weekly, 4)]);
    assert_eq!(
        reasons(&weeks, &snapshots, &TimeZone::UTC),
        ["weekly-1", ""]
    );
}

#[test]
fn cut_offs_go_back_by_the_calendar() {
    let utc = TimeZone::UTC;
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    for (rule, periods, newest, zone, expected) in [
        (
            Rule::Annual,
            1,
            "2024-02-29T06:00:00Z",
            &utc,
            "2023-03-01T06:00:00Z",
        ),
        (
            Rule::Annual,
            4,
            "2024-02-29T06:00:00Z",
            &utc,
            "2020-02-29T06:00:00Z",
        ),
        (
            Rule::Monthly,
            1,
            "2026-03-31T06:00:00Z",
            &utc,
            "2026-03-03T06:00:00Z",
        ),
        (
            Rule::Monthly,
            13,
            "2026-01-15T06:00:00Z",
            &utc,
            "2024-12-15T06:00:00Z",
        ),
        (
            Rule::Weekly,
            2,
            "2026-03-15T06:00:00Z",
            &utc,
            "2026-03-01T06:00:00Z",
        ),
        (
            Rule::Daily,
            0,
            "2026-03-15T06:00:00.5Z",
            &utc,
            "2026-03-15T06:00:00.5Z",
        ),
        (
            Rule::Hourly,
            49,
            "2026-03-15T06:00:00Z",
            &utc,
            "2026-03-13T05:00:00Z",
        ),
        // The clocks of Berlin went forward on 29 March: a day was 23 hours long.
        (
            Rule::Daily,
            1,
            "2026-03-29T10:00:00Z",
            &berlin,
            "2026-03-28T11:00:00Z",
        ),
        (
            Rule::Hourly,
            24,
            "2026-03-29T10:00:00Z",
            &berlin,
            "2026-03-28T10:00:00Z",
        ),
        // 02:30 did not exist on that day …
        (
            Rule::Daily,
            1,
            "2026-03-30T00:30:00Z",
            &berlin,
            "2026-03-29T01:30:00Z",
        ),
        // … and came twice on 25 October; the later one counts.
        (
            Rule::Daily,
            1,
            "2026-10-26T01:30:00Z",
            &berlin,
            "2026-10-25T01:30:00Z",
        ),
        (
            Rule::Annual,
            i64::MAX,
            "2026-03-15T06:00:00Z",
            &utc,
            "-009999-01-02T01:59:59Z",
        ),
        (
            Rule::Hourly,
            i64::MAX,
            "2026-03-15T06:00:00Z",
            &utc,
            "-009999-01-02T01:59:59Z",
        ),
    ] {
        let found = cut_off(rule, periods, time(newest), zone);
        assert_eq!(found, time(expected), "{rule} {periods} {newest}");
    }
}

#[test]
fn the_cut_off_itself_is_kept() {
    let policy = keep(&[(Rule::Daily, 7)]);
    for (older, kept) in [
        ("2026-03-08T06:00:00Z", true),
        ("2026-03-08T05:59:59.999999999Z", false),
    ] {
        let snapshots = [at(older), at("2026-03-15T06:00:00Z")];
        let verdict = &verdicts(&policy, &snapshots, &TimeZone::UTC)[0];
        assert_eq!(verdict.is_kept(), kept, "{older}");
    }
}

#[test]
fn incomplete_ones_are_kept_while_nothing_newer_is_complete() {
    let policy = keep(&[(Rule::Latest, 1)]);
    let found = reasons(
        &policy,
        &[
            incomplete("2026-03-15T12:00:00Z"),
            incomplete("2026-03-15T08:00:01Z"),
            incomplete("2026-03-15T08:00:00Z"),
            incomplete("2026-03-15T07:59:59Z"),
            at("2026-03-14T12:00:00Z"),
            incomplete("2026-03-14T11:00:00Z"),
        ],
        &TimeZone::UTC,
    );
    assert_eq!(
        found,
        ["incomplete", "incomplete", "incomplete", "", "latest-1", ""]
    );
    let young = reasons(
        &policy,
        &(0..5)
            .map(|minute| incomplete(&format!("2026-03-15T12:0{minute}:00Z")))
            .collect::<Vec<_>>(),
        &TimeZone::UTC,
    );
    assert_eq!(young, ["incomplete"; 5]);
}

#[test]
fn incomplete_ones_count_for_the_newest_but_take_nothing() {
    let snapshots = [
        incomplete("2026-03-15T12:00:00Z"),
        at("2026-03-15T11:00:00Z"),
        at("2026-03-15T10:00:00Z"),
    ];
    // The keys of `latest` are places: 1 and 2 here.
    let policy = keep(&[(Rule::Latest, 2)]);
    assert_eq!(
        reasons(&policy, &snapshots, &TimeZone::UTC),
        ["incomplete", "latest-1", "latest-2"]
    );
}

#[test]
fn every_snapshot_learns_why_it_goes() {
    let snapshots = [
        at("2026-03-15T12:00:00Z"),
        at("2026-03-15T11:00:00Z"),
        at("2026-03-10T11:00:00Z"),
    ];
    let policy = keep(&[(Rule::Latest, 1), (Rule::Daily, 1), (Rule::Annual, 1)]);
    let verdicts = verdicts(&policy, &snapshots, &TimeZone::UTC);
    let says = |at: usize, wanted: Rule| match &verdicts[at] {
        Verdict::Complete(findings) => findings.iter().find(|(rule, _)| *rule == wanted).unwrap().1,
        Verdict::Incomplete { .. } => panic!("it is complete"),
    };
    assert_eq!(says(0, Rule::Latest), Finding::Kept(1));
    assert_eq!(says(0, Rule::Hourly), Finding::NoRule);
    assert_eq!(says(1, Rule::Latest), Finding::Full);
    assert_eq!(says(1, Rule::Daily), Finding::Taken);
    assert_eq!(says(2, Rule::Daily), Finding::TooOld);
    assert_eq!(says(2, Rule::Annual), Finding::Taken);
}

/// What Kopia does, told the other way round: for each rule apart, with names of periods counted
/// in days since 1970 and a zone that is a fixed number of hours.
mod model {
    use super::{Candidate, RetentionPolicy};

    const DAY: i128 = 86_400_000_000_000;

    /// Returns year, month and day of the month by walking there.
    pub(super) fn date(mut day: i128) -> (i128, usize, i128) {
        let mut year = 1970;
        loop {
            let days = if is_leap(year) { 366 } else { 365 };
            if day < 0 {
                year -= 1;
                day += if is_leap(year) { 366 } else { 365 };
            } else if day >= days {
                day -= days;
                year += 1;
            } else {
                break;
            }
        }
        let mut month = 0;
        while day >= month_days(year, month) {
            day -= month_days(year, month);
            month += 1;
        }
        (year, month + 1, day + 1)
    }

    fn is_leap(year: i128) -> bool {
        year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    }

    fn month_days(year: i128, month: usize) -> i128 {
        [
            31,
            if is_leap(year) { 29 } else { 28 },
            31,
            30,
            31,
            30,
            31,
            31,
            30,
            31,
            30,
            31,
        ][month]
    }

    fn day_of(year: i128, month: usize, day: i128) -> i128 {
        let years: i128 = if year >= 1970 {
            (1970..year)
                .map(|y| if is_leap(y) { 366 } else { 365 })
                .sum()
        } else {
            -(year..1970)
                .map(|y| if is_leap(y) { 366 } else { 365 })
                .sum::<i128>()
        };
        let months: i128 = (0..month - 1).map(|m| month_days(year, m)).sum();
        years + months + day - 1
    }

    /// Returns the year and number of the week: that of the Thursday in it.
    pub(super) fn week(day: i128) -> (i128, i128) {
        // 1 January 1970 was a Thursday.
        let monday = day - (day + 3).rem_euclid(7);
        let thursday = monday + 3;
        let (year, ..) = date(thursday);
        (year, (thursday - day_of(year, 1, 1)) / 7 + 1)
    }

    fn months_back(local: i128, months: i128) -> i128 {
        let (mut year, mut month, day) = date(local.div_euclid(DAY));
        for _ in 0..months.abs() {
            match (months > 0, month) {
                (true, 1) => (year, month) = (year - 1, 12),
                (true, _) => month -= 1,
                (false, 12) => (year, month) = (year + 1, 1),
                (false, _) => month += 1,
            }
        }
        (day_of(year, month, 1) + day - 1) * DAY + local.rem_euclid(DAY)
    }

    pub(super) fn reasons(
        policy: &RetentionPolicy,
        snapshots: &[Candidate],
        hours: i128,
    ) -> Vec<Vec<String>> {
        let mut order: Vec<usize> = (0..snapshots.len()).collect();
        order.sort_by(|&a, &b| {
            let key = |i: usize| (snapshots[i].start, snapshots[i].end);
            key(b).cmp(&key(a))
        });
        let nanos = |i: usize| snapshots[i].start.as_nanosecond();
        let local = |i: usize| nanos(i) + hours * DAY / 24;
        let limits = [
            policy.keep_latest,
            policy.keep_annual,
            policy.keep_monthly,
            policy.keep_weekly,
            policy.keep_daily,
            policy.keep_hourly,
        ]
        .map(|limit| limit.map(i128::from));
        let total: i128 = limits.iter().flatten().sum();
        let mut reasons = vec![Vec::new(); snapshots.len()];
        let mut used: Vec<String> = Vec::new();
        let mut counts = [0i128; 6];
        let newest = order.iter().copied().find(|&i| snapshots[i].complete);
        for (place, &i) in order.iter().enumerate() {
            let Some(newest) = newest.filter(|_| snapshots[i].complete) else {
                continue;
            };
            let (year, month, day) = date(nanos(i).div_euclid(DAY));
            let (week_year, week) = week(local(i).div_euclid(DAY));
            let hour = nanos(i).rem_euclid(DAY) / (DAY / 24);
            let names = [
                format!("{place}"),
                format!("{year:04}"),
                format!("{year:04}-{month:02}"),
                format!("{week_year:04}-{week:02}"),
                format!("{year:04}-{month:02}-{day:02}"),
                format!("{year:04}-{month:02}-{day:02} {hour:02}"),
            ];
            let words = ["latest", "annual", "monthly", "weekly", "daily", "hourly"];
            for rule in 0..6 {
                let limit = match (rule, total) {
                    (0, 0) => Some(i128::MAX),
                    _ => limits[rule],
                };
                let Some(limit) = limit else { continue };
                let reaches_back_to = match rule {
                    0 => i128::MIN,
                    1 => months_back(local(newest), 12 * limit),
                    2 => months_back(local(newest), limit),
                    3 => local(newest) - limit * 7 * DAY,
                    4 => local(newest) - limit * DAY,
                    _ => local(newest) - limit * DAY / 24,
                };
                let free = !used.contains(&names[rule]);
                if local(i) >= reaches_back_to && free && counts[rule] < limit {
                    used.push(names[rule].clone());
                    counts[rule] += 1;
                    reasons[i].push(format!("{}-{}", words[rule], counts[rule]));
                }
            }
        }
        for (place, &i) in order.iter().enumerate() {
            let age = nanos(order[0]) - nanos(i);
            if snapshots[i].complete || (age >= DAY / 6 && place >= 3) {
                break;
            }
            reasons[i].push("incomplete".to_owned());
        }
        for reasons in &mut reasons {
            reasons.sort();
        }
        reasons
    }
}

/// A xorshift generator: histories that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn random_histories_are_judged_as_the_model_does() {
    let long = std::env::var_os("E3_TEST_LONG").is_some();
    let mut kept = 0u64;
    let mut gone = 0u64;
    for seed in 1..=if long { 100_000 } else { 2_000 } {
        let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let policy = random_policy(&mut random);
        let snapshots = random_history(&mut random);
        let hours = random.below(25) as i64 - 12;
        let zone = Offset::from_seconds(i32::try_from(hours * 3600).unwrap())
            .unwrap()
            .to_time_zone();
        let expected = model::reasons(&policy, &snapshots, hours.into());
        for (at, verdict) in verdicts(&policy, &snapshots, &zone).iter().enumerate() {
            let mut found = verdict.reasons();
            found.sort();
            assert_eq!(
                found, expected[at],
                "seed {seed}: {policy:?}, {snapshots:?}, {hours} h, snapshot {at}"
            );
            assert_eq!(verdict.is_kept(), !found.is_empty());
            match verdict.is_kept() {
                true => kept += 1,
                false => gone += 1,
            }
        }
    }
    // Neither answer may be the rule: the histories would prove nothing.
    assert!(kept > gone / 10 && gone > kept / 10, "{kept} and {gone}");
}

fn random_policy(random: &mut Random) -> RetentionPolicy {
    let mut rules = Vec::new();
    for rule in Rule::ALL {
        match random.below(4) {
            0 => {}
            1 => rules.push((rule, random.below(3) as i64)),
            2 => rules.push((rule, random.below(12) as i64)),
            _ => rules.push((rule, random.below(60) as i64 - 2)),
        }
    }
    keep(&rules)
}

fn random_history(random: &mut Random) -> Vec<Candidate> {
    let mut now = 1_400_000_000 + random.below(500_000_000) as i64;
    // From minutes to months between two.
    let step = 60 << random.below(18);
    (0..random.below(60))
        .map(|_| {
            now += random.below(step) as i64;
            let start = Timestamp::from_second(now).unwrap();
            Candidate {
                start,
                end: start + SignedDuration::from_secs(random.below(3) as i64),
                complete: random.below(6) > 0,
            }
        })
        .collect()
}

#[test]
fn the_model_knows_the_calendar() {
    for (text, date, week) in [
        ("1970-01-01T00:00:00Z", (1970, 1, 1), (1970, 1)),
        ("2000-02-29T00:00:00Z", (2000, 2, 29), (2000, 9)),
        ("2021-01-03T23:00:00Z", (2021, 1, 3), (2020, 53)),
        ("2024-12-30T00:00:00Z", (2024, 12, 30), (2025, 1)),
        ("1969-12-31T00:00:00Z", (1969, 12, 31), (1970, 1)),
    ] {
        let day = i128::from(time(text).as_second().div_euclid(86_400));
        assert_eq!(model::date(day), date, "{text}");
        assert_eq!(model::week(day), week, "{text}");
    }
}
