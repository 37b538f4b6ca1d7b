//! `host volumes`: the disks and volumes of this machine, and what is frozen of them.

use clap::Args;
use serde_json::{Value, json};
use volume::{Disk, PartitionTable, ShadowSet, Volume};

use crate::amounts;
use crate::answer::Answer;
use crate::failure::{Failure, FailureKind};
use crate::storage;
use crate::table::table;
use crate::world::World;

/// The arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  e3-backup-agent host volumes\n\nOn Windows it also shows the shadow sets that are there, whoever made them."
)]
pub struct Volumes {}

impl Volumes {
    /// Runs the command.
    pub fn run(&self, world: &World) -> Result<Answer, Failure> {
        let layout = storage::layout(world);
        let (disks, volumes) = (layout.disks()?, layout.volumes()?);
        let sets = shadow_sets(world);
        let mut text = disks_table(&disks);
        text.push('\n');
        text.push_str(&volumes_table(&volumes));
        let mut document = json!({
            "disks": disks.iter().map(disk_document).collect::<Vec<_>>(),
            "volumes": volumes.iter().map(volume_document).collect::<Vec<_>>(),
            "shadow_sets": null,
        });
        match sets {
            Ok(sets) => {
                document["shadow_sets"] = sets.iter().map(set_document).collect();
                if !sets.is_empty() {
                    text.push('\n');
                    text.push_str(&sets_table(&sets));
                }
            }
            // A system that makes none has none to tell of.
            Err(failure) if failure.kind() == FailureKind::Unsupported => {}
            Err(failure) => {
                document["shadow_sets_unknown"] = failure.to_string().into();
                text.push_str(&format!("\nshadow sets are not known: {failure}\n"));
            }
        }
        Ok(Answer::new(text, document))
    }
}

fn shadow_sets(world: &World) -> Result<Vec<ShadowSet>, Failure> {
    Ok(storage::volume_host(world)?.shadow_sets()?)
}

fn disks_table(disks: &[Disk]) -> String {
    if disks.is_empty() {
        return "there are no disks that this system tells of\n".to_owned();
    }
    let rows: Vec<Vec<String>> = disks
        .iter()
        .map(|disk| {
            vec![
                disk.name.clone(),
                disk.model.clone().unwrap_or_else(|| "-".to_owned()),
                amounts::bytes(disk.total_bytes),
                format!(
                    "{}/{}",
                    disk.logical_sector_bytes, disk.physical_sector_bytes
                ),
                table_name(disk.table).to_owned(),
                disk.partitions.len().to_string(),
            ]
        })
        .collect();
    let headings = ["DISK", "MODEL", "SIZE", "SECTORS", "TABLE", "PARTITIONS"];
    table(&headings, &[2, 5], &rows)
}

fn table_name(kind: Option<PartitionTable>) -> &'static str {
    match kind {
        Some(PartitionTable::Mbr) => "mbr",
        Some(PartitionTable::Gpt) => "gpt",
        None => "-",
    }
}

fn volumes_table(volumes: &[Volume]) -> String {
    if volumes.is_empty() {
        return "there are no volumes that this system tells of\n".to_owned();
    }
    let rows: Vec<Vec<String>> = volumes
        .iter()
        .map(|volume| {
            let points = volume.mount_points.iter();
            let points: Vec<String> = points.map(|it| it.display().to_string()).collect();
            let disks = volume.extents.iter().map(|it| it.disk.clone());
            let disks: Vec<String> = disks.collect();
            let known = |text: String| match text.is_empty() {
                true => "-".to_owned(),
                false => text,
            };
            vec![
                known(points.join(", ")),
                volume.file_system.clone().unwrap_or_else(|| "-".to_owned()),
                amounts::bytes(volume.total_bytes),
                volume.free_bytes.map_or("-".to_owned(), amounts::bytes),
                known(disks.join(", ")),
                volume.name.clone(),
            ]
        })
        .collect();
    let headings = ["MOUNTED AT", "FORMAT", "SIZE", "FREE", "ON", "VOLUME"];
    table(&headings, &[2, 3], &rows)
}

fn sets_table(sets: &[ShadowSet]) -> String {
    let rows: Vec<Vec<String>> = sets
        .iter()
        .map(|set| {
            vec![
                set.id.to_string(),
                amounts::time(set.frozen_at),
                set.volumes.join(", "),
            ]
        })
        .collect();
    table(&["SHADOW SET", "FROZEN AT", "VOLUMES"], &[], &rows)
}

fn disk_document(disk: &Disk) -> Value {
    let partitions = disk.partitions.iter().map(|partition| {
        json!({
            "number": partition.number,
            "offset": partition.range.start(),
            "bytes": partition.range.bytes(),
        })
    });
    json!({
        "name": disk.name,
        "device": disk.device,
        "model": disk.model,
        "serial": disk.serial,
        "total_bytes": disk.total_bytes,
        "logical_sector_bytes": disk.logical_sector_bytes,
        "physical_sector_bytes": disk.physical_sector_bytes,
        "table": disk.table,
        "partitions": partitions.collect::<Vec<_>>(),
    })
}

fn volume_document(volume: &Volume) -> Value {
    let extents = volume.extents.iter().map(|extent| {
        json!({
            "disk": extent.disk,
            "offset": extent.range.start(),
            "bytes": extent.range.bytes(),
        })
    });
    json!({
        "name": volume.name,
        "mount_points": volume.mount_points,
        "file_system": volume.file_system,
        "label": volume.label,
        "total_bytes": volume.total_bytes,
        "free_bytes": volume.free_bytes,
        "extents": extents.collect::<Vec<_>>(),
    })
}

fn set_document(set: &ShadowSet) -> Value {
    json!({
        "id": set.id.to_string(),
        "frozen_at": set.frozen_at.to_string(),
        "volumes": set.volumes,
    })
}
