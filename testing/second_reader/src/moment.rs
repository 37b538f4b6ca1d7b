//! Times as the format writes them: strict RFC 3339, in UTC, without trailing zeros.

/// A point in time, with the text it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// As stored.
    pub text: String,
    /// Nanoseconds since 1970-01-01T00:00Z.
    pub unix_ns: i128,
}

impl Moment {
    /// 1970-01-01T00:00Z, which directory entries leave out.
    pub(crate) fn epoch() -> Moment {
        Moment {
            text: "1970-01-01T00:00:00Z".to_owned(),
            unix_ns: 0,
        }
    }

    /// Parses strict RFC 3339 in the one spelling the format knows: UTC with `Z`, no trailing zeros in the fraction.
    pub(crate) fn parse(text: &str) -> Result<Moment, String> {
        let wrong = |why: &str| format!("time {text:?} {why}");
        let body = text
            .strip_suffix('Z')
            .ok_or_else(|| wrong("does not end in Z"))?;
        let (whole, fraction) = match body.split_once('.') {
            None => (body, ""),
            Some((whole, fraction)) => {
                if fraction.is_empty() || fraction.len() > 9 || fraction.ends_with('0') {
                    return Err(wrong("has a fraction of a wrong form"));
                }
                (whole, fraction)
            }
        };
        let shape_fits = whole.len() == 19
            && whole.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                10 => byte == b'T',
                13 | 16 => byte == b':',
                _ => byte.is_ascii_digit(),
            })
            && fraction.bytes().all(|byte| byte.is_ascii_digit());
        if !shape_fits {
            return Err(wrong("is not RFC 3339"));
        }
        let number = |from: usize, to: usize| {
            whole[from..to]
                .parse::<i64>()
                .map_err(|_| wrong("is not RFC 3339"))
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let month_days = match month {
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            1..=12 => 31,
            _ => 0,
        };
        if day < 1 || day > month_days || hour > 23 || minute > 59 || second > 59 {
            return Err(wrong("has a part out of range"));
        }
        let days = days_since_1970(year, month, day);
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
        let nanoseconds: i128 = format!("{fraction:0<9}")
            .parse()
            .map_err(|_| wrong("has a fraction of a wrong form"))?;
        Ok(Moment {
            text: text.to_owned(),
            unix_ns: i128::from(seconds) * 1_000_000_000 + nanoseconds,
        })
    }
}

/// Counts days in the Gregorian calendar, with years beginning in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_have_known_seconds() {
        for (text, unix_ns) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000_000_000),
            ("2024-02-29T23:59:59.5Z", 1_709_251_199_500_000_000),
            ("1969-12-31T23:59:59.999999999Z", -1),
        ] {
            assert_eq!(Moment::parse(text).unwrap().unix_ns, unix_ns, "{text}");
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "2024-01-01",
            "2024-01-01 00:00:00Z",
            "2024-01-01T00:00:00+00:00",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00.50Z",
            "2024-01-01T00:00:00.1234567891Z",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01t00:00:00Z",
            "2024-1-01T00:00:00Z",
        ] {
            assert!(Moment::parse(text).is_err(), "{text}");
        }
    }
}
