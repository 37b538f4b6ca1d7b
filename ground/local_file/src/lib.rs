//! Files of this machine: reads and writes at offsets, on every system, and past the page cache
//! for data that flows through once.
//!
//! A backup reads a disk once and writes packs once. In the page cache such data drives out what
//! the guests need, and copying it there costs more than hashing it (`docs/performance.md`). Knows
//! nothing of what files hold.

mod aligned_buffer;
mod uncached_file;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

use std::fs::File;
use std::io;

pub use aligned_buffer::{ALIGNMENT_BYTES, AlignedBuffer};
pub use uncached_file::UncachedFile;

/// Fills `buf` with what stands at `offset`, or fails.
pub fn read_exact_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<()> {
    system::read_exact_at(file, offset, buf)
}

/// Writes all of `data` at `offset`, making the file longer if need be.
pub fn write_all_at(file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
    system::write_all_at(file, offset, data)
}
