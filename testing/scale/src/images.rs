//! What makes a large index worth maintaining: images whose lists name its contents, and packs.
//!
//! The lists are real. The packs have names, lengths and ages, and nothing but holes inside.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use kopia::directory::DirectoryEntry;
use kopia::indirect::IndirectEntry;
use kopia::object_id::ObjectId;
use kopia::snapshot::{SnapshotManifest, SnapshotSource, SnapshotStats};
use repo::{Encoder, Repository, Writer};
use snapshot::{Snapshots, TreeWriter};
use time_and_chance::Timestamp;

use crate::contents::Contents;

/// Chunks of a segment; 32 MiB of them if each has 256 KiB.
const SEGMENT_CHUNKS: usize = 128;

/// Adds `count` snapshots, which together name every content that is neither deleted nor a list.
pub fn add_images(repo: &Arc<Repository>, contents: &Contents, count: u64) -> Result<()> {
    let writer = Writer::new(repo, 2)?;
    let time = Timestamp::from_second(1_780_000_000)?;
    let all = contents.data_count();
    for image in 0..count {
        let numbers = all * image / count..all * (image + 1) / count;
        let objects = numbers
            .filter(|number| !contents.is_deleted(*number))
            .map(|number| ObjectId::direct(contents.id(number)));
        let (object, bytes) = write_image(&writer, objects, contents.chunk_bytes())?;
        let mut tree = TreeWriter::new(&writer, time);
        let disk = tree.stored_file("0-disk.vhdx", object, bytes);
        let root = tree.folder("", vec![disk])?;
        Snapshots::publish(&writer, &manifest(image, root, time))?;
    }
    writer.compact_manifests()?;
    writer.flush()?;
    Ok(())
}

fn write_image(
    writer: &Writer,
    objects: impl Iterator<Item = ObjectId>,
    chunk_bytes: u64,
) -> Result<(ObjectId, u64)> {
    let mut objects = objects.peekable();
    let mut segments = Vec::new();
    let mut start = 0;
    while objects.peek().is_some() {
        let chunks: Vec<IndirectEntry> = (0..)
            .zip(objects.by_ref().take(SEGMENT_CHUNKS))
            .map(|(place, object)| IndirectEntry {
                start: place * chunk_bytes,
                bytes: chunk_bytes,
                object,
            })
            .collect();
        let bytes = chunks.len() as u64 * chunk_bytes;
        let list = writer.write_list(&mut Encoder::metadata(), chunks.into_iter())?;
        segments.push(IndirectEntry {
            start,
            bytes,
            object: list.object,
        });
        start += bytes;
    }
    let list = writer.write_list(&mut Encoder::metadata(), segments.into_iter())?;
    Ok((list.object, start))
}

fn manifest(image: u64, root: DirectoryEntry, time: Timestamp) -> SnapshotManifest {
    SnapshotManifest {
        id: String::new(),
        source: SnapshotSource {
            host: "scale".to_owned(),
            user_name: "agent".to_owned(),
            path: format!("/images/{image}"),
        },
        description: String::new(),
        start_time: time,
        end_time: time,
        stats: SnapshotStats::default(),
        incomplete: String::new(),
        root_entry: Some(root),
        tags: BTreeMap::new(),
        storage_stats: None,
        pins: Vec::new(),
        other: BTreeMap::new(),
    }
}

/// Puts a pack as long as it should be, and as old as its contents, into the repository in `folder` for every one
/// that `contents` lie in.
pub fn add_packs(folder: &Path, contents: &Contents) -> Result<()> {
    let written = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_780_000_000);
    for pack in contents.packs() {
        let shard = folder.join(&pack[..1]).join(&pack[1..4]);
        let path = shard.join(format!("{}.f", &pack[4..]));
        let file = match File::create(&path) {
            Ok(file) => file,
            Err(_) => {
                fs::create_dir_all(&shard)?;
                File::create(&path).with_context(|| format!("make {}", path.display()))?
            }
        };
        file.set_len(20 << 20)?;
        file.set_modified(written)?;
    }
    Ok(())
}
