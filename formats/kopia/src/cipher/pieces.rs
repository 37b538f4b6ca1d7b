//! Opening sealed bytes piece by piece, for blobs too large to lie in memory whole.
//!
//! An index blob may have hundreds of megabytes (Kopia spec 5.3). What is handed out before
//! [`PieceOpener::finish`] has agreed is not authentic yet: keep it aside and use it only then.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipher};
use chacha20::ChaCha20;
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use poly1305::Poly1305;
use zeroize::Zeroizing;

use super::{CipherError, EncryptionAlgorithm, KEY_BYTES, NONCE_BYTES, TAG_BYTES};

/// What both ciphers hash at a time.
const BLOCK_BYTES: usize = 16;
/// GCM's counter has 32 bits; Kopia seals nothing that comes near.
const PLAINTEXT_BYTES_MAX: u64 = ((1 << 32) - 2) * BLOCK_BYTES as u64;

/// Opens sealed bytes that come in pieces, from first to last.
pub struct PieceOpener {
    algorithm: EncryptionAlgorithm,
    key: Zeroizing<[u8; KEY_BYTES]>,
    iv: Vec<u8>,
    nonce: Vec<u8>,
    tag: Vec<u8>,
    left_bytes: u64,
    plaintext_bytes: u64,
    state: Option<State>,
}

/// What exists once the nonce is known.
struct State {
    stream: Stream,
    hash: PaddedHash,
    /// What the hash is combined with to make GCM's tag; zeros for Poly1305.
    mask: [u8; TAG_BYTES],
}

enum Stream {
    Aes(Box<ctr::Ctr32BE<Aes256>>),
    ChaCha(Box<ChaCha20>),
}

impl PieceOpener {
    pub(super) fn new(
        algorithm: EncryptionAlgorithm,
        key: Zeroizing<[u8; KEY_BYTES]>,
        iv: &[u8],
        sealed_bytes: u64,
    ) -> Result<Self, CipherError> {
        let plaintext_bytes = sealed_bytes
            .checked_sub((NONCE_BYTES + TAG_BYTES) as u64)
            .ok_or(CipherError::TooShort {
                bytes: sealed_bytes,
            })?;
        if plaintext_bytes > PLAINTEXT_BYTES_MAX {
            return Err(CipherError::NotAuthentic);
        }
        Ok(Self {
            algorithm,
            key,
            iv: iv.to_vec(),
            nonce: Vec::with_capacity(NONCE_BYTES),
            tag: Vec::with_capacity(TAG_BYTES),
            left_bytes: plaintext_bytes,
            plaintext_bytes,
            state: None,
        })
    }

    /// Opens the next piece where it lies and returns the part that holds plaintext, which is
    /// **not authentic** before [`finish`](Self::finish) says so.
    pub fn push<'p>(&mut self, piece: &'p mut [u8]) -> &'p mut [u8] {
        let nonce_bytes = piece.len().min(NONCE_BYTES - self.nonce.len());
        let (nonce, rest) = piece.split_at_mut(nonce_bytes);
        self.nonce.extend_from_slice(nonce);
        let text_bytes = self.left_bytes.min(rest.len() as u64);
        let (text, tag) = rest.split_at_mut(text_bytes as usize);
        self.left_bytes -= text_bytes;
        self.tag.extend_from_slice(tag);
        if self.nonce.len() == NONCE_BYTES {
            let state = self.state.get_or_insert_with(|| {
                State::begin(self.algorithm, &self.key, &self.nonce, &self.iv)
            });
            state.hash.update(text);
            match &mut state.stream {
                Stream::Aes(stream) => stream.apply_keystream(text),
                Stream::ChaCha(stream) => stream.apply_keystream(text),
            }
        }
        text
    }

    /// Says whether everything that was handed out is what was sealed.
    pub fn finish(self) -> Result<(), CipherError> {
        let complete = self.left_bytes == 0 && self.tag.len() == TAG_BYTES;
        let state = self
            .state
            .filter(|_| complete)
            .ok_or(CipherError::NotAuthentic)?;
        let lengths = lengths(self.algorithm, self.iv.len() as u64, self.plaintext_bytes);
        let expected = state.hash.finish(&lengths);
        let differs = expected
            .iter()
            .zip(state.mask)
            .zip(&self.tag)
            .fold(0, |differs, ((hash, mask), tag)| {
                differs | (hash ^ mask ^ tag)
            });
        match differs {
            0 => Ok(()),
            _ => Err(CipherError::NotAuthentic),
        }
    }
}

impl State {
    fn begin(
        algorithm: EncryptionAlgorithm,
        key: &[u8; KEY_BYTES],
        nonce: &[u8],
        iv: &[u8],
    ) -> Self {
        let mut mask = [0; TAG_BYTES];
        let (stream, hash) = match algorithm {
            EncryptionAlgorithm::Aes256Gcm => {
                let cipher = Aes256::new(key.into());
                let mut subkey = [0; BLOCK_BYTES];
                cipher.encrypt_block((&mut subkey).into());
                // The first counter block masks the tag, the second begins the key stream.
                let counter = |number: u8| {
                    let mut block = [0; BLOCK_BYTES];
                    block[..NONCE_BYTES].copy_from_slice(nonce);
                    block[BLOCK_BYTES - 1] = number;
                    block
                };
                mask = counter(1);
                cipher.encrypt_block((&mut mask).into());
                let stream = ctr::Ctr32BE::new(key.into(), &counter(2).into());
                let hash = Hash::Ghash(Box::new(GHash::new(&subkey.into())));
                (Stream::Aes(Box::new(stream)), hash)
            }
            EncryptionAlgorithm::Chacha20Poly1305 => {
                let nonce: [u8; NONCE_BYTES] =
                    nonce.try_into().expect("the nonce was collected whole");
                let mut stream = ChaCha20::new(key.into(), &nonce.into());
                // The first block of the key stream keys the hash; the text begins with the second.
                let mut block = Zeroizing::new([0; 64]);
                stream.apply_keystream(&mut *block);
                let mut hash_key = poly1305::Key::default();
                hash_key.copy_from_slice(&block[..KEY_BYTES]);
                let hash = Hash::Poly1305(Box::new(Poly1305::new(&hash_key)));
                (Stream::ChaCha(Box::new(stream)), hash)
            }
        };
        let mut hash = PaddedHash {
            hash,
            partial: Vec::with_capacity(BLOCK_BYTES),
        };
        hash.update(iv);
        hash.pad();
        Self { stream, hash, mask }
    }
}

/// The block that ends what is hashed: how much was authenticated and how much encrypted.
fn lengths(algorithm: EncryptionAlgorithm, iv_bytes: u64, text_bytes: u64) -> [u8; BLOCK_BYTES] {
    let word = |bytes: u64| match algorithm {
        EncryptionAlgorithm::Aes256Gcm => (bytes * 8).to_be_bytes(),
        EncryptionAlgorithm::Chacha20Poly1305 => bytes.to_le_bytes(),
    };
    let mut block = [0; BLOCK_BYTES];
    block[..8].copy_from_slice(&word(iv_bytes));
    block[8..].copy_from_slice(&word(text_bytes));
    block
}

enum Hash {
    Ghash(Box<GHash>),
    Poly1305(Box<Poly1305>),
}

/// A hash over blocks, fed with bytes in pieces of any length.
struct PaddedHash {
    hash: Hash,
    partial: Vec<u8>,
}

impl PaddedHash {
    fn update(&mut self, mut bytes: &[u8]) {
        if !self.partial.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.partial.len()));
            self.partial.extend_from_slice(head);
            bytes = rest;
            if self.partial.len() < BLOCK_BYTES {
                return;
            }
            self.pad();
        }
        let (whole, rest) = bytes.split_at(bytes.len() / BLOCK_BYTES * BLOCK_BYTES);
        self.blocks(whole);
        self.partial.extend_from_slice(rest);
    }

    /// Fills the last block with zeros.
    fn pad(&mut self) {
        let partial = std::mem::take(&mut self.partial);
        self.blocks(&partial);
    }

    fn blocks(&mut self, bytes: &[u8]) {
        match &mut self.hash {
            Hash::Ghash(hash) => hash.update_padded(bytes),
            Hash::Poly1305(hash) => hash.update_padded(bytes),
        }
    }

    fn finish(mut self, lengths: &[u8; BLOCK_BYTES]) -> [u8; TAG_BYTES] {
        self.pad();
        self.blocks(lengths);
        match self.hash {
            Hash::Ghash(hash) => hash.finalize().into(),
            Hash::Poly1305(hash) => hash.finalize().into(),
        }
    }
}
