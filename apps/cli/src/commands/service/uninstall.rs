//! `service uninstall`: the service, stopped and gone.

use clap::Args;
use serde_json::json;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::service_manager::{self, NAME};
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  e3-backup-agent service uninstall

An older agent's service of the same name is removed as well. The program, its configuration, state
and logs stay.")]
pub struct Uninstall {}

impl Uninstall {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        service_manager::uninstall(world.clock().as_ref(), world.stop())?;
        let text = format!("the service {NAME} is removed; its configuration and state stay");
        let document = json!({ "service": NAME, "removed": true });
        Ok(Answer::new(text, document))
    }
}
