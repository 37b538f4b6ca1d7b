//! A file that several workers write at once.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use repo::ObjectReader;

use super::job::FileJob;
use crate::copy::PIECE_BYTES;
use crate::new_file::NewFile;

/// A part of a file.
pub(super) type Piece = Range<u64>;

/// A content longer than this is not read in one piece.
const ENTRY_BYTES_MAX: u64 = 2 * PIECE_BYTES;

/// A file in several pieces.
pub(super) struct BigFile {
    /// What the file is and where it goes.
    pub job: FileJob,
    /// Where it comes from.
    pub object: ObjectReader,
    /// The file.
    pub new: NewFile,
    left: AtomicUsize,
    failed: AtomicBool,
}

impl BigFile {
    /// Returns the file and its pieces.
    pub fn new(job: FileJob, object: ObjectReader, new: NewFile) -> (Arc<Self>, VecDeque<Piece>) {
        let parts = object
            .entries()
            .unwrap_or_default()
            .iter()
            .map(|entry| (entry.start, entry.bytes));
        let pieces = cut(object.len(), parts);
        let left = AtomicUsize::new(pieces.len());
        (
            Arc::new(Self {
                job,
                object,
                new,
                left,
                failed: AtomicBool::new(false),
            }),
            pieces,
        )
    }

    /// Says that a piece could not be written; returns whether it is the first.
    pub fn fail(&self) -> bool {
        !self.failed.swap(true, Ordering::AcqRel)
    }

    /// Returns whether a piece could not be written, so that the others need not be.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Says that a piece is dealt with; returns whether it was the last.
    pub fn piece_done(&self) -> bool {
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

/// Cuts an object of `len` bytes, which consists of `parts`, so that no part is read twice
/// unless it is too long to be held.
fn cut(len: u64, parts: impl Iterator<Item = (u64, u64)>) -> VecDeque<Piece> {
    let mut pieces = VecDeque::new();
    let mut start = 0;
    let borders = parts
        .map(|(start, bytes)| start.saturating_add(bytes))
        .chain([len]);
    let mut reached = 0;
    for border in borders {
        let border = border.min(len);
        // What came before this part is enough for a piece, or would be too much with it.
        if reached > start && (border - start > ENTRY_BYTES_MAX || reached - start >= PIECE_BYTES) {
            pieces.push_back(start..reached);
            start = reached;
        }
        while border > start && border - start > ENTRY_BYTES_MAX {
            pieces.push_back(start..start + PIECE_BYTES);
            start += PIECE_BYTES;
        }
        reached = border.max(reached);
    }
    if start < len {
        pieces.push_back(start..len);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut_parts(parts: &[u64]) -> Vec<Piece> {
        let mut start = 0;
        let parts: Vec<(u64, u64)> = parts
            .iter()
            .map(|bytes| {
                start += bytes;
                (start - bytes, *bytes)
            })
            .collect();
        cut(start, parts.into_iter()).into()
    }

    #[test]
    fn pieces_end_where_contents_end() {
        let mib = 1 << 20;
        assert_eq!(
            cut_parts(&[3 * mib, 3 * mib, 3 * mib]),
            [0..6 * mib, 6 * mib..9 * mib]
        );
        assert_eq!(
            cut_parts(&[mib, 8 * mib, mib]),
            [0..mib, mib..9 * mib, 9 * mib..10 * mib]
        );
        assert_eq!(
            cut_parts(&[32 * mib]).len(),
            7,
            "a list within a list is cut anyhow"
        );
        assert_eq!(cut(0, std::iter::empty()).len(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn pieces_cover_every_byte_once_and_none_is_too_long(parts in proptest::collection::vec(1u64..20_000_000, 0..12)) {
            let len: u64 = parts.iter().sum();
            let mut at = 0;
            for piece in cut_parts(&parts) {
                prop_assert_eq!(piece.start, at);
                prop_assert!(piece.end > piece.start && piece.end - piece.start <= ENTRY_BYTES_MAX);
                at = piece.end;
            }
            prop_assert_eq!(at, len);
        }
    }
}
