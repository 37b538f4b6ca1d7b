//! An open repository: its indexes merged, its contents and manifests at hand.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::active_index::{epoch_state, legacy_active};
use crate::blob_folder::BlobFolder;
use crate::blob_name::{BlobName, payload_hash, to_hex};
use crate::compression::{self, CONTENT_BYTES_MAX};
use crate::crypto::last_16;
use crate::format::Format;
use crate::index::{ContentRecord, IndexFile};
use crate::json::Json;
use crate::manifest::{self, Manifest};
use crate::object::ListEntry;

const CACHE_BYTES_MAX: usize = 128 << 20;

/// A repository in a folder, opened for reading and judging.
pub struct SecondReader {
    pub(crate) blobs: BlobFolder,
    pub(crate) format: Arc<Format>,
    /// Every index blob that the repository's mode knows, read or superseded.
    pub(crate) indexes: BTreeMap<String, IndexFile>,
    pub(crate) active: Vec<String>,
    /// The winning record of each content, before the deletion watermark.
    pub(crate) merged: BTreeMap<String, ContentRecord>,
    contents: BTreeMap<String, ContentRecord>,
    manifests: BTreeMap<String, Manifest>,
    /// What was found wrong while opening.
    pub(crate) violations: Vec<String>,
    cache: Mutex<HashMap<String, Arc<Vec<u8>>>>,
    pub(crate) lists: Mutex<HashMap<String, Arc<Vec<ListEntry>>>>,
}

/// One content, opened.
pub(crate) struct OpenedContent {
    pub(crate) plain: Vec<u8>,
    /// How many bytes were sealed: the compressed form with its header, or the plain form.
    pub(crate) stored_bytes: usize,
}

impl SecondReader {
    /// Opens the repository in the folder `path`; fails where any answer could be a wrong one.
    pub fn open(path: &Path, password: &str) -> Result<SecondReader, String> {
        let blobs = BlobFolder::open(path)?;
        let format = Arc::new(Format::open(&blobs, password)?);
        Self::of(blobs, format)
    }

    /// Opens the same repository as it is now, without stretching the password again.
    pub fn reopen(&self) -> Result<SecondReader, String> {
        Self::of(
            BlobFolder::open(self.blobs.root())?,
            Arc::clone(&self.format),
        )
    }

    fn of(blobs: BlobFolder, format: Arc<Format>) -> Result<SecondReader, String> {
        let mut violations = blobs.violations.clone();
        violations.extend(format.violations.iter().cloned());
        let mut reader = SecondReader {
            blobs,
            format,
            indexes: BTreeMap::new(),
            active: Vec::new(),
            merged: BTreeMap::new(),
            contents: BTreeMap::new(),
            manifests: BTreeMap::new(),
            violations,
            cache: Mutex::default(),
            lists: Mutex::default(),
        };
        reader.load_indexes()?;
        reader.load_manifests()?;
        Ok(reader)
    }

    /// Every content in the index, tombstones too, in order of IDs.
    pub fn contents(&self) -> impl Iterator<Item = &ContentRecord> {
        self.contents.values()
    }

    /// The index's record of one content.
    pub fn content_record(&self, id: &str) -> Option<&ContentRecord> {
        self.contents.get(id)
    }

    /// The records of every content, those included that the deletion watermark hides.
    pub fn merged_records(&self) -> impl Iterator<Item = &ContentRecord> {
        self.merged.values()
    }

    /// The index blobs that count, in the order of epochs.
    pub fn active_indexes(&self) -> &[String] {
        &self.active
    }

    /// What one index blob says, whether or not it still counts.
    pub fn index_records(&self, blob: &str) -> Option<&[ContentRecord]> {
        self.indexes.get(blob).map(|index| &index.records[..])
    }

    /// Every manifest that is not deleted, in order of IDs.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.manifests.values()
    }

    /// The packs that no index record names: left by writers that were stopped, or by rewriting.
    pub fn unreferenced_packs(&self) -> Vec<String> {
        self.blobs
            .blobs()
            .filter(|(id, _)| matches!(self.name_of(id), Some(BlobName::Pack { .. })))
            .filter(|(id, _)| !self.merged.values().any(|record| record.pack == *id))
            .map(|(id, _)| id.to_owned())
            .collect()
    }

    /// Reads one content's plain bytes and checks their hash.
    pub fn read_content(&self, id: &str) -> Result<Arc<Vec<u8>>, String> {
        let lock = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plain) = lock().get(id) {
            return Ok(plain.clone());
        }
        let record = self
            .contents
            .get(id)
            .ok_or_else(|| format!("content {id} is in no index"))?;
        let sealed = self.blobs.read_range(
            &record.pack,
            record.pack_offset.into(),
            record.packed_length.into(),
        )?;
        let plain = Arc::new(self.open_content(record, &sealed, &mut Vec::new())?.plain);
        let mut cache = lock();
        let cached_bytes: usize = cache.values().map(|plain| plain.len()).sum();
        if cached_bytes + plain.len() > CACHE_BYTES_MAX {
            cache.clear();
        }
        cache.insert(id.to_owned(), plain.clone());
        Ok(plain)
    }

    /// Opens the sealed bytes of a content: decrypts, decompresses, compares lengths, header and hash.
    pub(crate) fn open_content(
        &self,
        record: &ContentRecord,
        sealed: &[u8],
        damage: &mut Vec<String>,
    ) -> Result<OpenedContent, String> {
        let fail = |error: String| format!("content {}: {error}", record.id);
        let hash = record
            .id
            .get(record.id.len() % 2..)
            .and_then(crate::blob_name::from_hex);
        let hash = hash.ok_or_else(|| fail("the ID is not hex".to_owned()))?;
        if record.encryption_key_id != 0 {
            return Err(fail("has an encryption key ID".to_owned()));
        }
        let stored = last_16(&hash)
            .and_then(|iv| self.format.sealer.open(iv, sealed, damage))
            .map_err(fail)?;
        let stored_bytes = stored.len();
        let plain = if record.compression == 0 {
            stored
        } else {
            let (header, stream) = stored
                .split_first_chunk::<4>()
                .ok_or_else(|| fail("has no compression header".to_owned()))?;
            if u32::from_be_bytes(*header) != record.compression {
                return Err(fail(
                    "has another compression header than the index".to_owned(),
                ));
            }
            compression::decompress(record.compression, stream, record.original_length as usize)
                .map_err(fail)?
        };
        if plain.len() != record.original_length as usize {
            return Err(fail(format!(
                "has {} bytes, not {}",
                plain.len(),
                record.original_length
            )));
        }
        if self.format.hash.of(&plain) != hash {
            return Err(fail("has bytes of another hash".to_owned()));
        }
        Ok(OpenedContent {
            plain,
            stored_bytes,
        })
    }

    pub(crate) fn name_of(&self, blob_id: &str) -> Option<BlobName> {
        BlobName::parse(blob_id, self.format.hash.length_bytes)
    }

    /// Opens a blob sealed with blob crypto, and checks that its name is the hash of what is in it.
    pub(crate) fn open_blob(&self, id: &str, damage: &mut Vec<String>) -> Result<Vec<u8>, String> {
        let mut open = || {
            let hash = payload_hash(id, self.format.hash.length_bytes)?;
            let payload =
                self.format
                    .sealer
                    .open(last_16(&hash)?, &self.blobs.read(id)?, damage)?;
            let actual = self.format.hash.of(&payload);
            if actual != hash {
                return Err(format!("has a payload of the hash {}", to_hex(&actual)));
            }
            Ok(payload)
        };
        open().map_err(|error: String| format!("blob {id}: {error}"))
    }

    fn load_indexes(&mut self) -> Result<(), String> {
        let ids: Vec<String> = self.blobs.blobs().map(|(id, _)| id.to_owned()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut damage = Vec::new();
        let mut watermark_s = 0;
        let is_index: fn(&BlobName) -> bool = if self.format.epochs {
            let state = epoch_state(&ids);
            self.active = state.active;
            watermark_s = state.deletion_watermark_s;
            |name| {
                matches!(
                    name,
                    BlobName::UncompactedIndex { .. }
                        | BlobName::SingleEpochIndex
                        | BlobName::RangeIndex
                )
            }
        } else {
            let logs: Vec<&str> = ids
                .iter()
                .copied()
                .filter(|id| id.starts_with('m'))
                .collect();
            let compactions = logs
                .iter()
                .map(|id| parse_compaction(&self.open_blob(id, &mut damage)?))
                .collect::<Result<Vec<_>, _>>()?;
            self.active = legacy_active(&ids, &compactions);
            |name| *name == BlobName::LegacyIndex
        };
        let hash_bytes = self.format.hash.length_bytes;
        self.active
            .retain(|id| BlobName::parse(id, hash_bytes) != Some(BlobName::Poison));
        for id in ids {
            let is_active = self.active.iter().any(|active| active == id);
            if !is_active && !self.name_of(id).is_some_and(|name| is_index(&name)) {
                continue;
            }
            let index = self.open_blob(id, &mut damage).and_then(|payload| {
                IndexFile::parse(
                    &payload,
                    self.format.hash.length_bytes,
                    self.format.sealer.ecc.is_some(),
                )
                .map_err(|error| format!("blob {id}: {error}"))
            });
            match index {
                Ok(index) => {
                    self.violations.extend(
                        index
                            .violations
                            .iter()
                            .map(|violation| format!("blob {id}: {violation}")),
                    );
                    self.indexes.insert(id.to_owned(), index);
                }
                Err(error) if is_active => return Err(error),
                Err(error) => self.violations.push(error),
            }
        }
        self.violations.extend(damage);
        for id in &self.active {
            for record in self.indexes.get(id).map_or(&[][..], |index| &index.records) {
                match self.merged.get(&record.id) {
                    Some(winner) if !record.wins_over(winner) => {}
                    _ => {
                        self.merged.insert(record.id.clone(), record.clone());
                    }
                }
            }
        }
        self.contents = self.merged.clone();
        self.contents
            .retain(|_, record| !(record.deleted && record.timestamp_s <= watermark_s));
        Ok(())
    }

    fn load_manifests(&mut self) -> Result<(), String> {
        let ids: Vec<String> = self
            .contents
            .values()
            .filter(|record| record.id.starts_with('m') && !record.deleted)
            .map(|record| record.id.clone())
            .collect();
        let mut latest: BTreeMap<String, Manifest> = BTreeMap::new();
        for id in ids {
            let plain = self.read_content(&id)?;
            for manifest in
                manifest::parse_content(&plain).map_err(|error| format!("content {id}: {error}"))?
            {
                match latest.get(&manifest.id) {
                    Some(known) if known.modified.unix_ns >= manifest.modified.unix_ns => {}
                    _ => {
                        latest.insert(manifest.id.clone(), manifest);
                    }
                }
            }
        }
        latest.retain(|_, manifest| !manifest.deleted);
        self.manifests = latest;
        Ok(())
    }
}

/// The inputs and outputs of a legacy compaction log.
fn parse_compaction(payload: &[u8]) -> Result<(Vec<String>, Vec<String>), String> {
    let json = Json::parse(payload.get(..CONTENT_BYTES_MAX).unwrap_or(payload))?;
    let fields = json.loose_fields("compaction log")?;
    let ids = |name: &str| -> Result<Vec<String>, String> {
        fields
            .need(name)?
            .list(name)?
            .iter()
            .map(|blob| Ok(blob.loose_fields(name)?.need_text("id")?.to_owned()))
            .collect()
    };
    Ok((ids("inputMetadata")?, ids("outputMetadata")?))
}
