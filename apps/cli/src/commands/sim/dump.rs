//! `sim dump`: a disk as its guest sees it now.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::simulated_vm::DiskArguments;
use crate::answer::Answer;
use crate::failure::{Failure, FailureKind};
use crate::plain;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  e3-backup-agent sim dump /tmp/host --vm web --disk 0 --to now.raw"
)]
pub struct Dump {
    #[command(flatten)]
    disk: DiskArguments,
    /// The raw file to write.
    #[arg(long, value_name = "RAW")]
    to: PathBuf,
    /// Replace the file if it is there.
    #[arg(long)]
    overwrite: bool,
}

impl Dump {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        if !self.overwrite && self.to.symlink_metadata().is_ok() {
            return Err(Failure::new(
                FailureKind::Exists,
                format!("{} is there already", self.to.display()),
            ));
        }
        let (host, vm) = self.disk.vm.find(world)?;
        host.dump(vm, self.disk.disk, &self.to)?;
        let text = format!("wrote disk {} to {}", self.disk.disk, self.to.display());
        Ok(Answer::new(
            text,
            json!({ "disk": self.disk.disk, "path": plain::path(&self.to) }),
        ))
    }
}
