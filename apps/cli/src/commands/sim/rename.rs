//! `sim rename`: a VM gets another name.

use clap::Args;
use serde_json::json;

use super::simulated_vm::VmArguments;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  e3-backup-agent sim rename /tmp/host --vm web --to www")]
pub struct Rename {
    #[command(flatten)]
    vm: VmArguments,
    /// The new name.
    #[arg(long, value_name = "NEW")]
    to: String,
}

impl Rename {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let (host, vm) = self.vm.find(world)?;
        host.rename_vm(vm, &self.to)?;
        Ok(Answer::new(
            format!("{vm} is named {} now", self.to),
            json!({ "guid": vm, "name": self.to }),
        ))
    }
}
