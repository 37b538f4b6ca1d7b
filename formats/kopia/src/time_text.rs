//! Times as Kopia's JSON has them: RFC 3339 in UTC, the fraction without trailing zeros.

use jiff::Timestamp;

/// Returns the text of a time, or nothing if no four-digit year can say it.
pub fn format(time: Timestamp) -> Option<String> {
    let text = time.to_string();
    text.starts_with(|first: char| first.is_ascii_digit())
        .then_some(text)
}

/// Returns the time that a text says, with any offset from UTC.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// For `#[serde(with = …)]`.
pub(crate) mod json {
    use std::borrow::Cow;

    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de, ser};

    pub(crate) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        let text = super::format(*time)
            .ok_or_else(|| ser::Error::custom(format_args!("year of {time} has no four digits")))?;
        to.serialize_str(&text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        super::parse(&text)
            .ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &"a time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_lose_their_trailing_zeros() {
        for text in [
            "2026-11-22T10:20:50.685212074Z",
            "2026-11-22T10:20:50.68Z",
            "2026-11-22T10:20:50.1Z",
            "2026-11-22T10:20:50Z",
            "2026-11-22T00:00:00.000000001Z",
            "0001-01-01T00:00:00Z",
            "9999-12-30T00:00:00Z",
        ] {
            assert_eq!(format(parse(text).unwrap()).as_deref(), Some(text));
        }
    }

    #[test]
    fn any_offset_is_read() {
        let time = parse("2026-11-22T12:20:50.500000+02:00").unwrap();
        assert_eq!(format(time).unwrap(), "2026-11-22T10:20:50.5Z");
    }

    #[test]
    fn what_kopia_could_not_read_is_not_written() {
        assert_eq!(parse("yesterday"), None);
        assert_eq!(format(Timestamp::MIN), None);
    }
}
