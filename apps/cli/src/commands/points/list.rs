//! `points list`: everything in a repository that can be restored from.

use clap::Args;
use point::{Amount, Point, Points};
use serde::Serialize;
use serde_json::{Value, json};
use snapshot::Remembered;

use crate::amounts;
use crate::answer::Answer;
use crate::failure::{FAILED, Failure, FailureKind};
use crate::repositories::RepoArguments;
use crate::stderr;
use crate::stdout::{Each, show_document};
use crate::table::table;
use crate::verified;
use crate::vm_names;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  e3-backup-agent points list --vm web --repo /srv/backup

Snapshots of files, and those that other programs made (Kopia itself, older agents), are shown with
their source in place of the VM, with how many files and links they hold, and how many could not be
read. Backups that were not finished are no points and are not shown. PROVEN tells when
`repo verify` last found a point whole, at the deepest, or that it is damaged.")]
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
            stderr::warn(&format!(
                "the manifest {id} cannot be read and may be a restore point: {why}"
            ));
        }
        let failure = (!unreadable.is_empty()).then(|| {
            Failure::new(
                FailureKind::DamageFound,
                "the list may lack restore points, since manifests cannot be read",
            )
        });
        let status = if failure.is_some() { FAILED } else { 0 };
        if let Some(failure) = &failure {
            failure.tell();
        }
        if !world.wants_json() {
            let text = self.text(&points);
            return Ok(Answer::with_status(text, Value::Null, status));
        }
        show_document(&Document {
            error: failure.map(|failure| failure.document()),
            points: Each(|| {
                self.wanted(&points)
                    .map(|point| document(&point, point.remembered(&points)))
            }),
            unreadable: Each(|| {
                let lost = unreadable.iter();
                lost.map(|(id, why)| json!({ "id": id, "reason": why }))
            }),
        });
        Ok(Answer::shown(status))
    }

    fn text(&self, points: &Points) -> String {
        let rows: Vec<Vec<String>> = self
            .wanted(points)
            .map(|point| row(&point, point.remembered(points)))
            .collect();
        match rows.is_empty() {
            true => "there are no restore points".to_owned(),
            false => table(
                &[
                    "TIME",
                    "VM OR SOURCE",
                    "TYPE",
                    "CONSISTENCY",
                    "FILES",
                    "SIZE",
                    "PROVEN",
                    "ID",
                ],
                &[4, 5],
                &rows,
            ),
        }
    }

    fn wanted<'p>(&'p self, points: &'p Points) -> impl Iterator<Item = Point<'p>> {
        points.iter().filter(|point| self.wants(point))
    }

    fn wants(&self, point: &Point<'_>) -> bool {
        self.vm.as_deref().is_none_or(|vm| is_of_vm(point, vm))
    }
}

/// The answer as a document.
#[derive(Serialize)]
struct Document<P, U> {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
    points: P,
    unreadable: U,
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
pub(crate) fn find_all<'p>(points: &'p Points, ids: &[String]) -> Result<Vec<Point<'p>>, Failure> {
    let mut found: Vec<Point<'p>> = Vec::new();
    for id in ids {
        let point = points.find(id)?;
        if found.iter().all(|other| other.id() != point.id()) {
            found.push(point);
        }
    }
    Ok(found)
}

fn row(point: &Point<'_>, known: Option<&Remembered>) -> Vec<String> {
    let manifest = &point.snapshot().manifest;
    let tag = |key| point.tag(key).unwrap_or("-").to_owned();
    vec![
        amounts::time(manifest.start_time),
        point
            .tag("vm-name")
            .map_or_else(|| source(point), str::to_owned),
        match (point.point(), failures(point)) {
            (Some(_), _) => tag("backup-type"),
            (None, 0) => "snapshot".to_owned(),
            (None, failed) => format!("snapshot, {failed} failed"),
        },
        tag("consistency"),
        match point.point() {
            Some(_) => "-".to_owned(),
            None => files(point).to_string(),
        },
        amounts::bytes(size(point)),
        verified::in_short(known),
        point.id().to_owned(),
    ]
}

/// Returns the point as it stands in documents.
pub(super) fn document(point: &Point<'_>, known: Option<&Remembered>) -> Value {
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
        "files": files(point),
        "failed": failures(point),
        "bytes": size(point),
        "tags": manifest.tags,
        "pins": manifest.pins,
        "verified": verified::document(known),
    })
}

/// Returns where the point is filed, as Kopia writes it.
pub(super) fn source(point: &Point<'_>) -> String {
    let source = &point.snapshot().manifest.source;
    format!("{}@{}:{}", source.user_name, source.host, source.path)
}

/// Returns how many files and links the point holds.
pub(super) fn files(point: &Point<'_>) -> u64 {
    let root = point.snapshot().manifest.root_entry.as_ref();
    root.map_or(0, |root| Amount::of(root).files)
}

/// Returns how many entries could not be read when the point was made.
pub(super) fn failures(point: &Point<'_>) -> u64 {
    let root = point.snapshot().manifest.root_entry.as_ref();
    root.and_then(|root| root.summary.as_ref())
        .map_or(0, |summary| summary.num_failed + summary.num_ignored_errors)
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
