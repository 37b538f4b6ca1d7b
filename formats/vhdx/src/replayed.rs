//! A file as its log says it should be: what the log holds lies over it, in memory. The file
//! itself stays untouched until a writer asks for it.

use std::collections::BTreeMap;

use crate::error::{Result, damaged, io_error};
use crate::file::{ReadAt, WriteAt};

/// The log speaks of whole pieces of this length.
pub(crate) const SECTOR_BYTES: u64 = 4096;

/// Longer files are refused: 64 TiB of content leave room for everything else.
const FILE_BYTES_MAX: u64 = 1 << 47;

/// A file with its log's content over it.
#[derive(Debug)]
pub(crate) struct Replayed<F> {
    file: F,
    /// What the file itself holds.
    file_bytes: u64,
    /// What it holds after replay.
    len_bytes: u64,
    /// By offset; they never overlap.
    patches: BTreeMap<u64, Patch>,
}

#[derive(Debug)]
struct Patch {
    bytes: u64,
    /// One sector, or nothing for zeros of any length.
    content: Option<Box<[u8]>>,
}

impl<F: ReadAt> Replayed<F> {
    /// Returns the file as it is, so far without a log.
    pub fn new(file: F) -> Result<Self> {
        let len_bytes = file.len().map_err(io_error("learn the file's length"))?;
        let this = Self {
            file,
            file_bytes: len_bytes,
            len_bytes,
            patches: BTreeMap::new(),
        };
        this.check_len(len_bytes)?;
        Ok(this)
    }

    pub fn file(&self) -> &F {
        &self.file
    }

    pub fn into_file(self) -> F {
        self.file
    }

    /// Returns the length after replay.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn check_len(&self, len_bytes: u64) -> Result<()> {
        match len_bytes <= FILE_BYTES_MAX {
            true => Ok(()),
            false => Err(damaged(format!("accept a file of {len_bytes} bytes"))),
        }
    }

    /// Lays one sector over the file.
    pub fn lay_sector(&mut self, offset: u64, content: Box<[u8]>) {
        let bytes = content.len() as u64;
        self.clear(offset, bytes);
        let content = Some(content);
        self.patches.insert(offset, Patch { bytes, content });
    }

    /// Lays zeros over the file.
    pub fn lay_zeros(&mut self, offset: u64, bytes: u64) {
        self.clear(offset, bytes);
        let content = None;
        self.patches.insert(offset, Patch { bytes, content });
    }

    /// Makes the file at least this long.
    pub fn extend(&mut self, len_bytes: u64) -> Result<()> {
        self.check_len(len_bytes)?;
        self.len_bytes = self.len_bytes.max(len_bytes);
        Ok(())
    }

    /// Removes what lies in a range; zeros that reach out of it keep their outer parts, and
    /// sectors never do, because everything is aligned to them.
    fn clear(&mut self, offset: u64, bytes: u64) {
        let end = offset + bytes;
        let before = self.patches.range(..offset).next_back();
        let first = match before {
            Some((start, patch)) if start + patch.bytes > offset => *start,
            _ => offset,
        };
        let touched: Vec<u64> = self
            .patches
            .range(first..end)
            .map(|(start, _)| *start)
            .collect();
        for start in touched {
            let patch = self.patches.remove(&start).expect("it was found just now");
            let outer = [(start, offset), (end, start + patch.bytes)];
            for (from, to) in outer {
                if from < to {
                    let (bytes, content) = (to - from, None);
                    self.patches.insert(from, Patch { bytes, content });
                }
            }
        }
    }

    /// Fills `buf` with what stands at `offset` after replay.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        let Some(end) = end.filter(|end| *end <= self.len_bytes) else {
            return Err(damaged(format!("read at {offset}: the file ends before")));
        };
        let in_file = self.file_bytes.clamp(offset, end) - offset;
        let (within, beyond) = buf.split_at_mut(in_file as usize);
        if !within.is_empty() {
            self.file
                .read_exact_at(offset, within)
                .map_err(io_error("read the file"))?;
        }
        beyond.fill(0);
        if !self.patches.is_empty() {
            self.patch(offset, end, buf);
        }
        Ok(())
    }

    fn patch(&self, offset: u64, end: u64, buf: &mut [u8]) {
        let before = self.patches.range(..=offset).next_back();
        let first = before.map_or(offset, |(start, _)| *start);
        for (start, patch) in self.patches.range(first..end) {
            let from = offset.max(*start);
            let to = end.min(start + patch.bytes);
            if from >= to {
                continue;
            }
            let part = &mut buf[(from - offset) as usize..(to - offset) as usize];
            match &patch.content {
                Some(content) => {
                    part.copy_from_slice(&content[(from - start) as usize..(to - start) as usize]);
                }
                None => part.fill(0),
            }
        }
    }
}

impl<F: WriteAt> Replayed<F> {
    /// Writes what the log holds into the file and makes it durable.
    pub fn settle(&mut self) -> Result<()> {
        let failed = "write the log's content into the file";
        // Past the old end, zeros come by themselves.
        let old_bytes = self.file_bytes;
        if self.file_bytes < self.len_bytes {
            self.file
                .set_len(self.len_bytes)
                .map_err(io_error(failed))?;
            self.file_bytes = self.len_bytes;
        }
        let zeros = vec![0; 1 << 20];
        for (start, patch) in &self.patches {
            if let Some(content) = &patch.content {
                self.file
                    .write_all_at(*start, content)
                    .map_err(io_error(failed))?;
                continue;
            }
            let end = old_bytes.min(start + patch.bytes);
            let mut position = *start;
            while position < end {
                let part = (end - position).min(zeros.len() as u64);
                self.file
                    .write_all_at(position, &zeros[..part as usize])
                    .map_err(io_error(failed))?;
                position += part;
            }
        }
        self.file.sync().map_err(io_error(failed))?;
        self.patches.clear();
        Ok(())
    }

    /// Writes inside the file. Only after [`Self::settle`], or patches would hide it.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        assert!(
            self.patches.is_empty(),
            "a file is settled before it is written to"
        );
        self.file
            .write_all_at(offset, data)
            .map_err(io_error("write the file"))
    }

    /// Makes the file longer; the new part reads as zeros.
    pub fn grow(&mut self, len_bytes: u64) -> Result<()> {
        self.check_len(len_bytes)?;
        self.file
            .set_len(len_bytes)
            .map_err(io_error("make the file longer"))?;
        self.file_bytes = len_bytes;
        self.len_bytes = len_bytes;
        Ok(())
    }

    pub fn sync(&self) -> Result<()> {
        self.file.sync().map_err(io_error("make the file durable"))
    }
}
