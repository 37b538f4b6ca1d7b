//! `sim delete-vm`: a VM goes away.

use clap::Args;
use serde_json::json;

use super::simulated_vm::VmArguments;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  e3-backup-agent sim delete-vm /tmp/host --vm web --keep-disks")]
pub struct DeleteVm {
    #[command(flatten)]
    vm: VmArguments,
    /// Leave the disk files where they are, as Hyper-V does.
    #[arg(long)]
    keep_disks: bool,
}

impl DeleteVm {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let (host, vm) = self.vm.find(world)?;
        host.delete_vm(vm, self.keep_disks)?;
        Ok(Answer::new(
            format!("{} is gone", self.vm.vm),
            json!({ "guid": vm }),
        ))
    }
}
