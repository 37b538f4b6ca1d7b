//! How many threads fit under a memory ceiling (DESIGN, promise 8): a pure function.
//!
//! ```text
//! ceiling ─┬─ kept free for the program, the index, lists of segments, and buffers that wait
//!          ├─ half of the rest: packs being put, one that waits, two that are filled
//!          └─ what is left: workers
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
    /// VMs backed up side by side.
    pub vms_at_once: usize,
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

    /// Returns at most the `wanted` threads, as many as fit under `memory_bytes`; always one of
    /// each.
    pub fn within(memory_bytes: u64, wanted: Self) -> Self {
        let at_most = |wanted: usize, fit: u64| {
            let fit = usize::try_from(fit).unwrap_or(usize::MAX);
            wanted.min(fit).max(1)
        };
        let free = memory_bytes.saturating_sub(FIXED_BYTES);
        let uploads = (free / 2 / PACK_BYTES).saturating_sub(PACKS_BESIDE_UPLOADS);
        let uploads = at_most(wanted.uploads, uploads);
        let packs = uploads as u64 + PACKS_BESIDE_UPLOADS;
        let workers = free.saturating_sub(packs * PACK_BYTES) / WORKER_BYTES;
        let vms_at_once = at_most(wanted.vms_at_once, workers);
        Self {
            vms_at_once,
            workers: at_most(wanted.workers, workers / vms_at_once as u64),
            uploads,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(threads: Threads) -> u64 {
        FIXED_BYTES
            + (threads.uploads as u64 + PACKS_BESIDE_UPLOADS) * PACK_BYTES
            + (threads.workers * threads.vms_at_once) as u64 * WORKER_BYTES
    }

    #[test]
    fn any_number_of_cores_and_vms_stays_under_the_ceiling() {
        for mib in [Threads::MEMORY_MIB_MIN, Threads::MEMORY_MIB, 2048] {
            for (workers, vms_at_once) in [(1, 1), (4, 1), (256, 1), (256, 4), (8, 3), (2, 64)] {
                let wanted = Threads {
                    vms_at_once,
                    workers,
                    uploads: 8,
                };
                let memory_bytes = u64::from(mib) << 20;
                let threads = Threads::within(memory_bytes, wanted);
                assert!(threads.workers <= workers && threads.workers >= 1);
                assert!(threads.uploads <= 8 && threads.uploads >= 1);
                assert!(threads.vms_at_once <= vms_at_once && threads.vms_at_once >= 1);
                assert!(bytes(threads) <= memory_bytes, "{threads:?} in {mib} MiB");
            }
        }
    }

    #[test]
    fn the_usual_ceiling_leaves_a_small_machine_what_it_wants() {
        let wanted = Threads {
            vms_at_once: 2,
            workers: 4,
            uploads: 5,
        };
        let memory_bytes = u64::from(Threads::MEMORY_MIB) << 20;
        assert_eq!(Threads::within(memory_bytes, wanted), wanted);
    }
}
