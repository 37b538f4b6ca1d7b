//! Directories, as objects.
//!
//! Kopia spec 7.3 and 7.4. Knows the JSON of one directory and of one entry; not how its objects
//! are stored. Equal directories give equal bytes, so that they are stored once.

mod mode;

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::decode_error::DecodeError;
use crate::go_json::{self, is_default, null_is_default};
use crate::object_id::ObjectId;
use crate::time_text;

const STRUCTURE: &str = "directory";
const STREAM: &str = "kopia:directory";

/// How many failures a summary names.
pub const FAILURES_MAX: usize = 10;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EntryType {
    /// `f`: a file.
    File,
    /// `d`: a directory.
    Directory,
    /// `s`: a symbolic link; its object is the target's path.
    Symlink,
    /// Something that Kopia keeps but does not understand.
    Other(String),
}

impl EntryType {
    fn as_str(&self) -> &str {
        match self {
            Self::File => "f",
            Self::Directory => "d",
            Self::Symlink => "s",
            Self::Other(other) => other,
        }
    }
}

impl Default for EntryType {
    fn default() -> Self {
        Self::Other(String::new())
    }
}

impl Serialize for EntryType {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EntryType {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Ok(match &*text {
            "f" => Self::File,
            "d" => Self::Directory,
            "s" => Self::Symlink,
            _ => Self::Other(text),
        })
    }
}

/// One entry of a directory, or the root of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DirectoryEntry {
    /// What it is called. Empty only for a root that has no name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub name: String,
    /// What it is.
    #[serde(rename = "type", default, skip_serializing_if = "is_default")]
    pub entry_type: EntryType,
    /// Permissions, setuid, setgid and sticky bits, at their POSIX places.
    #[serde(default, skip_serializing_if = "is_default", with = "mode::json")]
    pub mode: u32,
    /// How many bytes its object has. A directory has none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub size: u64,
    /// When it was last modified.
    #[serde(
        default = "unix_epoch",
        skip_serializing_if = "is_unix_epoch",
        with = "time_text::json"
    )]
    pub mtime: Timestamp,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub uid: u32,
    /// Of which group it is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gid: u32,
    /// The object that holds it.
    #[serde(rename = "obj")]
    pub object: ObjectId,
    /// For a directory, and for a file that is a root: what is in it altogether.
    #[serde(rename = "summ", default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<DirectorySummary>,
    /// Members that newer clients may have added.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Kopia keeps times as nanoseconds since 1970 and leaves out zero.
fn unix_epoch() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn is_unix_epoch(time: &Timestamp) -> bool {
    *time == Timestamp::UNIX_EPOCH
}

/// What is in a directory and everything under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectorySummary {
    /// Bytes in files.
    #[serde(default)]
    pub size: u64,
    /// How many files.
    #[serde(default)]
    pub files: u64,
    /// How many symbolic links.
    #[serde(default)]
    pub symlinks: u64,
    /// How many directories, this one included.
    #[serde(default)]
    pub dirs: u64,
    /// The latest modification; the directory's own if it is empty.
    #[serde(default = "unix_epoch", with = "time_text::json")]
    pub max_time: Timestamp,
    /// Why not everything is there, if so.
    #[serde(default, skip_serializing_if = "is_default")]
    pub incomplete: String,
    /// How many entries could not be read.
    #[serde(default)]
    pub num_failed: u64,
    /// How many entries could not be read, where that was to be ignored.
    #[serde(default, skip_serializing_if = "is_default")]
    pub num_ignored_errors: u64,
    /// The first of those, at most [`FAILURES_MAX`].
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "is_default"
    )]
    pub errors: Vec<EntryFailure>,
}

impl Default for DirectorySummary {
    fn default() -> Self {
        Self {
            size: 0,
            files: 0,
            symlinks: 0,
            dirs: 0,
            max_time: Timestamp::UNIX_EPOCH,
            incomplete: String::new(),
            num_failed: 0,
            num_ignored_errors: 0,
            errors: Vec::new(),
        }
    }
}

impl DirectorySummary {
    /// Returns the summary of a directory that has these entries and was itself modified at
    /// `mtime`. Failures in it come from its subdirectories; the caller adds its own.
    pub fn of(entries: &[DirectoryEntry], mtime: Timestamp) -> Self {
        let mut total = Self {
            dirs: 1,
            ..Self::default()
        };
        let mut latest = None;
        for entry in entries {
            latest = latest.max(Some(entry.mtime));
            match (&entry.entry_type, &entry.summary) {
                (EntryType::File, _) => {
                    total.files = total.files.saturating_add(1);
                    total.size = total.size.saturating_add(entry.size);
                }
                (EntryType::Symlink, _) => total.symlinks = total.symlinks.saturating_add(1),
                (EntryType::Directory, Some(below)) => {
                    latest = latest.max(Some(below.max_time));
                    total.add(below);
                }
                _ => {}
            }
        }
        total.max_time = latest.unwrap_or(mtime);
        total.errors.sort_by(|a, b| a.path.cmp(&b.path));
        total.errors.truncate(FAILURES_MAX);
        total
    }

    fn add(&mut self, below: &Self) {
        self.size = self.size.saturating_add(below.size);
        self.files = self.files.saturating_add(below.files);
        self.symlinks = self.symlinks.saturating_add(below.symlinks);
        self.dirs = self.dirs.saturating_add(below.dirs);
        self.num_failed = self.num_failed.saturating_add(below.num_failed);
        self.num_ignored_errors = self
            .num_ignored_errors
            .saturating_add(below.num_ignored_errors);
        self.errors.extend(below.errors.iter().cloned());
    }
}

/// An entry that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryFailure {
    /// Its path, relative to the directory.
    pub path: String,
    /// What went wrong.
    pub error: String,
}

/// A directory's own object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Directory {
    /// What is in it, in any order.
    pub entries: Vec<DirectoryEntry>,
    /// What is in it altogether.
    pub summary: Option<DirectorySummary>,
}

#[derive(Serialize)]
struct StoredDirectory<'d> {
    stream: &'static str,
    /// Go writes `null` for an empty list that nothing was ever added to.
    entries: Option<Vec<&'d DirectoryEntry>>,
    summary: &'d Option<DirectorySummary>,
}

#[derive(Deserialize)]
struct ReadDirectory {
    stream: String,
    #[serde(default, deserialize_with = "null_is_default")]
    entries: Vec<DirectoryEntry>,
    #[serde(default)]
    summary: Option<DirectorySummary>,
}

/// Why a directory cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Kopia keeps one entry of each name and would lose the other's object.
    #[error("write directory: two entries are called {0:?}")]
    DuplicateName(String),
    /// No entry can be called that.
    #[error("write directory: an entry is called {0:?}")]
    InvalidName(String),
    /// A time cannot be written.
    #[error("write directory: {0}")]
    Unrepresentable(#[source] serde_json::Error),
}

impl Directory {
    /// Returns the directory that the bytes of an object are. Names are not judged here: whoever
    /// makes paths of them must.
    pub fn parse(json: &[u8]) -> Result<Self, DecodeError> {
        let read: ReadDirectory = serde_json::from_slice(json)
            .map_err(|error| DecodeError::because(STRUCTURE, error.to_string(), error))?;
        if read.stream != STREAM {
            return Err(DecodeError::unsupported(
                STRUCTURE,
                format!("marked as {:.40?}", read.stream),
            ));
        }
        let mut names = HashSet::with_capacity(read.entries.len());
        if let Some(twice) = read.entries.iter().find(|entry| !names.insert(&entry.name)) {
            let reason = format!("two entries are called {:.300?}", twice.name);
            return Err(DecodeError::malformed(STRUCTURE, reason));
        }
        Ok(Self {
            entries: read.entries,
            summary: read.summary,
        })
    }

    /// Returns the bytes of the object, entries in Kopia's order: directories first, then by the
    /// bytes of their names.
    pub fn encode(&self) -> Result<Vec<u8>, DirectoryError> {
        let mut entries: Vec<&DirectoryEntry> = self.entries.iter().collect();
        entries.sort_by_key(|entry| (entry.entry_type != EntryType::Directory, &*entry.name));
        let mut names = HashSet::with_capacity(entries.len());
        for entry in &entries {
            let name = &*entry.name;
            if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
                return Err(DirectoryError::InvalidName(name.to_owned()));
            }
            if !names.insert(name) {
                return Err(DirectoryError::DuplicateName(name.to_owned()));
            }
        }
        let mut json = go_json::to_vec(&StoredDirectory {
            stream: STREAM,
            entries: (!entries.is_empty()).then_some(entries),
            summary: &self.summary,
        })
        .map_err(DirectoryError::Unrepresentable)?;
        json.push(b'\n');
        Ok(json)
    }
}

#[cfg(test)]
mod tests;
