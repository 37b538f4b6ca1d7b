//! From ranges of the virtual disk to places in the file. Reads block table and bitmaps, no payload.

use crate::bat::PayloadState;
use crate::error::{Result, out_of_range};
use crate::file::ReadAt;
use crate::vhdx::{BatWindow, Vhdx};

/// Where a piece of the virtual disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// In this file, from this offset on.
    File {
        /// Offset in the file, for [`Vhdx::read_file_at`].
        file_offset: u64,
    },
    /// Nowhere: it reads as zeros.
    Zero,
    /// In the parent.
    Parent,
}

/// A piece of the virtual disk that is in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Offset in the virtual disk.
    pub offset: u64,
    /// Never 0.
    pub length_bytes: u64,
    /// Where it is.
    pub extent: Extent,
}

impl Piece {
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.length_bytes
    }

    /// Returns the part from `offset` to `end`, which lies in it.
    fn part(&self, offset: u64, end: u64) -> Self {
        let extent = match self.extent {
            Extent::File { file_offset } => Extent::File {
                file_offset: file_offset + (offset - self.offset),
            },
            other => other,
        };
        let length_bytes = self.end().min(end) - offset;
        Self {
            offset,
            length_bytes,
            extent,
        }
    }
}

/// Walks over the pieces of one file in one direction; remembers the last, so that a chain can
/// ask for it in parts.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    window: BatWindow,
    last: Option<Piece>,
}

impl<F: ReadAt> Vhdx<F> {
    /// Returns the pieces that a range of the virtual disk consists of, in order, without gaps.
    ///
    /// # Errors
    /// `OutOfRange` past the disk's end; pieces may be `Damaged` or `Io`.
    pub fn resolve(
        &self,
        offset: u64,
        length_bytes: u64,
    ) -> Result<impl Iterator<Item = Result<Piece>>> {
        let end = self.check_range(offset, length_bytes)?;
        let mut cursor = Cursor::default();
        let mut position = offset;
        Ok(std::iter::from_fn(move || {
            if position >= end {
                return None;
            }
            let piece = self.piece_at(&mut cursor, position, end);
            position = piece.as_ref().map_or(end, Piece::end);
            Some(piece)
        }))
    }

    pub(crate) fn check_range(&self, offset: u64, length_bytes: u64) -> Result<u64> {
        let end = offset.checked_add(length_bytes);
        end.filter(|end| *end <= self.size_bytes()).ok_or_else(|| {
            let size = self.size_bytes();
            out_of_range(format!(
                "reach {length_bytes} bytes at {offset} in a disk of {size} bytes"
            ))
        })
    }

    /// Returns the piece that begins at `offset` and ends at `end` at the latest; both lie in the disk.
    pub(crate) fn piece_at(&self, cursor: &mut Cursor, offset: u64, end: u64) -> Result<Piece> {
        let known = cursor
            .last
            .filter(|last| (last.offset..last.end()).contains(&offset));
        let piece = match known {
            Some(piece) => piece,
            None => self.whole_piece(&mut cursor.window, offset)?,
        };
        cursor.last = Some(piece);
        Ok(piece.part(offset, end))
    }

    /// Returns a piece that `offset` lies in. It may end before its like does, but a run of blocks
    /// in one state is one piece within a page of the table.
    fn whole_piece(&self, window: &mut BatWindow, offset: u64) -> Result<Piece> {
        let geometry = self.geometry();
        let block_bytes = geometry.block_bytes();
        let first = offset / block_bytes;
        let state = self.payload_state(window, first)?;
        let extent = match state {
            PayloadState::PartiallyPresent {
                offset: file_offset,
            } => {
                return self.piece_in_block(window, first, file_offset, offset);
            }
            PayloadState::FullyPresent { offset } => Extent::File {
                file_offset: offset,
            },
            PayloadState::NotPresent if self.metadata.has_parent() => Extent::Parent,
            PayloadState::NotPresent | PayloadState::Zero => Extent::Zero,
        };
        let page_entries = crate::pages::PAGE_BYTES / crate::bat::ENTRY_BYTES;
        let page = |block| geometry.payload_index(block) / page_entries;
        let mut next = first + 1;
        while next < geometry.block_count() && page(next) == page(first) {
            let follows = match (extent, self.payload_state(window, next)?) {
                (Extent::File { file_offset }, PayloadState::FullyPresent { offset }) => {
                    offset == file_offset + (next - first) * block_bytes
                }
                (Extent::Parent, PayloadState::NotPresent) => true,
                (Extent::Zero, PayloadState::NotPresent) => !self.metadata.has_parent(),
                (Extent::Zero, PayloadState::Zero) => true,
                _ => false,
            };
            if !follows {
                break;
            }
            next += 1;
        }
        let offset = first * block_bytes;
        let end = (next * block_bytes).min(self.size_bytes());
        Ok(Piece {
            offset,
            length_bytes: end - offset,
            extent,
        })
    }

    /// Returns the run of sectors around `offset`, from it on, that are all here or all the parent's.
    fn piece_in_block(
        &self,
        window: &mut BatWindow,
        block: u64,
        file_offset: u64,
        offset: u64,
    ) -> Result<Piece> {
        let geometry = self.geometry();
        let sector_bytes = u64::from(geometry.logical_sector_bytes);
        let start = block * geometry.block_bytes();
        let bits = self.bits(window, block)?;
        let sector = (offset - start) / sector_bytes;
        let end = bits.run_end(sector, geometry.used_bytes(block) / sector_bytes);
        let extent = match bits.is_set(sector) {
            true => Extent::File {
                file_offset: file_offset + sector * sector_bytes,
            },
            false => Extent::Parent,
        };
        let length_bytes = (end - sector) * sector_bytes;
        Ok(Piece {
            offset: start + sector * sector_bytes,
            length_bytes,
            extent,
        })
    }
}

/// Fills `buf` from the first of `layers`, and where that points to its parent, from the next.
/// What lies past the end of a shorter parent is zeros.
pub(crate) fn read_layers<F: ReadAt>(
    layers: &[&Vhdx<F>],
    offset: u64,
    buf: &mut [u8],
) -> Result<()> {
    let Some((top, parents)) = layers.split_first() else {
        return Err(crate::error::parent_mismatch(
            "read from the parent: it was not given",
        ));
    };
    let end = top.check_range(offset, buf.len() as u64)?;
    let mut cursor = Cursor::default();
    let mut position = offset;
    while position < end {
        let piece = top.piece_at(&mut cursor, position, end)?;
        let part = &mut buf[(position - offset) as usize..(piece.end() - offset) as usize];
        match piece.extent {
            Extent::File { file_offset } => top.read_file_at(file_offset, part)?,
            Extent::Zero => part.fill(0),
            Extent::Parent => {
                let parent_end = parents
                    .first()
                    .map_or(u64::MAX, |parent| parent.size_bytes());
                let inside = parent_end.clamp(piece.offset, piece.end()) - piece.offset;
                let (inside, beyond) = part.split_at_mut(inside as usize);
                beyond.fill(0);
                if !inside.is_empty() {
                    read_layers(parents, piece.offset, inside)?;
                }
            }
        }
        position = piece.end();
    }
    Ok(())
}
