//! Repositories that Kopia wrote are read as Kopia reads them, and what we would write in their
//! place is the same bytes.

#![expect(clippy::unwrap_used, reason = "a panic here is the failure report")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kopia::blob_name::{self, BlobName};
use kopia::content_id::{ContentId, prefix};
use kopia::directory::{Directory, DirectoryEntry, DirectorySummary, EntryType};
use kopia::index::{CONTENT_OVERHEAD_BYTES, IndexReader, LOCAL_INDEX_SUFFIX_BYTES, write_index};
use kopia::indirect::{self, ListWriter};
use kopia::legacy_index::CompactionLog;
use kopia::maintenance::MaintenanceParameters;
use kopia::manifest::{ManifestContents, ManifestEntry};
use kopia::object_id::ObjectId;
use kopia::pack::{self, Postamble};
use kopia::policy::{Policy, PolicyTarget, global_policy};
use kopia::record::ContentRecord;
use kopia::retention::{self, Candidate};
use kopia::session::SessionMarker;
use kopia::snapshot::SnapshotManifest;
use kopia_fixtures::{Fixture, folders};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

type Records = BTreeMap<ContentId, ContentRecord>;

/// Objects longer than this are not read whole in these tests.
const OBJECT_BYTES_MAX: u64 = 1 << 20;

#[test]
fn every_fixture_is_read_as_kopia_reads_it() {
    let folders = folders();
    let (mine, yours) = folders.split_at(folders.len() / 2);
    std::thread::scope(|scope| {
        for half in [mine, yours] {
            scope.spawn(|| half.iter().for_each(|folder| check_fixture(folder)));
        }
    });
}

fn check_fixture(folder: &Path) {
    let fixture = Fixture::open(folder);
    let name = fixture.name.clone();
    eprintln!("fixture {name}");
    check_blob_names(&fixture);
    check_active_indexes(&fixture);
    let records = fixture.records();
    check_records(&fixture, &records);
    check_packs(&fixture);
    let manifests = fixture.manifests(&records);
    check_manifests(&fixture, &manifests);
    check_snapshots(&fixture, &records, &manifests);
    check_indirect_objects(&fixture, &records);
}

fn check_blob_names(fixture: &Fixture) {
    let names: BTreeSet<_> = fixture.blob_names().into_iter().collect();
    let expected: BTreeSet<_> = array(&fixture.expected["blobs"])
        .map(|blob| text(&blob["id"]).to_owned())
        .collect();
    assert_eq!(names, expected);
    for name in &names {
        assert_ne!(BlobName::parse(name), BlobName::Unknown, "{name}");
    }
}

fn check_active_indexes(fixture: &Fixture) {
    let active: BTreeSet<_> = fixture.active_index_blobs().into_iter().collect();
    let listed: BTreeSet<_> = array(&fixture.expected["index_blobs"])
        .map(|blob| text(&blob["id"]).to_owned())
        .collect();
    assert!(active.is_subset(&listed));
    if !fixture.uses_epochs() {
        assert_eq!(active, listed);
        return;
    }
    let state = fixture.epoch_state();
    let expected = &fixture.expected["epoch_state"];
    assert_eq!(json!(state.current), expected["writeEpoch"]);
    let watermark: Timestamp = text(&expected["deletionWatermark"]).parse().unwrap();
    assert_eq!(state.watermark_seconds, watermark.as_second().max(0));
    let blobs = |blobs: &Value| -> Vec<String> {
        array(blobs)
            .map(|blob| text(&blob["id"]).to_owned())
            .collect()
    };
    let singles: BTreeMap<u64, _> = expected["singleEpochCompactionSets"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(epoch, set)| (epoch.parse().unwrap(), blobs(set)))
        .collect();
    assert_eq!(state.single_epochs, singles);
    let ranges: Vec<_> = array(&expected["longestRangeCheckpointSets"])
        .map(|range| {
            let number = |member: &str| range[member].as_u64().unwrap();
            (number("min"), number("max"), blobs(&range["blobs"]))
        })
        .collect();
    let chain = state.range_chain.iter();
    let chain: Vec<_> = chain
        .map(|range| (range.first, range.last, range.blobs.clone()))
        .collect();
    assert_eq!(chain, ranges);
}

fn check_records(fixture: &Fixture, records: &Records) {
    let as_kopia_says = |record: &ContentRecord| {
        json!({
            "compression": format!("0x{:x}", record.compression_header_id),
            "deleted": record.deleted,
            "format_version": record.format_version,
            "id": record.id.to_string(),
            "original_length": record.original_bytes,
            "pack_blob": &*record.pack_blob,
            "pack_offset": record.pack_offset,
            "packed_length": record.packed_bytes,
            "time": record.timestamp_seconds,
        })
    };
    let mut expected: Vec<Value> = array(&fixture.expected["contents"]).cloned().collect();
    for content in &mut expected {
        content.as_object_mut().unwrap().remove("sha256").unwrap();
    }
    expected.sort_by_key(|content| text(&content["id"]).parse::<ContentId>().unwrap());
    let read: Vec<_> = records.values().map(as_kopia_says).collect();
    assert_eq!(read, expected);
    assert!(!read.is_empty());
}

/// Every pack ends in an index of itself, which agrees with how we would write it.
fn check_packs(fixture: &Fixture) {
    for name in fixture.blob_names() {
        let is_pack = matches!(
            BlobName::parse(&name),
            BlobName::Pack { .. } | BlobName::MetadataPack { .. }
        );
        if !is_pack {
            continue;
        }
        let blob = fixture.blob(&name);
        let tail = &blob[blob.len().saturating_sub(pack::POSTAMBLE_SEARCH_BYTES)..];
        let postamble = Postamble::find(tail).unwrap();
        let start = postamble.local_index_offset as usize;
        let end = start + postamble.local_index_bytes as usize;
        assert_eq!(end + postamble.encode().len(), blob.len());
        assert!(blob.ends_with(&postamble.encode()));
        let local = fixture.unseal(&postamble.local_index_iv, &blob[start..end]);
        let reader = IndexReader::parse(&local, CONTENT_OVERHEAD_BYTES).unwrap();
        let records: Vec<_> = reader.iter().map(Result::unwrap).collect();
        let version = u32::from(reader.header().version());
        let rewritten = write_index(version, &records).unwrap();
        assert_eq!(rewritten, local[..local.len() - LOCAL_INDEX_SUFFIX_BYTES]);

        // Tombstones of contents elsewhere are written along.
        let (own, elsewhere): (Vec<_>, Vec<_>) = records
            .into_iter()
            .partition(|record| *record.pack_blob == name);
        assert!(elsewhere.iter().all(|record| record.deleted));
        let contents_end = own
            .iter()
            .map(|record| record.pack_offset + record.packed_bytes)
            .max()
            .unwrap() as usize;
        assert_eq!(contents_end + pack::padding_bytes(contents_end), start);
        let first = own.iter().map(|record| record.pack_offset).min().unwrap() as usize;
        match pack::format_blob_at_head(&blob) {
            Some(format_blob) => {
                let replica = pack::encode_format_replica(format_blob).unwrap();
                assert!(blob.starts_with(&replica));
                assert_eq!(first, replica.len() + pack::PREAMBLE_BYTES);
            }
            None => assert_eq!(first, pack::PREAMBLE_BYTES),
        }
    }
}

fn check_manifests(fixture: &Fixture, manifests: &BTreeMap<String, ManifestEntry>) {
    let expected: BTreeMap<_, _> = array(&fixture.expected["manifests"])
        .map(|manifest| (text(&manifest["id"]).to_owned(), manifest))
        .collect();
    assert!(manifests.keys().eq(expected.keys()));
    for (id, manifest) in manifests {
        let expected = expected[id];
        assert_eq!(json!(manifest.labels), expected["labels"]);
        assert_eq!(json!(manifest.modified.to_string()), expected["modified"]);
        assert_eq!(json!(manifest.data.get().len()), expected["length"]);
        let data: Value = serde_json::from_str(manifest.data.get()).unwrap();
        if let Some(payload) = expected.get("payload") {
            assert_eq!(&data, payload);
        }
        match manifest.manifest_type().unwrap() {
            "snapshot" => {}
            "policy" => {
                let policy = Policy::parse(manifest.data.get()).unwrap();
                assert_eq!(policy.encode().get(), manifest.data.get());
                let target = PolicyTarget::from_labels(&manifest.labels).unwrap();
                policy.check(&target).unwrap();
            }
            "maintenance" => {
                let parameters = MaintenanceParameters::parse(manifest.data.get()).unwrap();
                let fresh = MaintenanceParameters::new(parameters.owner.clone());
                assert_eq!(fresh.encode().get(), manifest.data.get());
                assert_eq!(MaintenanceParameters::labels(), manifest.labels);
            }
            other => panic!("manifest of type {other}"),
        }
    }
}

fn check_snapshots(
    fixture: &Fixture,
    records: &Records,
    manifests: &BTreeMap<String, ManifestEntry>,
) {
    let mut checked = 0;
    for expected in array(&fixture.expected["snapshots"]) {
        let id = text(&expected["manifest_id"]);
        let manifest = &manifests[id];
        let snapshot = SnapshotManifest::parse(manifest.data.get()).unwrap();
        assert_eq!(
            json!(snapshot.start_time.to_string()),
            expected["start_time"]
        );
        assert_eq!(json!(snapshot.end_time.to_string()), expected["end_time"]);
        assert_eq!(json!(snapshot.source), expected["source"]);
        assert_eq!(json!(snapshot.incomplete), expected["incomplete"]);
        let published = snapshot
            .to_manifest(manifest.id.clone(), manifest.modified)
            .unwrap();
        assert_eq!(&published, manifest);
        let root = snapshot.root_entry.as_ref().unwrap();
        assert_eq!(json!(root.object), expected["root_object_id"]);
        if let Some(entries) = expected.get("entries") {
            let mut tree = Tree {
                fixture,
                records,
                expected: array(entries)
                    .map(|entry| (text(&entry["path"]), entry))
                    .collect(),
            };
            tree.check("", root);
            assert!(tree.expected.is_empty(), "{:?}", tree.expected.keys());
        }
        checked += 1;
    }
    let snapshots = manifests
        .values()
        .filter(|manifest| manifest.manifest_type() == Some("snapshot"));
    assert_eq!(checked, snapshots.count());
}

/// A snapshot's entries, of which those that were found are taken out.
struct Tree<'f> {
    fixture: &'f Fixture,
    records: &'f Records,
    expected: BTreeMap<&'f str, &'f Value>,
}

impl Tree<'_> {
    fn check(&mut self, path: &str, entry: &DirectoryEntry) {
        let expected = self.expected.remove(path).unwrap();
        let entry_type = match entry.entry_type {
            EntryType::File => "f",
            EntryType::Directory => "d",
            EntryType::Symlink => "s",
            EntryType::Other(_) => "?",
        };
        assert_eq!(entry_type, text(&expected["type"]), "{path}");
        assert_eq!(entry.mode, posix(text(&expected["mode"])), "{path}");
        assert_eq!(json!(entry.mtime.to_string()), expected["mtime"], "{path}");
        assert_eq!(json!(entry.uid), expected["uid"]);
        assert_eq!(json!(entry.gid), expected["gid"]);
        assert_eq!(json!(entry.object), expected["object_id"], "{path}");
        assert!(entry.other.is_empty(), "{:?}", entry.other);
        if entry.entry_type != EntryType::Directory {
            assert_eq!(
                json!(entry.size),
                json!(expected["size"].as_u64().unwrap_or(0))
            );
        }
        if entry.size <= OBJECT_BYTES_MAX {
            let bytes = self.fixture.object(self.records, &entry.object);
            assert_eq!(
                hex::encode(Sha256::digest(&bytes)),
                text(&expected["sha256"])
            );
            if entry.entry_type == EntryType::Directory {
                assert_eq!(json!(entry.summary), expected["summary"]);
                self.check_directory(path, entry, &bytes);
            }
        }
    }

    fn check_directory(&mut self, path: &str, entry: &DirectoryEntry, json: &[u8]) {
        let mut directory = Directory::parse(json).unwrap();
        assert_eq!(directory.summary, entry.summary);
        let stored = directory.summary.as_ref().unwrap();
        let computed = DirectorySummary {
            incomplete: stored.incomplete.clone(),
            ..DirectorySummary::of(&directory.entries, entry.mtime)
        };
        assert_eq!(&computed, stored, "{path}");
        directory.entries.reverse();
        let encoded = directory.encode().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&encoded),
            String::from_utf8_lossy(json)
        );
        for child in &directory.entries {
            let below = match path {
                "" => child.name.clone(),
                _ => format!("{path}/{}", child.name),
            };
            self.check(&below, child);
        }
    }
}

/// Converts Go's mode bits, as the fixtures have them.
fn posix(go: &str) -> u32 {
    let go = u32::from_str_radix(go, 8).unwrap();
    let bit = |go_bit: u32, posix_bit: u32| if go >> go_bit & 1 == 1 { posix_bit } else { 0 };
    go & 0o777 | bit(23, 0o4000) | bit(22, 0o2000) | bit(20, 0o1000)
}

fn check_indirect_objects(fixture: &Fixture, records: &Records) {
    for expected in array(&fixture.expected["indirect_objects"]) {
        let id: ObjectId = text(&expected["object_id"]).parse().unwrap();
        assert_eq!(json!(id), expected["object_id"]);
        let json = fixture.object(records, &id.list_of().unwrap());
        let entries = indirect::parse(&json).unwrap();
        assert_eq!(json!(entries.len()), expected["entry_count"]);
        let mut lines = String::new();
        for entry in &entries {
            lines += &format!("{} {} {}\n", entry.start, entry.bytes, entry.object);
        }
        if let Some(digest) = expected.get("entries_sha256") {
            assert_eq!(hex::encode(Sha256::digest(&lines)), text(digest));
        } else {
            let mut expected_lines = String::new();
            for entry in array(&expected["entries"]) {
                let number = |member: &str| entry[member].as_u64().unwrap_or(0);
                let line = format!("{} {} {}\n", number("s"), number("l"), text(&entry["o"]));
                expected_lines += &line;
            }
            assert_eq!(lines, expected_lines);
        }
        let mut rewritten = Vec::new();
        let mut writer = ListWriter::begin(&mut rewritten);
        for entry in &entries {
            writer.entry(&mut rewritten, entry).unwrap();
        }
        writer.end(&mut rewritten).unwrap();
        assert_eq!(rewritten, json);
    }
}

#[test]
fn the_default_policy_is_the_one_kopia_stores() {
    let fixture = Fixture::named("default");
    let manifests = fixture.manifests(&fixture.records());
    let global = manifests
        .values()
        .find(|manifest| manifest.labels == PolicyTarget::global().labels())
        .unwrap();
    assert_eq!(global.data.get(), global_policy("none").get());
}

/// Returns what applies to the source of a fixture's first snapshot.
fn effective_policy(manifests: &BTreeMap<String, ManifestEntry>) -> Policy {
    let snapshot = manifests
        .values()
        .find(|manifest| manifest.manifest_type() == Some("snapshot"))
        .unwrap();
    let source = SnapshotManifest::parse(snapshot.data.get()).unwrap().source;
    let chain: Vec<_> = PolicyTarget::source(&source)
        .chain()
        .iter()
        .filter_map(|target| {
            let labels = target.labels();
            let manifest = manifests.values().find(|m| m.labels == labels)?;
            Some(Policy::parse(manifest.data.get()).unwrap())
        })
        .collect();
    assert!(!chain.is_empty());
    Policy::merge(&chain)
}

#[test]
fn policies_merge_as_kopia_merges_them() {
    for name in ["policies", "ignore-rules"] {
        let fixture = Fixture::named(name);
        let manifests = fixture.manifests(&fixture.records());
        let merged = effective_policy(&manifests);
        let merged: Value = serde_json::from_str(merged.encode().get()).unwrap();
        assert_eq!(merged, fixture.expected["effective_policy"], "{name}");
    }
}

#[test]
fn snapshots_are_kept_for_the_reasons_that_kopia_gives() {
    let fixture = Fixture::named("retention");
    let policy = effective_policy(&fixture.manifests(&fixture.records()));
    for list in ["retention_before", "retention_after"] {
        let listed: Vec<&Value> = array(&fixture.expected[list]).collect();
        let candidates: Vec<Candidate> = listed
            .iter()
            .map(|snapshot| {
                let start = text(&snapshot["start_time"]).parse().unwrap();
                Candidate {
                    start,
                    end: start,
                    complete: true,
                }
            })
            .collect();
        let verdicts = retention::verdicts(&policy.retention, &candidates, &TimeZone::UTC);
        let mut gone = 0;
        for (snapshot, verdict) in listed.iter().zip(&verdicts) {
            let expected: Vec<&str> = array(&snapshot["retention_reasons"]).map(text).collect();
            assert_eq!(verdict.reasons(), expected, "{list} {snapshot}");
            gone += usize::from(!verdict.is_kept() && snapshot["pins"].is_null());
        }
        let expired = if list == "retention_before" { 25 } else { 0 };
        assert_eq!(gone, expired, "{list}");
    }
}

#[test]
fn no_damage_to_kopias_bytes_makes_a_parser_panic() {
    let fixture = Fixture::named("splitter-fixed-1m");
    let records = fixture.records();
    let content = |prefix| {
        let record = records
            .values()
            .find(|record| record.id.prefix() == Some(prefix));
        fixture.content(record.unwrap())
    };
    let legacy = Fixture::named("format-v1");
    let index_v1 = legacy.open_blob(&legacy.active_index_blobs()[0]);
    let index_v2 = fixture.open_blob(&fixture.active_index_blobs()[0]);
    let manifests = fixture.manifests(&records);
    let mut samples = vec![
        index_v1,
        index_v2,
        content(prefix::DIRECTORY),
        content(prefix::INDIRECT),
        content(prefix::MANIFEST),
    ];
    samples.extend(manifests.values().map(|m| m.data.get().as_bytes().to_vec()));
    samples.extend(fixture.blob_names().into_iter().map(String::into_bytes));
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    for sample in &samples {
        for _ in 0..300 {
            let mut damaged = sample.clone();
            for _ in 0..=draw(3) {
                let at = draw(damaged.len());
                damaged[at] = draw(256) as u8;
            }
            if draw(4) == 0 {
                damaged.truncate(draw(damaged.len()));
            }
            parse_as_everything(&damaged);
        }
    }
}

fn parse_as_everything(bytes: &[u8]) {
    if let Ok(reader) = IndexReader::parse(bytes, CONTENT_OVERHEAD_BYTES) {
        let _ = reader.validate_order();
        for record in reader.iter().flatten() {
            let _ = reader.find(&record.id);
        }
    }
    let _ = Directory::parse(bytes).map(|directory| directory.encode());
    let _ = indirect::parse(bytes);
    let _ = ManifestContents::parse(bytes);
    let _ = CompactionLog::parse(bytes);
    let _ = SessionMarker::parse(bytes);
    let _ = Postamble::find(bytes);
    let _ = pack::format_blob_at_head(bytes);
    let _ = pack::format_blob_at_tail(bytes);
    let text = String::from_utf8_lossy(bytes);
    let _ = SnapshotManifest::parse(&text).map(|snapshot| snapshot.check());
    let _ = Policy::parse(&text).map(|policy| policy.check(&PolicyTarget::global()));
    let _ = MaintenanceParameters::parse(&text);
    let _ = text.parse::<ObjectId>();
    let _ = BlobName::parse(&text);
    let _ = blob_name::blob_crypto_iv(&text);
    let _ = kopia::epoch::active_index_blobs(&[&*text]);
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
