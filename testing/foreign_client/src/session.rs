//! What one flush of a client writes: marker, packs, index, and the marker goes (Kopia spec 4.4 to 4.8, 5.5).

use std::collections::BTreeMap;
use std::sync::Arc;

use kopia::blob_name;
use kopia::content_id::ContentId;
use kopia::pack::{PREAMBLE_BYTES, Postamble, padding_bytes};
use kopia::record::ContentRecord;
use kopia::session::{SessionId, SessionMarker};

use crate::{ForeignClient, text};

/// Contents and tombstones on their way into the repository.
pub(crate) struct Session<'a> {
    client: &'a ForeignClient,
    id: SessionId,
    /// For data, and for metadata.
    packs: [Option<Pack>; 2],
    full: Vec<Pack>,
    records: BTreeMap<ContentId, ContentRecord>,
}

struct Pack {
    name: Arc<str>,
    bytes: Vec<u8>,
    records: Vec<ContentRecord>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(client: &'a ForeignClient) -> Self {
        Self {
            client,
            id: SessionId::new(client.chance.bytes(), client.clock.now()),
            packs: [None, None],
            full: Vec::new(),
            records: BTreeMap::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Adds a content, whether or not the repository has it; it wins over what is known of it.
    pub(crate) fn add(
        &mut self,
        prefix: Option<u8>,
        plain: &[u8],
        known_seconds: Option<i64>,
    ) -> ContentId {
        let id = ContentId::new(prefix, self.client.hasher.hash(plain));
        let mut sealed = Vec::new();
        self.client.cipher.seal_into(
            &id.hash().iv(),
            self.client.chance.bytes(),
            plain,
            &mut sealed,
        );
        let record = ContentRecord {
            id,
            pack_blob: Arc::from(""),
            pack_offset: 0,
            packed_bytes: sealed.len() as u32,
            original_bytes: plain.len() as u32,
            timestamp_seconds: known_seconds.map_or(i64::MIN, |known| known + 1),
            deleted: false,
            compression_header_id: 0,
            format_version: self.client.format.version as u8,
            encryption_key_id: 0,
        };
        self.append(record, &sealed);
        id
    }

    /// Stores a content again as it is, sealed, in a new pack; its record becomes younger.
    pub(crate) fn move_content(
        &mut self,
        record: &ContentRecord,
        deleted: bool,
    ) -> Result<(), String> {
        let sealed = blob::BlobStore::get_range(
            &self.client.store,
            &record.pack_blob,
            u64::from(record.pack_offset),
            u64::from(record.packed_bytes),
        )
        .map_err(text)?;
        let moved = ContentRecord {
            timestamp_seconds: record.timestamp_seconds + 1,
            deleted,
            ..record.clone()
        };
        self.append(moved, &sealed);
        Ok(())
    }

    /// Says that a content is deleted; its bytes stay where they are.
    pub(crate) fn bury(&mut self, record: &ContentRecord) {
        let buried = ContentRecord {
            deleted: true,
            timestamp_seconds: self.client.now_seconds().max(record.timestamp_seconds + 1),
            ..record.clone()
        };
        self.records.insert(buried.id, buried);
    }

    fn append(&mut self, record: ContentRecord, sealed: &[u8]) {
        let metadata = record.id.prefix().is_some();
        if self.records.contains_key(&record.id) && !self.records[&record.id].deleted {
            return;
        }
        let client = self.client;
        let id = &self.id;
        let pack = self.packs[usize::from(metadata)].get_or_insert_with(|| Pack {
            name: Arc::from(if metadata {
                blob_name::metadata_pack(client.chance.bytes(), id)
            } else {
                blob_name::pack(client.chance.bytes(), id)
            }),
            bytes: client.chance.bytes::<PREAMBLE_BYTES>().to_vec(),
            records: Vec::new(),
        });
        let record = ContentRecord {
            pack_blob: Arc::clone(&pack.name),
            pack_offset: pack.bytes.len() as u32,
            timestamp_seconds: client.now_seconds().max(record.timestamp_seconds),
            ..record
        };
        pack.bytes.extend_from_slice(sealed);
        pack.records.push(record.clone());
        let full = pack.bytes.len() as u64 >= client.format.max_pack_bytes();
        self.records.insert(record.id, record);
        if full {
            // A test repository's full packs fit into memory; they go out with the flush.
            self.full.extend(self.packs[usize::from(metadata)].take());
        }
    }

    /// Writes all of it; returns whether there was anything to write.
    pub(crate) fn flush(self) -> Result<bool, String> {
        if self.is_empty() {
            return Ok(false);
        }
        let client = self.client;
        let now = client.clock.now();
        let marker = SessionMarker {
            id: self.id.clone(),
            start_time: now,
            checkpoint_time: now,
            username: "someone".to_owned(),
            hostname: "elsewhere".to_owned(),
        }
        .to_json();
        let hash = client.hasher.hash(&marker);
        let marker_name = blob_name::session_marker(&hash, &self.id);
        client.put_sealed(&marker_name, &marker)?;
        for pack in self
            .full
            .into_iter()
            .chain(self.packs.into_iter().flatten())
        {
            client.put_pack(pack)?;
        }
        let records: Vec<ContentRecord> = self.records.into_values().collect();
        let payload = client.index(&records)?;
        let hash = client.hasher.hash(&payload);
        let name = blob_name::uncompacted_index(client.write_epoch()?, &hash, &self.id, 1);
        client.put_sealed(&name, &payload)?;
        client.delete(&marker_name)?;
        Ok(true)
    }
}

impl ForeignClient {
    /// Encodes records, which are sorted, as an index file.
    pub(crate) fn index(&self, records: &[ContentRecord]) -> Result<Vec<u8>, String> {
        kopia::index::write_index(self.format.effective_index_version(), records).map_err(text)
    }

    /// Writes a blob that is named after the hash of `payload`.
    pub(crate) fn put_sealed(&self, name: &str, payload: &[u8]) -> Result<(), String> {
        let iv = blob_name::blob_crypto_iv(name).ok_or("a blob's name holds no hash")?;
        let mut sealed = Vec::new();
        self.cipher
            .seal_into(&iv, self.chance.bytes(), payload, &mut sealed);
        self.put(name, &sealed)
    }

    fn put_pack(&self, mut pack: Pack) -> Result<(), String> {
        let mut padding = vec![0; padding_bytes(pack.bytes.len())];
        self.chance.fill(&mut padding);
        pack.bytes.extend_from_slice(&padding);
        pack.records.sort_by_key(|record| record.id);
        let mut local = self.index(&pack.records)?;
        local.extend_from_slice(&self.chance.bytes::<32>());
        let iv = self.hasher.hash(&local);
        let offset = pack.bytes.len();
        self.cipher
            .seal_into(iv.as_bytes(), self.chance.bytes(), &local, &mut pack.bytes);
        let postamble = Postamble {
            local_index_iv: iv.as_bytes().to_vec(),
            local_index_offset: offset as u64,
            local_index_bytes: (pack.bytes.len() - offset) as u64,
        };
        pack.bytes.extend_from_slice(&postamble.encode());
        self.put(&pack.name, &pack.bytes)
    }
}
