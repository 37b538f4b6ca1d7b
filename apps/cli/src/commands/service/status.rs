//! `service status`: whether the service is installed, and what it does.

use clap::Args;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::service_manager;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent service status
  e3-backup-agent service status --json

The state is one of not_installed, stopped, starting, running, stopping, failed or unknown. That it
could be asked is success, whatever it is.")]
pub struct Status {}

impl Status {
    /// Runs the command.
    pub fn run(&self) -> Result<Answer, Failure> {
        Ok(super::answer(&service_manager::status()?))
    }
}
