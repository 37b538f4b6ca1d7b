//! The manifests of one content in little memory: what they are found by is at hand, their text is
//! compressed and read when it is asked for.

use std::sync::Arc;

use kopia::compression::{self, CompressionAlgorithm, Compressor};
use kopia::content_id::ContentId;
use kopia::decode_error::DecodeError;
use kopia::manifest::{ManifestContents, ManifestEntry};
use time_and_chance::Timestamp;

/// Text is compressed in blocks of about this length.
const BLOCK_BYTES: usize = 32 << 10;
const ALGORITHM: CompressionAlgorithm = CompressionAlgorithm::ZstdFastest;

/// The contents that hold manifests, in order, with what each holds.
pub(crate) type Packed = Vec<(ContentId, Arc<PackedManifests>)>;

/// The manifests of one content.
#[derive(Debug)]
pub(crate) struct PackedManifests {
    entries: Vec<PackedEntry>,
    blocks: Vec<Block>,
    /// The types that occur.
    types: Vec<Box<str>>,
}

/// What is at hand of one manifest.
#[derive(Debug)]
pub(crate) struct PackedEntry {
    pub(crate) id: Box<str>,
    pub(crate) modified: Timestamp,
    pub(crate) deleted: bool,
    /// Its place among the types.
    manifest_type: u32,
    block: u32,
    start: u32,
    bytes: u32,
}

#[derive(Debug)]
struct Block {
    stored: Box<[u8]>,
    bytes: usize,
    compressed: bool,
}

impl PackedManifests {
    /// Reads the plain bytes of a content.
    pub(crate) fn parse(gzip: &[u8]) -> Result<Self, DecodeError> {
        let mut packer = Packer {
            packed: Self {
                entries: Vec::new(),
                blocks: Vec::new(),
                types: Vec::new(),
            },
            text: Vec::new(),
            compressor: Compressor::new(ALGORITHM),
        };
        ManifestContents::for_each(gzip, &mut |json, entry| packer.add(json, &entry))?;
        Ok(packer.finish())
    }

    pub(crate) fn entries(&self) -> &[PackedEntry] {
        &self.entries
    }

    /// Returns how long the text of all of them is.
    pub(crate) fn json_bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.bytes).sum()
    }

    /// Returns the type of an entry.
    pub(crate) fn type_of(&self, entry: &PackedEntry) -> &str {
        &self.types[entry.manifest_type as usize]
    }

    /// Returns a whole entry.
    pub(crate) fn read(&self, entry: &PackedEntry, opened: &mut OpenedBlock) -> ManifestEntry {
        if opened.number != Some(entry.block) {
            opened.text = self.blocks[entry.block as usize].open();
            opened.number = Some(entry.block);
        }
        let (start, bytes) = (entry.start as usize, entry.bytes as usize);
        serde_json::from_slice(&opened.text[start..start + bytes])
            .expect("it was read from this text before")
    }
}

/// The block that was read last: neighbours lie in it. Good for one content.
#[derive(Debug, Default)]
pub(crate) struct OpenedBlock {
    number: Option<u32>,
    text: Vec<u8>,
}

struct Packer {
    packed: PackedManifests,
    text: Vec<u8>,
    compressor: Compressor,
}

impl Packer {
    fn add(&mut self, json: &str, entry: &ManifestEntry) {
        let manifest_type = self.type_number(entry.manifest_type().unwrap_or_default());
        // What a content may hold lies far below these numbers' ends.
        let number = |count: usize| u32::try_from(count).expect("a content has less than 4 GiB");
        self.packed.entries.push(PackedEntry {
            id: entry.id.as_str().into(),
            modified: entry.modified,
            deleted: entry.deleted,
            manifest_type,
            block: number(self.packed.blocks.len()),
            start: number(self.text.len()),
            bytes: number(json.len()),
        });
        self.text.extend_from_slice(json.as_bytes());
        if self.text.len() >= BLOCK_BYTES {
            self.end_block();
        }
    }

    fn type_number(&mut self, manifest_type: &str) -> u32 {
        let types = &mut self.packed.types;
        let known = types.iter().position(|known| **known == *manifest_type);
        let number = known.unwrap_or_else(|| {
            types.push(manifest_type.into());
            types.len() - 1
        });
        u32::try_from(number).expect("a content has less than 4 GiB")
    }

    fn end_block(&mut self) {
        let mut stored = Vec::new();
        let compressed = self.compressor.compress(&self.text, &mut stored);
        let compressed = compressed.expect("memory takes all that is written to it");
        if !compressed {
            stored.clone_from(&self.text);
        }
        self.packed.blocks.push(Block {
            stored: stored.into(),
            bytes: self.text.len(),
            compressed,
        });
        self.text.clear();
    }

    fn finish(mut self) -> PackedManifests {
        if !self.text.is_empty() {
            self.end_block();
        }
        self.packed.entries.shrink_to_fit();
        self.packed
    }
}

impl Block {
    fn open(&self) -> Vec<u8> {
        if !self.compressed {
            return self.stored.to_vec();
        }
        compression::decompress(ALGORITHM.header_id(), &self.stored, self.bytes, self.bytes)
            .expect("it was compressed by this process")
    }
}
