//! `service start`: the service runs afterwards.

use clap::Args;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::service_manager;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  e3-backup-agent service start

One that runs already is left alone.")]
pub struct Start {}

impl Start {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let status = service_manager::start(world.clock().as_ref(), world.stop())?;
        Ok(super::answer(&status))
    }
}
