//! Policies: how long points are kept, how data is stored.

mod delete;
mod edit;
mod set;
mod show;
mod target;

use clap::Subcommand;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::world::World;

/// The commands of this group.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what applies to a source and where it is said, or list the policies there are.
    Show(show::Show),
    /// Change a policy.
    Set(Box<set::Set>),
    /// Change a policy as JSON, in your editor.
    Edit(edit::Edit),
    /// Delete a policy, so that less specific ones apply.
    Delete(delete::Delete),
}

impl Command {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        match self {
            Self::Show(command) => command.run(world),
            Self::Set(command) => command.run(world),
            Self::Edit(command) => command.run(world),
            Self::Delete(command) => command.run(world),
        }
    }
}
