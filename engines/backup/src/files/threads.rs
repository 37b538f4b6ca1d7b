//! How many threads fit under a memory ceiling (DESIGN, promise 8): a pure function.

use repo::PACK_BYTES_MAX;

/// The program, the index, folders of usual size, and buffers that wait to be filled again.
const FIXED_BYTES: u64 = 160 << 20;
/// What a worker reads, and its compressor.
const WORKER_BYTES: u64 = 3 << 20;
/// A segment as it is cut, compressed and sealed.
const SEGMENT_COPIES: u64 = 3;
/// A pack is closed after the content with which it is full.
const PACK_BYTES: u64 = PACK_BYTES_MAX + (1 << 20);
/// One pack of data and one of metadata are being filled, one waits.
const PACKS_BESIDE_UPLOADS: u64 = 3;
const UPLOADS_MAX: u64 = 8;

/// How many threads work for one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileThreads {
    /// Threads that read, hash, compress and seal.
    pub workers: usize,
    /// Packs on their way to the store at once.
    pub uploads: usize,
}

impl FileThreads {
    /// The lowest ceiling that is kept.
    pub const MEMORY_MIB_MIN: u32 = 320;
    /// The ceiling that is kept if nobody says otherwise.
    pub const MEMORY_MIB: u32 = 512;

    /// Returns as many as fit under `memory_bytes` where contents have up to
    /// `segment_bytes_max`; always one of each, and no more workers than are `wanted`.
    pub fn within(memory_bytes: u64, segment_bytes_max: usize, wanted: Option<usize>) -> Self {
        let processors = std::thread::available_parallelism().map_or(4, usize::from);
        let wanted = wanted.unwrap_or(processors * 2) as u64;
        let free = memory_bytes.saturating_sub(FIXED_BYTES);
        let uploads = (free / 2 / PACK_BYTES)
            .saturating_sub(PACKS_BESIDE_UPLOADS)
            .clamp(1, UPLOADS_MAX);
        let packs_bytes = (uploads + PACKS_BESIDE_UPLOADS) * PACK_BYTES;
        let worker_bytes = WORKER_BYTES + SEGMENT_COPIES * segment_bytes_max as u64;
        let workers = free.saturating_sub(packs_bytes) / worker_bytes;
        Self {
            workers: workers.clamp(1, wanted.max(1)) as usize,
            uploads: uploads as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_size_of_contents_stays_under_the_ceiling() {
        for mib in [FileThreads::MEMORY_MIB_MIN, FileThreads::MEMORY_MIB, 2048] {
            for segment_bytes_max in [128 << 10, 1 << 20, 8 << 20, 16 << 20] {
                let memory_bytes = u64::from(mib) << 20;
                let threads = FileThreads::within(memory_bytes, segment_bytes_max, Some(8));
                let worker_bytes = WORKER_BYTES + SEGMENT_COPIES * segment_bytes_max as u64;
                let all = FIXED_BYTES
                    + (threads.uploads as u64 + PACKS_BESIDE_UPLOADS) * PACK_BYTES
                    + threads.workers as u64 * worker_bytes;
                assert!(all <= memory_bytes, "{threads:?} in {mib} MiB");
                assert!(threads.workers <= 8);
            }
        }
    }

    #[test]
    fn the_usual_ceiling_leaves_a_small_machine_four_workers() {
        let threads = FileThreads::within(512 << 20, 8 << 20, Some(4));
        assert_eq!(threads.workers, 4);
    }
}
