//! A disk with its parents: the file the guest writes to first, then each one's parent.

use crate::error::{Result, out_of_range, parent_mismatch};
use crate::file::ReadAt;
use crate::metadata::Metadata;
use crate::resolve::{Cursor, Extent, read_layers};
use crate::vhdx::Vhdx;

/// Hyper-V allows 50 checkpoints.
const LAYERS_MAX: usize = 64;

/// A disk with all its parents, each proven to be the one the file before it means.
#[derive(Debug)]
pub struct Chain<F> {
    layers: Vec<Vhdx<F>>,
}

impl<F: ReadAt> Chain<F> {
    /// Opens files in order: a child before its parent, the last without one.
    ///
    /// # Errors
    /// What [`Vhdx::open`] fails with, and `ParentMismatch` if two neighbours don't belong
    /// together, one is missing, one is too many, or one comes twice.
    pub fn open(files: Vec<F>) -> Result<Self> {
        if files.len() > LAYERS_MAX {
            return Err(out_of_range(format!(
                "follow a chain of {} files",
                files.len()
            )));
        }
        let layers: Result<Vec<_>> = files.into_iter().map(Vhdx::open).collect();
        Self::new(layers?)
    }

    /// Joins files that are open already, in the same order.
    pub fn new(layers: Vec<Vhdx<F>>) -> Result<Self> {
        if layers.len() > LAYERS_MAX {
            return Err(out_of_range(format!(
                "follow a chain of {} files",
                layers.len()
            )));
        }
        check_links(&layers.iter().collect::<Vec<_>>())?;
        Ok(Self { layers })
    }

    /// Returns what the first file says; of the virtual disk, it speaks for all.
    pub fn metadata(&self) -> &Metadata {
        self.layers[0].metadata()
    }

    /// Returns the length of the virtual disk.
    pub fn size_bytes(&self) -> u64 {
        self.layers[0].size_bytes()
    }

    /// Returns the files, in order.
    pub fn layers(&self) -> &[Vhdx<F>] {
        &self.layers
    }

    /// Returns the files, in order.
    pub fn into_layers(self) -> Vec<Vhdx<F>> {
        self.layers
    }

    /// Fills `buf` with what the guest sees at `offset`.
    ///
    /// # Errors
    /// `OutOfRange` past the disk's end, `Damaged` or `Io`.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        read_layers(&self.layers.iter().collect::<Vec<_>>(), offset, buf)
    }

    /// Returns the ranges that may hold something other than zeros, in order, none touching
    /// another. Reads block tables and bitmaps as it goes, no payload.
    pub fn allocated_ranges(&self) -> AllocatedRanges<'_, F> {
        self.allocated_ranges_from(0)
    }

    /// Returns the ranges as [`Self::allocated_ranges`] does, cut off before `offset`.
    pub fn allocated_ranges_from(&self, offset: u64) -> AllocatedRanges<'_, F> {
        AllocatedRanges {
            cursors: self.layers.iter().map(|_| Cursor::default()).collect(),
            chain: self,
            position: offset,
        }
    }
}

/// Checks that each file is the parent of the one before it and that the last has none.
pub(crate) fn check_links<F: ReadAt>(layers: &[&Vhdx<F>]) -> Result<()> {
    let Some(last) = layers.last() else {
        return Err(parent_mismatch("open a chain of no files"));
    };
    for pair in layers.windows(2) {
        check_link(pair[0].metadata(), pair[1].metadata())?;
    }
    if last.metadata().has_parent() {
        return Err(parent_mismatch(
            "open a differencing disk: its parent was not given",
        ));
    }
    let mut guids: Vec<_> = layers
        .iter()
        .map(|layer| layer.metadata().data_write_guid)
        .collect();
    guids.sort_unstable();
    if guids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(parent_mismatch(
            "open a chain: one of its files comes twice",
        ));
    }
    Ok(())
}

/// Checks that `parent` is what `child` was made from, unchanged since.
pub(crate) fn check_link(child: &Metadata, parent: &Metadata) -> Result<()> {
    let Some(locator) = &child.parent else {
        return Err(parent_mismatch("join a parent to a disk that has none"));
    };
    let guid = parent.data_write_guid;
    if locator.parent_linkage != guid && locator.parent_linkage2 != Some(guid) {
        let wanted = locator.parent_linkage;
        return Err(parent_mismatch(format!(
            "join parent and child: the child was made from {wanted}, the parent is {guid} now"
        )));
    }
    if child.logical_sector_bytes != parent.logical_sector_bytes {
        return Err(parent_mismatch(
            "join parent and child: their sectors differ in size",
        ));
    }
    if child.virtual_size_bytes < parent.virtual_size_bytes {
        return Err(parent_mismatch(
            "join parent and child: the child's disk is shorter",
        ));
    }
    Ok(())
}

/// Walks over the ranges of a chain that may hold something other than zeros.
#[derive(Debug)]
pub struct AllocatedRanges<'a, F> {
    chain: &'a Chain<F>,
    cursors: Vec<Cursor>,
    position: u64,
}

impl<F: ReadAt> AllocatedRanges<'_, F> {
    /// Returns the end of the piece at `position`, and whether some file holds it.
    fn step(&mut self, position: u64) -> Result<(u64, bool)> {
        let mut end = self.chain.size_bytes();
        for (layer, cursor) in self.chain.layers.iter().zip(&mut self.cursors) {
            if position >= layer.size_bytes() {
                return Ok((end, false));
            }
            let piece = layer.piece_at(cursor, position, end.min(layer.size_bytes()))?;
            end = piece.end();
            match piece.extent {
                Extent::File { .. } => return Ok((end, true)),
                Extent::Zero => return Ok((end, false)),
                Extent::Parent => {}
            }
        }
        Err(parent_mismatch(
            "follow a disk to its parent: it was not given",
        ))
    }

    fn next_range(&mut self) -> Result<Option<(u64, u64)>> {
        let size = self.chain.size_bytes();
        let mut start = None;
        while self.position < size {
            let position = self.position;
            let (end, is_held) = self.step(position)?;
            match start {
                Some(start) if !is_held => return Ok(Some((start, position - start))),
                None if is_held => start = Some(position),
                _ => {}
            }
            self.position = end;
        }
        Ok(start.map(|start| (start, size - start)))
    }
}

/// Offset and length in bytes. After an error there is nothing more.
impl<F: ReadAt> Iterator for AllocatedRanges<'_, F> {
    type Item = Result<(u64, u64)>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_range().transpose();
        if let Some(Err(_)) = next {
            self.position = self.chain.size_bytes();
        }
        next
    }
}
