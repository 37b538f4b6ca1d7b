//! Backing up.

mod files;
mod vm;

use clap::Subcommand;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::world::World;

/// The commands of this group.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Back up whole virtual machines from their host.
    Vm(vm::Vm),
    /// Back up files and folders.
    Files(files::Files),
}

impl Command {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        match self {
            Self::Vm(command) => command.run(world),
            Self::Files(command) => command.run(world),
        }
    }
}
