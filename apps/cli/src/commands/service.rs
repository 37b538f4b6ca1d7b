//! This program as a service: installed, removed, started, stopped, asked how it is.

mod install;
mod restart;
mod settle_update;
mod start;
mod status;
mod stop;
mod uninstall;

use clap::Subcommand;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::service_manager::{NAME, ServiceStatus};
use crate::world::World;

/// The commands of this group.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Install this program as a service that starts with the machine.
    Install(install::Install),
    /// Stop the service and remove it.
    Uninstall(uninstall::Uninstall),
    /// Start the service and wait until it runs.
    Start(start::Start),
    /// Stop the service and wait until it has stopped.
    Stop(stop::Stop),
    /// Stop the service if it runs, and start it.
    Restart(restart::Restart),
    /// Say whether the service is installed and runs.
    Status(status::Status),
    /// Judge an update before the service begins.
    #[command(hide = true)]
    SettleUpdate(settle_update::SettleUpdate),
}

impl Command {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        match self {
            Self::Install(command) => command.run(world),
            Self::Uninstall(command) => command.run(world),
            Self::Start(command) => command.run(world),
            Self::Stop(command) => command.run(world),
            Self::Restart(command) => command.run(world),
            Self::Status(command) => command.run(),
            Self::SettleUpdate(command) => command.run(world),
        }
    }
}

/// Answers with how the service is.
fn answer(status: &ServiceStatus) -> Answer {
    let state = status.state.as_str().replace('_', " ");
    let mut text = format!("the service {NAME} is {state}");
    if let Some(process) = status.process {
        text += &format!(", process {process}");
    }
    if let Some(code) = status.exit_status.filter(|code| *code != 0) {
        text += &format!("; it ended with status {code}");
    }
    if status.starts_with_machine == Some(false) {
        text += "; it does not start with the machine";
    }
    if !status.said.is_empty() {
        text += &format!("\n{}", status.said);
    }
    Answer::new(text, status.document())
}
