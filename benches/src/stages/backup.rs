//! Reading the frozen disk, hashing, compressing, sealing, storing.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result};
use blob::{BlobStore as _, FilesystemStore, NewLayout, PutOptions};
use hyperv::sim::{SimDisk, SimHost, SimOptions, SimVm};
use hyperv::{HypervHost as _, RequestedConsistency};
use kopia::cipher::{ContentCipher, EncryptionAlgorithm};
use kopia::compression::{CompressionAlgorithm, Compressor};
use kopia::hash::{ContentHasher, HashAlgorithm};
use local_file::AlignedBuffer;
use repo::{Encoder, Writer};
use time_and_chance::{Chance, StopSignal, SystemClock};

use super::{CHUNK_BYTES, Feed, Meter};
use crate::small_repository;
use crate::table::Table;

/// How much is read at once, as `image` does.
const READ_BYTES: usize = 4 << 20;
/// The length of a full pack.
const PACK_BYTES: usize = 20 << 20;

pub(super) fn measure(meter: &Meter, feed: &Feed<'_>, table: &mut Table) -> Result<()> {
    frozen_disk(meter, feed, table)?;
    zeros(meter, feed, table)?;
    hashes(meter, &feed.random, table)?;
    compressors(meter, feed, table)?;
    ciphers(meter, &feed.random, table)?;
    writer(meter, feed, table)?;
    folder(meter, feed, table)
}

fn frozen_disk(meter: &Meter, feed: &Feed<'_>, table: &mut Table) -> Result<()> {
    let (folder, vhdx) = (feed.folder.join("host"), feed.folder.join("dense.vhdx"));
    feed.dense.write_vhdx(&vhdx)?;
    let (clock, chance) = (SystemClock::new(), Chance::from_seed(1));
    let host = SimHost::create(&folder, SimOptions::default(), clock, chance)?;
    let vm = host.add_vm(&SimVm::new("vm", vec![SimDisk::copy_of(&vhdx)]))?;
    let crash = RequestedConsistency::Crash;
    let checkpoint = host.create_recovery_checkpoint(vm, crash, "bench", &StopSignal::new())?;
    let disks = host.frozen_disks(vm, checkpoint)?;
    let disk = host.open_frozen_disk(vm, checkpoint, disks.first().context("a VM has a disk")?)?;
    let mut buffer = AlignedBuffer::new(READ_BYTES);
    meter.bytes(table, "read the frozen disk", "simulated host", || {
        let mut offset = 0;
        while offset < disk.size_bytes() {
            let take = (disk.size_bytes() - offset).min(READ_BYTES as u64);
            disk.read_at(offset, &mut buffer[..take as usize])?;
            offset += take;
        }
        Ok(offset)
    })
}

fn zeros(meter: &Meter, feed: &Feed<'_>, table: &mut Table) -> Result<()> {
    let zeros = vec![0; feed.random.len()];
    meter.bytes(table, "detect zeros", "in what is zeros", || {
        let found = zeros
            .chunks(CHUNK_BYTES)
            .filter(|chunk| disk::is_zero(chunk));
        anyhow::ensure!(
            found.count() == zeros.chunks(CHUNK_BYTES).count(),
            "zeros are told apart from zeros"
        );
        Ok(zeros.len() as u64)
    })
}

fn hashes(meter: &Meter, data: &[u8], table: &mut Table) -> Result<()> {
    let chunks: Vec<&[u8]> = data.chunks_exact(CHUNK_BYTES).collect();
    for algorithm in HashAlgorithm::ALL {
        let hasher = ContentHasher::new(*algorithm, &[7; 32]);
        let mut hashes = Vec::new();
        for lanes in [1, 4] {
            let name = format!("hash, {}, {lanes} at once", algorithm.name());
            let is_default = *algorithm == HashAlgorithm::Blake2b256_128;
            let remark = if is_default { "stock Kopia 679 MB" } else { "" };
            meter.bytes(table, &name, remark, || {
                for group in chunks.chunks(lanes) {
                    hashes.clear();
                    hasher.hash_many(group, &mut hashes);
                }
                Ok(data.len() as u64)
            })?;
        }
    }
    Ok(())
}

fn compressors(meter: &Meter, feed: &Feed<'_>, table: &mut Table) -> Result<()> {
    let writable = CompressionAlgorithm::ALL
        .iter()
        .filter(|it| it.is_writable());
    for algorithm in writable {
        let mut compressor = Compressor::new(*algorithm);
        let mut out = Vec::new();
        let mut compress = |data: &[u8]| -> Result<u64> {
            let mut packed = 0;
            for chunk in data.chunks_exact(CHUNK_BYTES) {
                out.clear();
                packed += match compressor.compress(chunk, &mut out)? {
                    true => out.len(),
                    false => chunk.len(),
                };
            }
            Ok(packed as u64)
        };
        let share = compress(&feed.text)? * 100 / feed.text.len().max(1) as u64;
        let is_default = *algorithm == CompressionAlgorithm::ZstdFastest;
        let stock = if is_default {
            "; stock Kopia 137 MB"
        } else {
            ""
        };
        let name = format!("compress text, {}", algorithm.name());
        meter.bytes(table, &name, &format!("to {share} %{stock}"), || {
            compress(&feed.text)?;
            Ok(feed.text.len() as u64)
        })?;
        if is_default {
            let name = format!("compress random bytes, {}", algorithm.name());
            meter.bytes(table, &name, "given up after a sample", || {
                compress(&feed.random)?;
                Ok(feed.random.len() as u64)
            })?;
        }
    }
    Ok(())
}

fn ciphers(meter: &Meter, data: &[u8], table: &mut Table) -> Result<()> {
    for algorithm in EncryptionAlgorithm::ALL {
        let cipher = ContentCipher::new(*algorithm, &[7; 32]);
        let mut sealed = Vec::new();
        let is_default = *algorithm == EncryptionAlgorithm::Aes256Gcm;
        let remark = if is_default {
            "stock Kopia 1,800 MB"
        } else {
            ""
        };
        let name = format!("seal, {}", algorithm.name());
        meter.bytes(table, &name, remark, || {
            for chunk in data.chunks_exact(CHUNK_BYTES) {
                sealed.clear();
                cipher.seal_into(&[1; 16], [2; 12], chunk, &mut sealed);
            }
            Ok(data.len() as u64)
        })?;
    }
    Ok(())
}

/// All that the repository's writer does with chunks, and what it does with those it knows.
fn writer(meter: &Meter, feed: &Feed<'_>, table: &mut Table) -> Result<()> {
    let chunks_at_once = READ_BYTES / CHUNK_BYTES;
    let mut write = |name: &str, remark: &str, known: bool| -> Result<()> {
        let folder = feed.folder.join(format!("cache-{known}"));
        let repository = small_repository::in_memory(&folder, &meter.clock)?;
        let writer = Writer::new(&repository, 2)?;
        let mut encoder = Encoder::new(None);
        let mut data = feed.random.clone();
        let mut round = 0u64;
        meter.bytes(table, name, remark, || {
            round += 1;
            for chunk in data.chunks_exact_mut(CHUNK_BYTES) {
                let mark = if known { 0 } else { round };
                chunk[..8].copy_from_slice(&mark.to_le_bytes());
            }
            let chunks: Vec<&[u8]> = data.chunks_exact(CHUNK_BYTES).collect();
            for group in chunks.chunks(chunks_at_once) {
                writer.write_contents(&mut encoder, None, group)?;
            }
            Ok(data.len() as u64)
        })?;
        writer.flush()?;
        Ok(())
    };
    let new = "hash, look up, seal, pack; the store is memory";
    write("write new chunks", new, false)?;
    write("write known chunks", "hash, look up", true)
}

fn folder(meter: &Meter, feed: &Feed<'_>, table: &mut Table) -> Result<()> {
    let path = feed.folder.join("store");
    let store = FilesystemStore::create(&path, NewLayout::default(), Chance::from_system())?;
    let chance = Chance::from_system();
    let packs: Vec<&[u8]> = feed.random.chunks(PACK_BYTES).collect();
    meter.bytes(
        table,
        "put packs into a folder",
        "past the page cache, synced",
        || {
            for pack in &packs {
                let name = format!("p{:032x}", u128::from_le_bytes(chance.bytes()));
                store.put(&name, &[pack], &PutOptions::default())?;
            }
            Ok(feed.random.len() as u64)
        },
    )?;
    plain_file(meter, feed, table)?;
    std::fs::remove_dir_all(&path).context("failed to remove what was measured")
}

/// The same bytes in a plain file, as any program would write them.
fn plain_file(meter: &Meter, feed: &Feed<'_>, table: &mut Table) -> Result<()> {
    let path = feed.folder.join("plain");
    let write = |path: &Path| -> std::io::Result<()> {
        let file = File::create(path)?;
        std::io::Write::write_all(&mut &file, &feed.random)?;
        file.sync_all()
    };
    let name = "write a plain file";
    meter.bytes(
        table,
        name,
        "through the page cache, synced; for comparison",
        || {
            write(&path).context("failed to write a file")?;
            Ok(feed.random.len() as u64)
        },
    )
}
