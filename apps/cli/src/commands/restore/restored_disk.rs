//! What all restores take as options and tell of disks.

use std::fmt::Write as _;

use ::restore::{RestoreOptions, RestoredDisk};
use clap::Args;
use serde_json::{Value, json};

use crate::amounts;

/// Options of every restore.
#[derive(Debug, Args)]
pub struct OptionArguments {
    /// Replace files that are there already.
    #[arg(long)]
    pub overwrite: bool,
}

impl OptionArguments {
    /// Returns the options.
    pub fn get(&self) -> RestoreOptions {
        RestoreOptions {
            overwrite: self.overwrite,
            ..RestoreOptions::default()
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
        "path": disk.path,
        "virtual_bytes": disk.virtual_bytes,
        "written_bytes": disk.written_bytes,
    })
}
