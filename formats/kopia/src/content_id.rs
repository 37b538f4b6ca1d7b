//! Content IDs: an optional letter and a hash.
//!
//! Kopia spec 4.1. Knows their text and their key bytes in an index; not where contents lie.

use std::fmt;
use std::str::FromStr;

use crate::decode_error::DecodeError;
use crate::hash::HashOutput;

/// Letters that Kopia puts before content IDs.
pub mod prefix {
    /// Directory listings.
    pub const DIRECTORY: u8 = b'k';
    /// Lists of the parts of an indirect object.
    pub const INDIRECT: u8 = b'x';
    /// Manifests.
    pub const MANIFEST: u8 = b'm';
}

/// The most bytes that the key of a content takes in an index.
pub const KEY_BYTES_MAX: usize = 33;

const STRUCTURE: &str = "content id";
const NO_PREFIX: u8 = 0;

/// The name of a content. Its order is the order of keys in an index: those without a prefix
/// first, then by letter, then by hash.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Ord, PartialOrd)]
pub struct ContentId {
    prefix: u8,
    hash: HashOutput,
}

impl ContentId {
    /// Returns the ID with this prefix, a letter from `g` to `z`, and this hash.
    ///
    /// # Panics
    /// If the prefix is another byte: prefixes are constants of ours, never data from outside.
    pub fn new(prefix: Option<u8>, hash: HashOutput) -> Self {
        assert!(
            prefix.is_none_or(is_prefix),
            "a content prefix is a letter from g to z"
        );
        Self {
            prefix: prefix.unwrap_or(NO_PREFIX),
            hash,
        }
    }

    /// Returns the letter before the hash, if there is one.
    pub fn prefix(&self) -> Option<u8> {
        (self.prefix != NO_PREFIX).then_some(self.prefix)
    }

    /// Returns the hash of the content's plain bytes.
    pub fn hash(&self) -> &HashOutput {
        &self.hash
    }

    /// Says whether this is metadata, which lives in `q` packs.
    pub fn is_metadata(&self) -> bool {
        self.prefix != NO_PREFIX
    }

    /// Returns the key of this content in an index, in the first so many bytes.
    pub fn key_bytes(&self) -> ([u8; KEY_BYTES_MAX], usize) {
        let mut key = [0; KEY_BYTES_MAX];
        let hash = self.hash.as_bytes();
        key[0] = self.prefix;
        key[1..=hash.len()].copy_from_slice(hash);
        (key, hash.len() + 1)
    }

    /// Returns the ID whose key in an index is this.
    pub fn from_key_bytes(key: &[u8]) -> Result<Self, DecodeError> {
        let (&prefix, hash) = key
            .split_first()
            .ok_or_else(|| DecodeError::malformed(STRUCTURE, "empty key"))?;
        if prefix != NO_PREFIX && !is_prefix(prefix) {
            return Err(DecodeError::malformed(
                STRUCTURE,
                format!("prefix byte {prefix:#04x}"),
            ));
        }
        let hash = HashOutput::new(hash).ok_or_else(|| {
            DecodeError::malformed(STRUCTURE, format!("hash of {} bytes", hash.len()))
        })?;
        Ok(Self { prefix, hash })
    }
}

fn is_prefix(letter: u8) -> bool {
    (b'g'..=b'z').contains(&letter)
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 2 * KEY_BYTES_MAX];
        let hash = self.hash.as_bytes();
        let mut len = 0;
        if let Some(prefix) = self.prefix() {
            text[0] = prefix;
            len = 1;
        }
        for byte in hash {
            text[len] = HEX_DIGITS[usize::from(byte >> 4)];
            text[len + 1] = HEX_DIGITS[usize::from(byte & 15)];
            len += 2;
        }
        f.write_str(std::str::from_utf8(&text[..len]).expect("letters and hex digits are UTF-8"))
    }
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContentId {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let malformed = || DecodeError::malformed(STRUCTURE, format!("{text:.80?}"));
        let bytes = text.as_bytes();
        let (prefix, hash) = if bytes.len().is_multiple_of(2) {
            (NO_PREFIX, bytes)
        } else {
            let (&prefix, hash) = bytes.split_first().ok_or_else(malformed)?;
            if !is_prefix(prefix) {
                return Err(malformed());
            }
            (prefix, hash)
        };
        // An ID has one text only: two spellings of one content must not both be accepted.
        if hash.len() > 2 * KEY_BYTES_MAX || hash.iter().any(u8::is_ascii_uppercase) {
            return Err(malformed());
        }
        let hash = hex::decode(hash).map_err(|_| malformed())?;
        let hash = HashOutput::new(&hash).ok_or_else(malformed)?;
        Ok(Self { prefix, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_key_lead_back_to_the_same_id() {
        for text in [
            "00112233445566778899aabbccddeeff",
            "k00112233445566778899aabbccddeeff",
            "zffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "x9cf93bc9a401e88131cf0243ecba3f7c2c718cd245d2236a277e0454",
        ] {
            let id: ContentId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            let (key, len) = id.key_bytes();
            assert_eq!(ContentId::from_key_bytes(&key[..len]).unwrap(), id);
            assert_eq!(id.is_metadata(), text.len() % 2 == 1);
        }
    }

    #[test]
    fn order_is_the_order_of_key_bytes() {
        let mut ids: Vec<ContentId> = [
            "x00000000000000000000000000000000",
            "kffffffffffffffffffffffffffffffff",
            "ffffffffffffffffffffffffffffffff",
            "00000000000000000000000000000001",
        ]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
        ids.sort();
        let keys: Vec<Vec<u8>> = ids
            .iter()
            .map(|id| {
                let (key, len) = id.key_bytes();
                key[..len].to_vec()
            })
            .collect();
        assert!(keys.is_sorted());
        assert_eq!(ids[0].to_string(), "00000000000000000000000000000001");
    }

    #[test]
    fn nothing_else_is_an_id() {
        for text in [
            "",
            "k",
            "0011",
            "a00112233445566778899aabbccddeeff",
            "K00112233445566778899aabbccddeeff",
            "00112233445566778899AABBCCDDEEFF",
            "0011223344556677889 aabbccddeeff0",
            "k00112233445566778899aabbccddeefg",
            "kéé112233445566778899aabbccddeeff",
            "zffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        ] {
            assert!(text.parse::<ContentId>().is_err(), "{text}");
        }
        assert!(ContentId::from_key_bytes(&[]).is_err());
        assert!(ContentId::from_key_bytes(&[b'a'; 17]).is_err());
        assert!(ContentId::from_key_bytes(&[0; 34]).is_err());
        assert!(ContentId::from_key_bytes(&[0; 5]).is_err());
    }
}
