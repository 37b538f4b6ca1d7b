//! `sim checkpoint`: a user's checkpoint.

use clap::Args;
use serde_json::json;

use super::simulated_vm::VmArguments;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  e3-backup-agent sim checkpoint /tmp/host --vm web --name 'before the update'"
)]
pub struct Checkpoint {
    #[command(flatten)]
    vm: VmArguments,
    /// The checkpoint's name.
    #[arg(long, value_name = "NAME", default_value = "checkpoint")]
    name: String,
}

impl Checkpoint {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let (host, vm) = self.vm.find(world)?;
        let id = host.checkpoint(vm, &self.name)?;
        Ok(Answer::new(
            format!("took checkpoint {id}"),
            json!({ "checkpoint": id, "name": self.name }),
        ))
    }
}
