//! What a restore is asked to do, and what it says it did.

use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{RestoreError, RestoreErrorKind};

/// They wait for the store most of the time: fewer would leave a link with 50 ms per request idle,
/// more would not bring more.
const WORKERS_MAX: usize = 24;
/// What a worker reads, what it fetched of it, and a content being opened.
const WORKER_BYTES: u64 = 12 << 20;
/// The program, the index, and the list of a disk of 64 TiB with its two million segments.
const FIXED_BYTES: u64 = 216 << 20;

/// How any restore is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Whether files that exist are replaced.
    pub overwrite: bool,
    /// How many pieces are fetched and written at once.
    pub workers: usize,
}

impl RestoreOptions {
    /// The lowest memory ceiling that is kept.
    pub const MEMORY_MIB_MIN: u32 = 320;
    /// The memory ceiling that is kept if nobody says otherwise.
    pub const MEMORY_MIB: u32 = 512;

    /// Returns options whose workers fit under a ceiling for all memory (DESIGN, promise 8).
    pub fn within(memory_bytes: u64) -> Self {
        let fit = memory_bytes.saturating_sub(FIXED_BYTES) / WORKER_BYTES;
        Self {
            overwrite: false,
            workers: usize::try_from(fit)
                .unwrap_or(usize::MAX)
                .clamp(1, WORKERS_MAX),
        }
    }
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self::within(u64::from(Self::MEMORY_MIB) << 20)
    }
}

/// What kind of file a disk is restored to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiskFormat {
    /// An ordinary dynamic VHDX.
    #[default]
    Vhdx,
    /// The disk's bytes, with holes where it holds zeros.
    Raw,
}

impl FromStr for DiskFormat {
    type Err = RestoreError;

    fn from_str(text: &str) -> Result<Self, RestoreError> {
        let refuse = |what: &str| {
            Err(RestoreError::new(
                RestoreErrorKind::Unsupported,
                format!("restore to format {text}: {what}"),
            ))
        };
        match text.to_ascii_lowercase().as_str() {
            "vhdx" => Ok(Self::Vhdx),
            "raw" => Ok(Self::Raw),
            "qcow2" => refuse(
                "not in this version; restore to raw and convert it with `qemu-img convert -O qcow2`",
            ),
            _ => refuse("there is vhdx and raw"),
        }
    }
}

/// A disk that was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredDisk {
    /// Its number in the point.
    pub number: u32,
    /// The file it is in now.
    pub path: PathBuf,
    /// The disk's length.
    pub virtual_bytes: u64,
    /// How much of it was not zeros and was written.
    pub written_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_workers_restore_where_memory_is_little() {
        let workers = |mib: u64| RestoreOptions::within(mib << 20).workers;
        assert_eq!(workers(0), 1);
        assert_eq!(workers(u64::from(RestoreOptions::MEMORY_MIB_MIN)), 8);
        assert_eq!(workers(512), WORKERS_MAX);
        assert_eq!(workers(1 << 20), WORKERS_MAX);
    }

    #[test]
    fn formats_are_found_by_name_and_others_are_refused_clearly() {
        assert_eq!("vhdx".parse::<DiskFormat>().unwrap(), DiskFormat::Vhdx);
        assert_eq!("RAW".parse::<DiskFormat>().unwrap(), DiskFormat::Raw);
        for (text, expected) in [
            ("qcow2", "not in this version"),
            ("vmdk", "there is vhdx and raw"),
        ] {
            let error = text.parse::<DiskFormat>().unwrap_err();
            assert_eq!(error.kind(), RestoreErrorKind::Unsupported);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
