//! Driving a simulated Hyper-V host.

mod add_vm;
mod apply;
mod checkpoint;
mod clock;
mod create;
mod delete_vm;
mod dump;
mod fault;
mod rename;
mod resize;
mod show;
mod simulated_vm;
mod state;
mod write;

use clap::Subcommand;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::world::World;

/// The commands of this group.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a simulated host in a folder.
    Create(create::Create),
    /// Put a VM onto the host.
    AddVm(add_vm::AddVm),
    /// Let the guest write to a disk, through change tracking.
    Write(write::Write),
    /// Write a disk, as its guest sees it now, to a raw file.
    Dump(dump::Dump),
    /// Take a user checkpoint of a VM.
    Checkpoint(checkpoint::Checkpoint),
    /// Apply or delete a user checkpoint.
    Apply(apply::Apply),
    /// Switch a VM on or off, save or pause it.
    State(state::State),
    /// Give a VM another name.
    Rename(rename::Rename),
    /// Make a disk larger or smaller.
    Resize(resize::Resize),
    /// Take a VM off the host.
    DeleteVm(delete_vm::DeleteVm),
    /// Show everything there is on the host.
    Show(show::Show),
    /// Make something go wrong at the next matching call.
    Fault(fault::Fault),
    /// Move the clock that the programs of a simulation share.
    Clock(clock::Clock),
}

impl Command {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        match self {
            Self::Create(command) => command.run(world),
            Self::AddVm(command) => command.run(world),
            Self::Write(command) => command.run(world),
            Self::Dump(command) => command.run(world),
            Self::Checkpoint(command) => command.run(world),
            Self::Apply(command) => command.run(world),
            Self::State(command) => command.run(world),
            Self::Rename(command) => command.run(world),
            Self::Resize(command) => command.run(world),
            Self::DeleteVm(command) => command.run(world),
            Self::Show(command) => command.run(world),
            Self::Fault(command) => command.run(world),
            Self::Clock(command) => command.run(world),
        }
    }
}
