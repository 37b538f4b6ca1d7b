//! The repository hashes, which name contents and blobs, and their outputs.
//!
//! Kopia spec 3.1. Knows bytes in and bytes out, not what a content or blob name is.

mod hasher;

pub use hasher::{ContentHasher, HashInPieces};

use std::fmt;

/// The longest output of any repository hash.
pub const HASH_BYTES_MAX: usize = 32;
/// The shortest output of any repository hash; an encryption iv takes this many.
pub const HASH_BYTES_MIN: usize = 16;

/// A hash that a repository may name its contents with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HashAlgorithm {
    /// `BLAKE2B-256-128`: keyed BLAKE2b with a 32-byte digest, cut to 16 bytes. Kopia's default.
    Blake2b256_128,
    /// `BLAKE2B-256`: keyed BLAKE2b with a 32-byte digest.
    Blake2b256,
    /// `BLAKE2S-128`: keyed BLAKE2s with a digest length of 16, which is not a cut longer digest.
    Blake2s128,
    /// `BLAKE2S-256`: keyed BLAKE2s with a 32-byte digest.
    Blake2s256,
    /// `BLAKE3-256`: keyed BLAKE3.
    Blake3_256,
    /// `BLAKE3-256-128`: keyed BLAKE3, cut to 16 bytes.
    Blake3_256_128,
    /// `HMAC-SHA256`.
    HmacSha256,
    /// `HMAC-SHA256-128`: HMAC-SHA-256, cut to 16 bytes.
    HmacSha256_128,
    /// `HMAC-SHA224`.
    HmacSha224,
    /// `HMAC-SHA3-224`.
    HmacSha3_224,
    /// `HMAC-SHA3-256`.
    HmacSha3_256,
}

impl HashAlgorithm {
    /// Every hash there is.
    pub const ALL: &[Self] = &[
        Self::Blake2b256_128,
        Self::Blake2b256,
        Self::Blake2s128,
        Self::Blake2s256,
        Self::Blake3_256,
        Self::Blake3_256_128,
        Self::HmacSha256,
        Self::HmacSha256_128,
        Self::HmacSha224,
        Self::HmacSha3_224,
        Self::HmacSha3_256,
    ];

    /// Returns the name that format blobs use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blake2b256_128 => "BLAKE2B-256-128",
            Self::Blake2b256 => "BLAKE2B-256",
            Self::Blake2s128 => "BLAKE2S-128",
            Self::Blake2s256 => "BLAKE2S-256",
            Self::Blake3_256 => "BLAKE3-256",
            Self::Blake3_256_128 => "BLAKE3-256-128",
            Self::HmacSha256 => "HMAC-SHA256",
            Self::HmacSha256_128 => "HMAC-SHA256-128",
            Self::HmacSha224 => "HMAC-SHA224",
            Self::HmacSha3_224 => "HMAC-SHA3-224",
            Self::HmacSha3_256 => "HMAC-SHA3-256",
        }
    }

    /// Returns the hash of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|hash| hash.name() == name)
    }

    /// Returns how long this hash's outputs are.
    pub fn output_bytes(self) -> usize {
        match self {
            Self::Blake2b256_128
            | Self::Blake2s128
            | Self::Blake3_256_128
            | Self::HmacSha256_128 => 16,
            Self::HmacSha224 | Self::HmacSha3_224 => 28,
            Self::Blake2b256
            | Self::Blake2s256
            | Self::Blake3_256
            | Self::HmacSha256
            | Self::HmacSha3_256 => 32,
        }
    }

    /// Returns how long a secret may be; the BLAKE2 hashes take no longer key.
    pub fn secret_bytes_max(self) -> usize {
        match self {
            Self::Blake2b256_128 | Self::Blake2b256 => blake2b_simd::KEYBYTES,
            Self::Blake2s128 | Self::Blake2s256 => blake2s_simd::KEYBYTES,
            _ => usize::MAX,
        }
    }
}

/// One output of a repository hash, 16 to 32 bytes.
///
/// Outputs are ordered by their bytes, a shorter one before its extensions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HashOutput {
    /// What lies behind `len` is zero, so that derived comparisons are right.
    bytes: [u8; HASH_BYTES_MAX],
    len: u8,
}

impl HashOutput {
    /// Returns the output made of these bytes, or nothing if no hash has outputs of that length
    /// (there are fewer than 16 or more than 32).
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if !(HASH_BYTES_MIN..=HASH_BYTES_MAX).contains(&bytes.len()) {
            return None;
        }
        let mut held = [0; HASH_BYTES_MAX];
        held[..bytes.len()].copy_from_slice(bytes);
        let len = u8::try_from(bytes.len()).ok()?;
        Some(Self { bytes: held, len })
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Returns the last 16 bytes: the iv under which the hashed bytes are sealed.
    pub fn iv(&self) -> [u8; 16] {
        let end = usize::from(self.len);
        let mut iv = [0; HASH_BYTES_MIN];
        iv.copy_from_slice(&self.bytes[end - HASH_BYTES_MIN..end]);
        iv
    }

    /// Returns the bytes in lower-case hex.
    pub fn to_hex(&self) -> String {
        hex::encode(self.as_bytes())
    }
}

impl fmt::Debug for HashOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

#[cfg(test)]
mod tests;
