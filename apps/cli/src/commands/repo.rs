//! Creating, looking at, verifying and maintaining repositories.

mod connect_command;
mod create;
mod forget;
mod lock;
mod maintain;
mod password;
mod remember;
mod status;
mod verify;

use clap::Subcommand;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::world::World;

/// The commands of this group.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a repository in an empty place.
    Create(create::Create),
    /// Show what a repository is, and how stock Kopia connects to it.
    Status(status::Status),
    /// Check that every restore point can still be read.
    Verify(verify::Verify),
    /// Keep the repository small and quick; frees what no restore point needs any more.
    Maintain(maintain::Maintain),
    /// Lock what is stored against deletion, on S3.
    Lock(lock::Lock),
    /// Change the password.
    Password(password::Password),
    /// Keep the password on this machine, for runs that nobody watches.
    Remember(remember::Remember),
    /// Delete the password that is kept on this machine.
    Forget(forget::Forget),
}

impl Command {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        match self {
            Self::Create(command) => command.run(world),
            Self::Status(command) => command.run(world),
            Self::Verify(command) => command.run(world),
            Self::Maintain(command) => command.run(world),
            Self::Lock(command) => command.run(world),
            Self::Password(command) => command.run(world),
            Self::Remember(command) => command.run(world),
            Self::Forget(command) => command.run(world),
        }
    }
}
