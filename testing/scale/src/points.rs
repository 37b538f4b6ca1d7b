//! Snapshots of any number: points of VMs and snapshots of folders, with real trees below them.
//!
//! Their manifests lie as Kopia leaves them: nearly all in one compacted content, in no order, and
//! the latest ones each in its own. An image is a nested list of which each point rewrites one
//! segment; a folder's subfolders stay the same from one snapshot to the next, but for one.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use hyperv::{CheckpointId, Consistency, Controller, Generation, VmId};
use kopia::directory::DirectoryEntry;
use kopia::indirect::IndirectEntry;
use kopia::manifest::ManifestEntry;
use kopia::object_id::ObjectId;
use kopia::snapshot::{SnapshotManifest, SnapshotSource, SnapshotStats};
use point::{
    BackupType, CONFIGURATION_FOLDER, DESCRIPTOR_NAME, DESCRIPTOR_VERSION, DISKS_FOLDER,
    DiskDescriptor, VmDescriptor,
};
use repo::{Encoder, Repository, Writer};
use snapshot::TreeWriter;
use time_and_chance::{Chance, SignedDuration, Timestamp};

/// When the first point was made.
const FIRST_SECOND: i64 = 1_600_000_000;
/// The points of one source lie so far apart.
const INTERVAL: SignedDuration = SignedDuration::from_hours(1);
/// One source in so many is a folder; the others are VMs.
const FOLDERS_ONE_IN: u64 = 4;
/// So many of the latest manifests lie in contents of their own.
const UNCOMPACTED: usize = 12;
/// Segments of an image.
const SEGMENTS: u64 = 8;
/// Chunks of a segment.
const CHUNKS: u64 = 8;
/// How long a chunk is.
const CHUNK_BYTES: usize = 512;
/// Folders in a folder.
const SUBFOLDERS: u64 = 6;

/// Adds `count` snapshots of `sources` sources to a repository; returns their ids, oldest first.
pub fn add_points(repo: &Arc<Repository>, count: u64, sources: u64) -> Result<Vec<String>> {
    let writer = Writer::new(repo, 2)?;
    let chance = Chance::from_seed(count ^ sources << 32);
    let mut all: Vec<Source> = (0..sources.min(count))
        .map(|number| Source::new(&writer, number, &chance))
        .collect::<Result<_>>()?;
    let mut entries: Vec<ManifestEntry> = Vec::new();
    for number in 0..count {
        let (source, round) = (number % sources, number / sources);
        let time = Timestamp::from_second(FIRST_SECOND)?
            + INTERVAL * i32::try_from(round)?
            + SignedDuration::from_secs(i64::try_from(source)?);
        let manifest = all[usize::try_from(source)?].snapshot(&writer, round, time, &chance)?;
        let id = ManifestEntry::new_id(chance.bytes());
        entries.push(manifest.to_manifest(id, time)?);
    }
    let ids = entries.iter().map(|entry| entry.id.clone()).collect();
    let uncompacted = entries.split_off(entries.len().saturating_sub(UNCOMPACTED));
    // Kopia writes what it compacts in the order of a hash map.
    entries.sort_by(|a, b| a.id.cmp(&b.id));
    if !entries.is_empty() {
        writer.write_manifests(entries)?;
    }
    for entry in uncompacted {
        writer.write_manifests(vec![entry])?;
    }
    writer.flush()?;
    Ok(ids)
}

/// Something that is backed up again and again.
enum Source {
    Vm {
        guid: VmId,
        name: String,
        disk: uuid::Uuid,
        segments: Vec<IndirectEntry>,
    },
    Folder {
        number: u64,
        subfolders: Vec<DirectoryEntry>,
    },
}

impl Source {
    fn new(writer: &Writer, number: u64, chance: &Chance) -> Result<Self> {
        if number % FOLDERS_ONE_IN == FOLDERS_ONE_IN - 1 {
            let time = Timestamp::from_second(FIRST_SECOND)?;
            let subfolders = (0..SUBFOLDERS)
                .map(|place| subfolder(writer, place, time, chance))
                .collect::<Result<_>>()?;
            return Ok(Self::Folder { number, subfolders });
        }
        Ok(Self::Vm {
            guid: VmId(chance.uuid()),
            name: format!("vm-{number:04}"),
            disk: chance.uuid(),
            segments: (0..SEGMENTS)
                .map(|place| segment(writer, place, chance))
                .collect::<Result<_>>()?,
        })
    }

    /// Stores what the next snapshot names, and returns its manifest.
    fn snapshot(
        &mut self,
        writer: &Writer,
        round: u64,
        time: Timestamp,
        chance: &Chance,
    ) -> Result<SnapshotManifest> {
        let mut tree = TreeWriter::new(writer, time);
        let (source, description, root, tags) = match self {
            Self::Folder { number, subfolders } => {
                let place = round % SUBFOLDERS;
                subfolders[usize::try_from(place)?] = subfolder(writer, place, time, chance)?;
                let root = tree.folder("", subfolders.clone())?;
                let source = SnapshotSource {
                    host: format!("server-{}", *number % 16),
                    user_name: "root".to_owned(),
                    path: format!("/srv/share/{number}"),
                };
                (source, String::new(), root, BTreeMap::new())
            }
            Self::Vm {
                guid,
                name,
                disk,
                segments,
            } => {
                let place = round % SEGMENTS;
                segments[usize::try_from(place)?] = segment(writer, place, chance)?;
                let list = writer
                    .write_list(&mut Encoder::metadata(), segments.clone().into_iter())?
                    .object;
                let bytes = SEGMENTS * CHUNKS * CHUNK_BYTES as u64;
                let is_full = round == 0;
                let vm = descriptor(*guid, name, *disk, is_full, time, chance);
                let file = &vm.disks[0].file;
                let disks = vec![tree.stored_file(file, list, bytes)];
                let json = serde_json::to_vec_pretty(&vm)?;
                let entries = vec![
                    tree.folder(CONFIGURATION_FOLDER, Vec::new())?,
                    tree.folder(DISKS_FOLDER, disks)?,
                    tree.file(DESCRIPTOR_NAME, &json)?,
                ];
                let root = tree.folder("", entries)?;
                let source = SnapshotSource {
                    host: "scale".to_owned(),
                    user_name: "agent".to_owned(),
                    path: format!("hyperv/{guid}"),
                };
                let description = format!("{name} ({})", vm.backup_type().as_str());
                (source, description, root, tags(&vm))
            }
        };
        Ok(SnapshotManifest {
            id: String::new(),
            source,
            description,
            start_time: time,
            end_time: time + SignedDuration::from_secs(90),
            stats: stats(&root),
            incomplete: String::new(),
            root_entry: Some(root),
            tags,
            storage_stats: None,
            pins: Vec::new(),
            other: BTreeMap::new(),
        })
    }
}

fn stats(root: &DirectoryEntry) -> SnapshotStats {
    let summary = root.summary.as_ref();
    let count = |count: Option<u64>| count.and_then(|count| i64::try_from(count).ok());
    SnapshotStats {
        total_size: count(summary.map(|it| it.size)).unwrap_or(0),
        file_count: count(summary.map(|it| it.files)).unwrap_or(0),
        dir_count: count(summary.map(|it| it.dirs)).unwrap_or(0),
        ..SnapshotStats::default()
    }
}

fn chunk(writer: &Writer, chance: &Chance) -> Result<ObjectId> {
    let bytes: [u8; CHUNK_BYTES] = chance.bytes();
    Ok(writer.write_object(&mut Encoder::new(None), None, &bytes, CHUNK_BYTES)?)
}

/// Stores one segment of an image.
fn segment(writer: &Writer, place: u64, chance: &Chance) -> Result<IndirectEntry> {
    let chunks = (0..CHUNKS)
        .map(|number| {
            Ok(IndirectEntry {
                start: number * CHUNK_BYTES as u64,
                bytes: CHUNK_BYTES as u64,
                object: chunk(writer, chance)?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let list = writer.write_list(&mut Encoder::metadata(), chunks.into_iter())?;
    let bytes = CHUNKS * CHUNK_BYTES as u64;
    Ok(IndirectEntry {
        start: place * bytes,
        bytes,
        object: list.object,
    })
}

/// Stores a folder of a few small files.
fn subfolder(
    writer: &Writer,
    place: u64,
    time: Timestamp,
    chance: &Chance,
) -> Result<DirectoryEntry> {
    let mut tree = TreeWriter::new(writer, time);
    let files = (0..3)
        .map(|number| Ok(tree.file(&format!("file-{number}.txt"), &chance.bytes::<64>())?))
        .collect::<Result<_>>()?;
    Ok(tree.folder(&format!("folder-{place}"), files)?)
}

fn descriptor(
    guid: VmId,
    name: &str,
    disk: uuid::Uuid,
    is_full: bool,
    time: Timestamp,
    chance: &Chance,
) -> VmDescriptor {
    VmDescriptor {
        descriptor_version: DESCRIPTOR_VERSION,
        point: chance.uuid(),
        run: chance.uuid(),
        name: name.to_owned(),
        guid,
        generation: Generation::Two,
        version: "10.0".to_owned(),
        firmware: "UEFI".to_owned(),
        processors: 2,
        memory_bytes: 4 << 30,
        network_adapters: Vec::new(),
        checkpoint: CheckpointId(chance.uuid()),
        frozen_at: time,
        consistency: Consistency::Application,
        consistency_reason: "the guest's writers took part".to_owned(),
        disks: vec![DiskDescriptor {
            number: 0,
            file: "0-system.vhdx".to_owned(),
            virtual_disk_id: disk,
            virtual_bytes: 64 << 30,
            logical_sector_bytes: 512,
            physical_sector_bytes: 4096,
            source_block_bytes: 32 << 20,
            controller: Controller::Scsi,
            controller_number: 0,
            location: 0,
            original_path: format!("C:\\VMs\\{name}\\system.vhdx"),
            change_id: Some(chance.uuid().to_string()),
            backup_type: match is_full {
                true => BackupType::Full,
                false => BackupType::Incremental,
            },
            full_reason: is_full.then(|| "there is no base yet".to_owned()),
            read_bytes: 1 << 20,
            sample_bytes: 0,
            changed_bytes: 1 << 20,
            uploaded_bytes: 1 << 20,
            chunk_bytes: 256 << 10,
        }],
        omitted_disks: Vec::new(),
    }
}

/// The tags that points of VMs carry.
fn tags(vm: &VmDescriptor) -> BTreeMap<String, String> {
    [
        ("engine", "hyperv".to_owned()),
        ("vm-guid", vm.guid.to_string()),
        ("vm-name", vm.name.clone()),
        ("point", vm.point.to_string()),
        ("run", vm.run.to_string()),
        ("backup-type", vm.backup_type().as_str().to_owned()),
        ("consistency", vm.consistency.as_str().to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (format!("tag:{key}"), value))
    .collect()
}
