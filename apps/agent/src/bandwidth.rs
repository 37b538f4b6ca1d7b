//! How much of the line uploads may take: windows of the week, as the clock on the wall shows them.
//!
//! Where the clock is put forward, a window within the missing hour does not come; where it is put
//! back, one within the doubled hour comes twice.

use std::str::FromStr;
use std::sync::{Mutex, MutexGuard};

use time_and_chance::{SharedClock, TimeZone, Timestamp};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES_OF_A_DAY: u32 = 24 * 60;

/// How fast uploads may be, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadLimits {
    /// KiB per second when no window holds; 0 is no limit.
    pub otherwise_kib: u64,
    /// When another limit holds.
    pub windows: Vec<UploadWindow>,
}

/// A time of the week with a limit of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadWindow {
    /// The days on which it begins, from Monday.
    days: [bool; 7],
    /// The minute of the day in which it begins.
    from: u32,
    /// The minute before which it ends; on the next day if that is not after the beginning.
    to: u32,
    /// KiB per second; 0 is no limit.
    kib: u64,
}

impl UploadLimits {
    /// Returns how many bytes per second may be uploaded at a moment; `None` if as many as there are.
    /// Where several windows hold, the lowest limit counts.
    pub fn bytes_per_second_at(&self, now: Timestamp, zone: &TimeZone) -> Option<u64> {
        let local = zone.to_datetime(now);
        let day = usize::try_from(local.weekday().to_monday_zero_offset()).unwrap_or(0);
        let minute = u32::try_from(local.hour()).unwrap_or(0) * 60
            + u32::try_from(local.minute()).unwrap_or(0);
        let limit = |kib: u64| (kib > 0).then(|| kib.saturating_mul(1024));
        let mut holding = self.windows.iter().filter(|it| it.holds(day, minute));
        let Some(first) = holding.next() else {
            return limit(self.otherwise_kib);
        };
        let all = std::iter::once(first).chain(holding);
        all.filter_map(|it| limit(it.kib)).min()
    }
}

impl UploadWindow {
    fn holds(&self, day: usize, minute: u32) -> bool {
        let day_before = (day + DAYS.len() - 1) % DAYS.len();
        match self.from < self.to {
            true => self.days[day] && (self.from..self.to).contains(&minute),
            false => {
                (self.days[day] && minute >= self.from)
                    || (self.days[day_before] && minute < self.to)
            }
        }
    }
}

impl FromStr for UploadWindow {
    /// What is wrong, to be read after the text itself.
    type Err = String;

    /// Reads `DAYS FROM-TO RATE`, such as `mon-fri 08:00-18:00 2048`.
    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let &[days, times, rate] = &words[..] else {
            return Err("has not the three parts DAYS FROM-TO RATE".to_owned());
        };
        let (from, to) = times
            .split_once('-')
            .ok_or_else(|| format!("has no time from-to: {times:?}"))?;
        let (from, to) = (minute_of(from)?, minute_of(to)?);
        if from == to {
            return Err("ends when it begins; a whole day is 00:00-24:00".to_owned());
        }
        if from == MINUTES_OF_A_DAY {
            return Err("begins at 24:00, which is 00:00 of the next day".to_owned());
        }
        let kib = rate
            .parse()
            .map_err(|_| format!("has no number of KiB per second: {rate:?}"))?;
        Ok(Self {
            days: days_of(days)?,
            from,
            to,
            kib,
        })
    }
}

/// Reads days, such as `daily`, `mon-fri` or `sat,sun`.
fn days_of(text: &str) -> Result<[bool; 7], String> {
    let day = |name: &str| {
        let name = name.to_ascii_lowercase();
        DAYS.iter().position(|it| *it == name).ok_or_else(|| {
            format!(
                "names a day that is none: {name:?}; days are {} or daily",
                DAYS.join(", ")
            )
        })
    };
    let mut days = [false; 7];
    for part in text.split(',') {
        if part.eq_ignore_ascii_case("daily") {
            days = [true; 7];
            continue;
        }
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(part)?, day(part)?),
        };
        // From Saturday to Monday is three days, too.
        let count = (last + DAYS.len() - first) % DAYS.len();
        (0..=count).for_each(|after| days[(first + after) % DAYS.len()] = true);
    }
    Ok(days)
}

/// Reads a time of the day, such as `08:30`; the day ends at `24:00`.
fn minute_of(text: &str) -> Result<u32, String> {
    let wrong = || format!("has a time that is none: {text:?}; write it as 08:30");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let number = |digits: &str, digits_max: usize| -> Option<u32> {
        let is_number = digits.bytes().all(|it| it.is_ascii_digit());
        let is_short = (1..=digits_max).contains(&digits.len());
        digits.parse().ok().filter(|_| is_number && is_short)
    };
    let hour = number(hour, 2).ok_or_else(wrong)?;
    let minute = number(minute, 2).filter(|it| *it < 60).ok_or_else(wrong)?;
    Some(hour * 60 + minute)
        .filter(|it| *it <= MINUTES_OF_A_DAY)
        .ok_or_else(wrong)
}

/// The limit of this machine's uploads, whichever run they are of; it may be changed at any time.
#[derive(Debug)]
pub struct Uploads {
    clock: SharedClock,
    zone: TimeZone,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limits: UploadLimits,
    told: Option<u64>,
}

impl Uploads {
    /// Returns uploads within limits.
    pub fn within(limits: UploadLimits, clock: SharedClock, zone: TimeZone) -> Self {
        Self {
            clock,
            zone,
            state: Mutex::new(State { limits, told: None }),
        }
    }

    /// Sets other limits, which hold at once.
    pub fn limit(&self, limits: UploadLimits) {
        self.lock().limits = limits;
    }

    /// Returns how many bytes per second may be uploaded now, by all runs together.
    pub fn bytes_per_second(&self) -> Option<u64> {
        let state = self.lock();
        state
            .limits
            .bytes_per_second_at(self.clock.now(), &self.zone)
    }

    /// Says in words that the limit is another one than it was said to be last; at first, that there
    /// is one.
    pub fn news(&self) -> Option<String> {
        let now = self.bytes_per_second();
        let mut state = self.lock();
        let is_news = state.told != now;
        state.told = now;
        is_news.then(|| match now {
            Some(bytes) => format!(
                "the configuration lets uploads take {} KiB per second from now on",
                bytes / 1024
            ),
            None => "the configuration does not limit uploads from now on".to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while he looks")
    }
}

/// Returns the lower one of two limits, of which each may be none.
pub fn lower(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time_and_chance::ManualClock;

    use super::*;

    /// Central Europe: an hour forward on 29 March 2026, back on 25 October, both at 01:00 UTC.
    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn limits(otherwise_kib: u64, windows: &[&str]) -> UploadLimits {
        let windows = windows.iter().map(|it| it.parse().unwrap());
        UploadLimits {
            otherwise_kib,
            windows: windows.collect(),
        }
    }

    fn kib_at(limits: &UploadLimits, time: &str) -> Option<u64> {
        let now: Timestamp = time.parse().unwrap();
        limits
            .bytes_per_second_at(now, &berlin())
            .map(|bytes| bytes / 1024)
    }

    #[test]
    fn the_lowest_limit_of_the_windows_that_hold_counts_and_the_other_one_outside() {
        let limits = limits(
            8000,
            &[
                "mon-fri 08:00-18:00 2048",
                "wed 12:00-13:00 512",
                "Sat,Sun 00:00-24:00 0",
                "sun 20:00-22:00 100",
            ],
        );
        // 2026-06-10 is a Wednesday; local time is two hours ahead.
        for (time, kib) in [
            ("2026-06-10T05:59:59Z", Some(8000)),
            ("2026-06-10T06:00:00Z", Some(2048)),
            ("2026-06-10T09:59:59Z", Some(2048)),
            ("2026-06-10T10:00:00Z", Some(512)),
            ("2026-06-10T11:00:00Z", Some(2048)),
            ("2026-06-10T16:00:00Z", Some(8000)),
            ("2026-06-12T21:59:59Z", Some(8000)),
            ("2026-06-12T22:00:00Z", None),
            ("2026-06-14T18:30:00Z", Some(100)),
            ("2026-06-14T21:59:59Z", None),
            ("2026-06-14T22:00:00Z", Some(8000)),
        ] {
            assert_eq!(kib_at(&limits, time), kib, "{time}");
        }
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_begins_on() {
        let limits = limits(0, &["sun 22:00-06:00 100"]);
        for (time, kib) in [
            // Saturday to Sunday, then Sunday to Monday.
            ("2026-06-13T21:00:00Z", None),
            ("2026-06-14T02:00:00Z", None),
            ("2026-06-14T20:00:00Z", Some(100)),
            ("2026-06-15T03:59:59Z", Some(100)),
            ("2026-06-15T04:00:00Z", None),
        ] {
            assert_eq!(kib_at(&limits, time), kib, "{time}");
        }
    }

    #[test]
    fn windows_follow_the_clock_on_the_wall_when_it_is_put_forward_or_back() {
        let short = limits(0, &["sun 02:00-03:00 100"]);
        let night = limits(0, &["sat 22:00-06:00 100"]);
        for (limits, time, kib) in [
            // Forward: 02:00 to 03:00 does not exist, and the night is an hour shorter.
            (&short, "2026-03-29T00:59:59Z", None),
            (&short, "2026-03-29T01:00:00Z", None),
            (&night, "2026-03-28T20:59:59Z", None),
            (&night, "2026-03-28T21:00:00Z", Some(100)),
            (&night, "2026-03-29T03:59:59Z", Some(100)),
            (&night, "2026-03-29T04:00:00Z", None),
            // Back: 02:00 to 03:00 comes twice, and the night is an hour longer.
            (&short, "2026-10-24T23:59:59Z", None),
            (&short, "2026-10-25T00:00:00Z", Some(100)),
            (&short, "2026-10-25T00:59:59Z", Some(100)),
            (&short, "2026-10-25T01:00:00Z", Some(100)),
            (&short, "2026-10-25T01:59:59Z", Some(100)),
            (&short, "2026-10-25T02:00:00Z", None),
            (&night, "2026-10-24T20:00:00Z", Some(100)),
            (&night, "2026-10-25T04:59:59Z", Some(100)),
            (&night, "2026-10-25T05:00:00Z", None),
        ] {
            assert_eq!(kib_at(limits, time), kib, "{time}");
        }
    }

    #[test]
    fn days_are_named_one_by_one_from_to_and_all() {
        let days = |text: &str| {
            let days = days_of(text).unwrap();
            let named = DAYS.iter().zip(days).filter(|(_, holds)| *holds);
            named.map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(days("mon-wed,Sun"), "mon tue wed sun");
        assert_eq!(days("sat-mon"), "mon sat sun");
        assert_eq!(days("fri"), "fri");
        assert_eq!(days("daily"), DAYS.join(" "));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (text, words) in [
            ("", "three parts"),
            ("mon 08:00-18:00", "three parts"),
            ("mon 08:00-18:00 2048 KiB", "three parts"),
            ("monday 08:00-18:00 1", "\"monday\"; days are mon, tue"),
            ("mon- 08:00-18:00 1", "a day that is none"),
            ("mon 08:00 1", "no time from-to"),
            ("mon 8-18 1", "\"8\"; write it as 08:30"),
            ("mon 08:00-24:01 1", "\"24:01\""),
            ("mon 08:60-18:00 1", "\"08:60\""),
            ("mon +8:00-18:00 1", "\"+8:00\""),
            ("mon 08:00-08:00 1", "00:00-24:00"),
            ("mon 24:00-08:00 1", "next day"),
            ("mon 08:00-18:00 2M", "\"2M\""),
            ("mon 08:00-18:00 -1", "\"-1\""),
        ] {
            let told = text.parse::<UploadWindow>().unwrap_err();
            assert!(told.contains(words), "{text}: {told}");
        }
    }

    #[test]
    fn a_change_of_the_limit_is_news_once() {
        let clock = ManualClock::at("2026-06-10T05:00:00Z".parse().unwrap());
        let day = limits(0, &["daily 08:00-18:00 2048"]);
        let uploads = Uploads::within(day, clock.clone(), berlin());
        assert_eq!(uploads.news(), None);
        clock.advance(Duration::from_hours(2));
        assert!(uploads.news().unwrap().contains("2048 KiB"));
        assert_eq!(uploads.news(), None);
        uploads.limit(UploadLimits::default());
        assert!(uploads.news().unwrap().contains("not limit"));
        assert_eq!(uploads.bytes_per_second(), None);
    }
}
