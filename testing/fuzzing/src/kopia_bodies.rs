//! What is done with bytes that claim to be Kopia's.

use std::io::Write;

use jiff::Timestamp;
use kopia::blob_name::BlobName;
use kopia::compression::{CompressionAlgorithm, decompress};
use kopia::content_id::ContentId;
use kopia::directory::Directory;
use kopia::epoch::{self, EpochState};
use kopia::error_correction::ErrorCorrection;
use kopia::format_blob::{FormatBlob, RepositoryFormat};
use kopia::index::{CONTENT_OVERHEAD_BYTES, IndexHeader, IndexReader};
use kopia::indirect::{self, ListParser, ListWriter};
use kopia::legacy_index::CompactionLog;
use kopia::maintenance::MaintenanceParameters;
use kopia::manifest::{self, ManifestContents, ManifestEntry};
use kopia::object_id::ObjectId;
use kopia::pack::{self, Postamble};
use kopia::policy::{Policy, PolicyTarget};
use kopia::session::{SessionId, SessionMarker};
use kopia::snapshot::SnapshotManifest;
use kopia::time_text;

/// No result of decompression may be longer here.
const PLAIN_BYTES_MAX: usize = 4 << 20;
/// A block of error correction holds no more: 254 shards of 1 KiB.
const BLOCK_BYTES_MAX: usize = 254 << 10;

/// Reads an index file of either version, record by record, and looks for what it holds.
pub(crate) fn index(data: &[u8]) {
    let _ = IndexHeader::parse(data, data.len());
    let Ok(reader) = IndexReader::parse(data, CONTENT_OVERHEAD_BYTES) else {
        return;
    };
    let ordered = reader.validate_order().is_ok();
    for record in reader.iter().flatten() {
        let found = reader.find(&record.id);
        if ordered {
            assert_eq!(
                found.expect("it was read"),
                Some(record),
                "look-up in order"
            );
        }
    }
    assert!(reader.get(reader.len()).is_err());
}

/// Decodes what follows a byte that tells the overhead in percent.
pub(crate) fn error_correction(data: &[u8]) {
    let Some((percent, stored)) = data.split_first() else {
        return;
    };
    let Some(correction) = ErrorCorrection::with_overhead((*percent).into()) else {
        return;
    };
    if let Ok(decoded) = correction.decode(stored) {
        assert!(decoded.bytes.len() <= stored.len() + BLOCK_BYTES_MAX);
    }
}

/// Looks for what stands at the two ends of packs.
pub(crate) fn pack(data: &[u8]) {
    if let Some(postamble) = Postamble::find(data) {
        assert_eq!(Postamble::find(&postamble.encode()), Some(postamble));
    }
    let replicas = [
        pack::format_blob_at_head(data),
        pack::format_blob_at_tail(data),
    ];
    replicas.into_iter().flatten().for_each(format_blob);
}

/// Reads a format blob, and what is sealed in one; keys are not derived, which takes long.
pub(crate) fn format_blob(data: &[u8]) {
    if let Ok(blob) = FormatBlob::parse(data) {
        FormatBlob::parse(&blob.to_bytes()).expect("what was written can be read");
    }
    if let Ok(format) = serde_json::from_slice::<RepositoryFormat>(data) {
        let now = Timestamp::from_second(1_790_000_000).expect("a time in range");
        let _ = format.check_readable(now, None);
        let _ = format.check_readable(now, Some("owner"));
        let _ = format.check_writable();
        let _ = (format.hasher(), format.cipher(), format.splitter());
        let _ = (format.max_pack_bytes(), format.effective_index_version());
    }
}

/// Reads manifests, as they are stored and as plain JSON, and each one as everything that a
/// manifest can be.
pub(crate) fn manifests(data: &[u8]) {
    if let Ok(contents) = ManifestContents::parse(data) {
        each_manifest(contents);
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(data).expect("memory takes everything");
    if let Ok(contents) = ManifestContents::parse(&gzip.finish().expect("it does")) {
        each_manifest(contents);
    }
    let _ = SessionMarker::parse(data);
    let _ = CompactionLog::parse(data);
}

fn each_manifest(contents: ManifestContents) {
    if let Ok(written) = contents.encode() {
        assert_eq!(ManifestContents::parse(&written).unwrap(), contents);
    }
    let now = Timestamp::from_second(1_790_000_000).expect("a time in range");
    for entry in &contents.entries {
        ManifestEntry::tombstone(entry, now);
    }
    let merged = manifest::merge(contents.entries);
    let _ = manifest::latest(merged.values().cloned());
    for entry in merged.values() {
        policy(entry.data.get().as_bytes());
    }
}

/// Reads what the JSON of one manifest may be.
pub(crate) fn policy(data: &[u8]) {
    let Ok(json) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(policy) = Policy::parse(json) {
        let merged = Policy::merge([&policy, &policy]);
        let _ = merged.check(&PolicyTarget::global());
        Policy::parse(policy.encode().get()).expect("what was encoded is a policy");
    }
    if let Ok(parameters) = MaintenanceParameters::parse(json) {
        parameters.encode();
    }
    if let Ok(snapshot) = SnapshotManifest::parse(json) {
        let _ = snapshot.check();
        let _ = (snapshot.labels(), snapshot.source.labels());
        PolicyTarget::source(&snapshot.source).chain();
    }
}

/// Reads a directory, and what is written of it.
pub(crate) fn directory(data: &[u8]) {
    let Ok(directory) = Directory::parse(data) else {
        return;
    };
    let _ = kopia::directory::DirectorySummary::of(&directory.entries, Timestamp::UNIX_EPOCH);
    if let Ok(written) = directory.encode() {
        Directory::parse(&written).expect("what was written can be read");
    }
}

/// Reads a list as a whole and in pieces, which must say the same.
pub(crate) fn list(data: &[u8]) {
    let whole = indirect::parse(data);
    for piece_bytes in [1, 7, 4096] {
        let mut entries = Vec::new();
        let mut parser = ListParser::new();
        let read = data
            .chunks(piece_bytes)
            .try_for_each(|piece| parser.push(piece, |entry| entries.push(entry)))
            .and_then(|()| parser.finish());
        assert_eq!(
            whole.as_ref().ok(),
            read.ok().map(|_| &entries),
            "pieces of {piece_bytes}"
        );
    }
    if let Ok(entries) = whole {
        let mut written = Vec::new();
        let mut writer = ListWriter::begin(&mut written);
        for entry in &entries {
            writer.entry(&mut written, entry).expect("it was read so");
        }
        writer.end(&mut written).expect("it was read so");
        assert_eq!(indirect::parse(&written).unwrap(), entries);
    }
}

/// Reads lines as every kind of name and id.
pub(crate) fn names(data: &[u8]) {
    let _ = ContentId::from_key_bytes(data);
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines {
        if let Ok(id) = line.parse::<ObjectId>() {
            assert_eq!(id.to_string().parse::<ObjectId>().unwrap(), id);
        }
        if let Ok(id) = line.parse::<ContentId>() {
            assert_eq!(id.to_string().parse::<ContentId>().unwrap(), id);
            let (key, length) = id.key_bytes();
            assert_eq!(ContentId::from_key_bytes(&key[..length]).unwrap(), id);
        }
        let _ = BlobName::parse(line);
        let _ = kopia::blob_name::blob_crypto_iv(line);
        let _ = SessionId::parse(line);
        if let Some(time) = time_text::parse(line)
            && let Some(written) = time_text::format(time)
        {
            assert_eq!(time_text::parse(&written), Some(time));
        }
        if let Some(algorithm) = CompressionAlgorithm::from_name(line) {
            assert_eq!(algorithm.name(), *line);
        }
    }
    if let Ok(state) = EpochState::from_listing(&lines) {
        state.plan_active();
        state.is_settled(state.first_unchained());
    }
    let _ = epoch::active_index_blobs(&lines);
    kopia::legacy_index::active_index_blobs(&lines, &[]);
}

/// Undoes the compression that the first four bytes name, with and without a known length.
pub(crate) fn compression(data: &[u8]) {
    let Some(id) = data.first_chunk() else {
        return;
    };
    let id = u32::from_be_bytes(*id);
    if let Ok(plain) = decompress(id, data, 0, PLAIN_BYTES_MAX)
        && !plain.is_empty()
    {
        assert!(plain.len() <= PLAIN_BYTES_MAX);
        let again = decompress(id, data, plain.len(), PLAIN_BYTES_MAX);
        assert_eq!(again.expect("its length is right"), plain);
    }
    let _ = decompress(id, data, 1000, PLAIN_BYTES_MAX);
}
