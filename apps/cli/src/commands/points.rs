//! Looking at restore points.

mod list;
mod show;

use clap::Subcommand;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::world::World;

/// The commands of this group.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the restore points of a repository.
    List(list::List),
    /// Show what a restore point holds.
    Show(show::Show),
}

impl Command {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        match self {
            Self::List(command) => command.run(world),
            Self::Show(command) => command.run(world),
        }
    }
}
