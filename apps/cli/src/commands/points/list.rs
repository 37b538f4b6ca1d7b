//! `points list`: everything in a repository that can be restored from.

use clap::Args;
use point::{Point, Points};
use serde_json::{Value, json};

use crate::amounts;
use crate::answer::Answer;
use crate::failure::{FAILED, Failure, FailureKind};
use crate::repositories::RepoArguments;
use crate::table::table;
use crate::vm_names;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  e3-backup-agent points list --vm web --repo /srv/backup

Snapshots that other programs made (Kopia itself, older agents) are shown with their source in
place of the VM. Backups that were not finished are no points and are not shown.")]
pub struct List {
    /// Only points of this VM: its name (whole, in any case) or its GUID.
    #[arg(long, value_name = "NAME")]
    vm: Option<String>,
    #[command(flatten)]
    repo: RepoArguments,
}

impl List {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let repo = self.repo.open(world)?;
        let points = Points::load(&repo)?;
        let unreadable = points.snapshots().unreadable();
        for (id, why) in unreadable {
            eprintln!(
                "warning: the manifest {id} cannot be read and may be a restore point: {why}"
            );
        }
        let shown: Vec<Point<'_>> = points.iter().filter(|point| self.wants(point)).collect();
        let rows: Vec<Vec<String>> = shown.iter().map(row).collect();
        let text = match rows.is_empty() {
            true => "there are no restore points".to_owned(),
            false => table(
                &["TIME", "VM", "TYPE", "CONSISTENCY", "SIZE", "ID"],
                &[4],
                &rows,
            ),
        };
        let mut document = json!({
            "points": shown.iter().map(document).collect::<Vec<_>>(),
            "unreadable": unreadable.iter().map(|(id, why)| json!({ "id": id, "reason": why })).collect::<Vec<_>>(),
        });
        if unreadable.is_empty() {
            return Ok(Answer::new(text, document));
        }
        let failure = Failure::new(
            FailureKind::DamageFound,
            "the list may lack restore points, since manifests cannot be read",
        );
        failure.tell();
        document["error"] = failure.document();
        Ok(Answer::with_status(text, document, FAILED))
    }

    fn wants(&self, point: &Point<'_>) -> bool {
        self.vm.as_deref().is_none_or(|vm| is_of_vm(point, vm))
    }
}

/// Returns whether a point is of the VM with this name (whole, in any case) or GUID.
pub(crate) fn is_of_vm(point: &Point<'_>, wanted: &str) -> bool {
    let same_guid = || {
        let (guid, wanted) = (
            point.tag("vm-guid")?.parse::<hyperv::VmId>(),
            wanted.parse(),
        );
        Some(guid.is_ok() && guid == wanted)
    };
    point
        .tag("vm-name")
        .is_some_and(|name| vm_names::is_same(name, wanted))
        || same_guid().unwrap_or(false)
}

/// Finds the points with these ids, each once.
pub(super) fn find_all<'p>(points: &'p Points, ids: &[String]) -> Result<Vec<Point<'p>>, Failure> {
    let mut found: Vec<Point<'p>> = Vec::new();
    for id in ids {
        let point = points.find(id)?;
        if found.iter().all(|other| other.id() != point.id()) {
            found.push(point);
        }
    }
    Ok(found)
}

fn row(point: &Point<'_>) -> Vec<String> {
    let manifest = &point.snapshot().manifest;
    let tag = |key| point.tag(key).unwrap_or("-").to_owned();
    vec![
        amounts::time(manifest.start_time),
        point
            .tag("vm-name")
            .map_or_else(|| source(point), str::to_owned),
        if point.point().is_some() {
            tag("backup-type")
        } else {
            "snapshot".to_owned()
        },
        tag("consistency"),
        amounts::bytes(size(point)),
        point.id().to_owned(),
    ]
}

/// Returns the point as it stands in documents.
pub(super) fn document(point: &Point<'_>) -> Value {
    let manifest = &point.snapshot().manifest;
    json!({
        "id": point.id(),
        "point": point.point(),
        "time": manifest.start_time,
        "end_time": manifest.end_time,
        "source": source(point),
        "description": manifest.description,
        "vm_name": point.tag("vm-name"),
        "vm_guid": point.tag("vm-guid"),
        "type": point.tag("backup-type"),
        "consistency": point.tag("consistency"),
        "bytes": size(point),
        "tags": manifest.tags,
        "pins": manifest.pins,
    })
}

/// Returns where the point is filed, as Kopia writes it.
pub(super) fn source(point: &Point<'_>) -> String {
    let source = &point.snapshot().manifest.source;
    format!("{}@{}:{}", source.user_name, source.host, source.path)
}

/// Returns how many bytes the point's files have together.
pub(super) fn size(point: &Point<'_>) -> u64 {
    let manifest = &point.snapshot().manifest;
    let counted = u64::try_from(manifest.stats.total_size).unwrap_or(0);
    let root = manifest.root_entry.as_ref();
    let of_root = root.map_or(0, |root| {
        root.summary
            .as_ref()
            .map_or(root.size, |summary| summary.size)
    });
    counted.max(of_root)
}
