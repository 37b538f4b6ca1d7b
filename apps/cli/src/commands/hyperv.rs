//! This machine's Hyper-V, asked what it does.

mod selftest;

use clap::Subcommand;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::world::World;

/// The commands of this group.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find out, with one VM, whether this host's Hyper-V does what the agent believes.
    Selftest(selftest::Selftest),
}

impl Command {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        match self {
            Self::Selftest(command) => command.run(world),
        }
    }
}
