//! `sim show`: everything there is on a simulated host.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use hyperv::sim::{FaultRecord, SimVmView};
use serde_json::json;

use crate::amounts;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::hosts::open_simulated;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  e3-backup-agent sim show /tmp/host")]
pub struct Show {
    /// The simulated host's folder.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Show {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let view = open_simulated(&self.folder, world.clock(), world.chance())?.show()?;
        let mut text = format!(
            "{}: a simulated host in {}, configuration version {}\n",
            view.name,
            view.folder.display(),
            view.configuration_version
        );
        let _ = writeln!(text, "switches: {}", view.switches.join(", "));
        for vm in &view.vms {
            describe(&mut text, vm);
        }
        for hyperv::sim::SimPlannedView { id, name } in &view.planned {
            let _ = writeln!(text, "\nplanned: {name}  {id}");
        }
        faults(&mut text, "", &view.faults);
        Ok(Answer::new(text, json!(view)))
    }
}

fn describe(text: &mut String, view: &SimVmView) {
    let vm = &view.vm;
    let away = if view.away {
        ", on another host now"
    } else {
        ""
    };
    let _ = writeln!(text, "\n{}  {}  {:?}{away}", vm.name, vm.id, vm.state);
    for (number, disk) in vm.disks.iter().enumerate() {
        let _ = writeln!(
            text,
            "  disk {number}  {}  {}",
            amounts::bytes(disk.virtual_bytes),
            disk.path.display()
        );
    }
    for checkpoint in &view.checkpoints {
        let _ = writeln!(
            text,
            "  checkpoint  {:?}  {}  {}",
            checkpoint.kind, checkpoint.id, checkpoint.name
        );
    }
    for point in &view.reference_points {
        let _ = writeln!(text, "  reference point  {}", point.id);
    }
    let _ = writeln!(text, "  merge  {}", view.merge);
    faults(text, "  ", &view.faults);
}

fn faults(text: &mut String, indent: &str, faults: &[FaultRecord]) {
    for record in faults {
        let times = record
            .times_left
            .map_or("until cleared".to_owned(), |times| format!("{times} times"));
        let _ = writeln!(text, "{indent}fault  {}  {times}", record.fault);
    }
}
