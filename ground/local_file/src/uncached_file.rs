//! A file whose large transfers go past the page cache.
//!
//! It is open twice: one handle goes past the cache and takes what is large and aligned, the
//! other takes the rest. The system keeps both views of the file the same.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::aligned_buffer::{ALIGNMENT_BYTES, AlignedBuffer};
use crate::system;

/// Smaller transfers go through the cache: each one past it waits for the device.
const DIRECT_BYTES_MIN: usize = 128 << 10;
/// Parts that are written one after the other are gathered to this much.
const GATHERED_BYTES: usize = 2 << 20;

/// A file that is read or written in large pieces, once.
#[derive(Debug)]
pub struct UncachedFile {
    file: File,
    direct: Option<File>,
    /// Some file systems take the flag and then refuse every transfer.
    refused: AtomicBool,
}

impl UncachedFile {
    /// Takes `file`, which was opened for reading at `path`.
    pub fn for_reading(file: File, path: &Path) -> Self {
        Self::open(file, path, false)
    }

    /// Takes `file`, which was opened for writing at `path`; reading it works if it was opened
    /// for that too.
    pub fn for_writing(file: File, path: &Path) -> Self {
        Self::open(file, path, true)
    }

    fn open(file: File, path: &Path, write: bool) -> Self {
        let direct = system::open_direct(&file, path, write);
        Self {
            file,
            direct,
            refused: AtomicBool::new(false),
        }
    }

    /// Returns the handle that goes through the cache, for everything but large transfers.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Fills `buf` with what stands at `offset`, or fails.
    pub fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let direct_bytes = self.direct_bytes(offset, buf);
        let (head, tail) = buf.split_at_mut(direct_bytes);
        if let Some(direct) = self.direct.as_ref().filter(|_| !head.is_empty()) {
            let done = system::read_exact_at(direct, offset, head);
            self.or_through_cache(done, || system::read_exact_at(&self.file, offset, head))?;
        }
        match tail {
            [] => Ok(()),
            tail => system::read_exact_at(&self.file, offset + direct_bytes as u64, tail),
        }
    }

    /// Writes all of `data` at `offset`, making the file longer if need be.
    pub fn write_all_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let direct_bytes = self.direct_bytes(offset, data);
        let (head, tail) = data.split_at(direct_bytes);
        if let Some(direct) = self.direct.as_ref().filter(|_| !head.is_empty()) {
            let done = system::write_all_at(direct, offset, head);
            self.or_through_cache(done, || system::write_all_at(&self.file, offset, head))?;
        }
        match tail {
            [] => Ok(()),
            tail => system::write_all_at(&self.file, offset + direct_bytes as u64, tail),
        }
    }

    /// Writes a new file's whole content: `parts`, one behind the other.
    pub fn write_whole(&self, parts: &[&[u8]]) -> io::Result<()> {
        let total_bytes: usize = parts.iter().map(|part| part.len()).sum();
        if total_bytes < DIRECT_BYTES_MIN {
            return system::write_all_at(&self.file, 0, &parts.concat());
        }
        system::reserve(&self.file, total_bytes as u64)?;
        let mut gathered = AlignedBuffer::new(GATHERED_BYTES.min(total_bytes));
        let mut filled = 0;
        let mut offset = 0;
        for mut part in parts.iter().copied() {
            while !part.is_empty() {
                let (now, later) = part.split_at(part.len().min(gathered.len() - filled));
                gathered[filled..filled + now.len()].copy_from_slice(now);
                filled += now.len();
                part = later;
                if filled == gathered.len() {
                    self.write_all_at(offset, &gathered)?;
                    offset += filled as u64;
                    filled = 0;
                }
            }
        }
        self.write_all_at(offset, &gathered[..filled])
    }

    /// Returns how much of a transfer goes past the cache.
    fn direct_bytes(&self, offset: u64, buf: &[u8]) -> usize {
        let fits = self.direct.is_some()
            && !self.refused.load(Ordering::Relaxed)
            && offset.is_multiple_of(ALIGNMENT_BYTES as u64)
            && buf.as_ptr().addr().is_multiple_of(ALIGNMENT_BYTES)
            && buf.len() >= DIRECT_BYTES_MIN;
        match fits {
            true => buf.len() / ALIGNMENT_BYTES * ALIGNMENT_BYTES,
            false => 0,
        }
    }

    /// Does a transfer again through the cache, and all later ones, if the file system refused to
    /// go past it.
    fn or_through_cache(
        &self,
        done: io::Result<()>,
        again: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        match done {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                ) =>
            {
                self.refused.store(true, Ordering::Relaxed);
                again()
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn pattern(len: usize, seed: usize) -> Vec<u8> {
        (0..len)
            .map(|at| (at * 31 + at / 4096 + seed) as u8)
            .collect()
    }

    fn new_file(folder: &tempfile::TempDir) -> (UncachedFile, PathBuf) {
        let path = folder.path().join("file");
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        (UncachedFile::for_writing(file, &path), path)
    }

    #[test]
    fn whole_files_of_any_length_come_out_as_their_parts() {
        let folder = tempfile::tempdir().unwrap();
        for len in [0, 1, 5000, 131_072, 131_073, 2 << 20, (5 << 20) + 7] {
            let content = pattern(len, 1);
            let (file, path) = new_file(&folder);
            let parts: Vec<&[u8]> = content.chunks(70_001).collect();
            file.write_whole(&parts).unwrap();
            assert!(std::fs::read(path).unwrap() == content, "{len} bytes");
        }
    }

    #[test]
    fn transfers_at_any_offset_agree_with_a_model() {
        let folder = tempfile::tempdir().unwrap();
        let (file, path) = new_file(&folder);
        let mut model = vec![0; 3 << 20];
        file.file().set_len(model.len() as u64).unwrap();
        let mut buffer = AlignedBuffer::new(1 << 20);
        for (round, (offset, from, to)) in [
            (0, 0, 1 << 20),
            (4096, 0, 131_072),
            (1 << 20, 0, (1 << 20) - 1),
            (777, 0, 200_000),
            (8192, 5, 300_000),
            (2 << 20, 4096, 500_000),
            (131_072, 0, 100),
        ]
        .into_iter()
        .enumerate()
        {
            buffer.copy_from_slice(&pattern(1 << 20, round));
            let data = &buffer[from..to];
            file.write_all_at(offset as u64, data).unwrap();
            model[offset..offset + data.len()].copy_from_slice(data);
            let mut read = AlignedBuffer::new(to);
            file.read_exact_at(offset as u64, &mut read[from..to])
                .unwrap();
            assert!(&read[from..to] == data, "round {round}");
        }
        assert!(std::fs::read(path).unwrap() == model);
    }

    #[test]
    fn reading_past_the_end_fails() {
        let folder = tempfile::tempdir().unwrap();
        let (file, _) = new_file(&folder);
        file.file().set_len(200_000).unwrap();
        let mut buffer = AlignedBuffer::new(256 << 10);
        let error = file.read_exact_at(0, &mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn another_file_at_the_path_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (file, path) = new_file(&folder);
        let other = folder.path().join("other");
        std::fs::write(&other, pattern(200_000, 3)).unwrap();
        let file = UncachedFile::for_writing(file.file, &other);
        file.write_whole(&[&pattern(300_000, 4)]).unwrap();
        assert!(std::fs::read(other).unwrap() == pattern(200_000, 3));
        assert!(std::fs::read(path).unwrap() == pattern(300_000, 4));
    }
}
