//! The sealed bytes of a blob that is too long to lie in memory whole, piece by piece: as they are
//! stored, or with error correction undone.

use std::fmt::Display;
use std::ops::Range;

use blob::{BlobErrorKind, BlobStore};
use kopia::error_correction::{ShardLayout, split_length};

use crate::error::{RepoError, RepoErrorKind, store_error};
use crate::opener::Opener;

/// Longer blobs are fetched and opened in pieces of this length.
pub(super) const PIECE_BYTES: u64 = 4 << 20;

/// Fetches a blob from first to last.
pub(super) struct SealedPieces<'a> {
    store: &'a dyn BlobStore,
    blob: &'a str,
    stored_bytes: u64,
    layout: Option<ShardLayout>,
    /// The byte, or with error correction the block, that is fetched next.
    next: u64,
    /// The first piece, which had to be fetched to know how many bytes there are.
    first: Option<Vec<u8>>,
    sealed_bytes: u64,
    left_bytes: u64,
    damaged_shards: u64,
}

impl<'a> SealedPieces<'a> {
    /// Begins with a blob that was listed with this length.
    pub(super) fn begin(
        store: &'a dyn BlobStore,
        blob: &'a str,
        stored_bytes: u64,
        opener: &Opener,
    ) -> Result<Self, RepoError> {
        let layout = opener
            .correction()
            .map(|correction| correction.layout(stored_bytes))
            .transpose()
            .map_err(|error| damaged(blob, &error))?;
        let mut pieces = Self {
            store,
            blob,
            stored_bytes,
            layout,
            next: 0,
            first: None,
            sealed_bytes: stored_bytes,
            left_bytes: stored_bytes,
            damaged_shards: 0,
        };
        if let Some(layout) = layout {
            let mut first = pieces.decoded(&layout)?;
            let length = split_length(&mut first).map_err(|error| damaged(blob, &error))?;
            pieces.sealed_bytes = length;
            pieces.left_bytes = length;
            pieces.first = Some(first);
        }
        Ok(pieces)
    }

    /// Returns how many bytes all pieces together have, if nothing was cut off.
    pub(super) fn sealed_bytes(&self) -> u64 {
        self.sealed_bytes
    }

    /// Returns how many shards were damaged so far, and corrected.
    pub(super) fn damaged_shards(&self) -> u64 {
        self.damaged_shards
    }

    /// Returns the next piece, `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, RepoError> {
        let mut piece = match (self.first.take(), self.layout) {
            (Some(first), _) => first,
            (None, Some(layout)) if self.next < layout.blocks() => self.decoded(&layout)?,
            (None, None) if self.next < self.stored_bytes => {
                let end = self.stored_bytes.min(self.next + PIECE_BYTES);
                let stored = self.fetch(self.next..end)?;
                self.next = end;
                stored
            }
            _ => return Ok(None),
        };
        piece.truncate(self.left_bytes.min(piece.len() as u64) as usize);
        self.left_bytes -= piece.len() as u64;
        Ok(Some(piece))
    }

    /// Fetches and decodes about as many blocks as make a piece.
    fn decoded(&mut self, layout: &ShardLayout) -> Result<Vec<u8>, RepoError> {
        let blocks_max = (PIECE_BYTES / layout.block_bytes() as u64).max(1);
        let end = layout.blocks().min(self.next + blocks_max);
        let parity = self.fetch(layout.parity_of(self.next..end))?;
        let data = self.fetch(layout.data_of(self.next..end))?;
        let mut decoded = Vec::new();
        self.damaged_shards += layout
            .decode_blocks(end - self.next, &parity, &data, &mut decoded)
            .map_err(|error| damaged(self.blob, &error))?;
        self.next = end;
        Ok(decoded)
    }

    fn fetch(&self, range: Range<u64>) -> Result<Vec<u8>, RepoError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let blob = self.blob;
        self.store
            .get_range(blob, range.start, range.end - range.start)
            .map_err(|error| match error.kind() {
                BlobErrorKind::Invalid => damaged(blob, &"it is shorter than it was listed"),
                _ => store_error(format!("read index blob {blob}"))(error),
            })
    }
}

/// Returns the error of an index blob that makes no sense.
pub(super) fn damaged(blob: &str, what: &dyn Display) -> RepoError {
    RepoError::new(
        RepoErrorKind::Damaged,
        format!("read index blob {blob}: {what}"),
    )
}
