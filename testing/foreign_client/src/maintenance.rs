//! Full maintenance without safety margins (Kopia spec 8.3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kopia::content_id::ContentId;
use kopia::hash::HashOutput;
use kopia::manifest::{ManifestContents, merge};
use kopia::record::ContentRecord;
use second_reader::SecondReader;

use crate::session::Session;
use crate::{ForeignClient, text};

/// Packs in use by less than this much of the largest allowed length are rewritten.
const SHORT_PERCENT: u64 = 60;

impl ForeignClient {
    /// Does what `kopia maintenance run --full --safety=none` does, with an advance of the epoch.
    ///
    /// # Errors
    /// If something that a snapshot needs is missing: Kopia's maintenance fails there too.
    pub fn full_maintenance(&self) -> Result<(), String> {
        self.collect()?;
        self.rewrite_short_packs()?;
        self.drop_deleted()?;
        self.delete_unreferenced()?;
        self.compact_epochs()
    }

    /// Buries every content that no snapshot needs, and brings back those that one needs.
    fn collect(&self) -> Result<(), String> {
        let reader = self.read()?;
        let needed = needed_contents(&reader)?;
        let mut session = Session::new(self);
        for record in reader.contents() {
            if record.id.starts_with('m') {
                continue;
            }
            match (needed.contains(&record.id), record.deleted) {
                (true, true) => session.move_content(&convert(record)?, false)?,
                (false, false) => session.bury(&convert(record)?),
                _ => {}
            }
        }
        session.flush().map(drop)
    }

    fn rewrite_short_packs(&self) -> Result<(), String> {
        let reader = self.read()?;
        let mut packs: BTreeMap<&str, (u64, Vec<&second_reader::ContentRecord>)> = BTreeMap::new();
        for record in reader.contents() {
            let (bytes, records) = packs.entry(&record.pack).or_default();
            *bytes += u64::from(record.packed_length);
            records.push(record);
        }
        let limit = self.format.max_pack_bytes() * SHORT_PERCENT / 100;
        let mut session = Session::new(self);
        for class in ["p", "q"] {
            let short: Vec<_> = packs
                .iter()
                .filter(|(name, (bytes, _))| name.starts_with(class) && *bytes < limit)
                .collect();
            if short.len() < 2 {
                continue;
            }
            for record in short.into_iter().flat_map(|(_, (_, records))| records) {
                session.move_content(&convert(record)?, record.deleted)?;
            }
        }
        session.flush().map(drop)
    }

    /// Lets the watermark pass every tombstone there is.
    fn drop_deleted(&self) -> Result<(), String> {
        let reader = self.read()?;
        let latest = reader
            .merged_records()
            .filter(|record| record.deleted)
            .map(|record| record.timestamp_s)
            .max();
        match latest {
            Some(seconds) => self.put(&format!("xw{seconds}"), b"deletion-watermark"),
            None => Ok(()),
        }
    }

    /// Deletes packs that no record names, and every session marker.
    fn delete_unreferenced(&self) -> Result<(), String> {
        let reader = self.read()?;
        let named: BTreeSet<&str> = reader
            .contents()
            .map(|record| record.pack.as_str())
            .collect();
        for prefix in ["p", "q", "s"] {
            for name in self.names(prefix)? {
                if !named.contains(name.as_str()) {
                    self.delete(&name)?;
                }
            }
        }
        Ok(())
    }

    /// Rewrites all contents with manifests into one, as every Kopia does that finds many.
    pub fn compact_manifests(&self) -> Result<(), String> {
        let reader = self.read()?;
        let mut session = Session::new(self);
        let mut entries = Vec::new();
        let mut old = Vec::new();
        for record in reader.contents() {
            if record.id.starts_with('m') && !record.deleted {
                let plain = reader.read_content(&record.id)?;
                entries.extend(ManifestContents::parse(&plain).map_err(text)?.entries);
                old.push(convert(record)?);
            }
        }
        let contents = ManifestContents {
            entries: merge(entries).into_values().collect(),
        };
        for record in &old {
            session.bury(record);
        }
        let plain = contents.encode().map_err(text)?;
        session.add(Some(b'm'), &plain, self.known_seconds(&reader, &plain));
        session.flush().map(drop)
    }

    /// Returns when the newest record of an `m` content was made, if there is one.
    pub(crate) fn known_seconds(&self, reader: &SecondReader, plain: &[u8]) -> Option<i64> {
        let id = format!("m{}", self.hasher.hash(plain).to_hex());
        reader
            .merged_records()
            .find(|record| record.id == id)
            .map(|record| record.timestamp_s as i64)
    }
}

/// Every content that a snapshot needs, lists included.
fn needed_contents(reader: &SecondReader) -> Result<BTreeSet<String>, String> {
    let mut needed = BTreeSet::new();
    let mut objects = BTreeSet::new();
    for snapshot in reader.snapshots() {
        let entries = reader
            .walk(&snapshot)
            .map_err(|error| format!("snapshot {}: {error}", snapshot.id))?;
        objects.extend(entries.into_iter().map(|entry| entry.object_id));
    }
    for object in objects {
        needed.extend(reader.object_contents(&object)?);
    }
    match needed.iter().find(|id| reader.content_record(id).is_none()) {
        Some(missing) => Err(format!("content {missing} is needed and missing")),
        None => Ok(needed),
    }
}

/// Turns the second reader's record into one that can be encoded.
pub(crate) fn convert(record: &second_reader::ContentRecord) -> Result<ContentRecord, String> {
    let (prefix, digits) = record.id.split_at(record.id.len() % 2);
    let hash: Vec<u8> = (0..digits.len() / 2)
        .map(|byte| u8::from_str_radix(&digits[2 * byte..2 * byte + 2], 16).map_err(text))
        .collect::<Result<_, String>>()?;
    let hash = HashOutput::new(&hash).ok_or("a hash of a length that does not exist")?;
    Ok(ContentRecord {
        id: ContentId::new(prefix.bytes().next(), hash),
        pack_blob: Arc::from(record.pack.as_str()),
        pack_offset: record.pack_offset,
        packed_bytes: record.packed_length,
        original_bytes: record.original_length,
        timestamp_seconds: record.timestamp_s as i64,
        deleted: record.deleted,
        compression_header_id: record.compression,
        format_version: record.format_version,
        encryption_key_id: record.encryption_key_id,
    })
}
