//! Sealing and opening contents and the blobs that are encrypted like them.
//!
//! Kopia spec 3.2. Every piece has its own key, derived from the repository's master key and an
//! iv that follows from the piece's hash; this module does not know where the iv comes from.

mod pieces;

pub use pieces::PieceOpener;

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::key::derive_key;

/// What the content key is derived for. TRAP: Kopia passes it as the salt, with an empty purpose.
const ENCRYPTION_SALT: &[u8] = b"encryption";
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// A cipher that a repository may seal its contents with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EncryptionAlgorithm {
    /// `AES256-GCM-HMAC-SHA256`, Kopia's default.
    Aes256Gcm,
    /// `CHACHA20-POLY1305-HMAC-SHA256`.
    Chacha20Poly1305,
}

impl EncryptionAlgorithm {
    /// Every cipher there is.
    pub const ALL: &[Self] = &[Self::Aes256Gcm, Self::Chacha20Poly1305];

    /// Returns the name that format blobs use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "AES256-GCM-HMAC-SHA256",
            Self::Chacha20Poly1305 => "CHACHA20-POLY1305-HMAC-SHA256",
        }
    }

    /// Returns the cipher of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|cipher| cipher.name() == name)
    }

    fn aead(self) -> &'static Algorithm {
        match self {
            Self::Aes256Gcm => &AES_256_GCM,
            Self::Chacha20Poly1305 => &CHACHA20_POLY1305,
        }
    }
}

/// A repository's cipher with its secret set.
#[derive(Clone)]
pub struct ContentCipher {
    algorithm: EncryptionAlgorithm,
    /// The root of all content keys, itself derived from the master key.
    secret: Zeroizing<Vec<u8>>,
}

impl ContentCipher {
    /// How much longer sealed bytes are than the bytes sealed: nonce and tag.
    pub const OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;

    /// Returns the cipher under a repository's master key.
    pub fn new(algorithm: EncryptionAlgorithm, master_key: &[u8]) -> Self {
        Self {
            algorithm,
            secret: derive_key(master_key, ENCRYPTION_SALT, "", KEY_BYTES),
        }
    }

    /// Returns which cipher this is.
    pub fn algorithm(&self) -> EncryptionAlgorithm {
        self.algorithm
    }

    /// Appends the sealed form of these bytes: nonce, ciphertext, tag.
    ///
    /// A nonce must be random; the same one must never serve twice under one iv.
    ///
    /// # Panics
    /// If the plaintext is longer than the cipher can seal, which is 64 GiB or more.
    pub fn seal_into(
        &self,
        iv: &[u8],
        nonce: [u8; NONCE_BYTES],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) {
        out.reserve(plaintext.len() + Self::OVERHEAD_BYTES);
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plaintext);
        let tag = self
            .key(iv)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(iv),
                &mut out[start..],
            )
            .expect("a piece is far shorter than the 64 GiB that the cipher can seal");
        out.extend_from_slice(tag.as_ref());
    }

    /// Returns the bytes that were sealed under this iv.
    pub fn open(&self, iv: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CipherError> {
        let (nonce, ciphertext) = split_nonce(sealed)?;
        let mut opened = ciphertext.to_vec();
        let plaintext_bytes = self.open_ciphertext(iv, nonce, &mut opened)?.len();
        opened.truncate(plaintext_bytes);
        Ok(opened)
    }

    /// Opens sealed bytes where they lie and returns the part that holds the plaintext.
    ///
    /// If this fails, what the buffer holds is of no use.
    pub fn open_in_place<'a>(
        &self,
        iv: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], CipherError> {
        let (nonce, _) = split_nonce(sealed)?;
        self.open_ciphertext(iv, nonce, &mut sealed[NONCE_BYTES..])
    }

    fn open_ciphertext<'a>(
        &self,
        iv: &[u8],
        nonce: [u8; NONCE_BYTES],
        ciphertext: &'a mut [u8],
    ) -> Result<&'a mut [u8], CipherError> {
        self.key(iv)
            .open_in_place(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(iv),
                ciphertext,
            )
            .map_err(|_| CipherError::NotAuthentic)
    }

    /// Returns the key that one iv's bytes are sealed under.
    fn key(&self, iv: &[u8]) -> LessSafeKey {
        let key = UnboundKey::new(self.algorithm.aead(), &*self.key_bytes(iv))
            .expect("both ciphers take keys of 32 bytes");
        LessSafeKey::new(key)
    }

    fn key_bytes(&self, iv: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, &self.secret);
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        key.copy_from_slice(hmac::sign(&root, iv).as_ref());
        key
    }

    /// Begins to open sealed bytes, of which there are `sealed_bytes`, piece by piece: for what
    /// must not lie in memory whole.
    pub fn open_in_pieces(&self, iv: &[u8], sealed_bytes: u64) -> Result<PieceOpener, CipherError> {
        PieceOpener::new(self.algorithm, self.key_bytes(iv), iv, sealed_bytes)
    }
}

impl fmt::Debug for ContentCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentCipher")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Why sealed bytes do not open. Trying again does not help, unless they are read anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum CipherError {
    /// They are too short to be sealed bytes.
    #[error("{bytes} bytes are too few to be encrypted data")]
    TooShort {
        /// How many bytes there were.
        bytes: u64,
    },
    /// They are not what was sealed under this key and iv.
    #[error("encrypted data is damaged, or belongs to another repository or content")]
    NotAuthentic,
}

fn split_nonce(sealed: &[u8]) -> Result<([u8; NONCE_BYTES], &[u8]), CipherError> {
    match sealed.split_first_chunk() {
        Some((nonce, ciphertext)) if ciphertext.len() >= TAG_BYTES => Ok((*nonce, ciphertext)),
        _ => Err(CipherError::TooShort {
            bytes: sealed.len() as u64,
        }),
    }
}

#[cfg(test)]
mod tests;
