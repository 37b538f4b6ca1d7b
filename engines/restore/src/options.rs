//! What a restore is asked to do, and what it says it did.

use std::num::NonZero;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread::available_parallelism;

use crate::error::{RestoreError, RestoreErrorKind};

/// Fewer would leave a link with 50 ms per request idle.
const WORKERS_MIN: usize = 16;
/// Each holds up to some 12 MiB; all of them must stay below the memory ceiling.
const WORKERS_MAX: usize = 24;

/// How any restore is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Whether files that exist are replaced.
    pub overwrite: bool,
    /// How many pieces are fetched and written at once.
    pub workers: usize,
}

impl Default for RestoreOptions {
    /// Workers wait for the store most of the time, so there are more of them than cores.
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, NonZero::get);
        Self {
            overwrite: false,
            workers: (2 * cores).clamp(WORKERS_MIN, WORKERS_MAX),
        }
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
