//! Which index blobs count, where epochs are disabled.
//!
//! Kopia spec 5.4. Knows listings and compaction logs; the caller opens the logs' seals.

use std::collections::HashSet;

use serde::Deserialize;

use crate::blob_name::{LEGACY_INDEX_PREFIX, POISON};
use crate::decode_error::DecodeError;
use crate::go_json::null_is_default;

const STRUCTURE: &str = "compaction log";

/// Which legacy index blobs were merged into which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionLog {
    /// The blobs that the others replace.
    pub inputs: Vec<String>,
    /// The blobs that replace them, if all of them are there.
    pub outputs: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredLog {
    #[serde(deserialize_with = "null_is_default")]
    input_metadata: Vec<StoredBlob>,
    #[serde(deserialize_with = "null_is_default")]
    output_metadata: Vec<StoredBlob>,
}

#[derive(Deserialize)]
struct StoredBlob {
    id: String,
}

impl CompactionLog {
    /// Returns the log that the plain bytes of an `m` blob are.
    pub fn parse(json: &[u8]) -> Result<Self, DecodeError> {
        let stored: StoredLog = serde_json::from_slice(json)
            .map_err(|error| DecodeError::because(STRUCTURE, error.to_string(), error))?;
        let names = |blobs: Vec<StoredBlob>| blobs.into_iter().map(|blob| blob.id).collect();
        Ok(Self {
            inputs: names(stored.input_metadata),
            outputs: names(stored.output_metadata),
        })
    }
}

/// Returns the names of the active index blobs, in the order of the listing: all that begin with
/// `n`, without those that a valid log says were compacted.
pub fn active_index_blobs<S: AsRef<str>>(names: &[S], logs: &[CompactionLog]) -> Vec<String> {
    let listed: Vec<&str> = names
        .iter()
        .map(AsRef::as_ref)
        .filter(|name| name.starts_with(LEGACY_INDEX_PREFIX) && *name != POISON)
        .collect();
    let present: HashSet<&str> = listed.iter().copied().collect();
    let replaced: HashSet<&str> = logs
        .iter()
        .filter(|log| log.outputs.iter().all(|name| present.contains(&**name)))
        .flat_map(|log| log.inputs.iter().map(String::as_str))
        .collect();
    listed
        .into_iter()
        .filter(|name| !replaced.contains(name))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(inputs: &[&str], outputs: &[&str]) -> CompactionLog {
        let blobs = |names: &[&str]| -> Vec<serde_json::Value> {
            let blob = |name: &&str| serde_json::json!({"id": name, "length": 5, "timestamp": "2026-11-22T10:42:29Z"});
            names.iter().map(blob).collect()
        };
        let json = serde_json::json!({
            "inputMetadata": blobs(inputs),
            "outputMetadata": blobs(outputs),
        });
        CompactionLog::parse(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn compacted_indexes_are_inactive_once_their_replacement_is_there() {
        let names = ["n1", "n2", "n3", "m9", POISON, "l8", "xn0_1"];
        assert_eq!(active_index_blobs(&names, &[]), ["n1", "n2", "n3"]);
        let done = log(&["n1", "n2"], &["n3"]);
        assert_eq!(active_index_blobs(&names, &[done]), ["n3"]);
        let half = log(&["n1", "n2"], &["n3", "n4"]);
        assert_eq!(active_index_blobs(&names, &[half]), ["n1", "n2", "n3"]);
    }

    #[test]
    fn logs_may_follow_one_another() {
        let logs = [log(&["n1", "n2"], &["n3"]), log(&["n3", "n4"], &["n5"])];
        let names = ["n1", "n2", "n3", "n4", "n5", "n6"];
        assert_eq!(active_index_blobs(&names, &logs), ["n5", "n6"]);
    }

    #[test]
    fn a_damaged_log_is_an_error() {
        for json in [
            "",
            "{",
            "[]",
            r#"{"inputMetadata":[{"length":1}]}"#,
            r#"{"inputMetadata":"n1"}"#,
        ] {
            assert!(CompactionLog::parse(json.as_bytes()).is_err(), "{json}");
        }
        let empty = CompactionLog::parse(br#"{"inputMetadata":null,"outputMetadata":null}"#);
        assert_eq!(empty.unwrap().inputs, Vec::<String>::new());
    }
}
