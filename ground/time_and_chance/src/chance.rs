//! Randomness from the operating system or from a seed, through one door.

use std::fmt;
use std::sync::{Arc, Mutex};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};
use uuid::Uuid;

/// A shared source of random bytes: a ChaCha20 stream keyed by the system or by a seed.
///
/// Clones draw from the same stream. Keys, nonces and identifiers come from here, so one that
/// was made by [`Chance::from_seed`] belongs in tests and simulations alone.
#[derive(Clone)]
pub struct Chance {
    stream: Arc<Mutex<ChaCha20Rng>>,
}

impl Chance {
    /// Returns a stream keyed with 32 bytes from the operating system.
    ///
    /// # Panics
    /// If the operating system has no randomness to give; nothing secret can be made then.
    pub fn from_system() -> Self {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("the operating system provides random bytes");
        Self::from_key(seed)
    }

    /// Returns the stream that belongs to `seed`: the same seed, the same bytes.
    pub fn from_seed(seed: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Self::from_key(key)
    }

    fn from_key(key: [u8; 32]) -> Self {
        Self {
            stream: Arc::new(Mutex::new(ChaCha20Rng::from_seed(key))),
        }
    }

    /// Fills `bytes` with random bytes.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.lock().fill_bytes(bytes);
    }

    /// Returns `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// Returns a random number.
    pub fn next_u64(&self) -> u64 {
        self.lock().next_u64()
    }

    /// Returns a number in `0..bound`, evenly spread.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        assert!(bound > 0, "there is no number below 0");
        // The multiply-and-shift method; its bias is below 2^-64 · bound, far under what any
        // use here could notice, and it needs no loop.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Returns a random (version 4) UUID.
    pub fn uuid(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.bytes()).into_uuid()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ChaCha20Rng> {
        self.stream.lock().expect("no thread panics while it draws")
    }
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chance")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays() {
        let (a, b) = (Chance::from_seed(7), Chance::from_seed(7));
        assert_eq!(a.bytes::<40>(), b.bytes::<40>());
        assert_ne!(a.next_u64(), Chance::from_seed(8).next_u64());
    }

    #[test]
    fn below_stays_below() {
        let chance = Chance::from_seed(1);
        assert!((0..10_000).all(|_| chance.below(3) < 3));
    }
}
