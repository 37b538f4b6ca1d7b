//! `sim state`: a VM is switched on or off, saved or paused.

use clap::Args;
use serde_json::json;

use super::simulated_vm::{StateName, VmArguments};
use crate::answer::Answer;
use crate::failure::Failure;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  e3-backup-agent sim state /tmp/host --vm web off")]
pub struct State {
    #[command(flatten)]
    vm: VmArguments,
    /// What the VM shall be doing.
    #[arg(value_enum)]
    state: StateName,
}

impl State {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let (host, vm) = self.vm.find(world)?;
        let state = self.state.get();
        host.set_state(vm, state)?;
        Ok(Answer::new(
            format!("{} is {:?} now", self.vm.vm, self.state),
            json!({ "guid": vm, "state": state }),
        ))
    }
}
