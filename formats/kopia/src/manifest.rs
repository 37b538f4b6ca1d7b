//! Manifests: small labelled documents, and the contents that hold them.
//!
//! Kopia spec 7.1. Knows the envelope; a manifest's own data stays the JSON text it was, so that
//! manifests of types that we do not know survive being rewritten.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufReader, Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::decode_error::DecodeError;
use crate::go_json::{self, is_default, null_is_default};
use crate::time_text;

const STRUCTURE: &str = "manifests";

/// The most bytes of JSON that the manifests of one content may have: as many as a content.
pub const MANIFESTS_JSON_BYTES_MAX: usize = 256 << 20;

/// The label that every manifest has.
pub const TYPE_LABEL: &str = "type";

/// One version of one manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ManifestEntry {
    /// 16 random bytes in hex.
    pub id: String,
    /// What it is found by.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        serialize_with = "empty_is_null"
    )]
    pub labels: BTreeMap<String, String>,
    /// When this version was written.
    #[serde(with = "time_text::json")]
    pub modified: Timestamp,
    /// Whether this version says that the manifest is gone.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deleted: bool,
    /// The manifest itself; JSON `null` if deleted.
    #[serde(default = "null")]
    pub data: Box<RawValue>,
}

fn empty_is_null<S: serde::Serializer>(
    labels: &BTreeMap<String, String>,
    to: S,
) -> Result<S::Ok, S::Error> {
    (!labels.is_empty()).then_some(labels).serialize(to)
}

fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

impl PartialEq for ManifestEntry {
    fn eq(&self, other: &Self) -> bool {
        (
            &self.id,
            &self.labels,
            self.modified,
            self.deleted,
            self.data.get(),
        ) == (
            &other.id,
            &other.labels,
            other.modified,
            other.deleted,
            other.data.get(),
        )
    }
}

impl Eq for ManifestEntry {}

impl ManifestEntry {
    /// Returns a new ID from random bytes.
    pub fn new_id(random: [u8; 16]) -> String {
        hex::encode(random)
    }

    /// Returns the time of an entry that is to count in place of this one: `now`, or if that is
    /// not later, the next nanosecond.
    pub fn superseded_at(&self, now: Timestamp) -> Timestamp {
        let next = self
            .modified
            .checked_add(jiff::SignedDuration::from_nanos(1))
            .unwrap_or(Timestamp::MAX);
        now.max(next)
    }

    /// Returns the entry that says that a manifest is gone.
    pub fn tombstone(of: &Self, now: Timestamp) -> Self {
        Self {
            id: of.id.clone(),
            labels: BTreeMap::new(),
            modified: of.superseded_at(now),
            deleted: true,
            data: null(),
        }
    }

    /// Returns the type that the labels say.
    pub fn manifest_type(&self) -> Option<&str> {
        self.labels.get(TYPE_LABEL).map(String::as_str)
    }

    /// Says whether the labels contain all wanted ones.
    pub fn matches(&self, wanted: &BTreeMap<String, String>) -> bool {
        wanted
            .iter()
            .all(|(label, value)| self.labels.get(label) == Some(value))
    }
}

/// What one content with prefix `m` holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestContents {
    /// The entries, in the order in which they were written.
    pub entries: Vec<ManifestEntry>,
}

impl ManifestContents {
    /// Returns the manifests that the plain bytes of a content, gzip of JSON, are.
    pub fn parse(gzip: &[u8]) -> Result<Self, DecodeError> {
        let mut entries = Vec::new();
        Self::for_each(gzip, &mut |_, entry| entries.push(entry))?;
        Ok(Self { entries })
    }

    /// Hands every manifest of a content to `each`, with the JSON that it is, and holds one at a
    /// time. What was handed out counts only if all of it can be read.
    pub fn for_each(
        gzip: &[u8],
        each: &mut dyn FnMut(&str, ManifestEntry),
    ) -> Result<(), DecodeError> {
        let limit = MANIFESTS_JSON_BYTES_MAX as u64 + 1;
        let mut json = BufReader::new(MultiGzDecoder::new(gzip).take(limit));
        let parsed = {
            let mut parser = serde_json::Deserializer::from_reader(&mut json);
            EachEntry(each)
                .deserialize(&mut parser)
                .and_then(|()| parser.end())
        };
        if json.get_ref().limit() == 0 {
            return Err(DecodeError::too_large(STRUCTURE, "over 256 MiB"));
        }
        parsed.map_err(|error| DecodeError::because(STRUCTURE, error.to_string(), error))
    }

    /// Returns the plain bytes of a content that holds these manifests. Fails only if a time has no
    /// four-digit year.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut encoder = ManifestsEncoder::new();
        for entry in &self.entries {
            encoder.push(entry)?;
        }
        encoder.finish()
    }
}

/// Writes the plain bytes of a content that holds manifests, one by one.
#[derive(Debug)]
pub struct ManifestsEncoder {
    gzip: GzEncoder<Vec<u8>>,
    json_bytes: usize,
    is_empty: bool,
}

impl Default for ManifestsEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ManifestsEncoder {
    /// Returns one that holds nothing yet.
    pub fn new() -> Self {
        Self {
            gzip: GzEncoder::new(Vec::new(), Compression::default()),
            json_bytes: 0,
            is_empty: true,
        }
    }

    /// Adds a manifest. Fails only if a time has no four-digit year.
    pub fn push(&mut self, entry: &ManifestEntry) -> Result<(), serde_json::Error> {
        let json = go_json::to_vec(entry)?;
        let before: &[u8] = match self.is_empty {
            true => br#"{"entries":["#,
            false => b",",
        };
        self.is_empty = false;
        self.write(before)?;
        self.write(&json)
    }

    /// Returns how long the JSON is so far.
    pub fn json_bytes(&self) -> usize {
        self.json_bytes
    }

    /// Returns the plain bytes.
    pub fn finish(mut self) -> Result<Vec<u8>, serde_json::Error> {
        let end: &[u8] = match self.is_empty {
            true => br#"{"entries":[]}"#,
            false => b"]}",
        };
        self.write(end)?;
        self.gzip.finish().map_err(serde_json::Error::io)
    }

    fn write(&mut self, json: &[u8]) -> Result<(), serde_json::Error> {
        self.json_bytes += json.len();
        self.gzip.write_all(json).map_err(serde_json::Error::io)
    }
}

/// Reads `{"entries":[…]}` and hands out one entry after another.
struct EachEntry<'e>(&'e mut dyn FnMut(&str, ManifestEntry));

impl<'de> DeserializeSeed<'de> for EachEntry<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EachEntry<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with entries")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<String>()? {
            if key != "entries" {
                return Err(Error::unknown_field(&key, &["entries"]));
            }
            if std::mem::replace(&mut found, true) {
                return Err(Error::duplicate_field("entries"));
            }
            map.next_value_seed(EntryList(&mut self.0))?;
        }
        match found {
            true => Ok(()),
            false => Err(Error::missing_field("entries")),
        }
    }
}

struct EntryList<'e>(&'e mut dyn FnMut(&str, ManifestEntry));

impl<'de> DeserializeSeed<'de> for EntryList<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EntryList<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries, or null")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(json) = list.next_element::<Box<RawValue>>()? {
            let entry = serde_json::from_str(json.get()).map_err(Error::custom)?;
            (self.0)(json.get(), entry);
        }
        Ok(())
    }
}

/// Returns the manifests that exist, by ID, given the entries of all contents that hold
/// manifests in any order: the latest entry of each, unless it is a deletion.
pub fn merge(entries: impl IntoIterator<Item = ManifestEntry>) -> BTreeMap<String, ManifestEntry> {
    let mut latest: BTreeMap<String, ManifestEntry> = BTreeMap::new();
    for entry in entries {
        match latest.get(&entry.id) {
            // Of two entries of the same time, a live one wins: a deletion must be later.
            Some(known) if rank(known) >= rank(&entry) => {}
            _ => {
                latest.insert(entry.id.clone(), entry);
            }
        }
    }
    latest.retain(|_, entry| !entry.deleted);
    latest
}

fn rank(entry: &ManifestEntry) -> (Timestamp, bool, &str) {
    (entry.modified, !entry.deleted, entry.data.get())
}

/// Returns the one that counts where several manifests match: the latest, of equal ones the one
/// with the larger ID.
pub fn latest(matching: impl IntoIterator<Item = ManifestEntry>) -> Option<ManifestEntry> {
    matching
        .into_iter()
        .max_by(|a, b| (a.modified, &a.id).cmp(&(b.modified, &b.id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, modified_seconds: i64, data: &str) -> ManifestEntry {
        ManifestEntry {
            id: id.to_owned(),
            labels: BTreeMap::from([(TYPE_LABEL.to_owned(), "private".to_owned())]),
            modified: Timestamp::from_second(modified_seconds).unwrap(),
            deleted: false,
            data: RawValue::from_string(data.to_owned()).unwrap(),
        }
    }

    fn gzip(json: &str) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(json.as_bytes()).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn entries_are_written_in_kopias_order_and_data_is_left_alone() {
        let kept = entry(
            "0a",
            1_700_000_000,
            r#"{"z":1.50,"a":[ 12345678901234567890123 ]}"#,
        );
        let gone = ManifestEntry::tombstone(&kept, Timestamp::UNIX_EPOCH);
        let contents = ManifestContents {
            entries: vec![kept, gone],
        };
        let encoded = contents.encode().unwrap();
        let mut json = String::new();
        MultiGzDecoder::new(&encoded[..])
            .read_to_string(&mut json)
            .unwrap();
        assert_eq!(
            json,
            concat!(
                r#"{"entries":[{"id":"0a","labels":{"type":"private"},"modified":"2023-11-14T22:13:20Z","data":{"z":1.50,"a":[ 12345678901234567890123 ]}},"#,
                r#"{"id":"0a","labels":null,"modified":"2023-11-14T22:13:20.000000001Z","deleted":true,"data":null}]}"#
            )
        );
        assert_eq!(ManifestContents::parse(&encoded).unwrap(), contents);
    }

    #[test]
    fn the_latest_entry_counts_in_any_order() {
        let first = entry("0a", 5, "1");
        let second = entry("0a", 6, "2");
        let other = entry("0b", 1, "3");
        let gone = ManifestEntry::tombstone(&second, Timestamp::from_second(9).unwrap());
        let entries = [first.clone(), second.clone(), other.clone()];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let merged = merge(order.map(|i| entries[i].clone()));
            assert_eq!(merged.len(), 2);
            assert_eq!(merged["0a"], second);
        }
        let merged = merge([gone.clone(), second.clone(), other.clone(), first]);
        assert_eq!(merged.into_values().collect::<Vec<_>>(), [other]);
        let same_time = ManifestEntry {
            modified: second.modified,
            ..gone
        };
        assert_eq!(merge([second.clone(), same_time])["0a"], second);
    }

    #[test]
    fn of_several_that_match_the_latest_counts() {
        let all = [
            entry("0c", 5, "1"),
            entry("0a", 5, "2"),
            entry("0b", 4, "3"),
        ];
        assert_eq!(latest(all.clone()).unwrap().id, "0c");
        assert_eq!(latest([]), None);
        let wanted = |label: &str| BTreeMap::from([(label.to_owned(), "private".to_owned())]);
        assert!(all[0].matches(&wanted("type")) && all[0].matches(&BTreeMap::new()));
        assert!(!all[0].matches(&wanted("host")));
    }

    #[test]
    fn damage_is_an_error() {
        for json in [
            "",
            "{",
            "[1]",
            "{}",
            r#"{"entries":[],"more":1}"#,
            r#"{"entries":[{"id":"0a"}]}"#,
            r#"{"entries":[{"id":"0a","modified":"never","data":1}]}"#,
            r#"{"entries":[{"id":"0a","labels":{"type":1},"modified":"2023-11-14T22:13:20Z","data":1}]}"#,
            r#"{"entries":[]} x"#,
            r#"{"entries":[],"entries":[]}"#,
            r#"{"entries":1}"#,
        ] {
            assert!(ManifestContents::parse(&gzip(json)).is_err(), "{json}");
        }
        assert!(ManifestContents::parse(&gzip(r#"{"entries":null}"#)).is_ok());
        let sound = gzip(
            r#"{"entries":[{"id":"0a","labels":null,"modified":"2023-11-14T22:13:20Z","data":1}]}"#,
        );
        assert!(ManifestContents::parse(&sound).is_ok());
        for cut in 0..sound.len() {
            assert!(ManifestContents::parse(&sound[..cut]).is_err(), "{cut}");
        }
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x55;
            let _ = ManifestContents::parse(&damaged);
        }
    }
}
