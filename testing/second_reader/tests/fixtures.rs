//! Repositories written by Kopia itself: read completely, compared with what Kopia says is in them, and found clean.

#![expect(
    clippy::unwrap_used,
    reason = "a panic is the failure report, in these tests' own functions too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use second_reader::{Entry, SecondReader};
use serde_json::Value;
use sha2::{Digest, Sha256};

const PASSWORD: &str = "fixture-password";

macro_rules! fixtures {
    ($($test:ident $folder:literal,)*) => {
        const LISTED: &[&str] = &[$($folder),*];
        $(
            #[test]
            fn $test() {
                check($folder);
            }
        )*
    };
}

fixtures! {
    compression_deflate_best_compression "compression-deflate-best-compression",
    compression_deflate_best_speed "compression-deflate-best-speed",
    compression_deflate_default "compression-deflate-default",
    compression_gzip "compression-gzip",
    compression_gzip_best_compression "compression-gzip-best-compression",
    compression_gzip_best_speed "compression-gzip-best-speed",
    compression_lz4 "compression-lz4",
    compression_none "compression-none",
    compression_pgzip "compression-pgzip",
    compression_pgzip_best_compression "compression-pgzip-best-compression",
    compression_pgzip_best_speed "compression-pgzip-best-speed",
    compression_rules "compression-rules",
    compression_s2_better "compression-s2-better",
    compression_s2_default "compression-s2-default",
    compression_s2_parallel_4 "compression-s2-parallel-4",
    compression_s2_parallel_8 "compression-s2-parallel-8",
    compression_zstd "compression-zstd",
    compression_zstd_best_compression "compression-zstd-best-compression",
    compression_zstd_better_compression "compression-zstd-better-compression",
    compression_zstd_fastest "compression-zstd-fastest",
    concatenated "concatenated",
    default_settings "default",
    deleted_contents "deleted-contents",
    ecc_20 "ecc-20",
    ecc_5 "ecc-5",
    epochs_maintained "epochs-maintained",
    flat_layout "flat-layout",
    format_v1 "format-v1",
    format_v1_compacted "format-v1-compacted",
    format_v1_upgraded "format-v1-upgraded",
    format_v2 "format-v2",
    hash_blake2b_256_128_chacha "hash-blake2b-256-128-chacha",
    hash_blake2b_256_chacha "hash-blake2b-256-chacha",
    hash_blake2s_128_aes "hash-blake2s-128-aes",
    hash_blake2s_256_chacha "hash-blake2s-256-chacha",
    hash_blake3_256_128_chacha "hash-blake3-256-128-chacha",
    hash_blake3_256_aes "hash-blake3-256-aes",
    hash_blake3_256_chacha "hash-blake3-256-chacha",
    hash_hmac_sha224_aes "hash-hmac-sha224-aes",
    hash_hmac_sha256_128_aes "hash-hmac-sha256-128-aes",
    hash_hmac_sha256_128_chacha "hash-hmac-sha256-128-chacha",
    hash_hmac_sha256_chacha "hash-hmac-sha256-chacha",
    hash_hmac_sha3_224_chacha "hash-hmac-sha3-224-chacha",
    hash_hmac_sha3_256_aes "hash-hmac-sha3-256-aes",
    ignore_rules "ignore-rules",
    incomplete "incomplete",
    indirect_two_level "indirect-two-level",
    kdf_pbkdf2 "kdf-pbkdf2",
    password_changed "password-changed",
    policies "policies",
    retention "retention",
    special_files "special-files",
    splitter_dynamic_1m_rabinkarp "splitter-dynamic-1m-rabinkarp",
    splitter_dynamic_4m_buzhash "splitter-dynamic-4m-buzhash",
    splitter_fixed_1m "splitter-fixed-1m",
}

#[test]
fn every_fixture_is_listed() {
    let folders: BTreeSet<String> = std::fs::read_dir(testdata())
        .unwrap()
        .map(|item| item.unwrap())
        .filter(|item| item.file_type().unwrap().is_dir())
        .map(|item| item.file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        folders,
        LISTED.iter().map(|folder| (*folder).to_owned()).collect()
    );
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/kopia")
}

fn check(folder: &str) {
    let folder = testdata().join(folder);
    let expected: Value =
        serde_json::from_slice(&std::fs::read(folder.join("fixture.json")).unwrap()).unwrap();
    let reader = SecondReader::open(&folder.join("repo"), PASSWORD).unwrap();
    check_contents(&reader, &expected);
    check_manifests(&reader, &expected);
    check_snapshots(&reader, &expected);
    check_indirect_objects(&reader, &expected);
    assert_eq!(reader.audit(), Vec::<String>::new());
}

fn check_contents(reader: &SecondReader, expected: &Value) {
    let mut wanted = BTreeMap::new();
    for content in list(expected, "contents") {
        wanted.insert(text(content, "id"), content);
    }
    let found: Vec<&str> = reader.contents().map(|record| record.id.as_str()).collect();
    assert_eq!(found, wanted.keys().copied().collect::<Vec<_>>());
    for record in reader.contents() {
        let content = wanted[record.id.as_str()];
        assert_eq!(
            (
                record.pack.as_str(),
                record.deleted,
                format!("{:#x}", record.compression).as_str()
            ),
            (
                text(content, "pack_blob"),
                content["deleted"].as_bool().unwrap(),
                text(content, "compression")
            ),
            "{}",
            record.id
        );
        let numbers = [
            ("pack_offset", u64::from(record.pack_offset)),
            ("packed_length", record.packed_length.into()),
            ("original_length", record.original_length.into()),
            ("time", record.timestamp_s),
            ("format_version", record.format_version.into()),
        ];
        for (name, number) in numbers {
            assert_eq!(content[name], number, "{name} of {}", record.id);
        }
        assert_eq!(
            sha256(&reader.read_content(&record.id).unwrap()),
            text(content, "sha256")
        );
    }
}

fn check_manifests(reader: &SecondReader, expected: &Value) {
    let wanted = list(expected, "manifests");
    let found: Vec<&str> = reader
        .manifests()
        .map(|manifest| manifest.id.as_str())
        .collect();
    assert_eq!(
        found.iter().copied().collect::<BTreeSet<_>>(),
        wanted.iter().map(|manifest| text(manifest, "id")).collect()
    );
    for manifest in reader.manifests() {
        let wanted = wanted
            .iter()
            .find(|wanted| text(wanted, "id") == manifest.id)
            .unwrap();
        assert_eq!(
            serde_json::to_value(&manifest.labels).unwrap(),
            wanted["labels"]
        );
        assert_eq!(manifest.modified.text, text(wanted, "modified"));
        if let Some(payload) = wanted.get("payload") {
            assert_eq!(manifest.data, *payload);
        }
    }
}

fn check_snapshots(reader: &SecondReader, expected: &Value) {
    let snapshots = reader.snapshots();
    let wanted = list(expected, "snapshots");
    assert_eq!(
        snapshots
            .iter()
            .map(|snapshot| snapshot.id.as_str())
            .collect::<BTreeSet<_>>(),
        wanted
            .iter()
            .map(|snapshot| text(snapshot, "manifest_id"))
            .collect()
    );
    for snapshot in &snapshots {
        let by_id = |id: &str| {
            wanted
                .iter()
                .find(|wanted| text(wanted, "manifest_id") == id)
                .unwrap()
        };
        let wanted = by_id(&snapshot.id);
        assert_eq!(snapshot.manifest, wanted["manifest"]);
        assert_eq!(snapshot.root.object_id, text(wanted, "root_object_id"));
        assert_eq!(snapshot.incomplete, text(wanted, "incomplete"));
        let wanted = match wanted.get("entries_same_as") {
            Some(other) => by_id(other.as_str().unwrap()),
            None => wanted,
        };
        let found = reader.walk(snapshot).unwrap();
        let wanted: BTreeMap<&str, &Value> = list(wanted, "entries")
            .iter()
            .map(|entry| (text(entry, "path"), entry))
            .collect();
        assert_eq!(found.len(), wanted.len());
        for entry in &found {
            check_entry(reader, entry, wanted[entry.path.as_str()]);
        }
        for path in found
            .iter()
            .filter(|entry| entry.kind == "f")
            .map(|entry| &entry.path)
            .take(3)
        {
            assert_eq!(
                sha256(&reader.read_file(snapshot, path).unwrap()),
                text(wanted[path.as_str()], "sha256")
            );
        }
    }
}

fn check_entry(reader: &SecondReader, entry: &Entry, wanted: &Value) {
    let path = &entry.path;
    assert_eq!(entry.kind, text(wanted, "type"), "{path}");
    assert_eq!(entry.object_id, text(wanted, "object_id"), "{path}");
    assert_eq!(entry.mtime.text, text(wanted, "mtime"), "{path}");
    assert_eq!(wanted["uid"], entry.uid, "{path}");
    assert_eq!(wanted["gid"], entry.gid, "{path}");
    assert_eq!(
        u32::from_str_radix(text(wanted, "mode"), 8).unwrap(),
        entry.mode,
        "{path}"
    );
    let object = reader.object_reader(&entry.object_id).unwrap();
    if entry.kind == "d" {
        assert_eq!(wanted["stream_length"], object.length(), "{path}");
        assert_eq!(
            wanted["summary"]["size"],
            entry.summary.as_ref().unwrap().size,
            "{path}"
        );
    } else {
        assert_eq!(wanted["size"], entry.size, "{path}");
    }
    let mut hasher = Sha256::new();
    let mut offset = 0;
    while offset < object.length() {
        let part = (object.length() - offset).min(5_000_000);
        hasher.update(object.read_range(offset, part).unwrap());
        offset += part;
    }
    assert_eq!(hex(&hasher.finalize()), text(wanted, "sha256"), "{path}");
}

fn check_indirect_objects(reader: &SecondReader, expected: &Value) {
    for wanted in list(expected, "indirect_objects") {
        let object = reader.object_reader(text(wanted, "object_id")).unwrap();
        let leaves: Vec<_> = object.leaves().collect::<Result<_, _>>().unwrap();
        assert_eq!(wanted["entry_count"], leaves.len() as u64);
        let lines: String = leaves
            .iter()
            .map(|leaf| format!("{} {} {}\n", leaf.start, leaf.length, leaf.content_id))
            .collect();
        match wanted.get("entries_sha256") {
            Some(digest) => assert_eq!(sha256(lines.as_bytes()), digest.as_str().unwrap()),
            None => {
                let number = |entry: &Value, name: &str| {
                    entry.get(name).map_or(0, |number| number.as_u64().unwrap())
                };
                let wanted: String = list(wanted, "entries")
                    .iter()
                    .map(|entry| {
                        format!(
                            "{} {} {}\n",
                            number(entry, "s"),
                            number(entry, "l"),
                            text(entry, "o")
                        )
                    })
                    .collect();
                assert_eq!(lines, wanted);
            }
        }
        let middle = object.length() / 2;
        let leaf = object.leaves_from(middle).next().unwrap().unwrap();
        assert!(leaf.start <= middle && middle < leaf.start + leaf.length);
    }
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    match &value[name] {
        Value::Null => &[],
        list => list.as_array().unwrap(),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
