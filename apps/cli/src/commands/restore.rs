//! Bringing back.

mod disk;
mod files;
mod restored_disk;
mod vm;

use clap::Subcommand;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::world::World;

/// The commands of this group.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Restore a whole VM to a folder or to a host.
    Vm(vm::Vm),
    /// Restore one disk to a file.
    Disk(disk::Disk),
    /// Restore files and folders of a snapshot.
    Files(files::Files),
}

impl Command {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        match self {
            Self::Vm(command) => command.run(world),
            Self::Disk(command) => command.run(world),
            Self::Files(command) => command.run(world),
        }
    }
}
