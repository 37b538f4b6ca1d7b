//! `points delete`: deletes restore points.

use backup::vm::{VmBases, next_is_full};
use clap::Args;
use point::Points;
use repo::Writer;
use serde_json::json;
use snapshot::Snapshots;

use super::list;
use crate::answer::Answer;
use crate::failure::{Failure, FailureKind};
use crate::repositories::RepoArguments;
use crate::stderr;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  e3-backup-agent points delete 8f3a 91c0 --repo /srv/backup

A deleted point cannot be brought back. Its space is freed by the repository's maintenance, a day
or more later, as far as no other point shares it. Other points are complete without it: there are
no chains. Either all named points go or none: a pinned one is refused, and so is the one that a
running backup builds on.")]
pub struct Delete {
    /// The points: ids, UUIDs, or the beginning of either.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    repo: RepoArguments,
}

impl Delete {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let repo = self.repo.open(world)?;
        let bases = VmBases::new(world.state()?, repo.unique_id_hex());
        let writer = Writer::new(&repo, 1)?;
        let points = Points::load(&repo)?;
        let found = list::find_all(&points, &self.ids)?;
        let mut held = Vec::new();
        let mut warnings = Vec::new();
        for point in &found {
            let pins = &point.snapshot().manifest.pins;
            if !pins.is_empty() {
                return Err(Failure::new(
                    FailureKind::Pinned,
                    format!(
                        "failed to delete {}: it is pinned ({})",
                        point.id(),
                        pins.join(", ")
                    ),
                ));
            }
            if let Some(vm) = bases.vm_on(point)? {
                let base = bases.hold(vm)?.ok_or_else(|| {
                    Failure::new(
                        FailureKind::Locked,
                        format!(
                            "failed to delete {}: a backup that builds on it is running",
                            point.id()
                        ),
                    )
                })?;
                held.push(base);
                warnings.push(next_is_full(point, vm));
            }
        }
        let ids: Vec<&str> = found.iter().map(|point| point.id()).collect();
        Snapshots::delete_all(&writer, ids.iter().copied())?;
        for warning in &warnings {
            stderr::warn(warning);
        }
        let text: String = ids.iter().map(|id| format!("deleted {id}\n")).collect();
        Ok(Answer::new(
            text,
            json!({ "deleted": ids, "warnings": warnings }),
        ))
    }
}
