//! Rabin–Karp over 64 bytes: the window, read as a polynomial over GF(2), modulo Kopia's
//! polynomial (Kopia spec 6.3).

use super::rolling::{RollingHash, WINDOW_BYTES};

/// The modulus; its degree is 53.
const POLYNOMIAL: u64 = 0x2e_3e3e_4a30_5605;
const DEGREE: u32 = 53;

/// For each value of the 8 bits that a shift pushes out of the remainder: what to add to bring
/// them back in.
const REDUCE: [u64; 256] = table(DEGREE, true);

/// For each byte: what it adds to the hash when it is the window's oldest.
const OLDEST: [u64; 256] = table((WINDOW_BYTES as u32 - 1) * 8, false);

/// The rolling hash of the `RABINKARP` splitters.
#[derive(Clone, Default)]
pub(super) struct RabinKarp {
    hash: u64,
}

impl RollingHash for RabinKarp {
    fn push(&mut self, byte: u8) {
        let carried = (self.hash >> (DEGREE - 8)) as usize;
        self.hash = ((self.hash << 8) | u64::from(byte)) ^ REDUCE[carried & 0xff];
    }

    fn roll(&mut self, out: u8, byte: u8) {
        self.hash ^= OLDEST[usize::from(out)];
        self.push(byte);
    }

    fn value(&self) -> u64 {
        self.hash
    }
}

/// Returns `byte · x^shift mod POLYNOMIAL` for each byte, with `byte · x^shift` itself added where
/// asked for, so that one addition both clears those bits and adds their remainder.
const fn table(shift: u32, with_carry: bool) -> [u64; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u64;
        let mut shifted = 0;
        while shifted < shift {
            remainder <<= 1;
            if remainder >> DEGREE & 1 == 1 {
                remainder ^= POLYNOMIAL;
            }
            shifted += 1;
        }
        table[byte] = remainder;
        if with_carry {
            table[byte] |= (byte as u64) << shift;
        }
        byte += 1;
    }
    table
}
