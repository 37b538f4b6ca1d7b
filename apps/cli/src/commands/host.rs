//! Looking at a Hyper-V host, and at this machine's disks and volumes.

mod clean;
mod freeze;
mod list;
mod show;
mod volumes;

use clap::Subcommand;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::world::World;

/// The commands of this group.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the VMs of a host.
    List(list::List),
    /// Show one VM - disks, tracking, checkpoints, leftovers.
    Show(show::Show),
    /// Remove what failed runs of this program left on a host.
    Clean(clean::Clean),
    /// List the disks and volumes of this machine.
    Volumes(volumes::Volumes),
    /// Freeze volumes for a moment, to see whether a backup could.
    Freeze(freeze::Freeze),
}

impl Command {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        match self {
            Self::List(command) => command.run(world),
            Self::Show(command) => command.run(world),
            Self::Clean(command) => command.run(world),
            Self::Volumes(command) => command.run(world),
            Self::Freeze(command) => command.run(world),
        }
    }
}
