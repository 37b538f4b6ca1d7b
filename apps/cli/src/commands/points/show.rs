//! `points show`: what one restore point holds.

use std::fmt::Write as _;

use clap::Args;
use point::{OpenPoint, Point, Points};
use serde_json::json;

use super::list;
use crate::amounts;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::repositories::RepoArguments;
use crate::table::table;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  e3-backup-agent points show 8f3a --repo /srv/backup")]
pub struct Show {
    /// The point: its id, its UUID, or the beginning of either.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    repo: RepoArguments,
}

impl Show {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let repo = self.repo.open(world)?;
        let points = Points::load(&repo)?;
        let point = points.find(&self.id)?;
        let opened = match point.point() {
            Some(_) => Some(point.open(&repo)?),
            None => None,
        };
        let mut document = list::document(&point);
        let mut text = head(&point);
        match &opened {
            Some(opened) => {
                describe(&mut text, opened);
                document["vm"] = json!(opened.descriptor());
                let contents = opened.descriptor().disks.iter().map(|disk| {
                    json!({ "number": disk.number, "content": opened.disk_object(disk).map(|object| object.to_string()) })
                });
                document["disks"] = contents.collect();
            }
            None => {
                let files = point.snapshot().manifest.stats.file_count;
                let _ = writeln!(
                    text,
                    "{files} files, {}",
                    amounts::bytes(list::size(&point))
                );
                if let Ok(root) = point.root() {
                    document["root"] = json!({ "name": root.name, "type": root.entry_type, "object": root.object });
                }
            }
        }
        Ok(Answer::new(text, document))
    }
}

fn head(point: &Point<'_>) -> String {
    let manifest = &point.snapshot().manifest;
    let uuid = point
        .point()
        .map(|uuid| format!("point   {uuid}\n"))
        .unwrap_or_default();
    let pins = if manifest.pins.is_empty() {
        String::new()
    } else {
        format!("pinned  {}\n", manifest.pins.join(", "))
    };
    format!(
        "id      {}\n{uuid}source  {}\ntime    {}\n{pins}",
        point.id(),
        list::source(point),
        amounts::time(manifest.start_time)
    )
}

fn describe(text: &mut String, opened: &OpenPoint) {
    let vm = opened.descriptor();
    let _ = writeln!(
        text,
        "vm      {} ({}), version {}, {}, {} processors, {} memory",
        vm.name,
        vm.guid,
        vm.version,
        vm.firmware,
        vm.processors,
        amounts::bytes(vm.memory_bytes)
    );
    let _ = writeln!(
        text,
        "backup  {}, {} consistent: {}",
        vm.backup_type().as_str(),
        vm.consistency.as_str(),
        vm.consistency_reason
    );
    let rows: Vec<Vec<String>> = vm
        .disks
        .iter()
        .map(|disk| {
            vec![
                disk.number.to_string(),
                disk.backup_type.as_str().to_owned(),
                amounts::bytes(disk.virtual_bytes),
                amounts::bytes(disk.read_bytes),
                amounts::bytes(disk.changed_bytes),
                amounts::bytes(disk.uploaded_bytes),
                disk.original_path.clone(),
            ]
        })
        .collect();
    let _ = write!(
        text,
        "\n{}",
        table(
            &["DISK", "TYPE", "SIZE", "READ", "CHANGED", "STORED", "FILE"],
            &[0, 2, 3, 4, 5],
            &rows
        )
    );
    for disk in &vm.disks {
        if let Some(reason) = &disk.full_reason {
            let _ = writeln!(text, "disk {} was read in full: {reason}", disk.number);
        }
    }
    for disk in &vm.omitted_disks {
        let _ = writeln!(text, "not in the point: {} ({})", disk.name, disk.reason);
    }
}
