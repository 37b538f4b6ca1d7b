//! Which MiB of a file are taken, so that no two things claim the same.

use crate::error::{Result, damaged};
use crate::header::MIB;

/// One bit for each MiB of a file.
#[derive(Debug, Default)]
pub(crate) struct Occupancy {
    bits: Vec<u64>,
    end: u64,
}

impl Occupancy {
    /// Takes a range of whole MiB. The caller has checked that it lies in or near the file, which
    /// bounds the memory this takes.
    pub fn take(&mut self, offset: u64, bytes: u64) -> Result<()> {
        for unit in offset / MIB..(offset + bytes).div_ceil(MIB) {
            let (word, bit) = ((unit / 64) as usize, 1 << (unit % 64));
            if word >= self.bits.len() {
                self.bits.resize(word + 1, 0);
            }
            if self.bits[word] & bit != 0 {
                let place = unit * MIB;
                return Err(damaged(format!(
                    "place two things at {place}: the file has one place there"
                )));
            }
            self.bits[word] |= bit;
        }
        self.end = self.end.max(offset + bytes);
        Ok(())
    }

    /// Returns the end of the last range taken.
    pub fn end(&self) -> u64 {
        self.end
    }
}
