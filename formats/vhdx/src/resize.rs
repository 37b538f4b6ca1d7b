//! Makes a disk larger in place. Until the last step, the file is the smaller disk.

use crate::bat::{ENTRY_BYTES, Geometry, PayloadState, Slot};
use crate::error::{Result, out_of_range, unsupported};
use crate::file::WriteAt;
use crate::header::MIB;
use crate::live::{LiveDisk, Mark, Written};
use crate::metadata;
use crate::pages::PAGE_BYTES;
use crate::region::Region;
use crate::vhdx::BatWindow;

impl<F: WriteAt> LiveDisk<F> {
    /// Makes the virtual disk larger; the new part reads as zeros.
    ///
    /// # Errors
    /// `Unsupported` if it would get smaller, `OutOfRange` if it can't be that large, or `Io`.
    pub fn resize(&self, virtual_size_bytes: u64) -> Result<()> {
        let mut written = self.writing();
        written.mark(Mark::DataWritten)?;
        written.resize(virtual_size_bytes)
    }
}

impl<F: WriteAt> Written<F> {
    /// Makes the virtual disk larger without telling of it in the headers.
    pub fn resize(&mut self, virtual_size_bytes: u64) -> Result<()> {
        let old = self.disk.geometry();
        if virtual_size_bytes < old.virtual_size_bytes {
            return Err(unsupported("make a virtual disk smaller"));
        }
        let new = Geometry {
            virtual_size_bytes,
            ..old
        };
        new.check().map_err(out_of_range)?;
        self.flush()?;
        self.clear_tail(&old)?;
        let table_bytes = new.table_bytes(self.disk.metadata.has_parent());
        if table_bytes > self.disk.regions.bat.bytes {
            self.move_table(&old, table_bytes)?;
        }
        self.add_entries(&old, &new)?;
        self.flush()?;
        let place = metadata::size_offset(&self.disk.file, self.disk.regions.metadata)?;
        self.disk
            .file
            .write(place, &virtual_size_bytes.to_le_bytes())?;
        self.disk.file.sync()?;
        self.disk.metadata.virtual_size_bytes = virtual_size_bytes;
        Ok(())
    }

    /// Zeros what the last block holds past the old end, and gives it its full length in the file.
    fn clear_tail(&mut self, old: &Geometry) -> Result<()> {
        if self.disk.file.len_bytes() < self.disk.end_bytes {
            self.disk.file.grow(self.disk.end_bytes)?;
        }
        let last = old.block_count() - 1;
        let state = self.disk.payload_state(&mut BatWindow::default(), last)?;
        let (PayloadState::FullyPresent { offset } | PayloadState::PartiallyPresent { offset }) =
            state
        else {
            return Ok(());
        };
        let mut position = offset + old.used_bytes(last);
        let end = offset + old.block_bytes();
        let zeros = vec![0; MIB as usize];
        while position < end {
            let len = (end - position).min(MIB);
            self.disk.file.write(position, &zeros[..len as usize])?;
            position += len;
        }
        Ok(())
    }

    /// Copies the table to the file's end, where there is room for a longer one.
    fn move_table(&mut self, old: &Geometry, bytes: u64) -> Result<()> {
        let old_offset = self.disk.regions.bat.offset;
        let old_bytes = old.entry_count(self.disk.metadata.has_parent()) * ENTRY_BYTES;
        let offset = self.append(bytes)?;
        let mut done = 0;
        while done < old_bytes {
            let mut part = vec![0; (old_bytes - done).min(MIB) as usize];
            self.disk.file.read(old_offset + done, &mut part)?;
            self.disk.file.write(offset + done, &part)?;
            done += part.len() as u64;
        }
        self.disk.file.sync()?;
        self.disk.pages.forget();
        self.disk.regions.bat = Region { offset, bytes };
        self.disk.regions.write(self.disk.file.file())
    }

    /// Enters the new blocks: absent, or in fixed disks at the file's end.
    fn add_entries(&mut self, old: &Geometry, new: &Geometry) -> Result<()> {
        let has_parent = self.disk.metadata.has_parent();
        let old_blocks = old.block_count();
        let added = new.block_count() - old_blocks;
        let payload = match self.disk.metadata.leave_blocks_allocated && added > 0 {
            true => Some(self.append(added * new.block_bytes())?),
            false => None,
        };
        let entry = |block: u64| match payload {
            Some(start) => PayloadState::FullyPresent {
                offset: start + (block - old_blocks) * new.block_bytes(),
            },
            None => PayloadState::NotPresent,
        };
        let (old_count, count) = (old.entry_count(has_parent), new.entry_count(has_parent));
        let mut index = old.payload_index(old_blocks - 1) + 1;
        while index < count {
            let offset = self.disk.entry_offset(index);
            let in_page = (PAGE_BYTES - offset % PAGE_BYTES) / ENTRY_BYTES;
            let last = count.min(index + in_page);
            self.change_page(offset, |page| {
                for (index, bytes) in (index..last).zip(page.chunks_exact_mut(8)) {
                    let value = match new.slot(index) {
                        Some(Slot::Payload(block)) => entry(block).encode(),
                        // The last chunk's bitmap stays where it is.
                        Some(Slot::Bitmap) if index < old_count => continue,
                        Some(Slot::Bitmap) | None => 0,
                    };
                    bytes.copy_from_slice(&value.to_le_bytes());
                }
            })?;
            index = last;
        }
        Ok(())
    }
}
