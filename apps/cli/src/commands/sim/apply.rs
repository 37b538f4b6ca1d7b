//! `sim apply`: a user's checkpoint is applied, and what the guest wrote since is gone.

use clap::Args;
use hyperv::CheckpointId;
use serde_json::json;

use super::simulated_vm::VmArguments;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  e3-backup-agent sim apply /tmp/host --vm web 0d6a2f8e-3a3c-4c6e-9d43-2f53b5d3a001"
)]
pub struct Apply {
    #[command(flatten)]
    vm: VmArguments,
    /// The checkpoint's GUID, as `sim show` tells it.
    #[arg(value_name = "GUID")]
    checkpoint: CheckpointId,
    /// Delete the checkpoint instead; its disks are merged.
    #[arg(long)]
    delete: bool,
}

impl Apply {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let (host, vm) = self.vm.find(world)?;
        let done = match self.delete {
            true => host
                .delete_checkpoint(vm, self.checkpoint)
                .map(|()| "deleted"),
            false => host
                .apply_checkpoint(vm, self.checkpoint)
                .map(|()| "applied"),
        }?;
        let text = format!("{done} checkpoint {}", self.checkpoint);
        Ok(Answer::new(
            text,
            json!({ "checkpoint": self.checkpoint, "done": done }),
        ))
    }
}
