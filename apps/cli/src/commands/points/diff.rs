//! `points diff`: what differs between two points or snapshots.

mod files;
mod vms;

use clap::Args;
use point::Points;

use crate::answer::Answer;
use crate::failure::Failure;
use crate::repositories::RepoArguments;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent points diff 8f3a 91c0 --repo /srv/backup
  e3-backup-agent points diff 8f3a 91c0 --repo /srv/backup --stat

Of snapshots of files: + was added, - was removed, M holds something else, m has another mode, owner
or time. A folder that was added or removed is one line for all that is in it; times of folders are
not compared.

Of two points of one VM: settings, configuration files, and which ranges of each disk differ. They
are found by the ids of what is stored, with no data read: whole chunks, whatever changed in them.")]
pub struct Diff {
    /// The earlier point: its id, its UUID, or the beginning of either.
    #[arg(value_name = "BEFORE")]
    before: String,
    /// The later point.
    #[arg(value_name = "AFTER")]
    after: String,
    /// Only say how much differs.
    #[arg(long)]
    stat: bool,
    #[command(flatten)]
    repo: RepoArguments,
}

impl Diff {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let repo = self.repo.open(world)?;
        let points = Points::load(&repo)?;
        let (before, after) = (points.find(&self.before)?, points.find(&self.after)?);
        let of_vm = [before, after].map(|point| point.point().and_then(|_| point.tag("vm-guid")));
        match of_vm {
            [None, None] => files::compare(world, &repo, before, after, self.stat),
            [Some(one), Some(other)] if one == other => {
                vms::compare(world, &repo, before, after, self.stat)
            }
            [Some(_), Some(_)] => Err(Failure::wrong_usage(
                "the points are of different VMs; `points list --vm NAME` shows those of one",
            )),
            _ => Err(Failure::wrong_usage(
                "one is a point of a VM and the other a snapshot of files; compare two of a kind",
            )),
        }
    }
}
