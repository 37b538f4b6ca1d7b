//! Writes a new dynamic VHDX: blocks are appended as data for them comes, in any order, from
//! several threads. Until it is finished, the file is none that anybody would open.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::bat::{ENTRY_BYTES, Geometry, PayloadState};
use crate::create_options::CreateOptions;
use crate::error::{Result, io_error, out_of_range};
use crate::file::WriteAt;
use crate::frame::{BAT_OFFSET, Frame, set_new_len};
use crate::header::MIB;

/// Larger tables are refused: they are held in memory until the end.
const TABLE_BYTES_MAX: u64 = 64 * MIB;

/// A dynamic VHDX being written.
#[derive(Debug)]
pub struct ThinWriter<F> {
    file: F,
    frame: Frame,
    geometry: Geometry,
    blocks: Mutex<Blocks>,
}

/// Where the blocks that came so far lie.
#[derive(Debug)]
struct Blocks {
    /// In MiB, 0 for none.
    places: Vec<u32>,
    end: u64,
}

impl<F: WriteAt> ThinWriter<F> {
    /// Begins a file; its former content is lost.
    ///
    /// # Errors
    /// `OutOfRange` if the options are impossible or the block table would take more than 64 MiB
    /// (see [`suggested_block_size_bytes`](crate::suggested_block_size_bytes)), or `Io`.
    pub fn create(file: F, options: &CreateOptions) -> Result<Self> {
        let metadata = options.metadata();
        let geometry = metadata.geometry();
        let frame = Frame::new(metadata)?;
        let table_bytes = frame.payload_offset() - BAT_OFFSET;
        if table_bytes > TABLE_BYTES_MAX {
            return Err(out_of_range(format!(
                "hold a block table of {table_bytes} bytes: choose larger blocks"
            )));
        }
        set_new_len(&file, frame.payload_offset())?;
        let blocks = Blocks {
            places: vec![0; geometry.block_count() as usize],
            end: frame.payload_offset(),
        };
        let blocks = Mutex::new(blocks);
        Ok(Self {
            file,
            frame,
            geometry,
            blocks,
        })
    }

    /// Returns the length of the virtual disk.
    pub fn size_bytes(&self) -> u64 {
        self.geometry.virtual_size_bytes
    }

    /// Writes data at an offset of the virtual disk. What is never written reads as zeros, so
    /// pieces of zeros are best left out.
    ///
    /// # Errors
    /// `OutOfRange` past the disk's end, or `Io`.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let end = offset.checked_add(data.len() as u64);
        if end.is_none_or(|end| end > self.size_bytes()) {
            return Err(out_of_range(format!(
                "write {} bytes at {offset}: the disk ends before",
                data.len()
            )));
        }
        let block_bytes = self.geometry.block_bytes();
        let mut rest = data;
        let mut position = offset;
        while !rest.is_empty() {
            let within = position % block_bytes;
            let len = rest.len().min((block_bytes - within) as usize);
            let (part, others) = rest.split_at(len);
            let place = self.place(position / block_bytes);
            self.file
                .write_all_at(place + within, part)
                .map_err(io_error("write a block"))?;
            position += len as u64;
            rest = others;
        }
        Ok(())
    }

    /// Writes table and headers and makes the file durable. Only now it is a VHDX file.
    pub fn finish(self) -> Result<F> {
        let blocks = self.lock();
        self.file
            .set_len(blocks.end)
            .map_err(io_error("give the file its length"))?;
        self.write_table(&blocks.places)?;
        drop(blocks);
        self.frame.write(&self.file)?;
        Ok(self.file)
    }

    /// Returns where in the file a block lies, at its end if it is new.
    fn place(&self, block: u64) -> u64 {
        let mut blocks = self.lock();
        if blocks.places[block as usize] == 0 {
            let place = blocks.end / MIB;
            blocks.places[block as usize] =
                u32::try_from(place).expect("64 TiB and a table are few enough MiB");
            blocks.end += self.geometry.block_bytes();
        }
        u64::from(blocks.places[block as usize]) * MIB
    }

    fn write_table(&self, places: &[u32]) -> Result<()> {
        let mut table = vec![0; (self.frame.payload_offset() - BAT_OFFSET) as usize];
        for (block, place) in places.iter().enumerate().filter(|(_, place)| **place != 0) {
            let offset = u64::from(*place) * MIB;
            let at = (self.geometry.payload_index(block as u64) * ENTRY_BYTES) as usize;
            let entry = PayloadState::FullyPresent { offset }.encode();
            table[at..at + 8].copy_from_slice(&entry.to_le_bytes());
        }
        self.file
            .write_all_at(BAT_OFFSET, &table)
            .map_err(io_error("write the block table"))
    }

    fn lock(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
