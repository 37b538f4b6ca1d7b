//! `sim add-vm`: a VM for the simulated host.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hyperv::sim::{SimDisk, SimDiskContent, SimGuest, SimVm, Subformat};
use hyperv::{Generation, HypervHost as _};
use serde_json::json;

use super::simulated_vm::StateName;
use crate::amounts;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::hosts::open_simulated;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent sim add-vm /tmp/host --name web --disk system.vhdx data.vhdx
  e3-backup-agent sim add-vm /tmp/host --name empty --new 64G --sector 4096")]
pub struct AddVm {
    /// The simulated host's folder.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The VM's name.
    #[arg(long, value_name = "N")]
    name: String,
    /// VHDX files to copy, holes kept, as the VM's disks.
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "new", conflicts_with = "new")]
    disk: Vec<PathBuf>,
    /// An empty disk of this size, such as 64G.
    #[arg(long, value_name = "SIZE", value_parser = amounts::parse_bytes)]
    new: Option<u64>,
    /// The new disk's logical sectors.
    #[arg(long, value_name = "512|4096", default_value_t = 512, value_parser = sector, requires = "new")]
    sector: u32,
    /// How the new disk's file is laid out.
    #[arg(long, value_enum, default_value_t = FileForm::Dynamic, requires = "new")]
    subformat: FileForm,
    /// The VM's generation.
    #[arg(long, value_name = "1|2", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
    generation: u8,
    /// What runs in it.
    #[arg(long, value_enum, default_value_t = Guest::Windows)]
    guest: Guest,
    /// What it is doing.
    #[arg(long, value_enum, default_value_t = StateName::Running)]
    state: StateName,
}

/// How a disk's file is laid out.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum FileForm {
    Fixed,
    Dynamic,
}

/// What runs in a VM.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Guest {
    Windows,
    Linux,
    None,
}

impl AddVm {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let host = open_simulated(&self.folder, world.clock(), world.chance())?;
        let disks = match self.new {
            Some(virtual_bytes) => vec![SimDisk::holding(SimDiskContent::New {
                virtual_bytes,
                logical_sector_bytes: self.sector,
                subformat: match self.subformat {
                    FileForm::Fixed => Subformat::Fixed,
                    FileForm::Dynamic => Subformat::Dynamic,
                },
            })],
            None => self.disk.iter().map(SimDisk::copy_of).collect(),
        };
        let id = host.add_vm(&SimVm {
            generation: if self.generation == 1 {
                Generation::One
            } else {
                Generation::Two
            },
            guest: match self.guest {
                Guest::Windows => SimGuest::Windows,
                Guest::Linux => SimGuest::Linux,
                Guest::None => SimGuest::None,
            },
            state: self.state.get(),
            ..SimVm::new(self.name.clone(), disks)
        })?;
        let vm = host.vm(id)?;
        let text = format!("{} is on the host: {id}, {} disks", vm.name, vm.disks.len());
        Ok(Answer::new(text, json!({ "guid": id, "vm": vm })))
    }
}

fn sector(text: &str) -> Result<u32, String> {
    match text {
        "512" => Ok(512),
        "4096" => Ok(4096),
        _ => Err("there are 512 and 4096".to_owned()),
    }
}
