//! What scattered writes cost with chunks of other sizes: bytes uploaded per byte changed.
//!
//! The increment is played through the repository's writer, chunk by chunk and list by list as
//! `image` writes them; with 256 KiB it comes to what the executable uploads.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use kopia::compression::CompressionAlgorithm;
use kopia::content_id::ContentId;
use kopia::indirect::IndirectEntry;
use kopia::object_id::ObjectId;
use repo::{Encoder, Repository, Writer};

use crate::options::Options;
use crate::site::CHANGED_ONE_IN;
use crate::small_repository;
use crate::table::{Table, mib};
use crate::test_image::{Mix, TestImage, scattered_places, scattered_write};

const KIB: u64 = 1 << 10;
/// What is uploaded is held in memory, so the image is no longer than this.
const IMAGE_BYTES_MAX: u64 = 1 << 30;

const COLUMNS: [&str; 5] = [
    "chunks",
    "uploaded per changed byte, no compression",
    "the same, zstd-fastest",
    "of it lists",
    "index of a dense TiB",
];

/// What an increment put into a repository.
struct Uploaded {
    changed_bytes: u64,
    data_bytes: u64,
    list_bytes: u64,
    contents: u64,
    index_bytes: u64,
}

/// Compares sizes of chunks.
pub fn measure(options: &Options, folder: &Path) -> Result<Table> {
    let image_bytes = options.image_bytes.min(IMAGE_BYTES_MAX);
    let image = TestImage::new(image_bytes, Mix::HALF_ZEROS, 1);
    let mut table = Table::new(
        format!(
            "Sizes of chunks: 1 % of an image of {} changed in places of 64 KiB",
            mib(image_bytes)
        ),
        &COLUMNS,
    );
    eprintln!("{}", table.heading);
    for chunk_bytes in options.chunk_bytes.iter().copied() {
        let of = |compression| {
            let folder = tempfile::tempdir_in(folder).context("failed to make a folder")?;
            let repository = small_repository::in_memory(folder.path(), &options.clock)?;
            increment(&repository, &image, chunk_bytes, compression)
        };
        let plain = of(None)?;
        let zstd = of(Some(CompressionAlgorithm::ZstdFastest))?;
        let per_changed =
            |bytes: u64, of: &Uploaded| format!("{:.1}", bytes as f64 / of.changed_bytes as f64);
        let records_per_tib = (1u64 << 40) / chunk_bytes;
        table.add(vec![
            format!("{} KiB", chunk_bytes / KIB),
            per_changed(plain.data_bytes + plain.list_bytes, &plain),
            per_changed(zstd.data_bytes + zstd.list_bytes, &zstd),
            per_changed(plain.list_bytes, &plain),
            mib(plain.index_bytes * records_per_tib / plain.contents.max(1)),
        ]);
    }
    Ok(table)
}

/// Writes what an increment over scattered writes would write.
fn increment(
    repository: &Arc<Repository>,
    image: &TestImage,
    chunk_bytes: u64,
    compression: Option<CompressionAlgorithm>,
) -> Result<Uploaded> {
    let writer = Writer::new(repository, 2)?;
    let (mut data, mut lists) = (Encoder::new(compression), Encoder::metadata());
    let places = scattered_places(image.virtual_bytes(), CHANGED_ONE_IN, 1);
    let index_before = index_bytes(repository)?;
    let mut uploaded = Uploaded {
        changed_bytes: 0,
        data_bytes: 0,
        list_bytes: 0,
        contents: 0,
        index_bytes: 0,
    };
    let mut chunks: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for place in places {
        let written = scattered_write(place, 1);
        uploaded.changed_bytes += written.len() as u64;
        let start = place / chunk_bytes * chunk_bytes;
        let chunk = chunks
            .entry(start)
            .or_insert_with(|| image.read(start, chunk_bytes));
        let within = (place - start) as usize;
        chunk[within..within + written.len()].copy_from_slice(&written);
    }
    let mut slots: BTreeMap<u64, Vec<(u64, ContentId)>> = BTreeMap::new();
    for (start, chunk) in &chunks {
        let written = writer.write_content(&mut data, None, chunk)?;
        uploaded.data_bytes += u64::from(written.packed_bytes);
        uploaded.contents += 1;
        let slot = slots.entry(start / image::SLOT_BYTES).or_default();
        slot.push((start % image::SLOT_BYTES / chunk_bytes, written.id));
    }
    for (number, changed) in slots {
        let entries = slot_entries(repository, number, &changed, chunk_bytes);
        let list = writer.write_list(&mut lists, entries.into_iter())?;
        uploaded.list_bytes += u64::from(list.packed_bytes);
        uploaded.contents += 1;
    }
    writer.flush()?;
    uploaded.index_bytes = index_bytes(repository)?.saturating_sub(index_before);
    Ok(uploaded)
}

/// Returns a slot's list; what did not change has some id of its own, as long as any other.
fn slot_entries(
    repository: &Repository,
    slot: u64,
    changed: &[(u64, ContentId)],
    chunk_bytes: u64,
) -> Vec<IndirectEntry> {
    let mut entries: Vec<IndirectEntry> = (0..image::SLOT_BYTES / chunk_bytes)
        .map(|number| IndirectEntry {
            start: number * chunk_bytes,
            bytes: chunk_bytes,
            object: ObjectId::direct(
                repository.content_id(None, format!("{slot} {number}").as_bytes()),
            ),
        })
        .collect();
    for (number, id) in changed {
        entries[*number as usize].object = ObjectId::direct(*id);
    }
    entries
}

/// Returns the length of all index blobs of epochs.
fn index_bytes(repository: &Repository) -> Result<u64> {
    let blobs = repository.store().list_all("xn")?;
    Ok(blobs.iter().map(|blob| blob.bytes).sum())
}
