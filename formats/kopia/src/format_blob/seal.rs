//! Sealing under the format key: AES-256-GCM, the key and the additional data derived for the
//! repository (Kopia spec 2.3).

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::error::{FormatError, Reason};
use crate::key::{FormatKey, derive_key};

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// Returns nonce, ciphertext and tag. The nonce must be random.
pub(super) fn seal(
    key: &FormatKey,
    unique_id: &[u8],
    nonce: [u8; NONCE_BYTES],
    plaintext: &[u8],
) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(NONCE_BYTES + plaintext.len() + TAG_BYTES);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plaintext);
    let tag = aes_key(key, unique_id)
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            additional_data(key, unique_id),
            &mut sealed[NONCE_BYTES..],
        )
        .expect("a format is far shorter than the 64 GiB that the cipher can seal");
    sealed.extend_from_slice(tag.as_ref());
    sealed
}

/// Returns the plaintext, or an error of kind `WrongPassword` if the key does not fit.
pub(super) fn open(
    key: &FormatKey,
    unique_id: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, FormatError> {
    let (nonce, ciphertext) = match sealed.split_first_chunk::<NONCE_BYTES>() {
        Some((nonce, ciphertext)) if ciphertext.len() >= TAG_BYTES => (*nonce, ciphertext),
        _ => {
            return Err(Reason::SealedTooShort {
                bytes: sealed.len(),
            }
            .into());
        }
    };
    let mut opened = Zeroizing::new(ciphertext.to_vec());
    let plaintext_bytes = aes_key(key, unique_id)
        .open_in_place(
            Nonce::assume_unique_for_key(nonce),
            additional_data(key, unique_id),
            &mut opened,
        )
        .map_err(|_| Reason::WrongPassword)?
        .len();
    opened.truncate(plaintext_bytes);
    Ok(opened)
}

fn aes_key(key: &FormatKey, unique_id: &[u8]) -> LessSafeKey {
    let key = derive_key(key.as_bytes(), unique_id, "AES", 32);
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("32 bytes are an AES-256 key"))
}

fn additional_data(key: &FormatKey, unique_id: &[u8]) -> Aad<Zeroizing<Vec<u8>>> {
    Aad::from(derive_key(key.as_bytes(), unique_id, "CHECKSUM", 32))
}
