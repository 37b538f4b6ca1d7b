//! `service install`: this program, run by the machine's service manager.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::answer::Answer;
use crate::failure::{Failure, FailureKind};
use crate::places;
use crate::service_manager::{self, NAME, Place};
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent service install
  e3-backup-agent service install --config /etc/e3-backup-agent/agent.conf
  e3-backup-agent service install --state-dir /data/e3/state --cache-dir /data/e3/cache

The service is this very program where it lies now, so put it in its place first: on Linux
/usr/local/bin/e3-backup-agent. It starts with the machine, and again when it fails; `service start`
starts it now. On Linux it is the unit e3-backup-agent.service of systemd and runs as root in a
sandbox that lets it read everything; on Windows it runs as LocalSystem. A configuration file that
is not there yet is waited for. The service keeps its state and cache where --state-dir and
--cache-dir say.")]
pub struct Install {
    /// The configuration file that the service works by; by default the machine's.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Install {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let config = match &self.config {
            Some(config) => config.clone(),
            None => places::config_file()?,
        };
        let config = whole(&config)?;
        let [state_folder, cache_folder] = world.named_folders().map(|it| it.map(whole));
        let (state_folder, cache_folder) = (state_folder.transpose()?, cache_folder.transpose()?);
        let mut places: Vec<Place> = vec![("--config", config.clone())];
        places.extend(state_folder.clone().map(|it| ("--state-dir", it)));
        places.extend(cache_folder.clone().map(|it| ("--cache-dir", it)));
        let (program, kept_by) = service_manager::install(&places)?;
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
            "state_folder": state_folder,
            "cache_folder": cache_folder,
        });
        Ok(Answer::new(text, document))
    }
}

/// Returns the whole path: a service begins in a folder of its manager's.
fn whole(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        let message = format!("failed to find the folder of {}: {error}", path.display());
        Failure::new(FailureKind::Failed, message)
    })
}
