//! Which VM of a simulated host a command is about, and what it is doing.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hyperv::sim::SimHost;
use hyperv::{VmId, VmState};

use crate::failure::Failure;
use crate::hosts::open_simulated;
use crate::vm_names;
use crate::world::World;

/// A VM of a simulated host.
#[derive(Debug, Args)]
pub struct VmArguments {
    /// The simulated host's folder.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The VM: its name, or its GUID.
    #[arg(long, value_name = "N")]
    pub vm: String,
}

impl VmArguments {
    /// Opens the host and finds the VM.
    pub fn find(&self, world: &World) -> Result<(SimHost, VmId), Failure> {
        let host = open_simulated(&self.folder, world.clock(), world.chance())?;
        let id = find(&host, &self.vm)?;
        Ok((host, id))
    }
}

/// Finds a VM, one that moved away too.
pub fn find(host: &SimHost, name: &str) -> Result<VmId, Failure> {
    let vms: Vec<hyperv::Vm> = host.show()?.vms.into_iter().map(|view| view.vm).collect();
    vm_names::find(&vms, name).map(|vm| vm.id)
}

/// A disk of a VM of a simulated host.
#[derive(Debug, Args)]
pub struct DiskArguments {
    #[command(flatten)]
    pub vm: VmArguments,
    /// The disk's number, counted from 0 by controller and place.
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub disk: u32,
}

/// What a VM is doing, as people write it.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum StateName {
    Running,
    Off,
    Saved,
    Paused,
}

impl StateName {
    /// Returns the state.
    pub fn get(self) -> VmState {
        match self {
            Self::Running => VmState::Running,
            Self::Off => VmState::Off,
            Self::Saved => VmState::Saved,
            Self::Paused => VmState::Paused,
        }
    }
}
