//! Cutting where a rolling hash of the last 64 bytes ends in zeros.

use super::rolling::{RollingHash, WINDOW_BYTES};

/// A dynamic splitter's place in its stream.
#[derive(Clone)]
pub(super) struct Dynamic<H> {
    /// No segment but a stream's last is shorter.
    min: usize,
    /// No segment is longer.
    max: usize,
    /// The hash's bits that must be zero for a cut.
    mask: u64,
    /// How many bytes of the current segment were taken in.
    taken: usize,
    hash: H,
    /// The last bytes that were hashed: byte number `n` of the segment lies at `n % 64`.
    window: [u8; WINDOW_BYTES],
}

impl<H: RollingHash> Dynamic<H> {
    /// Returns a splitter whose segments are `average` bytes long on average, a power of two.
    pub(super) fn new(average: usize) -> Self {
        Self {
            min: average / 2,
            max: average * 2,
            mask: average as u64 - 1,
            taken: 0,
            hash: H::default(),
            window: [0; WINDOW_BYTES],
        }
    }

    pub(super) fn segment_bytes_max(&self) -> usize {
        self.max
    }

    pub(super) fn reset(&mut self) {
        self.taken = 0;
        self.hash = H::default();
    }

    /// See [`Splitter::next_cut`](super::Splitter::next_cut).
    pub(super) fn next_cut(&mut self, data: &[u8]) -> Option<usize> {
        let segment_start = self.taken;
        // No cut falls before `min`, where the window reaches back 64 bytes: what lies before
        // them need not be hashed.
        let skipped = (self.min - WINDOW_BYTES)
            .saturating_sub(self.taken)
            .min(data.len());
        self.taken += skipped;
        let mut rest = &data[skipped..];

        let filling = rest.len().min(self.min - self.taken.min(self.min));
        for &byte in &rest[..filling] {
            self.hash.push(byte);
            self.remember(byte);
        }
        rest = &rest[filling..];
        let filled_now = filling > 0 && self.taken == self.min;
        if (filled_now && self.is_cut()) || self.roll_to_cut(rest) {
            let cut = self.taken - segment_start;
            self.reset();
            return Some(cut);
        }
        None
    }

    /// Takes in bytes up to the next cut and returns whether there is one.
    fn roll_to_cut(&mut self, data: &[u8]) -> bool {
        let (from_window, from_data) = data.split_at(data.len().min(WINDOW_BYTES));
        for &byte in from_window {
            let out = self.window[self.taken % WINDOW_BYTES];
            self.hash.roll(out, byte);
            self.remember(byte);
            if self.is_cut() {
                return true;
            }
        }
        // From here on the outgoing byte lies in the data as well, and the window is left alone.
        let room = from_data.len().min(self.max - self.taken);
        let (hash, mask) = (&mut self.hash, self.mask);
        let cut = data
            .iter()
            .zip(&from_data[..room])
            .position(|(&out, &byte)| {
                hash.roll(out, byte);
                hash.value() & mask == 0
            });
        if let Some(before_cut) = cut {
            self.taken += before_cut + 1;
            return true;
        }
        self.taken += room;
        if self.taken == self.max {
            return true;
        }
        if room > 0 {
            let first = self.taken - WINDOW_BYTES;
            let last = &data[data.len() - WINDOW_BYTES..];
            for (n, &byte) in last.iter().enumerate() {
                self.window[(first + n) % WINDOW_BYTES] = byte;
            }
        }
        false
    }

    fn remember(&mut self, byte: u8) {
        self.window[self.taken % WINDOW_BYTES] = byte;
        self.taken += 1;
    }

    fn is_cut(&self) -> bool {
        self.taken == self.max || self.hash.value() & self.mask == 0
    }
}
