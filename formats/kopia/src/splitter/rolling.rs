//! What the dynamic splitters ask of a hash.

/// How many bytes the hash looks back on.
pub(super) const WINDOW_BYTES: usize = 64;

/// A hash over the last 64 bytes that can be carried on byte by byte.
pub(super) trait RollingHash: Default {
    /// Takes in a byte while the window is not full.
    fn push(&mut self, byte: u8);

    /// Takes in a byte and drops the one that was taken in 64 bytes before it.
    fn roll(&mut self, out: u8, byte: u8);

    /// Returns the hash of the window.
    fn value(&self) -> u64;
}
