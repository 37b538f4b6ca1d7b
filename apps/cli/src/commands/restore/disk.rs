//! `restore disk`: one disk of a point, to a file.

use std::path::PathBuf;

use ::restore::DiskFormat;
use ::restore::disk::{disk_objects, to_file};
use clap::Args;
use point::Points;
use serde_json::json;

use super::restored_disk;
use crate::answer::Answer;
use crate::display::Subjects;
use crate::failure::Failure;
use crate::repositories::RepoArguments;
use crate::verified;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  e3-backup-agent restore disk 8f3a --repo /srv/backup --to web.vhdx
  e3-backup-agent restore disk 8f3a:1 --repo /srv/backup --to data.raw --format raw

A disk that an older agent stored (one VHDX file per snapshot) is restored the same way.")]
pub struct Disk {
    /// The point, and after a colon the disk's number if it has several.
    #[arg(value_name = "ID[:N]")]
    id: String,
    #[command(flatten)]
    repo: RepoArguments,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// vhdx (an ordinary dynamic one) or raw (with holes).
    #[arg(long, value_name = "FORMAT", default_value = "vhdx", value_parser = format)]
    format: DiskFormat,
    #[command(flatten)]
    options: restored_disk::OptionArguments,
}

impl Disk {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let (id, wanted) = split(&self.id)?;
        let repo = self.repo.open(world)?;
        let points = Points::load(&repo)?;
        let point = points.find(id)?;
        verified::warn(&points, &point);
        let disks = disk_objects(&repo, &point)?;
        let list = || {
            disks
                .iter()
                .map(|(number, name, _)| format!("{number} ({name})"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (number, name, object) = match (wanted, &disks[..]) {
            (None, [only]) => only,
            (None, []) => return Err(Failure::wrong_usage(format!("point {id} holds no disks"))),
            (None, _) => {
                return Err(Failure::wrong_usage(format!(
                    "point {id} has several disks, say {id}:N: {}",
                    list()
                )));
            }
            (Some(wanted), disks) => disks
                .iter()
                .find(|(number, _, _)| *number == wanted)
                .ok_or_else(|| {
                    Failure::wrong_usage(format!(
                        "point {id} has no disk {wanted}: there are {}",
                        list()
                    ))
                })?,
        };
        world.reach(&self.to)?;
        let progress = world.progress(Subjects::Disks).about(name);
        let disk = to_file(
            &repo,
            object,
            *number,
            &self.to,
            self.format,
            &self.options.get(),
            &progress,
        )?;
        let mut text = format!("restored {name}\n");
        restored_disk::describe(&mut text, &disk);
        Ok(Answer::new(
            text,
            json!({ "disk": restored_disk::document(&disk) }),
        ))
    }
}

fn split(text: &str) -> Result<(&str, Option<u32>), Failure> {
    let Some((id, number)) = text.split_once(':') else {
        return Ok((text, None));
    };
    match number.parse() {
        Ok(number) => Ok((id, Some(number))),
        Err(_) => Err(Failure::wrong_usage(format!(
            "{number:?} is no number of a disk"
        ))),
    }
}

fn format(text: &str) -> Result<DiskFormat, String> {
    text.parse()
        .map_err(|error: ::restore::RestoreError| error.to_string())
}
