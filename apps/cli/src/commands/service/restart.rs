//! `service restart`: the service, begun anew.

use clap::Args;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::service_manager;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  e3-backup-agent service restart

What it works on is cancelled cleanly, as by `service stop`.")]
pub struct Restart {}

impl Restart {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let status = service_manager::restart(world.clock().as_ref(), world.stop())?;
        Ok(super::answer(&status))
    }
}
