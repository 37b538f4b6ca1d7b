//! How many packs may be on their way at once under a memory ceiling: a pure function.

use repo::PACK_BYTES_MAX;

use crate::run::Options;

/// The program, the index, what is sorted before it goes to disk, and what is counted for each of
/// half a million packs.
const FIXED_BYTES: u64 = 192 << 20;
/// A pack is closed after the content with which it is full.
const PACK_BYTES: u64 = PACK_BYTES_MAX + (1 << 20);
/// One pack of data and one of metadata are being filled, one waits.
const PACKS_BESIDE_UPLOADS: u64 = 3;
/// More do not make it faster.
const UPLOADS_MAX: u64 = 4;

impl Options {
    /// The lowest ceiling that is kept.
    pub const MEMORY_MIB_MIN: u32 = 320;
    /// The ceiling that is kept if nobody says otherwise.
    pub const MEMORY_MIB: u32 = 512;

    /// Returns how many packs are put at once; always one.
    pub(crate) fn uploads(&self) -> usize {
        let packs = self.memory_bytes.saturating_sub(FIXED_BYTES) / PACK_BYTES;
        let uploads = packs.saturating_sub(PACKS_BESIDE_UPLOADS);
        uploads.clamp(1, UPLOADS_MAX) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_on_their_way_stay_under_the_ceiling() {
        for (mib, uploads) in [
            (0, 1),
            (Options::MEMORY_MIB_MIN, 3),
            (Options::MEMORY_MIB, 4),
            (4096, 4),
        ] {
            let options = Options {
                memory_bytes: u64::from(mib) << 20,
                ..Options::default()
            };
            assert_eq!(options.uploads(), uploads, "{mib} MiB");
            let taken = FIXED_BYTES + (uploads as u64 + PACKS_BESIDE_UPLOADS) * PACK_BYTES;
            assert!(mib == 0 || taken <= options.memory_bytes, "{mib} MiB");
        }
    }
}
