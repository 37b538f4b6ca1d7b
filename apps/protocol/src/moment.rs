//! Times on the wire: RFC 3339 in UTC, whole seconds.
//!
//! Times from the server have no zone and are kept as the text that they are.

use jiff::Timestamp;
use serde::{Deserializer, Serializer};

use crate::lenient;

/// Returns a time as it is sent.
pub fn rfc3339(time: Timestamp) -> String {
    let seconds = Timestamp::from_second(time.as_second()).unwrap_or(time);
    seconds.to_string()
}

/// For `#[serde(with)]`: a time that may be absent. One that cannot be read is none, as for the server.
pub(crate) mod optional {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_str(&rfc3339(*time)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Ok(lenient::text(from)?.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_sent_in_whole_seconds_of_utc() {
        let time: Timestamp = "2026-03-01T12:15:00.75+02:00".parse().unwrap();
        assert_eq!(rfc3339(time), "2026-03-01T10:15:00Z");
    }
}
