//! Looking at restore points, keeping and deleting them.

mod delete;
mod diff;
mod expire;
pub(super) mod list;
mod pin;
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
    /// Say what differs between two restore points.
    Diff(diff::Diff),
    /// Keep restore points from expiring, or let them expire again.
    Pin(pin::Pin),
    /// Delete restore points.
    Delete(delete::Delete),
    /// Delete the restore points that no rule of their policy keeps.
    Expire(expire::Expire),
}

impl Command {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        match self {
            Self::List(command) => command.run(world),
            Self::Show(command) => command.run(world),
            Self::Diff(command) => command.run(world),
            Self::Pin(command) => command.run(world),
            Self::Delete(command) => command.run(world),
            Self::Expire(command) => command.run(world),
        }
    }
}
