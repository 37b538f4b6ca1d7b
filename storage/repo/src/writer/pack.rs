//! One pack while it is filled.

use std::sync::Arc;

use kopia::content_id::ContentId;
use kopia::pack::{PREAMBLE_BYTES, Postamble, padding_bytes};
use kopia::record::ContentRecord;

use super::PACK_BYTES_MAX;
use crate::Repository;
use crate::error::{RepoError, RepoErrorKind};

/// A pack that is being filled: sealed contents back to back (Kopia spec 4.4).
///
/// Contents stay in the buffers they were sealed into; nothing is copied until the store writes.
#[derive(Debug)]
pub(super) struct OpenPack {
    pub(super) name: Arc<str>,
    parts: Vec<Vec<u8>>,
    bytes: u64,
    bytes_wanted: u64,
    format_version: u8,
    records: Vec<ContentRecord>,
}

/// A pack ready to be put into the store.
#[derive(Debug)]
pub(super) struct FullPack {
    pub(super) name: Arc<str>,
    pub(super) parts: Vec<Vec<u8>>,
}

/// What is known of a content before it has a place in a pack.
pub(crate) struct SealedContent {
    pub(crate) id: ContentId,
    pub(crate) sealed: Vec<u8>,
    pub(crate) original_bytes: u32,
    pub(crate) compression_header_id: u32,
    pub(crate) timestamp_seconds: i64,
}

impl OpenPack {
    /// Begins a pack.
    pub(super) fn new(name: String, repo: &Repository) -> Self {
        let preamble = repo.chance().bytes::<PREAMBLE_BYTES>().to_vec();
        let format = repo.format();
        Self {
            bytes_wanted: format.max_pack_bytes().min(PACK_BYTES_MAX),
            format_version: format.version as u8,
            name: Arc::from(name),
            bytes: preamble.len() as u64,
            parts: vec![preamble],
            records: Vec::new(),
        }
    }

    /// Returns whether the pack is as long as packs get.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.bytes_wanted
    }

    /// Appends a content and returns its record.
    pub(super) fn append(&mut self, content: SealedContent) -> ContentRecord {
        let record = ContentRecord {
            id: content.id,
            pack_blob: Arc::clone(&self.name),
            pack_offset: u32::try_from(self.bytes).expect("a pack is closed long before 4 GiB"),
            packed_bytes: u32::try_from(content.sealed.len())
                .expect("a content is far below 4 GiB"),
            original_bytes: content.original_bytes,
            timestamp_seconds: content.timestamp_seconds,
            deleted: false,
            compression_header_id: content.compression_header_id,
            format_version: self.format_version,
            encryption_key_id: 0,
        };
        self.bytes += content.sealed.len() as u64;
        self.parts.push(content.sealed);
        self.records.push(record.clone());
        record
    }

    /// Closes the pack with padding, its local index and the postamble.
    pub(super) fn finish(mut self, repo: &Repository) -> Result<FullPack, RepoError> {
        let mut padding = vec![0; padding_bytes(self.bytes as usize)];
        repo.chance().fill(&mut padding);
        self.bytes += padding.len() as u64;
        self.parts.push(padding);

        self.records.sort_by_key(|record| record.id);
        let mut index = index_bytes(repo, &self.records)?;
        index.extend_from_slice(&repo.chance().bytes::<32>());
        let iv = repo.hasher.hash(&index);
        let mut tail = Vec::with_capacity(index.len() + 128);
        repo.cipher
            .seal_into(iv.as_bytes(), repo.chance().bytes(), &index, &mut tail);
        let postamble = Postamble {
            local_index_iv: iv.as_bytes().to_vec(),
            local_index_offset: self.bytes,
            local_index_bytes: tail.len() as u64,
        };
        tail.extend_from_slice(&postamble.encode());
        self.parts.push(tail);
        Ok(FullPack {
            name: self.name,
            parts: self.parts,
        })
    }
}

/// Encodes sorted records as the repository's format wants its indexes.
pub(super) fn index_bytes(
    repo: &Repository,
    records: &[ContentRecord],
) -> Result<Vec<u8>, RepoError> {
    kopia::index::write_index(repo.format().effective_index_version(), records)
        .map_err(|error| RepoError::new(RepoErrorKind::Invalid, "encode an index").caused_by(error))
}
