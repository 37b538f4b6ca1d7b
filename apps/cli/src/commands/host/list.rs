//! `host list`: the VMs of a host.

use clap::Args;
use hyperv::{Vm, VmState};
use serde_json::{Value, json};

use crate::amounts;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::hosts::HostArguments;
use crate::table::table;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  e3-backup-agent host list --host sim:/tmp/host")]
pub struct List {
    #[command(flatten)]
    host: HostArguments,
}

impl List {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let host = self.host.open(world)?;
        let name = host.name()?;
        let vms = host.vms()?;
        let rows: Vec<Vec<String>> = vms.iter().map(row).collect();
        let text = match rows.is_empty() {
            true => format!("{name} has no VMs"),
            false => table(
                &["NAME", "STATE", "GEN", "DISKS", "SIZE", "TRACKED", "GUID"],
                &[3, 4],
                &rows,
            ),
        };
        let documents: Vec<Value> = vms.iter().map(|vm| json!(vm)).collect();
        Ok(Answer::new(text, json!({ "host": name, "vms": documents })))
    }
}

fn row(vm: &Vm) -> Vec<String> {
    let bytes = vm
        .disks
        .iter()
        .map(|disk| disk.virtual_bytes)
        .fold(0u64, u64::saturating_add);
    let generation = match vm.generation {
        hyperv::Generation::One => "1",
        hyperv::Generation::Two => "2",
    };
    vec![
        vm.name.clone(),
        state(vm.state),
        generation.to_owned(),
        vm.disks.len().to_string(),
        amounts::bytes(bytes),
        tracked(vm).to_owned(),
        vm.id.to_string(),
    ]
}

/// Returns whether all disks are tracked, where the host can tell.
fn tracked(vm: &Vm) -> &'static str {
    let known = |tracked| vm.disks.iter().all(|disk| disk.tracked == Some(tracked));
    match vm.disks.is_empty() {
        true => "-",
        false if known(true) => "yes",
        false if known(false) => "not yet",
        false => "in part",
    }
}

/// Returns what a VM is doing, in a word.
pub(super) fn state(state: VmState) -> String {
    match state {
        VmState::Running => "running".to_owned(),
        VmState::Off => "off".to_owned(),
        VmState::Saved => "saved".to_owned(),
        VmState::Paused => "paused".to_owned(),
        VmState::Other(number) => format!("other ({number})"),
    }
}
