//! A disk in use: reads and writes in place, into fixed, dynamic and differencing files.
//!
//! New blocks are appended. Block table and sector bitmaps change in memory and reach the file at
//! [`LiveDisk::flush`]: first payload is made durable, then bitmaps, then the table, so that a
//! table entry never points to what isn't there. What was written after the last flush may be
//! lost with the process, as in a disk's own cache; the file stays whole. No log is written.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use uuid::Uuid;

use crate::bat::{self, BITMAP_BYTES, PayloadState};
use crate::chain::check_links;
use crate::error::Result;
use crate::file::WriteAt;
use crate::header::MIB;
use crate::metadata::Metadata;
use crate::pages::{CHANGED_PAGES_MAX, PAGE_BYTES};
use crate::resolve::read_layers;
use crate::vhdx::{BatWindow, Vhdx};

/// New GUIDs for the headers, used when the first write comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteGuids {
    /// Says that the file was written to.
    pub file_write_guid: Uuid,
    /// Says that what the guest sees has changed; children of the former state no longer fit.
    pub data_write_guid: Uuid,
}

/// A disk in use: one file that is written to, over parents that are not.
#[derive(Debug)]
pub struct LiveDisk<F> {
    written: RwLock<Written<F>>,
    parents: Vec<Vhdx<F>>,
}

impl<F: WriteAt> LiveDisk<F> {
    /// Opens a file and its parents, nearest first. A log that is not empty is written into its
    /// places and emptied.
    ///
    /// # Errors
    /// As [`Chain::open`](crate::Chain::open).
    pub fn open(file: F, parents: Vec<F>, guids: WriteGuids) -> Result<Self> {
        let mut disk = Vhdx::open(file)?;
        let parents: Result<Vec<_>> = parents.into_iter().map(Vhdx::open).collect();
        let parents = parents?;
        let mut layers = vec![&disk];
        layers.extend(&parents);
        check_links(&layers)?;
        if disk.has_log() {
            disk.file.settle()?;
            disk.header
                .update(disk.file.file(), |header| header.log_guid = Uuid::nil())?;
        }
        let mark = Mark::Untouched;
        let written = RwLock::new(Written { disk, guids, mark });
        Ok(Self { written, parents })
    }

    /// Returns what the file says of its disk and of itself now.
    pub fn metadata(&self) -> Metadata {
        self.reading().disk.metadata.clone()
    }

    /// Returns the length of the virtual disk now.
    pub fn size_bytes(&self) -> u64 {
        self.reading().disk.size_bytes()
    }

    /// Fills `buf` with what the guest sees at `offset`.
    ///
    /// # Errors
    /// `OutOfRange` past the disk's end, `Damaged` or `Io`.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.reading().read(&self.parents, offset, buf)
    }

    /// Writes what the guest writes. Whole sectors are quicker, but any range will do.
    ///
    /// # Errors
    /// `OutOfRange` past the disk's end, `Damaged` or `Io`.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut written = self.writing();
        written.disk.check_range(offset, data.len() as u64)?;
        written.mark(Mark::DataWritten)?;
        written.write(&self.parents, offset, data)
    }

    /// Makes a range zeros. Whole blocks lose their place in the file, unless it is a fixed disk;
    /// the file gets no shorter.
    ///
    /// # Errors
    /// As [`Self::write_at`].
    pub fn zero(&self, offset: u64, length_bytes: u64) -> Result<()> {
        let mut written = self.writing();
        written.disk.check_range(offset, length_bytes)?;
        written.mark(Mark::DataWritten)?;
        written.zero(&self.parents, offset, length_bytes)
    }

    /// Makes everything written so far durable.
    pub fn flush(&self) -> Result<()> {
        self.writing().flush()
    }

    /// Flushes and returns the file.
    pub fn close(self) -> Result<F> {
        self.flush()?;
        let written = self.written.into_inner();
        let written = written.unwrap_or_else(PoisonError::into_inner);
        Ok(written.disk.into_file())
    }

    pub(crate) fn parents(&self) -> &[Vhdx<F>] {
        &self.parents
    }

    pub(crate) fn writing(&self) -> RwLockWriteGuard<'_, Written<F>> {
        self.written.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading(&self) -> RwLockReadGuard<'_, Written<F>> {
        self.written.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far the headers already tell of writes since the file was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum Mark {
    Untouched,
    FileWritten,
    DataWritten,
}

/// The file that is written to.
#[derive(Debug)]
pub(crate) struct Written<F> {
    pub disk: Vhdx<F>,
    guids: WriteGuids,
    mark: Mark,
}

impl<F: WriteAt> Written<F> {
    /// Tells of writes in the headers before they happen.
    pub fn mark(&mut self, wanted: Mark) -> Result<()> {
        if self.mark >= wanted {
            return Ok(());
        }
        let data_write_guid = match wanted {
            Mark::DataWritten => self.guids.data_write_guid,
            _ => self.disk.metadata.data_write_guid,
        };
        self.set_guids(data_write_guid)?;
        self.mark = wanted;
        Ok(())
    }

    /// Gives the file a data write GUID that is not its own next one: it takes a child's place.
    pub fn take_place_of(&mut self, data_write_guid: Uuid) -> Result<()> {
        self.set_guids(data_write_guid)?;
        self.mark = Mark::DataWritten;
        Ok(())
    }

    fn set_guids(&mut self, data_write_guid: Uuid) -> Result<()> {
        let file_write_guid = self.guids.file_write_guid;
        self.disk.header.update(self.disk.file.file(), |header| {
            header.file_write_guid = file_write_guid;
            header.data_write_guid = data_write_guid;
        })?;
        self.disk.metadata.file_write_guid = file_write_guid;
        self.disk.metadata.data_write_guid = data_write_guid;
        Ok(())
    }

    pub fn read(&self, parents: &[Vhdx<F>], offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut layers = vec![&self.disk];
        layers.extend(parents);
        read_layers(&layers, offset, buf)
    }

    /// Writes a range that lies in the disk.
    pub fn write(&mut self, parents: &[Vhdx<F>], offset: u64, data: &[u8]) -> Result<()> {
        let block_bytes = self.disk.geometry().block_bytes();
        let mut rest = data;
        let mut position = offset;
        while !rest.is_empty() {
            let within = position % block_bytes;
            let len = rest.len().min((block_bytes - within) as usize);
            let (part, others) = rest.split_at(len);
            self.write_block(parents, position / block_bytes, within, part)?;
            position += len as u64;
            rest = others;
        }
        Ok(())
    }

    /// Makes a range zeros that lies in the disk.
    pub fn zero(&mut self, parents: &[Vhdx<F>], offset: u64, length_bytes: u64) -> Result<()> {
        let geometry = self.disk.geometry();
        let end = offset + length_bytes;
        let mut position = offset;
        while position < end {
            let block = position / geometry.block_bytes();
            let within = position % geometry.block_bytes();
            let used = geometry.used_bytes(block);
            let len = (used - within).min(end - position);
            let state = self.disk.payload_state(&mut BatWindow::default(), block)?;
            let is_zero = match state {
                PayloadState::Zero => true,
                PayloadState::NotPresent => !self.disk.metadata.has_parent(),
                _ => false,
            };
            if !is_zero && len == used && !self.disk.metadata.leave_blocks_allocated {
                self.set_state(block, PayloadState::Zero)?;
            } else if !is_zero {
                self.write_zeros(parents, position, len)?;
            }
            position += len;
        }
        Ok(())
    }

    fn write_zeros(&mut self, parents: &[Vhdx<F>], offset: u64, length_bytes: u64) -> Result<()> {
        let zeros = vec![0; length_bytes.min(MIB) as usize];
        let end = offset + length_bytes;
        let mut position = offset;
        while position < end {
            let len = (end - position).min(MIB);
            self.write(parents, position, &zeros[..len as usize])?;
            position += len;
        }
        Ok(())
    }

    fn write_block(
        &mut self,
        parents: &[Vhdx<F>],
        block: u64,
        within: u64,
        data: &[u8],
    ) -> Result<()> {
        let geometry = self.disk.geometry();
        let is_whole = data.len() as u64 == geometry.used_bytes(block);
        let state = self.disk.payload_state(&mut BatWindow::default(), block)?;
        let is_parents = state == PayloadState::NotPresent && self.disk.metadata.has_parent();
        match state {
            PayloadState::FullyPresent { offset } => self.disk.file.write(offset + within, data),
            PayloadState::PartiallyPresent { offset } if is_whole => {
                self.disk.file.write(offset, data)?;
                self.set_state(block, PayloadState::FullyPresent { offset })
            }
            PayloadState::PartiallyPresent { offset } => {
                self.write_sectors(parents, block, offset, within, data)
            }
            PayloadState::NotPresent if is_parents && !is_whole => {
                self.clear_bits(block)?;
                let offset = self.append(geometry.block_bytes())?;
                self.write_sectors(parents, block, offset, within, data)?;
                self.set_state(block, PayloadState::PartiallyPresent { offset })
            }
            PayloadState::NotPresent | PayloadState::Zero => {
                let offset = self.append(geometry.block_bytes())?;
                self.disk.file.write(offset + within, data)?;
                self.set_state(block, PayloadState::FullyPresent { offset })
            }
        }
    }

    /// Writes into a partly present block: whole sectors, the rest of which comes from where the
    /// guest sees it now, and then their bits.
    fn write_sectors(
        &mut self,
        parents: &[Vhdx<F>],
        block: u64,
        place: u64,
        within: u64,
        data: &[u8],
    ) -> Result<()> {
        let geometry = self.disk.geometry();
        let sector_bytes = u64::from(geometry.logical_sector_bytes);
        let end = within + data.len() as u64;
        let (first, last) = (within / sector_bytes, end.div_ceil(sector_bytes));
        if within.is_multiple_of(sector_bytes) && end.is_multiple_of(sector_bytes) {
            self.disk.file.write(place + within, data)?;
        } else {
            let start = first * sector_bytes;
            let mut sectors = vec![0; (last * sector_bytes - start) as usize];
            self.read(
                parents,
                block * geometry.block_bytes() + start,
                &mut sectors,
            )?;
            let at = (within - start) as usize;
            sectors[at..at + data.len()].copy_from_slice(data);
            self.disk.file.write(place + start, &sectors)?;
        }
        let bits = self.bits_offset(block)?;
        self.change_page(bits + first / 8, |bytes| {
            let base = first / 8 * 8;
            for sector in first..last {
                bytes[((sector - base) / 8) as usize] |= 1 << (sector % 8);
            }
        })
    }

    /// Forgets what a block's bits said; its chunk gets a bitmap if it has none.
    fn clear_bits(&mut self, block: u64) -> Result<()> {
        let geometry = self.disk.geometry();
        let window = &mut BatWindow::default();
        if self.disk.bitmap_offset(window, block)?.is_none() {
            let entry = bat::encode_bitmap(self.append(BITMAP_BYTES)?);
            self.set_entry(geometry.bitmap_index(block), entry)?;
        }
        let (_, bytes) = geometry.bitmap_place(block);
        let bits = self.bits_offset(block)?;
        self.change_page(bits, |page| page[..bytes as usize].fill(0))
    }

    /// Returns where in the file a block's bits lie; its chunk has a bitmap.
    fn bits_offset(&self, block: u64) -> Result<u64> {
        let bitmap = self.disk.bitmap_offset(&mut BatWindow::default(), block)?;
        let bitmap = bitmap.ok_or_else(|| crate::error::damaged("find a block's sector bitmap"))?;
        Ok(bitmap + self.disk.geometry().bitmap_place(block).0)
    }

    /// Makes room at the file's end; it reads as zeros.
    pub fn append(&mut self, bytes: u64) -> Result<u64> {
        let offset = self.disk.end_bytes;
        self.disk.file.grow(offset + bytes)?;
        self.disk.end_bytes = offset + bytes;
        Ok(offset)
    }

    fn set_state(&mut self, block: u64, state: PayloadState) -> Result<()> {
        self.set_entry(self.disk.geometry().payload_index(block), state.encode())
    }

    fn set_entry(&mut self, index: u64, entry: u64) -> Result<()> {
        self.change_page(self.disk.entry_offset(index), |bytes| {
            bytes[..8].copy_from_slice(&entry.to_le_bytes());
        })
    }

    /// Changes bytes of the block table or of a bitmap, up to a page's end.
    pub fn change_page(&mut self, offset: u64, change: impl FnOnce(&mut [u8])) -> Result<()> {
        if self.disk.pages.changed_count() >= CHANGED_PAGES_MAX {
            self.flush()?;
        }
        self.disk.pages.change(&self.disk.file, offset, change)
    }

    pub fn flush(&mut self) -> Result<()> {
        let table = self.disk.regions.bat;
        let is_table =
            |page: u64| page >= table.offset && page + PAGE_BYTES <= table.offset + table.bytes;
        let disk = &mut self.disk;
        disk.file.sync()?;
        if disk.pages.changed_count() == 0 {
            return Ok(());
        }
        disk.pages.write(&disk.file, |page| !is_table(page))?;
        disk.file.sync()?;
        disk.pages.write(&disk.file, is_table)?;
        disk.file.sync()
    }
}
