//! A file in memory that keeps only what was written, so that 64 TiB cost nothing.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::file::{ReadAt, WriteAt};

const PAGE_BYTES: usize = 64 * 1024;

/// A file in memory; its clones are the same file.
#[derive(Debug, Clone, Default)]
pub struct MemoryFile {
    content: Arc<RwLock<Content>>,
}

#[derive(Debug, Clone, Default)]
struct Content {
    pages: BTreeMap<u64, Box<[u8]>>,
    len_bytes: u64,
}

impl MemoryFile {
    /// Returns an empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a file that holds `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let file = Self::new();
        file.write().put(0, bytes);
        file
    }

    /// Returns everything the file holds, holes as zeros.
    pub fn to_bytes(&self) -> Vec<u8> {
        let content = self.read();
        let len = usize::try_from(content.len_bytes).expect("a file asked for whole fits memory");
        let mut bytes = vec![0; len];
        content.get(0, &mut bytes);
        bytes
    }

    /// Returns another file with the same content.
    pub fn duplicate(&self) -> Self {
        Self {
            content: Arc::new(RwLock::new(self.read().clone())),
        }
    }

    /// Returns how many bytes of memory the content takes.
    pub fn held_bytes(&self) -> u64 {
        (self.read().pages.len() * PAGE_BYTES) as u64
    }

    fn read(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Content> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadAt for MemoryFile {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let content = self.read();
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > content.len_bytes) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        content.get(offset, buf);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.read().len_bytes)
    }
}

impl WriteAt for MemoryFile {
    fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset.checked_add(data.len() as u64).is_none() {
            return Err(ErrorKind::FileTooLarge.into());
        }
        self.write().put(offset, data);
        Ok(())
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        let mut content = self.write();
        let page = len_bytes / PAGE_BYTES as u64;
        content.pages.split_off(&(page + 1));
        if let Some(last) = content.pages.get_mut(&page) {
            last[(len_bytes % PAGE_BYTES as u64) as usize..].fill(0);
        }
        content.len_bytes = len_bytes;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Content {
    fn get(&self, offset: u64, buf: &mut [u8]) {
        for (page, within, range) in pieces(offset, buf.len()) {
            let part = &mut buf[range];
            match self.pages.get(&page) {
                Some(bytes) => part.copy_from_slice(&bytes[within..within + part.len()]),
                None => part.fill(0),
            }
        }
    }

    fn put(&mut self, offset: u64, data: &[u8]) {
        for (page, within, range) in pieces(offset, data.len()) {
            let part = &data[range];
            if !self.pages.contains_key(&page) && part.iter().all(|byte| *byte == 0) {
                continue;
            }
            let bytes = self
                .pages
                .entry(page)
                .or_insert_with(|| vec![0; PAGE_BYTES].into_boxed_slice());
            bytes[within..within + part.len()].copy_from_slice(part);
        }
        self.len_bytes = self.len_bytes.max(offset + data.len() as u64);
    }
}

/// Cuts a range at page borders: the page, where in it, and which part of the buffer.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let position = offset + done as u64;
        let within = (position % PAGE_BYTES as u64) as usize;
        let part = (PAGE_BYTES - within).min(len - done);
        let range = done..done + part;
        done += part;
        Some((position / PAGE_BYTES as u64, within, range))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_off_reads_as_zeros_when_the_file_grows_again() {
        let file = MemoryFile::from_bytes(&[7; 200_000]);
        file.set_len(70_000).unwrap();
        file.set_len(200_000).unwrap();
        let bytes = file.to_bytes();
        assert!(bytes[..70_000].iter().all(|byte| *byte == 7));
        assert!(bytes[70_000..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn reading_past_the_end_fails() {
        let file = MemoryFile::from_bytes(&[1; 10]);
        assert!(file.read_exact_at(5, &mut [0; 6]).is_err());
        assert!(file.read_exact_at(u64::MAX, &mut [0; 6]).is_err());
    }
}
