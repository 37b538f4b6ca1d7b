//! What surrounds the contents in a pack blob.
//!
//! Kopia spec 4.4 and 2.6. Knows the preamble, the padding, the postamble that locates a pack's own
//! index, and the replica of the format blob in old repositories; not the contents between them.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How many random bytes precede the first content.
pub const PREAMBLE_BYTES: usize = 32;
/// How much of a blob's end is enough to find its postamble.
pub const POSTAMBLE_SEARCH_BYTES: usize = 8192;
/// How much of a blob's head or tail is enough to find a replica of the format blob.
pub const REPLICA_SEARCH_BYTES: usize = 65_536;

const PADDING_UNIT_BYTES: usize = 4096;
const POSTAMBLE_VERSION: u64 = 1;
const CRC_BYTES: usize = 4;
const REPLICA_KEY: &[u8] = b"kopia-repository";
const REPLICA_MAC_BYTES: usize = 32;
const REPLICA_BYTES_MAX: usize = 65_000;

/// Returns how many random bytes follow the contents of a pack that is so long: 1 to 4096, so
/// that the local index begins at a multiple of 4096.
pub fn padding_bytes(pack_len: usize) -> usize {
    PADDING_UNIT_BYTES - pack_len % PADDING_UNIT_BYTES
}

/// Where the recovery copy of a pack's index lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postamble {
    /// The whole hash of the local index, under which it is sealed.
    pub local_index_iv: Vec<u8>,
    /// Where the sealed local index begins in the blob.
    pub local_index_offset: u64,
    /// How long it is.
    pub local_index_bytes: u64,
}

impl Postamble {
    /// Returns the last bytes of the pack.
    ///
    /// # Panics
    /// If the iv is longer than any hash.
    pub fn encode(&self) -> Vec<u8> {
        assert!(
            self.local_index_iv.len() <= crate::hash::HASH_BYTES_MAX,
            "the iv is a hash"
        );
        let mut out = Vec::new();
        push_uvarint(&mut out, POSTAMBLE_VERSION);
        push_uvarint(&mut out, self.local_index_iv.len() as u64);
        out.extend(&self.local_index_iv);
        push_uvarint(&mut out, self.local_index_offset);
        push_uvarint(&mut out, self.local_index_bytes);
        out.extend(crc32(&out).to_be_bytes());
        out.push(out.len() as u8);
        out
    }

    /// Returns the postamble that a blob ends in, if it has a sound one.
    pub fn find(tail_of_blob: &[u8]) -> Option<Self> {
        let (&len, before) = tail_of_blob.split_last()?;
        let start = before.len().checked_sub(usize::from(len))?;
        let (fields, crc) = before[start..].split_last_chunk::<CRC_BYTES>()?;
        if crc32(fields) != u32::from_be_bytes(*crc) {
            return None;
        }
        let mut rest = fields;
        if take_uvarint(&mut rest)? != POSTAMBLE_VERSION {
            return None;
        }
        let iv_bytes = usize::try_from(take_uvarint(&mut rest)?).ok()?;
        let (iv, mut rest) = rest.split_at_checked(iv_bytes)?;
        let postamble = Self {
            local_index_iv: iv.to_vec(),
            local_index_offset: take_uvarint(&mut rest)?,
            local_index_bytes: take_uvarint(&mut rest)?,
        };
        rest.is_empty().then_some(postamble)
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes) as u32
}

fn push_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_uvarint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A format blob that is too long to be replicated in packs.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("embed format blob in packs: {0} bytes are too many")]
pub struct ReplicaTooLong(pub usize);

/// Returns the bytes with which each pack begins if the repository's password cannot be changed.
pub fn encode_format_replica(format_blob: &[u8]) -> Result<Vec<u8>, ReplicaTooLong> {
    let len = format_blob.len() + REPLICA_MAC_BYTES;
    let len = u16::try_from(len)
        .ok()
        .filter(|&len| usize::from(len) <= REPLICA_BYTES_MAX)
        .ok_or(ReplicaTooLong(format_blob.len()))?;
    let mac = replica_mac(format_blob).finalize().into_bytes();
    Ok([&len.to_le_bytes(), format_blob, &mac, &len.to_le_bytes()].concat())
}

/// Returns the format blob whose replica is at the head of these bytes.
pub fn format_blob_at_head(head_of_blob: &[u8]) -> Option<&[u8]> {
    let (len, rest) = head_of_blob.split_first_chunk::<2>()?;
    let replica = rest.get(..usize::from(u16::from_le_bytes(*len)))?;
    checked_replica(replica)
}

/// Returns the format blob whose replica is at the tail of these bytes.
pub fn format_blob_at_tail(tail_of_blob: &[u8]) -> Option<&[u8]> {
    let (rest, len) = tail_of_blob.split_last_chunk::<2>()?;
    let start = rest
        .len()
        .checked_sub(usize::from(u16::from_le_bytes(*len)))?;
    checked_replica(&rest[start..])
}

fn checked_replica(replica: &[u8]) -> Option<&[u8]> {
    let (format_blob, mac) = replica.split_last_chunk::<REPLICA_MAC_BYTES>()?;
    replica_mac(format_blob).verify_slice(mac).ok()?;
    Some(format_blob)
}

fn replica_mac(format_blob: &[u8]) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(REPLICA_KEY).expect("an HMAC takes keys of any length");
    mac.update(format_blob);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTAMBLE: &str = "0110000102030405060708090a0b0c0d0e0f8020f4034d9789e81a";
    const REPLICA: &str =
        "23007b7d0a45ffd2c4b74bbdf03b6d38dbe901a8e999637bc1ea22b1d2fe12dd896d72b0942300";

    fn postamble() -> Postamble {
        Postamble {
            local_index_iv: (0..16).collect(),
            local_index_offset: 4096,
            local_index_bytes: 500,
        }
    }

    #[test]
    fn postambles_are_written_as_the_vector_says() {
        assert_eq!(hex::encode(postamble().encode()), POSTAMBLE);
        let mut blob = vec![7; 300];
        blob.extend(postamble().encode());
        assert_eq!(Postamble::find(&blob), Some(postamble()));
        let longest = Postamble {
            local_index_iv: vec![9; 32],
            local_index_offset: u64::MAX,
            local_index_bytes: u64::MAX,
        };
        assert_eq!(Postamble::find(&longest.encode()), Some(longest));
    }

    #[test]
    fn a_damaged_postamble_is_not_found() {
        let sound = postamble().encode();
        for at in 0..sound.len() {
            for bit in 0..8 {
                let mut damaged = sound.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(Postamble::find(&damaged), None);
            }
            assert_eq!(Postamble::find(&sound[..at]), None);
        }
        assert_eq!(Postamble::find(&[0; 40]), None);
    }

    #[test]
    fn numbers_beyond_64_bits_are_refused() {
        let mut bytes: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert_eq!(take_uvarint(&mut bytes), None);
        let mut bytes: &[u8] = &[0x80; 11];
        assert_eq!(take_uvarint(&mut bytes), None);
    }

    #[test]
    fn padding_reaches_the_next_multiple_and_is_never_empty() {
        for (len, padding) in [(0, 4096), (1, 4095), (4095, 1), (4096, 4096), (5000, 3192)] {
            assert_eq!(padding_bytes(len), padding);
        }
    }

    #[test]
    fn the_format_blob_comes_back_from_head_and_tail() {
        let replica = encode_format_replica(b"{}\n").unwrap();
        assert_eq!(hex::encode(&replica), REPLICA);
        let mut head = replica.clone();
        head.extend([1; 100]);
        assert_eq!(format_blob_at_head(&head), Some(&b"{}\n"[..]));
        let mut tail = vec![1; 100];
        tail.extend(&replica);
        assert_eq!(format_blob_at_tail(&tail), Some(&b"{}\n"[..]));
    }

    #[test]
    fn a_damaged_replica_is_not_taken() {
        let sound = encode_format_replica(b"{}\n").unwrap();
        for at in 0..sound.len() - 2 {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            assert_eq!(format_blob_at_head(&damaged), None, "{at}");
            assert_eq!(format_blob_at_head(&sound[..at]), None);
        }
        let error = encode_format_replica(&[0; 65_000]).unwrap_err();
        assert_eq!(error, ReplicaTooLong(65_000));
    }
}
