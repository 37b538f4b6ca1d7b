//! `restore files`: files and folders of a snapshot, whoever made it.

use std::fmt::Write as _;
use std::path::PathBuf;

use ::restore::RestoreOptions;
use ::restore::files::{Attributes, Existing, FilesOptions, RestoredFiles, to_folder};
use clap::Args;
use point::Points;
use serde_json::{Value, json};

use super::restored_disk;
use crate::amounts;
use crate::answer::Answer;
use crate::display::Subjects;
use crate::failure::{Failure, FailureKind};
use crate::plain;
use crate::repositories::RepoArguments;
use crate::verified;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent restore files 8f3a --repo /srv/backup --to /restore
  e3-backup-agent restore files 8f3a etc/hosts home/ann --repo /srv/backup --to /restore
  e3-backup-agent restore files 8f3a 'home/*/mail/**' --repo /srv/backup --to /restore --dry-run
  e3-backup-agent restore files 8f3a --repo /srv/backup --to /restore --existing replace-different

Paths are those in the snapshot and keep their folders: etc/hosts becomes /restore/etc/hosts. Of a
VM's point these are vm.json, config and disks; files inside its disks are not looked into. In a
path that names nothing, * stands for any characters of a name, ? for one, and ** for any folders.

What becomes of files and links that are there already (--existing); folders are filled up:
  refuse             they end the restore; files restored before stay (the default)
  keep               they stay as they are
  replace-different  they are replaced unless length and time are as in the snapshot; so a restore
                     that was interrupted goes on and reads only what is missing
  replace-older      they are replaced if they are older than in the snapshot
  replace            they are replaced; --overwrite says the same

With --ignore-errors the exit status is 3 if anything could not be restored.")]
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
    /// What becomes of files that are there already: refuse, keep, replace-different,
    /// replace-older or replace.
    #[arg(long, value_name = "WHAT", conflicts_with = "overwrite")]
    existing: Option<Existing>,
    /// Only say what would be restored and replaced.
    #[arg(long)]
    dry_run: bool,
    /// Go on when a file is damaged or cannot be written; name it at the end.
    #[arg(long)]
    ignore_errors: bool,
    /// Leave users and groups as they are for new files.
    #[arg(long)]
    no_owners: bool,
    /// Leave modes as they are for new files.
    #[arg(long)]
    no_permissions: bool,
    /// Leave times as they are for new files.
    #[arg(long)]
    no_times: bool,
    /// Write long runs of zeros too, instead of leaving holes where the file system has such.
    #[arg(long)]
    no_sparse: bool,
    #[command(flatten)]
    options: restored_disk::OptionArguments,
}

impl Files {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        if let Some((point, _)) = self.id.split_once(':') {
            return Err(Failure::new(
                FailureKind::Unsupported,
                format!(
                    "files inside the disks of a VM are not restored in this version; `restore disk {}` restores the disk, and `restore files {point}` what lies beside it",
                    self.id
                ),
            ));
        }
        let repo = self.repo.open(world)?;
        let points = Points::load(&repo)?;
        let point = points.find(&self.id)?;
        verified::warn(&points, &point);
        let root = point.root()?;
        world.reach(&self.to)?;
        let progress = world.progress(Subjects::Wholes).about("files");
        let restored = to_folder(
            &repo,
            root,
            &self.paths,
            &self.to,
            &self.options(),
            &progress,
        )?;
        let (text, document) = (self.text(&restored), self.document(&restored));
        Ok(match restored.failed {
            0 => Answer::new(text, document),
            _ => Answer::in_part(text, document),
        })
    }

    fn options(&self) -> FilesOptions {
        let RestoreOptions { overwrite, workers } = self.options.get();
        let existing = match overwrite {
            true => Existing::Replace,
            false => self.existing.unwrap_or_default(),
        };
        FilesOptions {
            existing,
            attributes: Attributes {
                owners: !self.no_owners,
                permissions: !self.no_permissions,
                times: !self.no_times,
            },
            sparse: !self.no_sparse,
            dry_run: self.dry_run,
            skip_failing: self.ignore_errors,
            workers,
        }
    }

    fn text(&self, restored: &RestoredFiles) -> String {
        let (done, replaced, failed) = match self.dry_run {
            true => ("would restore", "would replace", "would not restore"),
            false => ("restored", "replaced", "not restored"),
        };
        let mut text = format!(
            "{done} {} files, {} folders, {} links ({}) to {}",
            restored.files,
            restored.folders,
            restored.symlinks,
            amounts::bytes(restored.bytes),
            plain::line(&plain::path(&self.to))
        );
        if restored.replaced > 0 {
            let _ = write!(
                text,
                "\n{replaced} {} of those that were there",
                restored.replaced
            );
        }
        if restored.kept > 0 {
            let _ = write!(text, "\nkept {} that were there", restored.kept);
        }
        if self.dry_run {
            for path in &restored.replaced_first {
                let path = plain::path(path);
                let _ = write!(text, "\n{replaced} {}", plain::line(&path));
            }
            ellipsis(&mut text, restored.replaced, restored.replaced_first.len());
        }
        for failed_entry in &restored.failed_first {
            let path = failed_entry.path.display();
            let named = format!("{failed}: {path}: failed to {}", failed_entry.reason);
            let _ = write!(text, "\n{}", plain::line(&named));
        }
        ellipsis(&mut text, restored.failed, restored.failed_first.len());
        text
    }

    fn document(&self, restored: &RestoredFiles) -> Value {
        let failed = restored.failed_first.iter();
        let failed: Vec<Value> = failed
            .map(|failed| json!({ "path": plain::path(&failed.path), "reason": failed.reason }))
            .collect();
        json!({
            "folder": plain::path(&self.to),
            "dry_run": self.dry_run,
            "files": restored.files,
            "folders": restored.folders,
            "symlinks": restored.symlinks,
            "bytes": restored.bytes,
            "replaced": restored.replaced,
            "replaced_first": restored.replaced_first.iter().map(|path| plain::path(path)).collect::<Vec<_>>(),
            "kept": restored.kept,
            "failed": restored.failed,
            "failed_first": failed,
            "warnings": restored.warnings,
        })
    }
}

fn ellipsis(text: &mut String, all: u64, named: usize) {
    let more = all.saturating_sub(named as u64);
    if more > 0 {
        let _ = write!(text, "\n… and {more} more");
    }
}
