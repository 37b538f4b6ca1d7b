//! Memory that devices can reach without a copy.

use std::ops::{Deref, DerefMut};

/// What the address, offset and length of a transfer past the page cache must be multiples of:
/// no disk in use has larger sectors.
pub const ALIGNMENT_BYTES: usize = 4096;

/// A buffer of fixed length whose first byte lies at a multiple of [`ALIGNMENT_BYTES`].
#[derive(Debug)]
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// Returns a buffer of `len` zeros.
    pub fn new(len: usize) -> Self {
        let bytes = vec![0; len + ALIGNMENT_BYTES];
        let start = bytes.as_ptr().align_offset(ALIGNMENT_BYTES);
        Self { bytes, start, len }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_any_length_are_aligned() {
        for len in [0, 1, 4096, 100_000, 4 << 20] {
            let buffer = AlignedBuffer::new(len);
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr().addr() % ALIGNMENT_BYTES, 0);
        }
    }
}
