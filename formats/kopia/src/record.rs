//! What an index says about one content.
//!
//! Kopia spec 4.2 and 4.6. Knows how two records of one content are merged; not how they are stored.

use std::sync::Arc;

use crate::content_id::ContentId;

/// One content: where it lies, how long it is, and whether it is deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContentRecord {
    /// Which content.
    pub id: ContentId,
    /// The blob that holds it.
    pub pack_blob: Arc<str>,
    /// Where it begins in that blob.
    pub pack_offset: u32,
    /// How many bytes it takes there, sealed.
    pub packed_bytes: u32,
    /// How many plain bytes it has, uncompressed.
    pub original_bytes: u32,
    /// When it was written or deleted, in Unix seconds by the writer's clock.
    pub timestamp_seconds: i64,
    /// Whether this is a tombstone. It still says where the bytes are.
    pub deleted: bool,
    /// How it is compressed; 0 is not at all.
    pub compression_header_id: u32,
    /// The repository's format version when it was written.
    pub format_version: u8,
    /// Which key it is sealed with. Only 0 exists.
    pub encryption_key_id: u8,
}

impl ContentRecord {
    /// Says whether this record wins over another of the same content (Kopia spec 4.6): the later
    /// one, then the live one, then the one in the larger pack name.
    pub fn supersedes(&self, other: &Self) -> bool {
        self.rank() > other.rank()
    }

    /// Says whether this is a tombstone that a deletion watermark hides. Hidden ones still take part
    /// in merging; they are dropped afterwards.
    pub fn is_hidden_by(&self, watermark_seconds: i64) -> bool {
        self.deleted && self.timestamp_seconds <= watermark_seconds
    }

    fn rank(&self) -> (i64, bool, &[u8]) {
        (
            self.timestamp_seconds,
            !self.deleted,
            self.pack_blob.as_bytes(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(timestamp_seconds: i64, deleted: bool, pack_blob: &str) -> ContentRecord {
        ContentRecord {
            id: "00112233445566778899aabbccddeeff".parse().unwrap(),
            pack_blob: pack_blob.into(),
            pack_offset: 0,
            packed_bytes: 28,
            original_bytes: 0,
            timestamp_seconds,
            deleted,
            compression_header_id: 0,
            format_version: 3,
            encryption_key_id: 0,
        }
    }

    #[test]
    fn merging_keeps_the_latest_then_the_live_then_the_larger_pack() {
        // Ascending: each beats all before it and none after it.
        let ranked = [
            record(1, true, "pz"),
            record(1, false, "pa"),
            record(1, false, "pb"),
            record(2, true, "pa"),
            record(2, true, "pb"),
            record(2, false, "pA"),
        ];
        for (i, a) in ranked.iter().enumerate() {
            for (j, b) in ranked.iter().enumerate() {
                assert_eq!(a.supersedes(b), i > j, "{i} {j}");
            }
        }
    }

    #[test]
    fn a_watermark_hides_tombstones_up_to_its_second() {
        assert!(record(5, true, "p").is_hidden_by(5));
        assert!(!record(6, true, "p").is_hidden_by(5));
        assert!(!record(5, false, "p").is_hidden_by(5));
    }
}
