//! `sim fault`: things that go wrong, on purpose.

use std::path::PathBuf;

use clap::Args;
use hyperv::sim::SimFault;
use serde_json::json;

use super::simulated_vm;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::hosts::open_simulated;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Kinds:
  lose-tracking [CODE]                  the tracking of a disk is lost; answered with that code
  no-app-consistency [leaving-checkpoint]  the guest refuses to be quiesced
  silent-guest                          the guest never answers that it is quiesced
  stuck-merge                           the next merge stands still
  resize | swap-disks                   an administrator does that before the next checkpoint
  apply-user-checkpoint                 so is a checkpoint applied
  foreign-checkpoint | foreign-reference-point   another product's appears
  job-fails-at STEP                     a job fails
  outcome-unknown-at STEP [undone]      a job vanishes, with or without its work done
  busy [STEP] | move-away [STEP]        the VM is busy, or moves to another host
  low-space [BYTES]                     the volume seems to have that much room left
  unreadable START-END [DISK]           bytes of a frozen disk cannot be read
  partial-answers                       changes are told in crumbs

Steps: vm, create, checkpoints, frozen-disks, open, read, changes, configuration, convert, destroy,
reference-points, destroy-reference-point, merge-state, volume-space, create-disk, remove-file,
import, define, set-disks, set-switches, validate, realise, abort, start.

Examples:
  e3-backup-agent sim fault /tmp/host --vm web lose-tracking
  e3-backup-agent sim fault /tmp/host --vm web job-fails-at convert --times 2
  e3-backup-agent sim fault /tmp/host --vm web --clear")]
pub struct Fault {
    /// The simulated host's folder.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The VM; without it the fault is the host's, for steps of a restore.
    #[arg(long, value_name = "N", required_unless_present = "kind")]
    vm: Option<String>,
    /// What goes wrong, and its own arguments.
    #[arg(value_name = "KIND", num_args = 1.., required_unless_present = "clear", conflicts_with = "clear")]
    kind: Vec<String>,
    /// How many matching calls it strikes.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// Let it strike until faults are cleared.
    #[arg(long, conflicts_with = "times")]
    always: bool,
    /// Take all faults back.
    #[arg(long)]
    clear: bool,
}

impl Fault {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let host = open_simulated(&self.folder, world.clock(), world.chance())?;
        let vm = self
            .vm
            .as_deref()
            .map(|name| simulated_vm::find(&host, name))
            .transpose()?;
        if let (true, Some(vm)) = (self.clear, vm) {
            host.clear_faults(vm)?;
            return Ok(Answer::new("faults are cleared", json!({ "faults": [] })));
        }
        let words: Vec<&str> = self.kind.iter().map(String::as_str).collect();
        let fault = SimFault::parse(&words)
            .map_err(|error| Failure::wrong_usage(format!("failed to {error}")))?;
        let times = (!self.always).then_some(self.times);
        let text = format!("{fault} waits for its call");
        let document = json!({ "fault": fault.to_string(), "times": times });
        match vm {
            Some(vm) => host.add_fault(vm, fault, times)?,
            None => host.add_host_fault(fault, times)?,
        }
        Ok(Answer::new(text, document))
    }
}
