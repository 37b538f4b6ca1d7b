//! `sim create`: a simulated host in a folder.

use std::path::PathBuf;

use clap::Args;
use hyperv::sim::{SimHost, SimOptions};
use serde_json::json;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::plain;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  e3-backup-agent sim create /tmp/host\n  e3-backup-agent host list --host sim:/tmp/host"
)]
pub struct Create {
    /// The folder; made if it is not there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The host's name.
    #[arg(long, value_name = "NAME", default_value = "sim")]
    name: String,
}

impl Create {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let options = SimOptions {
            name: self.name.clone(),
            ..SimOptions::default()
        };
        let host = SimHost::create(
            &self.folder,
            options,
            world.clock().clone(),
            world.chance().clone(),
        )?;
        let folder = host.folder().display();
        let text = format!(
            "made the simulated host {} in {folder}; use it with --host sim:{folder}",
            self.name
        );
        Ok(Answer::new(
            text,
            json!({ "name": self.name, "folder": plain::path(host.folder()) }),
        ))
    }
}
