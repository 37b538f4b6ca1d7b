//! Policies: how a source is to be stored, and how long it is kept.
//!
//! Kopia spec 7.5. Knows Kopia's whole policy document, which policies apply to a source and what
//! they say together. Carries none of it out.

mod merge;
mod sections;
mod target;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

pub use sections::{
    ActionCommand, ActionsPolicy, CompressionPolicy, DirectoryLogging, EntryLogging,
    ErrorHandlingPolicy, FilesPolicy, LoggingPolicy, MetadataCompressionPolicy, OsSnapshotsPolicy,
    RetentionPolicy, SchedulingPolicy, SplitterPolicy, TimeOfDay, UploadPolicy,
    VolumeShadowCopyPolicy,
};
pub use target::PolicyTarget;

use crate::compression::CompressionAlgorithm;
use crate::decode_error::DecodeError;
use crate::go_json::{self, is_default, null_is_default};
use crate::splitter::Splitter;

const STRUCTURE: &str = "policy";

/// The type label of policies.
pub const POLICY_TYPE: &str = "policy";

/// The defaults that are not 0, false or open.
const DEFAULT_DOT_FILE: &str = ".kopiaignore";
const DEFAULT_METADATA_COMPRESSOR: &str = "zstd-fastest";
const DEFAULT_PARALLEL_UPLOAD_ABOVE_BYTES: i64 = 2 << 30;
const DEFAULT_LOG_DETAIL: i64 = 5;

/// One policy as it is stored. What it leaves open, less specific policies say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    /// How many snapshots are kept.
    #[serde(deserialize_with = "null_is_default")]
    pub retention: RetentionPolicy,
    /// Which files are left out.
    #[serde(deserialize_with = "null_is_default")]
    pub files: FilesPolicy,
    /// What does not make a snapshot fail.
    #[serde(deserialize_with = "null_is_default")]
    pub error_handling: ErrorHandlingPolicy,
    /// When snapshots are taken.
    #[serde(deserialize_with = "null_is_default")]
    pub scheduling: SchedulingPolicy,
    /// How files are compressed.
    #[serde(deserialize_with = "null_is_default")]
    pub compression: CompressionPolicy,
    /// How lists and directories are compressed.
    #[serde(deserialize_with = "null_is_default")]
    pub metadata_compression: MetadataCompressionPolicy,
    /// How files are cut into contents.
    #[serde(deserialize_with = "null_is_default")]
    pub splitter: SplitterPolicy,
    /// What is run before and after.
    #[serde(deserialize_with = "null_is_default")]
    pub actions: ActionsPolicy,
    /// Snapshots by the operating system.
    #[serde(deserialize_with = "null_is_default")]
    pub os_snapshots: OsSnapshotsPolicy,
    /// How much is said.
    #[serde(deserialize_with = "null_is_default")]
    pub logging: LoggingPolicy,
    /// How much is done side by side.
    #[serde(deserialize_with = "null_is_default")]
    pub upload: UploadPolicy,
    /// Whether less specific policies, and the defaults, do not apply.
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "is_default"
    )]
    pub no_parent: bool,
    /// Members that newer clients may have added.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Why a policy must not be stored.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PolicyError {
    /// Kopia has no such compressor.
    #[error("there is no compressor named {0:?}")]
    Compressor(String),
    /// Kopia has no such splitter.
    #[error("there is no splitter named {0:?}")]
    Splitter(String),
    /// Manual and a schedule.
    #[error("scheduling is manual, which excludes intervals, times and cron")]
    ManualWithSchedule,
    /// A time that no day has.
    #[error("scheduling has the time {0}:{1:02}, which no day has")]
    TimeOfDay(i64, i64),
    /// A number that is out of its bounds.
    #[error("{member} is {value}; it must be {allowed}")]
    Number {
        /// Which.
        member: &'static str,
        /// Its value.
        value: i64,
        /// In words.
        allowed: &'static str,
    },
    /// Snapshots side by side are nothing a path can say.
    #[error(
        "upload.maxParallelSnapshots cannot be said for a path, only for a user, a host or all"
    )]
    ParallelSnapshotsOfPath,
}

impl Policy {
    /// Returns what the data of a policy's manifest says.
    pub fn parse(json: &str) -> Result<Self, DecodeError> {
        serde_json::from_str(json)
            .map_err(|error| DecodeError::because(STRUCTURE, error.to_string(), error))
    }

    /// Returns the data of its manifest.
    pub fn encode(&self) -> Box<RawValue> {
        let json = go_json::to_vec(self).expect("a policy's maps have text as keys");
        let json = String::from_utf8(json).expect("JSON is UTF-8");
        RawValue::from_string(json).expect("what was just written is JSON")
    }

    /// Returns what applies where no policy says anything; Kopia stores it in a new repository as
    /// the policy for everything.
    pub fn defaults() -> Self {
        let mut policy = Self::default();
        let retention = &mut policy.retention;
        retention.keep_latest = Some(10);
        retention.keep_hourly = Some(48);
        retention.keep_daily = Some(7);
        retention.keep_weekly = Some(4);
        retention.keep_monthly = Some(24);
        retention.keep_annual = Some(3);
        retention.ignore_identical_snapshots = Some(false);
        policy.files.ignore_dot_files = vec![DEFAULT_DOT_FILE.to_owned()];
        policy.error_handling.ignore_file_errors = Some(false);
        policy.error_handling.ignore_directory_errors = Some(false);
        policy.error_handling.ignore_unknown_types = Some(true);
        policy.scheduling.run_missed = Some(true);
        "none".clone_into(&mut policy.compression.compressor_name);
        DEFAULT_METADATA_COMPRESSOR.clone_into(&mut policy.metadata_compression.compressor_name);
        policy.os_snapshots.volume_shadow_copy.enable = Some(0);
        policy.logging.directories.snapshotted = Some(DEFAULT_LOG_DETAIL);
        policy.logging.directories.ignored = Some(DEFAULT_LOG_DETAIL);
        policy.logging.entries.snapshotted = Some(0);
        policy.logging.entries.ignored = Some(DEFAULT_LOG_DETAIL);
        policy.logging.entries.cache_hit = Some(0);
        policy.logging.entries.cache_miss = Some(0);
        policy.upload.max_parallel_snapshots = Some(1);
        policy.upload.parallel_upload_above_size = Some(DEFAULT_PARALLEL_UPLOAD_ABOVE_BYTES);
        policy
    }

    /// Checks that Kopia can carry this out where it is to stand.
    pub fn check(&self, target: &PolicyTarget) -> Result<(), PolicyError> {
        for name in [
            &self.compression.compressor_name,
            &self.metadata_compression.compressor_name,
        ] {
            let open = name.is_empty() || name == "none";
            if !open && CompressionAlgorithm::from_name(name).is_none() {
                return Err(PolicyError::Compressor(name.clone()));
            }
        }
        let splitter = &self.splitter.algorithm;
        if !splitter.is_empty() && Splitter::from_name(splitter).is_none() {
            return Err(PolicyError::Splitter(splitter.clone()));
        }
        if target.is_path() && self.upload.max_parallel_snapshots.is_some() {
            return Err(PolicyError::ParallelSnapshotsOfPath);
        }
        self.check_schedule()?;
        self.check_numbers()
    }

    fn check_schedule(&self) -> Result<(), PolicyError> {
        let scheduling = &self.scheduling;
        let only_manual = SchedulingPolicy {
            manual: true,
            other: scheduling.other.clone(),
            ..SchedulingPolicy::default()
        };
        if scheduling.manual && *scheduling != only_manual {
            return Err(PolicyError::ManualWithSchedule);
        }
        let odd =
            |time: &&TimeOfDay| !(0..24).contains(&time.hour) || !(0..60).contains(&time.minute);
        match scheduling.time_of_day.iter().find(odd) {
            Some(time) => Err(PolicyError::TimeOfDay(time.hour, time.minute)),
            None => Ok(()),
        }
    }

    fn check_numbers(&self) -> Result<(), PolicyError> {
        let keep = &self.retention;
        let count = (0..=i64::from(i32::MAX), "from 0 to 2147483647");
        let bytes = (0..=i64::MAX, "0 or more");
        let detail = (0..=10, "from 0 to 10");
        let directories = &self.logging.directories;
        let entries = &self.logging.entries;
        for (member, value, (allowed, in_words)) in [
            ("retention.keepLatest", keep.keep_latest, &count),
            ("retention.keepHourly", keep.keep_hourly, &count),
            ("retention.keepDaily", keep.keep_daily, &count),
            ("retention.keepWeekly", keep.keep_weekly, &count),
            ("retention.keepMonthly", keep.keep_monthly, &count),
            ("retention.keepAnnual", keep.keep_annual, &count),
            ("files.maxFileSize", Some(self.files.max_file_size), &bytes),
            (
                "compression.minSize",
                Some(self.compression.min_size),
                &bytes,
            ),
            (
                "compression.maxSize",
                Some(self.compression.max_size),
                &bytes,
            ),
            (
                "scheduling.intervalSeconds",
                Some(self.scheduling.interval_seconds),
                &bytes,
            ),
            (
                "osSnapshots.volumeShadowCopy.enable",
                self.os_snapshots.volume_shadow_copy.enable,
                &(0..=2, "0 (never), 1 (always) or 2 (when available)"),
            ),
            (
                "logging.directories.snapshotted",
                directories.snapshotted,
                &detail,
            ),
            ("logging.directories.ignored", directories.ignored, &detail),
            ("logging.entries.snapshotted", entries.snapshotted, &detail),
            ("logging.entries.ignored", entries.ignored, &detail),
            ("logging.entries.cacheHit", entries.cache_hit, &detail),
            ("logging.entries.cacheMiss", entries.cache_miss, &detail),
            (
                "upload.maxParallelSnapshots",
                self.upload.max_parallel_snapshots,
                &count,
            ),
            (
                "upload.maxParallelFileReads",
                self.upload.max_parallel_file_reads,
                &count,
            ),
            (
                "upload.parallelUploadAboveSize",
                self.upload.parallel_upload_above_size,
                &bytes,
            ),
        ] {
            if let Some(value) = value
                && !allowed.contains(&value)
            {
                return Err(PolicyError::Number {
                    member,
                    value,
                    allowed: in_words,
                });
            }
        }
        Ok(())
    }
}

/// Returns the global policy of a new repository whose files are compressed with `compressor`, a
/// name of Kopia's; everything else is as Kopia stores it.
pub fn global_policy(compressor: &str) -> Box<RawValue> {
    let mut policy = Policy::defaults();
    compressor.clone_into(&mut policy.compression.compressor_name);
    policy.encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_repository_may_choose_how_files_are_compressed_and_nothing_else() {
        let chosen = global_policy("zstd");
        let policy = Policy::parse(chosen.get()).unwrap();
        assert_eq!(policy.compression.compressor(), Some("zstd"));
        let back = chosen.get().replacen(r#""zstd""#, r#""none""#, 1);
        assert_eq!(back, global_policy("none").get());
        assert_eq!(Policy::parse(&back).unwrap(), Policy::defaults());
        assert_eq!(Policy::defaults().compression.compressor(), None);
    }

    #[test]
    fn members_of_newer_clients_survive_an_edit() {
        let json = r#"{"retention":{"keepLatest":3,"keepHourlyish":7},"files":{"later":[1]},"errorHandling":{"a":1},"scheduling":{"b":2},"compression":{"c":3},"metadataCompression":{"d":4},"splitter":{"e":5},"actions":{"beforeFolder":{"path":"x","f":6}},"osSnapshots":{"volumeShadowCopy":{"g":7},"h":8},"logging":{"directories":{"i":9},"entries":{"j":10},"k":11},"upload":{"preserveBirthTime":true},"metrics":{"exposeMetrics":true}}"#;
        let mut policy = Policy::parse(json).unwrap();
        policy.retention.keep_latest = Some(4);
        let edited = json.replacen(r#""keepLatest":3"#, r#""keepLatest":4"#, 1);
        assert_eq!(policy.encode().get(), edited);
    }

    #[test]
    fn null_is_as_good_as_nothing() {
        let json = r#"{"retention":null,"files":{"ignore":null},"logging":{"entries":null},"noParent":null}"#;
        assert_eq!(Policy::parse(json).unwrap(), Policy::default());
    }

    #[test]
    fn damage_is_an_error() {
        for json in [
            "",
            "null",
            "[]",
            r#"{"compression":{"compressorName":7}}"#,
            r#"{"retention":{"keepLatest":"3"}}"#,
            r#"{"retention":{"keepLatest":1.5}}"#,
            r#"{"files":{"ignore":"x"}}"#,
            r#"{"scheduling":{"timeOfDay":[7]}}"#,
            r#"{"noParent":"no"}"#,
        ] {
            assert!(Policy::parse(json).is_err(), "{json}");
        }
    }

    #[test]
    fn what_kopia_could_not_carry_out_is_refused() {
        let path = PolicyTarget::source(&crate::snapshot::SnapshotSource {
            host: "h".to_owned(),
            user_name: "u".to_owned(),
            path: "/p".to_owned(),
        });
        for (json, words) in [
            (r#"{"compression":{"compressorName":"zip"}}"#, "zip"),
            (r#"{"metadataCompression":{"compressorName":"zap"}}"#, "zap"),
            (r#"{"splitter":{"algorithm":"AXE"}}"#, "AXE"),
            (
                r#"{"scheduling":{"manual":true,"intervalSeconds":60}}"#,
                "manual",
            ),
            (r#"{"scheduling":{"timeOfDay":[{"hour":24}]}}"#, "24:00"),
            (
                r#"{"retention":{"keepDaily":-1}}"#,
                "retention.keepDaily is -1",
            ),
            (
                r#"{"logging":{"entries":{"cacheHit":11}}}"#,
                "logging.entries.cacheHit",
            ),
            (
                r#"{"upload":{"maxParallelSnapshots":2}}"#,
                "maxParallelSnapshots",
            ),
        ] {
            let error = Policy::parse(json).unwrap().check(&path).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        Policy::defaults().check(&PolicyTarget::global()).unwrap();
        let several = Policy::parse(r#"{"upload":{"maxParallelSnapshots":2}}"#).unwrap();
        several.check(&PolicyTarget::global()).unwrap();
    }
}
