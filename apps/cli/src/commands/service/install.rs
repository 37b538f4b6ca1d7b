//! `service install`: this program, run by the machine's service manager.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::answer::Answer;
use crate::failure::{Failure, FailureKind};
use crate::places;
use crate::service_manager::{self, NAME};

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent service install
  e3-backup-agent service install --config /etc/e3-backup-agent/agent.conf

The service is this very program where it lies now, so put it in its place first: on Linux
/usr/local/bin/e3-backup-agent. It starts with the machine, and again when it fails; `service start`
starts it now. On Linux it is the unit e3-backup-agent.service of systemd and runs as root in a
sandbox that lets it read everything; on Windows it runs as LocalSystem. A configuration file that
is not there yet is waited for.")]
pub struct Install {
    /// The configuration file that the service works by; by default the machine's.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Install {
    /// Runs the command.
    pub fn run(&self) -> Result<Answer, Failure> {
        let config = match &self.config {
            Some(config) => config.clone(),
            None => places::config_file()?,
        };
        // A service begins in a folder of its manager's.
        let config = std::path::absolute(&config).map_err(|error| {
            let message = format!("failed to find the folder of {}: {error}", config.display());
            Failure::new(FailureKind::Failed, message)
        })?;
        let (program, kept_by) = service_manager::install(&config)?;
        let text = format!(
            "the service {NAME} is installed in {kept_by}: {} with {}\n`{NAME} service start` starts it",
            program.display(),
            config.display()
        );
        let document = json!({
            "service": NAME,
            "installed_in": kept_by,
            "program": program,
            "config": config,
        });
        Ok(Answer::new(text, document))
    }
}
