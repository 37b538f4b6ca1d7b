//! Who maintains a repository, and how often.
//!
//! Kopia spec 8.1 and 8.2. Knows the manifest with the parameters and the schedule blob; not what
//! maintenance does.

mod schedule;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::decode_error::DecodeError;
use crate::go_json;
use crate::manifest::TYPE_LABEL;

pub use schedule::{MaintenanceSchedule, SCHEDULE_KEY_BYTES, SCHEDULE_KEY_PURPOSE, TaskRun};

const STRUCTURE: &str = "maintenance parameters";
const HOUR_NS: i64 = 3_600_000_000_000;

/// The type label of the manifest with the parameters. There is one.
pub const MAINTENANCE_TYPE: &str = "maintenance";

/// What Kopia must know to maintain a repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceParameters {
    /// The only client that maintains, as `user@host`.
    #[serde(default)]
    pub owner: String,
    /// The quick kind of maintenance.
    #[serde(default)]
    pub quick: MaintenanceCycle,
    /// The full kind of maintenance.
    #[serde(default)]
    pub full: MaintenanceCycle,
    /// How long logs are kept.
    #[serde(default)]
    pub log_retention: LogRetention,
    /// Whether maintenance extends object locks.
    #[serde(default)]
    pub extend_object_locks: bool,
    /// How many listings run at once; 0 is Kopia's default.
    #[serde(default)]
    pub list_parallelism: i64,
    /// Members that newer clients may have added.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// One kind of maintenance.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceCycle {
    /// Whether it runs.
    #[serde(default)]
    pub enabled: bool,
    /// How often it runs, in nanoseconds.
    #[serde(default, rename = "interval")]
    pub interval_ns: i64,
}

/// How long Kopia's log blobs are kept.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRetention {
    /// How many bytes of them.
    #[serde(default, rename = "maxTotalSize")]
    pub total_bytes_max: i64,
    /// How many of them.
    #[serde(default, rename = "maxCount")]
    pub count_max: i64,
    /// For how many nanoseconds.
    #[serde(default, rename = "maxAge")]
    pub age_max_ns: i64,
}

impl MaintenanceParameters {
    /// Returns what Kopia stores when `owner`, a `user@host`, creates a repository.
    pub fn new(owner: impl Into<String>) -> Self {
        let every = |hours: i64| MaintenanceCycle {
            enabled: true,
            interval_ns: hours * HOUR_NS,
        };
        Self {
            owner: owner.into(),
            quick: every(1),
            full: every(24),
            log_retention: LogRetention {
                total_bytes_max: 1 << 30,
                count_max: 10_000,
                age_max_ns: 30 * 24 * HOUR_NS,
            },
            extend_object_locks: false,
            list_parallelism: 0,
            other: BTreeMap::new(),
        }
    }

    /// Returns the labels of the manifest.
    pub fn labels() -> BTreeMap<String, String> {
        BTreeMap::from([(TYPE_LABEL.to_owned(), MAINTENANCE_TYPE.to_owned())])
    }

    /// Returns the parameters that the data of a manifest is.
    pub fn parse(json: &str) -> Result<Self, DecodeError> {
        serde_json::from_str(json)
            .map_err(|error| DecodeError::because(STRUCTURE, error.to_string(), error))
    }

    /// Returns the data of the manifest.
    pub fn encode(&self) -> Box<RawValue> {
        let json = go_json::to_vec(self).expect("texts, numbers and what was JSON have JSON");
        let json = String::from_utf8(json).expect("JSON is UTF-8");
        RawValue::from_string(json).expect("what was encoded is JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: &str = r#"{"owner":"user@host","quick":{"enabled":true,"interval":3600000000000},"full":{"enabled":true,"interval":86400000000000},"logRetention":{"maxTotalSize":1073741824,"maxCount":10000,"maxAge":2592000000000000},"extendObjectLocks":false,"listParallelism":0}"#;

    #[test]
    fn defaults_are_kopias() {
        let parameters = MaintenanceParameters::new("user@host");
        assert_eq!(parameters.encode().get(), DEFAULTS);
        assert_eq!(MaintenanceParameters::parse(DEFAULTS).unwrap(), parameters);
    }

    #[test]
    fn members_of_newer_clients_survive() {
        let json = DEFAULTS.replacen("}", r#"},"newer":[1]"#, 1);
        let parameters = MaintenanceParameters::parse(&json).unwrap();
        assert!(parameters.encode().get().ends_with(r#","newer":[1]}"#));
    }

    #[test]
    fn damage_is_an_error() {
        for json in [
            "",
            "null",
            r#"{"owner":1}"#,
            r#"{"quick":{"interval":"1h"}}"#,
        ] {
            assert!(MaintenanceParameters::parse(json).is_err(), "{json}");
        }
    }
}
