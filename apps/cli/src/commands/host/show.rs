//! `host show`: one VM with its disks, their tracking, checkpoints, and what was left behind.

use std::fmt::Write as _;

use backup::BackupErrorKind;
use backup::vm::{Leftovers, clean};
use clap::Args;
use hyperv::{Checkpoint, MergeProgress, MergeState, ReferencePoint, Vm};
use serde_json::{Value, json};

use super::list;
use crate::amounts;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::hosts::HostArguments;
use crate::table::table;
use crate::vm_names;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  e3-backup-agent host show web --host sim:/tmp/host")]
pub struct Show {
    /// The VM: its name, or its GUID.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    host: HostArguments,
}

impl Show {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let host = self.host.open(world)?;
        let vms = host.vms()?;
        let vm = vm_names::find(&vms, &self.name)?;
        let checkpoints = host.checkpoints(vm.id)?;
        let points = host.reference_points(vm.id)?;
        let merge = merge_text(&host.merge_state(vm.id)?);
        let state = world.state()?;
        // Under the lock only: what a run holds right now is no leftover.
        let leftovers = match state.lock(vm.id) {
            Ok(_lock) => Some(clean(
                host.as_ref(),
                &state,
                vm.id,
                world.clock().now(),
                true,
            )?),
            Err(error) if error.kind() == BackupErrorKind::Locked => None,
            Err(error) => return Err(error.into()),
        };
        let text = text(vm, &checkpoints, &points, &merge, leftovers.as_ref());
        let document = json!({
            "vm": vm,
            "checkpoints": checkpoints,
            "reference_points": points.iter().map(point_document).collect::<Vec<_>>(),
            "merge": merge,
            "run_in_progress": leftovers.is_none(),
            "leftovers": leftovers.as_ref().map(|found| json!({
                "checkpoints": found.removed_checkpoints,
                "foreign_checkpoints": found.foreign_checkpoints,
                "warnings": found.warnings,
            })),
        });
        Ok(Answer::new(text, document))
    }
}

fn text(
    vm: &Vm,
    checkpoints: &[Checkpoint],
    points: &[ReferencePoint],
    merge: &str,
    leftovers: Option<&Leftovers>,
) -> String {
    let mut text = format!("{}  {}  {}\n", vm.name, vm.id, list::state(vm.state));
    let guest = vm
        .guest
        .as_ref()
        .map_or("unknown", |guest| guest.name.as_str());
    let _ = writeln!(
        text,
        "version {}, {}, {} processors, {} memory, guest: {guest}",
        vm.version,
        vm.firmware,
        vm.processors,
        amounts::bytes(vm.memory_bytes)
    );
    let rows: Vec<Vec<String>> = vm
        .disks
        .iter()
        .enumerate()
        .map(|(number, disk)| {
            let place = format!(
                "{:?} {}:{}",
                disk.controller, disk.controller_number, disk.location
            )
            .to_uppercase();
            let tracked = match (disk.shared, disk.tracked) {
                (true, _) => "shared",
                (_, Some(true)) => "yes",
                (_, Some(false)) => "no",
                (_, None) => "unknown",
            };
            vec![
                number.to_string(),
                place,
                amounts::bytes(disk.virtual_bytes),
                tracked.to_owned(),
                disk.original_path.display().to_string(),
            ]
        })
        .collect();
    let _ = write!(
        text,
        "\n{}",
        table(
            &["DISK", "PLACE", "SIZE", "TRACKED", "FILE"],
            &[0, 2],
            &rows
        )
    );
    for disk in &vm.omitted_disks {
        let _ = writeln!(text, "not backed up: {} ({})", disk.name, disk.reason);
    }
    let _ = writeln!(text, "\ncheckpoints: {}", checkpoints.len());
    for checkpoint in checkpoints {
        let _ = writeln!(
            text,
            "  {}  {:?}  {}  {}",
            amounts::time(checkpoint.created),
            checkpoint.kind,
            checkpoint.id,
            checkpoint.name
        );
    }
    let _ = writeln!(text, "reference points: {}", points.len());
    for point in points {
        let _ = writeln!(text, "  {}", point.id);
    }
    let _ = writeln!(text, "merge: {merge}");
    match leftovers {
        None => text.push_str("a run works on this VM right now\n"),
        Some(found) if found.removed_checkpoints.is_empty() => {
            text.push_str("leftovers of ours: none\n")
        }
        Some(found) => {
            let _ = writeln!(
                text,
                "leftovers of ours: {} checkpoints; `host clean` removes them",
                found.removed_checkpoints.len()
            );
        }
    }
    for warning in leftovers.iter().flat_map(|found| &found.warnings) {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn merge_text(state: &MergeState) -> String {
    match state {
        MergeState::Idle => "idle".to_owned(),
        MergeState::Running(MergeProgress { percent: None, .. }) => "running".to_owned(),
        MergeState::Running(MergeProgress {
            percent: Some(percent),
            ..
        }) => format!("running ({percent} %)"),
        MergeState::Stuck(why) => format!("stuck: {why}"),
    }
}

fn point_document(point: &ReferencePoint) -> Value {
    let disks: Vec<Value> = point
        .disks
        .iter()
        .map(|disk| json!({ "virtual_disk_id": disk.virtual_disk_id, "change_id": disk.change_id.as_str() }))
        .collect();
    json!({ "id": point.id, "tracking": point.tracking, "application_level": point.application_level, "disks": disks })
}
