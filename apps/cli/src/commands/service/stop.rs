//! `service stop`: the service does not run afterwards.

use clap::Args;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::service_manager;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  e3-backup-agent service stop

What it works on is cancelled cleanly, for which it has three minutes: checkpoints are removed, what
was stored serves the next run. One that does not run is no error. It starts again with the machine.")]
pub struct Stop {}

impl Stop {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let status = service_manager::stop(world.clock().as_ref(), world.stop())?;
        Ok(super::answer(&status))
    }
}
