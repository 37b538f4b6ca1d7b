//! The sections of a policy: one struct each, with the members Kopia knows.
//!
//! A member that a policy leaves open is `None`, empty, `false` or 0, whichever Kopia has, and is
//! not written. Members that we do not know stay as they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::go_json::{is_default, null_is_default};

const NO_COMPRESSOR: &str = "none";

macro_rules! sections {
    ($(
        $(#[$about:meta])*
        $name:ident { $($(#[$member_about:meta])* $member:ident: $kind:ty,)* }
    )*) => {$(
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $(
                $(#[$member_about])*
                #[serde(deserialize_with = "null_is_default", skip_serializing_if = "is_default")]
                pub $member: $kind,
            )*
            /// Members that newer clients may have added.
            #[serde(flatten)]
            pub other: BTreeMap<String, Value>,
        }
    )*};
}

sections! {
    /// How many snapshots are kept, by count and by calendar.
    RetentionPolicy {
        /// The newest ones.
        keep_latest: Option<i64>,
        /// One per hour, for so many hours back.
        keep_hourly: Option<i64>,
        /// One per day.
        keep_daily: Option<i64>,
        /// One per ISO week.
        keep_weekly: Option<i64>,
        /// One per month.
        keep_monthly: Option<i64>,
        /// One per year.
        keep_annual: Option<i64>,
        /// Whether a snapshot equal to the one before it is not stored.
        ignore_identical_snapshots: Option<bool>,
    }

    /// Which files are left out.
    FilesPolicy {
        /// Patterns of what to leave out, in the syntax of `.gitignore`.
        ignore: Vec<String>,
        /// Whether patterns of folders above do not count.
        no_parent_ignore: bool,
        /// Names of files in the source that hold further patterns.
        ignore_dot_files: Vec<String>,
        /// Whether such files in folders above do not count.
        no_parent_dot_files: bool,
        /// Whether folders marked as caches are left out.
        ignore_cache_dirs: Option<bool>,
        /// Longer files are left out; 0 is no limit.
        max_file_size: i64,
        /// Whether other file systems mounted below are left out.
        one_file_system: Option<bool>,
    }

    /// What does not make a snapshot fail.
    ErrorHandlingPolicy {
        /// Files that cannot be read.
        ignore_file_errors: Option<bool>,
        /// Folders that cannot be read.
        ignore_directory_errors: Option<bool>,
        /// Entries that are neither file, folder nor link.
        ignore_unknown_types: Option<bool>,
    }

    /// When snapshots are taken.
    SchedulingPolicy {
        /// Seconds between two; 0 is none.
        interval_seconds: i64,
        /// At these times of each day.
        time_of_day: Vec<TimeOfDay>,
        /// Whether times of less specific policies do not count.
        no_parent_time_of_day: bool,
        /// Whether they are only taken by hand.
        manual: bool,
        /// In cron's syntax.
        cron: Vec<String>,
        /// Whether a missed one is made up for.
        run_missed: Option<bool>,
    }

    /// How files are compressed.
    CompressionPolicy {
        /// The compressor's name, or `none`.
        compressor_name: String,
        /// Extensions, with their dot, that are compressed in any case.
        only_compress: Vec<String>,
        /// Whether such extensions of less specific policies do not count.
        no_parent_only_compress: bool,
        /// Extensions that are not compressed.
        never_compress: Vec<String>,
        /// Whether such extensions of less specific policies do not count.
        no_parent_never_compress: bool,
        /// Shorter files are not compressed; 0 is no limit.
        min_size: i64,
        /// Longer files are not compressed; 0 is no limit.
        max_size: i64,
    }

    /// How lists and directories are compressed.
    MetadataCompressionPolicy {
        /// The compressor's name, or `none`.
        compressor_name: String,
    }

    /// How files are cut into contents.
    SplitterPolicy {
        /// The splitter's name; empty is as the repository says.
        algorithm: String,
    }

    /// What is run before and after.
    ActionsPolicy {
        /// Before the folder that the policy is of.
        before_folder: Option<ActionCommand>,
        /// After that folder.
        after_folder: Option<ActionCommand>,
        /// Before any snapshot.
        before_snapshot_root: Option<ActionCommand>,
        /// After any snapshot.
        after_snapshot_root: Option<ActionCommand>,
    }

    /// A program that is run, or a script.
    ActionCommand {
        /// The program.
        path: String,
        /// Its arguments.
        args: Vec<String>,
        /// The script, in place of a program.
        script: String,
        /// Seconds until it is stopped.
        timeout: i64,
        /// `essential`, `optional` or `async`.
        mode: String,
    }

    /// Whether files are read from a shadow.
    VolumeShadowCopyPolicy {
        /// 0 never, 1 always, 2 when available.
        enable: Option<i64>,
    }

    /// How much is said of directories.
    DirectoryLogging {
        /// That are stored.
        snapshotted: Option<i64>,
        /// That are left out.
        ignored: Option<i64>,
    }

    /// How much is said of entries.
    EntryLogging {
        /// That are stored.
        snapshotted: Option<i64>,
        /// That are left out.
        ignored: Option<i64>,
        /// That were taken from the snapshot before.
        cache_hit: Option<i64>,
        /// That were not.
        cache_miss: Option<i64>,
    }

    /// How much is done side by side.
    UploadPolicy {
        /// Snapshots; not for paths.
        max_parallel_snapshots: Option<i64>,
        /// Files.
        max_parallel_file_reads: Option<i64>,
        /// Longer files are stored in parts, side by side.
        parallel_upload_above_size: Option<i64>,
    }
}

/// Snapshots by the operating system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OsSnapshotsPolicy {
    /// Those of Windows.
    #[serde(deserialize_with = "null_is_default")]
    pub volume_shadow_copy: VolumeShadowCopyPolicy,
    /// Members that newer clients may have added.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// How much is said, 0 to 10.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoggingPolicy {
    /// Of directories.
    #[serde(deserialize_with = "null_is_default")]
    pub directories: DirectoryLogging,
    /// Of what is in them.
    #[serde(deserialize_with = "null_is_default")]
    pub entries: EntryLogging,
    /// Members that newer clients may have added.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// A time of the day, in the client's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TimeOfDay {
    /// 0 to 23.
    #[serde(default)]
    pub hour: i64,
    /// 0 to 59.
    #[serde(default, rename = "min")]
    pub minute: i64,
}

impl CompressionPolicy {
    /// Returns the name of what files are compressed with, if they are.
    pub fn compressor(&self) -> Option<&str> {
        compressor(&self.compressor_name)
    }

    /// Returns the name of what a file of this name and length is compressed with, if it is.
    ///
    /// As Kopia has it, `onlyCompress` leaves nothing else uncompressed: it only wins over
    /// `neverCompress`.
    pub fn compressor_of(&self, file_name: &str, bytes: u64) -> Option<&str> {
        let compressor = self.compressor()?;
        let limit = |bytes: i64| u64::try_from(bytes).ok().filter(|bytes| *bytes > 0);
        if limit(self.min_size).is_some_and(|min| bytes < min)
            || limit(self.max_size).is_some_and(|max| bytes > max)
        {
            return None;
        }
        let extension = file_name.rfind('.').map_or("", |dot| &file_name[dot..]);
        let is_among = |extensions: &[String]| extensions.iter().any(|other| other == extension);
        let is_compressed = is_among(&self.only_compress) || !is_among(&self.never_compress);
        is_compressed.then_some(compressor)
    }
}

impl MetadataCompressionPolicy {
    /// Returns the name of what lists and directories are compressed with, if they are.
    pub fn compressor(&self) -> Option<&str> {
        compressor(&self.compressor_name)
    }
}

fn compressor(name: &str) -> Option<&str> {
    (!name.is_empty() && name != NO_COMPRESSOR).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_compressed_by_length_and_extension() {
        let policy = CompressionPolicy {
            compressor_name: "zstd".to_owned(),
            only_compress: vec![".log".to_owned()],
            never_compress: vec![".log".to_owned(), ".raw".to_owned()],
            min_size: 10,
            max_size: 100,
            ..CompressionPolicy::default()
        };
        for (name, bytes, compressed) in [
            ("a.txt", 10, true),
            ("a.txt", 9, false),
            ("a.txt", 100, true),
            ("a.txt", 101, false),
            ("a.raw", 50, false),
            ("a.raw.txt", 50, true),
            ("a.log", 50, true),
            (".raw", 50, false),
            ("raw", 50, true),
            ("a.RAW", 50, true),
        ] {
            let compressor = policy.compressor_of(name, bytes);
            assert_eq!(compressor, compressed.then_some("zstd"), "{name} {bytes}");
        }
        let none = CompressionPolicy {
            compressor_name: "none".to_owned(),
            ..policy
        };
        assert_eq!(none.compressor_of("a.txt", 50), None);
    }
}
