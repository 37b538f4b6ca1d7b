//! How many threads fit under a memory ceiling (DESIGN, promise 8): a pure function.
//!
//! ```text
//! ceiling ─┬─ kept free for the program, the index, lists of segments, and buffers that wait
//!          ├─ half of the rest: packs being put, one that waits, two that are filled
//!          └─ half of the rest: workers
//! ```

use image::READ_BYTES_MAX;
use repo::PACK_BYTES_MAX;

/// The program, the index, two lists of the two million segments that a disk of 64 TiB has,
/// allocated pieces in between, and buffers that wait to be filled again.
const FIXED_BYTES: u64 = 176 << 20;
/// What a worker reads and has sealed before it waits for room, and its compressor.
const WORKER_BYTES: u64 = 2 * READ_BYTES_MAX + (2 << 20);
/// A pack is closed after the content with which it is full.
const PACK_BYTES: u64 = PACK_BYTES_MAX + (1 << 20);
/// One pack of data and one of metadata are being filled, one waits.
const PACKS_BESIDE_UPLOADS: u64 = 3;

/// How many threads work for one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads {
    /// Threads per VM that read, hash, compress and seal.
    pub workers: usize,
    /// Packs on their way to the store at once.
    pub uploads: usize,
}

impl Threads {
    /// The lowest ceiling that is kept.
    pub const MEMORY_MIB_MIN: u32 = 320;
    /// The ceiling that is kept if nobody says otherwise.
    pub const MEMORY_MIB: u32 = 512;

    /// Returns at most the `wanted` threads, as many as fit under `memory_bytes` when
    /// `vms_at_once` VMs are backed up side by side; always one of each.
    pub fn within(memory_bytes: u64, wanted: Self, vms_at_once: usize) -> Self {
        let half = memory_bytes.saturating_sub(FIXED_BYTES) / 2;
        let uploads = (half / PACK_BYTES).saturating_sub(PACKS_BESIDE_UPLOADS);
        let workers = half / WORKER_BYTES / vms_at_once.max(1) as u64;
        let at_most = |wanted: usize, fit: u64| {
            let fit = usize::try_from(fit).unwrap_or(usize::MAX);
            wanted.min(fit).max(1)
        };
        Self {
            workers: at_most(wanted.workers, workers),
            uploads: at_most(wanted.uploads, uploads),
        }
    }

    #[cfg(test)]
    fn bytes(self, vms_at_once: usize) -> u64 {
        FIXED_BYTES
            + (self.uploads as u64 + PACKS_BESIDE_UPLOADS) * PACK_BYTES
            + (self.workers * vms_at_once) as u64 * WORKER_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_cores_and_vms_stays_under_the_ceiling() {
        for mib in [Threads::MEMORY_MIB_MIN, Threads::MEMORY_MIB, 2048] {
            for (workers, vms_at_once) in [(1, 1), (4, 1), (256, 1), (256, 4), (8, 3)] {
                let wanted = Threads {
                    workers,
                    uploads: 8,
                };
                let memory_bytes = u64::from(mib) << 20;
                let threads = Threads::within(memory_bytes, wanted, vms_at_once);
                assert!(threads.workers <= workers && threads.uploads <= 8);
                assert!(threads.workers >= 1 && threads.uploads >= 1);
                assert!(
                    threads.bytes(vms_at_once) <= memory_bytes,
                    "{threads:?} for {vms_at_once} VMs in {mib} MiB"
                );
            }
        }
    }

    #[test]
    fn the_usual_ceiling_leaves_a_small_machine_what_it_wants() {
        let wanted = Threads {
            workers: 8,
            uploads: 5,
        };
        let memory_bytes = u64::from(Threads::MEMORY_MIB) << 20;
        assert_eq!(Threads::within(memory_bytes, wanted, 1), wanted);
    }
}
