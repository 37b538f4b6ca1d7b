//! Signatures of releases: Ed25519 over the whole file, by any of the keys that are built in.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};

const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

/// The keys that releases are signed with.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ReleaseKeys(Vec<[u8; KEY_BYTES]>);

impl fmt::Debug for ReleaseKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} release keys", self.0.len())
    }
}

impl ReleaseKeys {
    /// Returns the keys of this build.
    ///
    /// # Panics
    /// If the committed file is no list of keys, which a test would have found.
    pub fn built_in() -> Self {
        Self::parse(include_str!("../../release_keys.txt")).expect("a test reads the file")
    }

    /// Reads a list of keys: one a line, base64 of 32 bytes; lines that begin with `#` are comments.
    pub fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().map(str::trim);
        let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let key = |line: &str| STANDARD.decode(line).ok()?.try_into().ok();
        keys.map(key).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Checks that one of the signatures in a file is one of our keys' over `content`. The file holds
    /// 64 bytes, or lines of base64, of which those that are none of ours count for nothing.
    pub fn check(&self, content: &[u8], signatures: &[u8]) -> Result<(), String> {
        if self.0.is_empty() {
            return Err(
                "this build knows no release key, so no signature can be checked".to_owned(),
            );
        }
        let signatures = signatures_in(signatures);
        if signatures.is_empty() {
            return Err(
                "what lies there is no signature: neither 64 bytes nor lines of base64 of as many"
                    .to_owned(),
            );
        }
        let is_by = |key: &[u8; KEY_BYTES], signature: &Vec<u8>| {
            UnparsedPublicKey::new(&ED25519, key)
                .verify(content, signature)
                .is_ok()
        };
        let mut pairs = self
            .0
            .iter()
            .flat_map(|key| signatures.iter().map(move |it| (key, it)));
        match pairs.any(|(key, signature)| is_by(key, signature)) {
            true => Ok(()),
            false => Err("no signature is by a release key of this build".to_owned()),
        }
    }
}

fn signatures_in(file: &[u8]) -> Vec<Vec<u8>> {
    if file.len() == SIGNATURE_BYTES {
        return vec![file.to_owned()];
    }
    let text = String::from_utf8_lossy(file);
    let decoded = text
        .lines()
        .filter_map(|line| STANDARD.decode(line.trim()).ok());
    decoded.filter(|it| it.len() == SIGNATURE_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    fn pair(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn keys(seeds: &[u8]) -> ReleaseKeys {
        let lines = seeds.iter().map(|seed| {
            let key = STANDARD.encode(pair(*seed).public_key().as_ref());
            format!("# the key of {seed}\n{key}\n")
        });
        ReleaseKeys::parse(&lines.collect::<String>()).unwrap()
    }

    fn signed(seed: u8, content: &[u8]) -> Vec<u8> {
        pair(seed).sign(content).as_ref().to_owned()
    }

    #[test]
    fn the_keys_of_this_build_can_be_read() {
        let _ = ReleaseKeys::built_in();
    }

    #[test]
    fn a_signature_counts_in_either_form_and_by_either_key() {
        let raw = signed(2, b"program");
        let text = format!("{}\n", STANDARD.encode(&raw));
        // In times of change a release is signed with both keys.
        let both = format!("{}\n{text}", STANDARD.encode(signed(1, b"program")));
        for file in [raw, text.into_bytes(), both.into_bytes()] {
            assert_eq!(keys(&[2]).check(b"program", &file), Ok(()));
            assert_eq!(keys(&[3, 2]).check(b"program", &file), Ok(()));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let told = |keys: &ReleaseKeys, content: &[u8], file: &[u8]| {
            keys.check(content, file).unwrap_err()
        };
        let signature = signed(2, b"program");
        assert!(told(&keys(&[2]), b"Program", &signature).contains("no signature is by"));
        assert!(told(&keys(&[1]), b"program", &signature).contains("no signature is by"));
        assert!(told(&keys(&[2]), b"program", b"<html>").contains("is no signature"));
        assert!(told(&keys(&[2]), b"program", b"").contains("is no signature"));
        let empty = ReleaseKeys::default();
        assert!(told(&empty, b"program", &signature).contains("no release key"));
        assert_eq!(ReleaseKeys::parse("not a key"), None);
    }
}
