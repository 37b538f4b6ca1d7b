//! `restore vm`: a whole VM, to a folder or onto a host.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::restore::vm::{HostTarget, to_folder, to_host};
use clap::Args;
use point::{OpenPoint, Points};
use repo::Repository;
use serde_json::json;

use super::restored_disk;
use crate::amounts;
use crate::answer::Answer;
use crate::display::Subjects;
use crate::failure::Failure;
use crate::hosts::HostArguments;
use crate::plain;
use crate::repositories::RepoArguments;
use crate::verified;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("place").args(["host", "to"]).required(true),
    after_help = "\
Examples:
  e3-backup-agent restore vm 8f3a --repo /srv/backup --to /restore/web
  e3-backup-agent restore vm 8f3a --repo /srv/backup --host sim:/tmp/host --name web-copy --new-id

To a folder go the disks as VHDX files, the configuration, and vm.json, which tells what the VM
was. On a host the VM comes back under its own GUID, which must be free there, or with --new-id as
a copy."
)]
pub struct Vm {
    /// The point: its id, its UUID, or the beginning of either.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    repo: RepoArguments,
    #[command(flatten)]
    host: HostArguments,
    /// Restore to this folder.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// The name of the VM on the host [default: the one it had].
    #[arg(long, value_name = "NEW", conflicts_with = "to")]
    name: Option<String>,
    /// Give the VM a new GUID: a copy beside the original.
    #[arg(long, conflicts_with = "to")]
    new_id: bool,
    /// Switch the VM on.
    #[arg(long, conflicts_with = "to")]
    power_on: bool,
    #[command(flatten)]
    options: restored_disk::OptionArguments,
}

impl Vm {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let repo = self.repo.open(world)?;
        let points = Points::load(&repo)?;
        let found = points.find(&self.id)?;
        if found.point().is_none() {
            return Err(Failure::wrong_usage(format!(
                "snapshot {} is no point of a whole VM; use `restore disk` for a disk that an older agent stored, or `restore files`",
                found.id()
            )));
        }
        verified::warn(&points, &found);
        let opened = found.open(&repo)?;
        match &self.to {
            Some(folder) => self.to_folder(world, &repo, &opened, folder),
            None => self.to_host(world, &repo, &opened),
        }
    }

    fn to_folder(
        &self,
        world: &World,
        repo: &Arc<Repository>,
        opened: &OpenPoint,
        folder: &Path,
    ) -> Result<Answer, Failure> {
        world.reach(folder)?;
        let progress = world
            .progress(Subjects::Disks)
            .about(&opened.descriptor().name);
        let disks = to_folder(repo, opened, folder, &self.options.get(), &progress)?;
        let mut text = format!(
            "restored {} to {}\n",
            opened.descriptor().name,
            folder.display()
        );
        disks
            .iter()
            .for_each(|disk| restored_disk::describe(&mut text, disk));
        let documents: Vec<_> = disks.iter().map(restored_disk::document).collect();
        Ok(Answer::new(
            text,
            json!({ "vm": opened.descriptor().name, "folder": plain::path(folder), "disks": documents }),
        ))
    }

    fn to_host(
        &self,
        world: &World,
        repo: &Arc<Repository>,
        opened: &OpenPoint,
    ) -> Result<Answer, Failure> {
        let host = self.host.open(world)?;
        let progress = world
            .progress(Subjects::Disks)
            .about(&opened.descriptor().name);
        let target = HostTarget {
            name: self.name.clone(),
            new_id: self.new_id,
            power_on: self.power_on,
            ..HostTarget::default()
        };
        let vm = to_host(
            repo,
            opened,
            host.as_ref(),
            &target,
            &self.options.get(),
            &progress,
        )?;
        let mut text = format!("restored {} ({})", vm.name, vm.id);
        text.push_str(if vm.started {
            ", and switched it on\n"
        } else {
            "\n"
        });
        for disk in &vm.disks {
            restored_disk::describe(&mut text, disk);
        }
        for warning in &vm.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        let bytes: u64 = vm.disks.iter().map(|disk| disk.written_bytes).sum();
        let _ = writeln!(text, "{} written", amounts::bytes(bytes));
        let documents: Vec<_> = vm.disks.iter().map(restored_disk::document).collect();
        let document = json!({
            "vm": vm.name,
            "guid": vm.id,
            "started": vm.started,
            "disks": documents,
            "warnings": vm.warnings,
        });
        Ok(Answer::new(text, document))
    }
}
