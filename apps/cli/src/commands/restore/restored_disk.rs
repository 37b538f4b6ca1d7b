//! What all restores take as options and tell of disks.

use std::fmt::Write as _;

use ::restore::{RestoreOptions, RestoredDisk};
use clap::Args;
use serde_json::{Value, json};

use crate::amounts;
use crate::plain;

/// Options of every restore.
#[derive(Debug, Args)]
pub struct OptionArguments {
    /// Replace files that are there already.
    #[arg(long)]
    pub overwrite: bool,
    /// The memory that all of it may take, whatever the disk and the repository; fewer pieces are on their way if it is little.
    #[arg(long, value_name = "N", default_value_t = RestoreOptions::MEMORY_MIB, value_parser = clap::value_parser!(u32).range(i64::from(RestoreOptions::MEMORY_MIB_MIN)..))]
    pub memory_mib: u32,
}

impl OptionArguments {
    /// Returns the options.
    pub fn get(&self) -> RestoreOptions {
        RestoreOptions {
            overwrite: self.overwrite,
            ..RestoreOptions::within(u64::from(self.memory_mib) << 20)
        }
    }
}

/// Adds a line about a restored disk.
pub fn describe(text: &mut String, disk: &RestoredDisk) {
    let _ = writeln!(
        text,
        "  disk {}: {} of {} written to {}",
        disk.number,
        amounts::bytes(disk.written_bytes),
        amounts::bytes(disk.virtual_bytes),
        disk.path.display()
    );
}

/// Returns a restored disk as it stands in documents.
pub fn document(disk: &RestoredDisk) -> Value {
    json!({
        "number": disk.number,
        "path": plain::path(&disk.path),
        "virtual_bytes": disk.virtual_bytes,
        "written_bytes": disk.written_bytes,
    })
}
