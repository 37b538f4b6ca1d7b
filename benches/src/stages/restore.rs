//! Fetching packs, opening seals, decompressing, comparing hashes, writing the disk.

use std::fs::File;

use anyhow::{Context as _, Result};
use blob::{BlobStore as _, FilesystemStore, NewLayout, PutOptions};
use kopia::cipher::{ContentCipher, EncryptionAlgorithm};
use kopia::compression::{CompressionAlgorithm, Compressor, decompress};
use local_file::{AlignedBuffer, UncachedFile};
use repo::{Encoder, Writer};
use time_and_chance::Chance;
use vhdx::{CreateOptions, ThinWriter, suggested_block_size_bytes};

use super::{CHUNK_BYTES, Feed, Meter};
use crate::small_repository;
use crate::table::Table;

/// How much one request fetches.
const REQUEST_BYTES: u64 = 4 << 20;
/// How much is written at once, as `restore` does.
const PIECE_BYTES: usize = 4 << 20;

pub(super) fn measure(meter: &Meter, feed: &Feed<'_>, table: &mut Table) -> Result<()> {
    fetch(meter, feed, table)?;
    open(meter, &feed.random, table)?;
    decompressors(meter, &feed.text, table)?;
    contents(meter, feed, table)?;
    thin_vhdx(meter, feed, table)
}

fn fetch(meter: &Meter, feed: &Feed<'_>, table: &mut Table) -> Result<()> {
    let path = feed.folder.join("packs");
    let store = FilesystemStore::create(&path, NewLayout::default(), Chance::from_system())?;
    let name = format!("p{:032x}", 1);
    store.put(&name, &[&feed.random], &PutOptions::default())?;
    let bytes = feed.random.len() as u64;
    meter.bytes(table, "fetch from a folder", "past the page cache", || {
        for offset in (0..bytes).step_by(REQUEST_BYTES as usize) {
            store.get_range(&name, offset, REQUEST_BYTES.min(bytes - offset))?;
        }
        Ok(bytes)
    })?;
    std::fs::remove_dir_all(&path).context("failed to remove what was measured")
}

fn open(meter: &Meter, data: &[u8], table: &mut Table) -> Result<()> {
    for algorithm in EncryptionAlgorithm::ALL {
        let cipher = ContentCipher::new(*algorithm, &[7; 32]);
        let sealed: Vec<Vec<u8>> = data
            .chunks_exact(CHUNK_BYTES)
            .map(|chunk| {
                let mut sealed = Vec::new();
                cipher.seal_into(&[1; 16], [2; 12], chunk, &mut sealed);
                sealed
            })
            .collect();
        let name = format!("open, {}", algorithm.name());
        meter.bytes(table, &name, "", || {
            for content in &sealed {
                cipher.open(&[1; 16], content)?;
            }
            Ok(data.len() as u64)
        })?;
    }
    Ok(())
}

fn decompressors(meter: &Meter, text: &[u8], table: &mut Table) -> Result<()> {
    let writable = CompressionAlgorithm::ALL
        .iter()
        .filter(|it| it.is_writable());
    for algorithm in writable {
        let mut compressor = Compressor::new(*algorithm);
        let mut compressed = Vec::new();
        for chunk in text.chunks_exact(CHUNK_BYTES) {
            let mut out = Vec::new();
            anyhow::ensure!(compressor.compress(chunk, &mut out)?, "text compresses");
            compressed.push(out);
        }
        let name = format!("decompress text, {}", algorithm.name());
        meter.bytes(table, &name, "", || {
            for content in &compressed {
                decompress(algorithm.header_id(), content, CHUNK_BYTES, CHUNK_BYTES)?;
            }
            Ok((compressed.len() * CHUNK_BYTES) as u64)
        })?;
    }
    Ok(())
}

/// All that the repository does to read a content, and to compare it with its hash.
fn contents(meter: &Meter, feed: &Feed<'_>, table: &mut Table) -> Result<()> {
    let repository = small_repository::in_memory(&feed.folder.join("cache-read"), &meter.clock)?;
    let writer = Writer::new(&repository, 2)?;
    let chunks: Vec<&[u8]> = feed.random.chunks_exact(CHUNK_BYTES).collect();
    let written = writer.write_contents(&mut Encoder::new(None), None, &chunks)?;
    writer.flush()?;
    repository.refresh()?;
    let ids: Vec<_> = written.iter().map(|written| written.id).collect();
    let bytes = (ids.len() * CHUNK_BYTES) as u64;
    let remark = "look up, fetch, open; the store is memory";
    meter.bytes(table, "read contents", remark, || {
        for group in ids.chunks(16) {
            repository.read_contents(group, &mut |_, _| Ok(()))?;
        }
        Ok(bytes)
    })?;
    meter.bytes(table, "verify contents", "the same, and hash", || {
        for id in &ids {
            repository.verify_content(id)?;
        }
        Ok(bytes)
    })
}

fn thin_vhdx(meter: &Meter, feed: &Feed<'_>, table: &mut Table) -> Result<()> {
    let path = feed.folder.join("thin.vhdx");
    let chance = Chance::from_seed(1);
    let virtual_size_bytes = feed.random.len() as u64;
    let options = CreateOptions {
        virtual_size_bytes,
        block_size_bytes: suggested_block_size_bytes(virtual_size_bytes),
        logical_sector_bytes: 512,
        physical_sector_bytes: 4096,
        virtual_disk_id: chance.uuid(),
        file_write_guid: chance.uuid(),
        data_write_guid: chance.uuid(),
    };
    let mut piece = AlignedBuffer::new(PIECE_BYTES);
    let remark = "past the page cache, synced";
    meter.bytes(table, "write a thin VHDX", remark, || {
        let file = File::create(&path).context("failed to create a VHDX")?;
        let writer = ThinWriter::create(UncachedFile::for_writing(file, &path), &options)?;
        for (bytes, offset) in feed
            .random
            .chunks(PIECE_BYTES)
            .zip((0..).step_by(PIECE_BYTES))
        {
            let piece = &mut piece[..bytes.len()];
            piece.copy_from_slice(bytes);
            writer.write_at(offset, piece)?;
        }
        writer.finish()?;
        Ok(virtual_size_bytes)
    })?;
    std::fs::remove_file(&path).context("failed to remove what was measured")
}
