//! `restore files`: files and folders of a snapshot, whoever made it.

use std::path::PathBuf;

use ::restore::files::to_folder;
use clap::Args;
use point::Points;
use serde_json::json;

use super::restored_disk;
use crate::amounts;
use crate::answer::Answer;
use crate::display::Subjects;
use crate::failure::Failure;
use crate::repositories::RepoArguments;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent restore files 8f3a --repo /srv/backup --to /restore
  e3-backup-agent restore files 8f3a etc/hosts home/ann --repo /srv/backup --to /restore

Paths are those in the snapshot and keep their folders: etc/hosts becomes /restore/etc/hosts. Of a
VM's point these are vm.json, config and disks; files inside its disks are not looked into.")]
pub struct Files {
    /// The point or snapshot: its id, its UUID, or the beginning of either.
    #[arg(value_name = "ID")]
    id: String,
    /// What to restore [default: everything].
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    #[command(flatten)]
    repo: RepoArguments,
    /// The folder to restore to; made if it is not there.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    options: restored_disk::OptionArguments,
}

impl Files {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let repo = self.repo.open(world)?;
        let points = Points::load(&repo)?;
        let point = points.find(&self.id)?;
        let root = point.root()?;
        let progress = world.progress(Subjects::Wholes).about("files");
        let restored = to_folder(
            &repo,
            root,
            &self.paths,
            &self.to,
            &self.options.get(),
            &progress,
        )?;
        let text = format!(
            "restored {} files, {} folders, {} links ({}) to {}",
            restored.files,
            restored.folders,
            restored.symlinks,
            amounts::bytes(restored.bytes),
            self.to.display()
        );
        let document = json!({
            "folder": self.to,
            "files": restored.files,
            "folders": restored.folders,
            "symlinks": restored.symlinks,
            "bytes": restored.bytes,
            "warnings": restored.warnings,
        });
        Ok(Answer::new(text, document))
    }
}
