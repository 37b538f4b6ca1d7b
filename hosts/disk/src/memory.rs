//! A disk in memory: thin, for tests and for small worlds.

use std::collections::BTreeMap;
use std::sync::RwLock;

use crate::error::out_of_range;
use crate::{BlockRead, BlockWrite, ByteRange, DiskError};

const PAGE_BYTES: u64 = 64 * 1024;

/// A thin disk in memory; pages never written take no room and read as zeros.
#[derive(Debug)]
pub struct MemoryDisk {
    size_bytes: u64,
    pages: RwLock<BTreeMap<u64, Vec<u8>>>,
}

impl MemoryDisk {
    /// Returns a disk of zeros.
    pub fn new(size_bytes: u64) -> Self {
        Self {
            size_bytes,
            pages: RwLock::default(),
        }
    }

    /// Returns the whole content.
    ///
    /// # Panics
    /// If the disk does not fit into memory.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes =
            vec![0; usize::try_from(self.size_bytes).expect("a test disk fits into memory")];
        self.read_at(0, &mut bytes)
            .expect("the whole disk is in range");
        bytes
    }

    fn check(&self, offset: u64, bytes: usize) -> Result<(), DiskError> {
        let bytes = bytes as u64;
        match offset.checked_add(bytes) {
            Some(end) if end <= self.size_bytes => Ok(()),
            _ => Err(out_of_range(offset, bytes, self.size_bytes)),
        }
    }
}

/// Cuts `len` bytes at `offset` at page boundaries: page number, place in the page, place in
/// the buffer.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < len).then(|| {
            let at = offset + done as u64;
            let within = (at % PAGE_BYTES) as usize;
            let take = (PAGE_BYTES as usize - within).min(len - done);
            let piece = (at / PAGE_BYTES, within, done..done + take);
            done += take;
            piece
        })
    })
}

impl BlockRead for MemoryDisk {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.check(offset, buf.len())?;
        let pages = self
            .pages
            .read()
            .expect("no thread panics while it writes a page");
        for (page, within, part) in pieces(offset, buf.len()) {
            let len = part.len();
            match pages.get(&page) {
                Some(bytes) => buf[part].copy_from_slice(&bytes[within..within + len]),
                None => buf[part].fill(0),
            }
        }
        Ok(())
    }

    fn next_allocated(&self, from: u64) -> Result<Option<ByteRange>, DiskError> {
        let pages = self
            .pages
            .read()
            .expect("no thread panics while it writes a page");
        Ok(pages
            .range(from / PAGE_BYTES..)
            .next()
            .and_then(|(page, _)| {
                let start = (page * PAGE_BYTES).max(from);
                ByteRange::new(start, ((page + 1) * PAGE_BYTES).min(self.size_bytes))
            }))
    }
}

impl BlockWrite for MemoryDisk {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.check(offset, data.len())?;
        let mut pages = self
            .pages
            .write()
            .expect("no thread panics while it writes a page");
        for (page, within, part) in pieces(offset, data.len()) {
            let bytes = pages
                .entry(page)
                .or_insert_with(|| vec![0; PAGE_BYTES as usize]);
            bytes[within..within + part.len()].copy_from_slice(&data[part]);
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_the_rest_is_zero() {
        let disk = MemoryDisk::new(300_000);
        disk.write_at(65_530, &[7; 20]).unwrap();
        let bytes = disk.to_vec();
        assert!(bytes[65_530..65_550].iter().all(|&byte| byte == 7));
        assert_eq!(bytes.iter().filter(|&&byte| byte != 0).count(), 20);
    }

    #[test]
    fn reaching_past_the_end_is_refused() {
        let disk = MemoryDisk::new(10);
        assert!(disk.read_at(8, &mut [0; 3]).is_err());
        assert!(disk.write_at(u64::MAX, &[0; 3]).is_err());
    }
}
