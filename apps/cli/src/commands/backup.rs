//! Backing up.

mod files;
mod vm;

use clap::Subcommand;
use repo::Writer;

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

/// Does what every writer owes the repository after a run; returns what could not be done.
fn tidy_up(writer: &Writer) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Err(error) = writer.compact_manifests() {
        warnings.push(format!("the repository's manifests could not be tidied up, which the next run will try again: failed to {error}"));
    }
    if let Err(error) = writer.repository().advance_epoch_if_due() {
        warnings.push(format!("the repository's next epoch could not be begun, which the next run will try again: failed to {error}"));
    }
    warnings
}
