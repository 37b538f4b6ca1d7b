//! CIM datetimes: `20260131235900.123456-060`, the offset in minutes (DMTF DSP0004).

use time_and_chance::{SignedDuration, Timestamp};

/// Reads a CIM datetime; none if it is no instant.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let digits = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    if text.len() != 25 || !text.is_ascii() || text.get(14..15)? != "." {
        return None;
    }
    let date = format!(
        "{}-{}-{}T{}:{}:{}Z",
        text.get(0..4)?,
        text.get(4..6)?,
        text.get(6..8)?,
        text.get(8..10)?,
        text.get(10..12)?,
        text.get(12..14)?
    );
    let offset_minutes = match text.get(21..22)? {
        "+" => digits(22..25)?,
        "-" => -digits(22..25)?,
        _ => return None,
    };
    let local: Timestamp = date.parse().ok()?;
    let exact = local
        .checked_add(SignedDuration::from_micros(digits(15..21)?))
        .ok()?;
    exact
        .checked_sub(SignedDuration::from_mins(offset_minutes))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_minutes_east_of_utc() {
        for (text, expected) in [
            ("20260131235900.123456-000", "2026-01-31T23:59:00.123456Z"),
            ("20260131235900.000000+060", "2026-01-31T22:59:00Z"),
            ("20260131235900.000000-480", "2026-02-01T07:59:00Z"),
        ] {
            assert_eq!(parse(text), expected.parse().ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "2026",
            "20261331235900.123456-000",
            "20260131235900.******-000",
            "00000001000000.000000:000",
            "20260131235900,123456-000",
            "2026013123590é.123456-00",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
