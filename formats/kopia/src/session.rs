//! Sessions: what groups the blobs that one client writes between two flushes.
//!
//! Kopia spec 4.8. Knows the IDs and the markers that announce a session; not when to write them.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decode_error::DecodeError;
use crate::{go_json, time_text};

const STRUCTURE: &str = "session marker";
const MARKER_BYTES_MAX: usize = 1 << 20;

/// 2000-01-01T00:00:00Z, from which months of 30 days are counted.
const FIRST_MONTH_SECONDS: i64 = 946_684_800;
const MONTH_SECONDS: i64 = 30 * 24 * 60 * 60;

/// The name of a session: `s`, 16 random hex digits, and the month.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(String);

impl SessionId {
    /// Returns the ID of a session that begins now.
    pub fn new(random: [u8; 8], now: Timestamp) -> Self {
        // A clock before the year 2000 is wrong; month 0 is as good as any.
        let month = (now.as_second() - FIRST_MONTH_SECONDS).max(0) / MONTH_SECONDS;
        Self(format!("s{}{month:x}", hex::encode(random)))
    }

    /// Returns the ID that this text is: `s` and at least 16 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('s')?;
        let valid = (16..=32).contains(&digits.len()) && is_lower_hex(digits);
        valid.then(|| Self(text.to_owned()))
    }

    /// Returns the text of the ID.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

pub(crate) fn is_lower_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl TryFrom<String> for SessionId {
    type Error = DecodeError;

    fn try_from(text: String) -> Result<Self, DecodeError> {
        Self::parse(&text)
            .ok_or_else(|| DecodeError::malformed("session id", format!("{text:.80?}")))
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The content of a session's marker blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionMarker {
    /// Which session.
    pub id: SessionId,
    /// When the session began.
    #[serde(with = "time_text::json")]
    pub start_time: Timestamp,
    /// When the session was last known to be alive.
    #[serde(with = "time_text::json")]
    pub checkpoint_time: Timestamp,
    /// Whose session it is.
    pub username: String,
    /// On which machine.
    pub hostname: String,
}

impl SessionMarker {
    /// Returns the bytes to be sealed; their hash is in the marker's name.
    pub fn to_json(&self) -> Vec<u8> {
        go_json::to_vec(self).expect("session times come from a clock after the year 0")
    }

    /// Returns the marker that these bytes are.
    pub fn parse(json: &[u8]) -> Result<Self, DecodeError> {
        if json.len() > MARKER_BYTES_MAX {
            return Err(DecodeError::too_large(STRUCTURE, "over 1 MiB"));
        }
        serde_json::from_slice(json)
            .map_err(|error| DecodeError::because(STRUCTURE, error.to_string(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_end_in_the_month_since_2000() {
        // 0x147 = 327 months of 30 days is where the fixtures were written.
        let now = time_text::parse("2026-11-22T10:42:29Z").unwrap();
        let id = SessionId::new([0x99, 0xca, 0xb7, 0x2d, 0x36, 0x7a, 0xc2, 0xdd], now);
        assert_eq!(id.as_str(), "s99cab72d367ac2dd147");
        assert_eq!(SessionId::parse(id.as_str()), Some(id));
        let first = SessionId::new([0; 8], time_text::parse("2000-01-30T23:59:59Z").unwrap());
        assert_eq!(first.as_str(), "s00000000000000000");
        let early = SessionId::new([0; 8], time_text::parse("1999-01-30T23:59:59Z").unwrap());
        assert_eq!(early, first);
    }

    #[test]
    fn other_texts_are_no_ids() {
        for text in [
            "",
            "s",
            "s123",
            "p99cab72d367ac2dd147",
            "s99cab72d367ac2ddx47",
        ] {
            assert_eq!(SessionId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn markers_are_written_in_kopias_order() {
        let marker = SessionMarker {
            id: SessionId::parse("s99cab72d367ac2dd147").unwrap(),
            start_time: time_text::parse("2026-11-22T10:42:29.5Z").unwrap(),
            checkpoint_time: time_text::parse("2026-11-22T10:42:30Z").unwrap(),
            username: "u<".into(),
            hostname: "h".into(),
        };
        let json = marker.to_json();
        assert_eq!(
            std::str::from_utf8(&json).unwrap(),
            r#"{"id":"s99cab72d367ac2dd147","startTime":"2026-11-22T10:42:29.5Z","checkpointTime":"2026-11-22T10:42:30Z","username":"u\u003c","hostname":"h"}"#
        );
        assert_eq!(SessionMarker::parse(&json).unwrap(), marker);
        for cut in 0..json.len() {
            assert!(SessionMarker::parse(&json[..cut]).is_err());
        }
    }
}
