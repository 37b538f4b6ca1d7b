//! `sim resize`: a disk gets larger or smaller.

use clap::Args;
use serde_json::json;

use super::simulated_vm::DiskArguments;
use crate::amounts;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  e3-backup-agent sim resize /tmp/host --vm web --disk 0 --size 128G"
)]
pub struct Resize {
    #[command(flatten)]
    disk: DiskArguments,
    /// The new size, such as 128G.
    #[arg(long, value_name = "SIZE", value_parser = amounts::parse_bytes)]
    size: u64,
}

impl Resize {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let (host, vm) = self.disk.vm.find(world)?;
        host.resize_disk(vm, self.disk.disk, self.size)?;
        let text = format!(
            "disk {} has {} now",
            self.disk.disk,
            amounts::bytes(self.size)
        );
        Ok(Answer::new(
            text,
            json!({ "disk": self.disk.disk, "virtual_bytes": self.size }),
        ))
    }
}
