//! `points show`: what one restore point holds.

mod listing;

use std::fmt::Write as _;

use clap::Args;
use point::{OpenPoint, Point, Points};
use serde_json::{Value, json};

use super::list;
use crate::amounts;
use crate::answer::Answer;
use crate::failure::Failure;
use crate::plain;
use crate::repositories::RepoArguments;
use crate::table::table;
use crate::verified;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent points show 8f3a --repo /srv/backup
  e3-backup-agent points show 8f3a --path home/ann --repo /srv/backup

With --path, what lies in that folder is listed: mode, owner, size, time and name. An empty path is
the root: --path ''.")]
pub struct Show {
    /// The point: its id, its UUID, or the beginning of either.
    #[arg(value_name = "ID")]
    id: String,
    /// List what is at this path in the point instead.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    #[command(flatten)]
    repo: RepoArguments,
}

impl Show {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let repo = self.repo.open(world)?;
        let points = Points::load(&repo)?;
        let point = points.find(&self.id)?;
        if let Some(path) = &self.path {
            return listing::list(&repo, point.root()?, path);
        }
        let opened = match point.point() {
            Some(_) => Some(point.open(&repo)?),
            None => None,
        };
        let known = point.remembered(&points);
        let mut document = list::document(&point, known);
        let mut text = head(&point) + &verified::in_full(known);
        match &opened {
            Some(opened) => {
                describe(&mut text, opened);
                document["vm"] = json!(opened.descriptor());
                let contents = opened.descriptor().disks.iter().map(|disk| {
                    json!({ "number": disk.number, "content": opened.disk_object(disk).map(|object| object.to_string()) })
                });
                document["disks"] = contents.collect();
            }
            None => describe_files(&mut text, &mut document, &point),
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
        format!("pinned  {}\n", plain::line(&manifest.pins.join(", ")))
    };
    format!(
        "id      {}\n{uuid}source  {}\ntime    {}\n{pins}",
        point.id(),
        plain::line(&list::source(point)),
        amounts::time(manifest.start_time)
    )
}

/// Tells of a snapshot of files: how much it holds, and what could not be read.
fn describe_files(text: &mut String, document: &mut Value, point: &Point<'_>) {
    let manifest = &point.snapshot().manifest;
    let files = format!("{} files", list::files(point));
    let size = amounts::bytes(list::size(point));
    let root = manifest.root_entry.as_ref();
    let summary = root.and_then(|root| root.summary.as_ref());
    let folders = summary.map_or(String::new(), |summary| {
        format!(", {} folders", summary.dirs)
    });
    let _ = writeln!(text, "holds   {files}{folders}, {size}");
    if !manifest.description.is_empty() {
        let _ = writeln!(text, "about   {}", plain::line(&manifest.description));
    }
    for (key, value) in &manifest.tags {
        let tag = format!("tag     {}: {value}", key.trim_start_matches("tag:"));
        let _ = writeln!(text, "{}", plain::line(&tag));
    }
    if let Some(root) = root {
        document["root"] =
            json!({ "name": root.name, "type": root.entry_type, "object": root.object });
        document["summary"] = json!(root.summary);
    }
    let Some(summary) = summary else { return };
    let failed = list::failures(point);
    if failed > 0 {
        let _ = writeln!(
            text,
            "failed  {failed} entries could not be read; the first:"
        );
    }
    for failure in &summary.errors {
        let named = format!("{}: {}", failure.path, failure.error);
        let _ = writeln!(text, "        {}", plain::line(&named));
    }
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
