//! What damage begins from: blobs and contents that Kopia wrote, and plans of damage.

use std::collections::BTreeMap;

use kopia::blob_name::{self, BlobName};
use kopia::compression::{CompressionAlgorithm, Compressor};
use kopia::content_id::ContentId;
use kopia::object_id::ObjectId;
use kopia::record::ContentRecord;
use kopia::snapshot::SnapshotManifest;
use kopia_fixtures::Fixture;
use time_and_chance::Chance;

/// Repositories that between them hold everything; more would only derive more keys.
const FIXTURES: [&str; 4] = [
    "epochs-maintained",
    "format-v1",
    "indirect-two-level",
    "policies",
];
const SEED_BYTES_MAX: usize = 64 << 10;

type Records = BTreeMap<ContentId, ContentRecord>;

/// Gathers seeds from each repository.
fn gather(from: impl Fn(&Fixture, &Records) -> Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = FIXTURES
        .iter()
        .flat_map(|name| {
            let fixture = Fixture::named(name);
            from(&fixture, &fixture.records())
        })
        .filter(|seed| seed.len() <= SEED_BYTES_MAX)
        .collect();
    seeds.sort();
    seeds.dedup();
    assert!(!seeds.is_empty());
    seeds
}

pub(crate) fn indexes() -> Vec<Vec<u8>> {
    gather(|fixture, _| {
        let blobs = fixture.active_index_blobs();
        blobs.iter().map(|name| fixture.open_blob(name)).collect()
    })
}

pub(crate) fn packs() -> Vec<Vec<u8>> {
    const END_BYTES: usize = 4096;
    gather(|fixture, _| {
        let names = fixture.blob_names();
        let packs = names.iter().filter(|name| {
            matches!(
                BlobName::parse(name),
                BlobName::Pack { .. } | BlobName::MetadataPack { .. }
            )
        });
        let ends = packs.flat_map(|name| {
            let pack = fixture.blob(name);
            let end = pack.len().min(END_BYTES);
            [pack[..end].to_vec(), pack[pack.len() - end..].to_vec()]
        });
        ends.collect()
    })
}

/// Index blobs and contents as they are stored with error correction, after their overhead.
pub(crate) fn error_corrected() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for name in ["ecc-5", "ecc-20"] {
        let fixture = Fixture::named(name);
        let percent = fixture.format.ecc_overhead_percent as u8;
        let mut push = |stored: &[u8]| seeds.push([&[percent], stored].concat());
        for blob in fixture.active_index_blobs() {
            push(&fixture.blob(&blob));
        }
        for record in fixture.records().values() {
            let pack = fixture.blob(&record.pack_blob);
            push(&pack[record.pack_offset as usize..][..record.packed_bytes as usize]);
        }
    }
    seeds
}

pub(crate) fn format_blobs() -> Vec<Vec<u8>> {
    gather(|fixture, _| {
        vec![
            fixture.blob(blob_name::FORMAT_BLOB),
            serde_json::to_vec(&fixture.format).expect("a format has JSON"),
        ]
    })
}

fn contents_of_manifests(fixture: &Fixture, records: &Records) -> Vec<Vec<u8>> {
    let prefix = Some(kopia::content_id::prefix::MANIFEST);
    let records = records
        .values()
        .filter(|record| record.id.prefix() == prefix);
    records.map(|record| fixture.content(record)).collect()
}

pub(crate) fn manifests() -> Vec<Vec<u8>> {
    use std::io::Read;
    gather(|fixture, records| {
        let stored = contents_of_manifests(fixture, records);
        let plain = stored.iter().map(|gzip| {
            let mut json = Vec::new();
            flate2::read::MultiGzDecoder::new(&gzip[..])
                .read_to_end(&mut json)
                .expect("Kopia wrote it");
            json
        });
        plain.chain(stored.clone()).collect()
    })
}

pub(crate) fn policies() -> Vec<Vec<u8>> {
    gather(|fixture, records| {
        let manifests = fixture.manifests(records);
        let data = manifests.values().map(|entry| entry.data.get());
        data.map(|json| json.as_bytes().to_vec()).collect()
    })
}

pub(crate) fn directories() -> Vec<Vec<u8>> {
    gather(|fixture, records| {
        let manifests = fixture.manifests(records);
        let roots = manifests.values().filter_map(|entry| {
            let snapshot = SnapshotManifest::parse(entry.data.get()).ok()?;
            Some(snapshot.root_entry?.object)
        });
        let roots: Vec<ObjectId> = roots
            .filter(|root| records.contains_key(&root.content))
            .collect();
        roots
            .iter()
            .map(|root| fixture.object(records, root))
            .collect()
    })
}

pub(crate) fn lists() -> Vec<Vec<u8>> {
    gather(|fixture, records| {
        let prefix = Some(kopia::content_id::prefix::INDIRECT);
        let records = records
            .values()
            .filter(|record| record.id.prefix() == prefix);
        records.map(|record| fixture.content(record)).collect()
    })
}

pub(crate) fn names() -> Vec<Vec<u8>> {
    let mut ids = b"k0123456789abcdef0123456789abcdef\nIx0123456789abcdef0123456789abcdef\n\
        Z0123456789abcdef0123456789abcdef\n2026-01-02T03:04:05.678Z\nzstd-fastest\n"
        .to_vec();
    let blobs = gather(|fixture, _| vec![fixture.blob_names().join("\n").into_bytes()]);
    let mut seeds = blobs;
    ids.extend_from_slice(&seeds[0].clone());
    seeds.push(ids);
    seeds
}

pub(crate) fn compressed() -> Vec<Vec<u8>> {
    let text = b"what is compressed again and again and again ".repeat(40);
    let mut seeds = Vec::new();
    for id in 0..0x2000 {
        let Some(algorithm) = CompressionAlgorithm::from_header_id(id) else {
            continue;
        };
        let mut out = Vec::new();
        if algorithm.is_writable()
            && Compressor::new(algorithm)
                .compress(&text, &mut out)
                .is_ok_and(|done| done)
        {
            seeds.push(out);
        } else {
            // The name alone; the streams of other seeds are spliced behind it.
            seeds.push(id.to_be_bytes().to_vec());
        }
    }
    assert!(!seeds.is_empty());
    seeds
}

/// Plans of damage to a VHDX file: see [`vhdx::fuzzing::fuzz_one`].
pub(crate) fn vhdx_damage() -> Vec<Vec<u8>> {
    let chance = Chance::from_seed(1);
    let plan = || {
        let mut plan = vec![chance.next_u64() as u8];
        for _ in 0..=chance.below(4) {
            let length = 1 + chance.below(8);
            plan.push(chance.below(8) as u8);
            plan.extend(chance.bytes::<3>());
            plan.push(length as u8);
            let patch = match chance.below(3) {
                0 => [0; 8],
                1 => chance.below(16).to_le_bytes(),
                _ => chance.bytes::<8>(),
            };
            plan.extend(&patch[..length as usize]);
        }
        plan
    };
    (0..500).map(|_| plan()).collect()
}
