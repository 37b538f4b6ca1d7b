//! CRC-32C over a structure whose own checksum field, bytes 4 to 7, counts as zero.

use crc_fast::{CrcAlgorithm, Digest};

const FIELD: std::ops::Range<usize> = 4..8;

/// Returns the checksum of a structure; what stands in its checksum field doesn't matter.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&bytes[..FIELD.start]);
    digest.update(&[0; 4]);
    digest.update(&bytes[FIELD.end..]);
    u32::try_from(digest.finalize()).expect("a CRC-32C has 32 bits")
}

/// Says whether the checksum field is right.
pub(crate) fn is_checksummed(bytes: &[u8]) -> bool {
    bytes
        .get(FIELD)
        .is_some_and(|field| field == checksum(bytes).to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc_32c_with_the_field_zeroed() {
        // The check value of CRC-32/ISCSI over "123456789", with zeros where the field is.
        let plain = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, b"1234\0\0\0\x009");
        assert_eq!(u64::from(checksum(b"123456789")), plain);
        assert_eq!(
            crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, b"123456789"),
            0xe306_9283
        );
    }
}
