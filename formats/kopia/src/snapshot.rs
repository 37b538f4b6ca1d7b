//! Snapshots: manifests that name what was kept, of what, and when.
//!
//! Kopia spec 7.2. Knows one snapshot's manifest and what must be right before it is published: the
//! data of a snapshot that Kopia cannot read is collected as garbage.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::decode_error::DecodeError;
use crate::directory::{DirectoryEntry, EntryType};
use crate::go_json::{self, is_default, null_is_default};
use crate::manifest::{ManifestEntry, TYPE_LABEL};
use crate::time_text;

const STRUCTURE: &str = "snapshot manifest";

/// The type label of snapshots.
pub const SNAPSHOT_TYPE: &str = "snapshot";

/// Why a snapshot is incomplete whose upload goes on.
pub const INCOMPLETE_CHECKPOINT: &str = "checkpoint";

const HOST_LABEL: &str = "hostname";
const USER_LABEL: &str = "username";
const PATH_LABEL: &str = "path";

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotSource {
    /// The machine.
    #[serde(default)]
    pub host: String,
    /// Whose snapshots these are.
    #[serde(default)]
    pub user_name: String,
    /// The path; any text.
    #[serde(default)]
    pub path: String,
}

impl SnapshotSource {
    /// Returns the labels by which the snapshots of this source are found.
    pub fn labels(&self) -> BTreeMap<String, String> {
        [
            (TYPE_LABEL, SNAPSHOT_TYPE),
            (HOST_LABEL, &self.host),
            (USER_LABEL, &self.user_name),
            (PATH_LABEL, &self.path),
        ]
        .map(|(label, value)| (label.to_owned(), value.to_owned()))
        .into()
    }
}

/// What was counted while a snapshot was taken. Nothing depends on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SnapshotStats {
    /// Bytes in files that were read.
    pub total_size: i64,
    /// Bytes in files that were excluded.
    pub excluded_total_size: i64,
    /// Files that were read.
    pub file_count: i64,
    /// Files that were taken from an earlier snapshot.
    pub cached_files: i64,
    /// Files that were not.
    pub non_cached_files: i64,
    /// Directories.
    pub dir_count: i64,
    /// Files that were excluded.
    pub excluded_file_count: i64,
    /// Directories that were excluded.
    pub excluded_dir_count: i64,
    /// Errors that were to be ignored.
    pub ignored_error_count: i64,
    /// Errors.
    pub error_count: i64,
    /// Members that newer clients may have added.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// One snapshot. Its ID is that of the manifest that holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotManifest {
    /// Stored as an empty text.
    #[serde(default)]
    pub id: String,
    /// What it is of.
    pub source: SnapshotSource,
    /// What its maker says about it.
    #[serde(default)]
    pub description: String,
    /// When it was begun.
    #[serde(with = "time_text::json")]
    pub start_time: Timestamp,
    /// When it was finished.
    #[serde(with = "time_text::json")]
    pub end_time: Timestamp,
    /// What was counted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stats: SnapshotStats,
    /// Why not everything is there, if so.
    #[serde(default, skip_serializing_if = "is_default")]
    pub incomplete: String,
    /// What was kept. Required, but a reader must be able to say that it is missing.
    #[serde(default)]
    pub root_entry: Option<DirectoryEntry>,
    /// Further labels.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "is_default"
    )]
    pub tags: BTreeMap<String, String>,
    /// What it takes in the repository; Kopia does not persist it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_stats: Option<Value>,
    /// Why it must not expire, if so.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "is_default"
    )]
    pub pins: Vec<String>,
    /// Members that newer clients may have added.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Why a snapshot must not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The source lacks a part, so that it could not be found.
    #[error("publish snapshot: its source has no {0}")]
    Source(&'static str),
    /// There is no root, which would stop all of Kopia's maintenance.
    #[error("publish snapshot: it has no root entry")]
    NoRoot,
    /// The root is neither a directory nor a file with a summary.
    #[error("publish snapshot: its root is neither a directory nor a file with a summary")]
    Root,
    /// It ends before it begins, or at times that Kopia cannot hold.
    #[error("publish snapshot: its times are not usable")]
    Times,
    /// A tag has the name of a label that says what the snapshot is of.
    #[error("publish snapshot: a tag is called {0:?}")]
    Tag(String),
    /// It has no JSON, or none that leads back to the same snapshot.
    #[error("publish snapshot: its manifest cannot be read back")]
    Unreadable(#[source] Option<Box<dyn std::error::Error + Send + Sync>>),
}

impl SnapshotManifest {
    /// Returns the snapshot that the data of a manifest is.
    pub fn parse(json: &str) -> Result<Self, DecodeError> {
        serde_json::from_str(json)
            .map_err(|error| DecodeError::because(STRUCTURE, error.to_string(), error))
    }

    /// Returns the labels of its manifest.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.tags.clone();
        labels.extend(self.source.labels());
        labels
    }

    /// Returns the manifest that publishes this snapshot, after checking that Kopia will be able to
    /// read it. The objects that it names must have been checked by the caller.
    pub fn to_manifest(
        &self,
        id: String,
        modified: Timestamp,
    ) -> Result<ManifestEntry, PublishError> {
        self.check()?;
        Ok(ManifestEntry {
            id,
            labels: self.labels(),
            modified,
            deleted: false,
            data: self.encode()?,
        })
    }

    /// Checks that this snapshot may be published.
    pub fn check(&self) -> Result<(), PublishError> {
        for (part, text) in [
            ("host", &self.source.host),
            ("user name", &self.source.user_name),
            ("path", &self.source.path),
        ] {
            if text.is_empty() {
                return Err(PublishError::Source(part));
            }
        }
        let root = self.root_entry.as_ref().ok_or(PublishError::NoRoot)?;
        match (&root.entry_type, &root.summary) {
            (EntryType::Directory, _) | (EntryType::File, Some(_)) => {}
            _ => return Err(PublishError::Root),
        }
        let holds = |time: Timestamp| i64::try_from(time.as_nanosecond()).is_ok();
        if self.start_time > self.end_time || !holds(self.start_time) || !holds(self.end_time) {
            return Err(PublishError::Times);
        }
        let reserved = self.source.labels();
        if let Some(tag) = self.tags.keys().find(|tag| reserved.contains_key(*tag)) {
            return Err(PublishError::Tag(tag.clone()));
        }
        Ok(())
    }

    fn encode(&self) -> Result<Box<RawValue>, PublishError> {
        let stored = Self {
            id: String::new(),
            ..self.clone()
        };
        let json = go_json::to_vec(&stored)
            .map_err(|error| PublishError::Unreadable(Some(error.into())))?;
        let json = String::from_utf8(json)
            .map_err(|error| PublishError::Unreadable(Some(error.into())))?;
        let read =
            Self::parse(&json).map_err(|error| PublishError::Unreadable(Some(error.into())))?;
        if read != stored {
            return Err(PublishError::Unreadable(None));
        }
        RawValue::from_string(json).map_err(|error| PublishError::Unreadable(Some(error.into())))
    }
}

#[cfg(test)]
mod tests;
