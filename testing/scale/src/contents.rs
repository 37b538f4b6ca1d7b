//! Contents by number: ids in order of keys and spread like hashes, without a list of them.

use std::sync::Arc;

use kopia::content_id::{ContentId, prefix};
use kopia::hash::HashOutput;
use kopia::record::ContentRecord;

/// One content in this many is a list of others, as one in 129 is in an image of ours.
const LISTS_ONE_IN: u64 = 129;
/// One content in this many is a tombstone.
const DELETED_ONE_IN: u64 = 1009;
/// Content `number` lies at `number` times one of these primes; one at least is no divisor.
const STRIDES: [u64; 2] = [99_989, 100_003];
/// When the contents were written.
const WRITTEN_SECONDS: i64 = 1_780_000_000;

/// So many contents, in packs of so many each.
#[derive(Debug, Clone)]
pub struct Contents {
    count: u64,
    chunk_bytes: u32,
    packs: Arc<[Arc<str>]>,
    per_pack: u64,
}

impl Contents {
    /// Returns `count` contents of `chunk_bytes` each, in packs of 20 MiB.
    pub fn new(count: u64, chunk_bytes: u32) -> Self {
        let per_pack = ((20 << 20) / u64::from(chunk_bytes)).max(1);
        let packs = (0..count.div_ceil(per_pack))
            .map(|pack| {
                let session = mix(pack / 50) >> 8;
                let (high, low) = (mix(pack), mix(!pack));
                Arc::from(format!("p{high:016x}{low:016x}-s{session:016x}147"))
            })
            .collect();
        Self {
            count,
            chunk_bytes,
            packs,
            per_pack,
        }
    }

    /// Returns how many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns how many of them are data; lists come behind.
    pub(crate) fn data_count(&self) -> u64 {
        self.count - self.count / LISTS_ONE_IN
    }

    /// Returns how long each is.
    pub(crate) fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes.into()
    }

    /// Says whether content `number` is deleted.
    pub(crate) fn is_deleted(&self, number: u64) -> bool {
        number % DELETED_ONE_IN == 1
    }

    /// Returns the packs that they lie in.
    pub(crate) fn packs(&self) -> &[Arc<str>] {
        &self.packs
    }

    /// Returns the id of content `number`; ids ascend with numbers.
    pub fn id(&self, number: u64) -> ContentId {
        self.id_at(number, 0)
    }

    /// Returns an id that no content has, between those of `number` and the next.
    pub fn absent_id(&self, number: u64) -> ContentId {
        self.id_at(number, 1)
    }

    fn id_at(&self, number: u64, variant: u64) -> ContentId {
        let data = self.data_count();
        let (prefix, place, of) = if number < data {
            (None, number, data)
        } else {
            (Some(prefix::INDIRECT), number - data, self.count - data)
        };
        // Each id falls somewhere into its own share of all keys.
        let share = u64::MAX / of;
        let high = place * share + mix(number) % share;
        let low = mix(number ^ 0x5bd1_e995).wrapping_add(variant);
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&high.to_be_bytes());
        hash[8..].copy_from_slice(&low.to_be_bytes());
        let hash = HashOutput::new(&hash).expect("a hash may have 16 bytes");
        ContentId::new(prefix, hash)
    }

    /// Returns the record of content `number`, as it was written or as maintenance rewrote it.
    pub fn record(&self, number: u64, rewritten: bool) -> ContentRecord {
        // Neighbours in the index are strangers in packs, and packs are full.
        let stride = STRIDES
            .into_iter()
            .find(|it| !self.count.is_multiple_of(*it));
        let place = (number * stride.unwrap_or(1) + u64::from(rewritten)) % self.count;
        ContentRecord {
            id: self.id(number),
            pack_blob: Arc::clone(&self.packs[(place / self.per_pack) as usize]),
            pack_offset: (place % self.per_pack) as u32 * (self.chunk_bytes + 28) + 32,
            packed_bytes: self.chunk_bytes + 28,
            original_bytes: self.chunk_bytes,
            timestamp_seconds: WRITTEN_SECONDS + i64::from(rewritten),
            deleted: self.is_deleted(number),
            compression_header_id: if number.is_multiple_of(5) { 0x1100 } else { 0 },
            format_version: 3,
            encryption_key_id: 0,
        }
    }
}

/// Spreads numbers over all of 64 bits (SplitMix64).
pub(crate) fn mix(number: u64) -> u64 {
    let mut word = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
