//! Documents packed as gzip and base64, so that no firewall reads paths and command lines in them.

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fault::Fault;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// How packed documents are announced.
pub const GZIP_BASE64: &str = "gzip+base64";

/// The most that a packed document unpacks to, where nothing else is said.
pub const UNPACKED_BYTES_MAX: u64 = 64 << 20;

/// Why a packed document cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackingErrorKind {
    /// It is not base64 of gzip.
    Damaged,
    /// It unpacks to more than it may.
    TooLarge,
}

/// A packed document that cannot be had.
pub type PackingError = Fault<PackingErrorKind>;

/// Compresses `plain`.
pub fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(plain).and_then(|()| encoder.finish());
    written.expect("writing to memory does not fail")
}

/// Packs `plain`.
pub fn pack(plain: &[u8]) -> String {
    STANDARD.encode(gzip(plain))
}

/// Unpacks what [`pack`] made, if that is not more than `bytes_max`.
pub fn unpack(packed: &str, bytes_max: u64) -> Result<Vec<u8>, PackingError> {
    let zipped = STANDARD.decode(packed.trim()).map_err(|error| {
        Fault::new(
            PackingErrorKind::Damaged,
            "unpack a document that is not base64",
        )
        .caused_by(error)
    })?;
    gunzip(&zipped, bytes_max)
}

/// Expands what [`gzip`] compressed, if that is not more than `bytes_max`.
pub fn gunzip(zipped: &[u8], bytes_max: u64) -> Result<Vec<u8>, PackingError> {
    let mut plain = Vec::new();
    MultiGzDecoder::new(zipped)
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut plain)
        .map_err(|error| {
            Fault::new(
                PackingErrorKind::Damaged,
                "unpack a document that is not gzip",
            )
            .caused_by(error)
        })?;
    if plain.len() as u64 > bytes_max {
        let message = format!("unpack a document of more than {bytes_max} bytes");
        return Err(Fault::new(PackingErrorKind::TooLarge, message));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        for plain in [&b""[..], b"{}", &[7; 100_000]] {
            assert_eq!(unpack(&pack(plain), 100_000).unwrap(), plain);
        }
    }

    #[test]
    fn a_bomb_is_refused_without_being_unpacked() {
        let bomb = pack(&vec![0; 10 << 20]);
        assert!(bomb.len() < 20_000);
        let error = unpack(&bomb, 1 << 20).unwrap_err();
        assert_eq!(error.kind(), PackingErrorKind::TooLarge);
    }

    #[test]
    fn damage_is_an_error() {
        let packed = pack(b"some document that is long enough");
        for damaged in ["%", "aGVsbG8=", &packed[..packed.len() / 2 / 4 * 4]] {
            let error = unpack(damaged, 1000).unwrap_err();
            assert_eq!(error.kind(), PackingErrorKind::Damaged, "{damaged}");
        }
    }
}
