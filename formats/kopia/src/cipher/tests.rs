//! Tests of `cipher`: Kopia's own vectors, properties, damage.

use proptest::prelude::*;

use super::*;
use crate::test_vectors::{base64_bytes, hex_bytes, json, list, plaintext, text};

fn spec_cipher(algorithm: EncryptionAlgorithm) -> ContentCipher {
    let master_key: Vec<u8> = (0x20..=0x3f).collect();
    ContentCipher::new(algorithm, &master_key)
}

fn spec_iv() -> Vec<u8> {
    (0..=0x0f).collect()
}

fn spec_nonce() -> [u8; 12] {
    std::array::from_fn(|n| 0xa0 + n as u8)
}

#[test]
fn sealing_agrees_with_the_spec() {
    let vectors = [
        (
            EncryptionAlgorithm::Aes256Gcm,
            "a0a1a2a3a4a5a6a7a8a9aaabcf0f95a37f3593bcd91b8cc406551c1fad63dacd03a7c60eb92988",
        ),
        (
            EncryptionAlgorithm::Chacha20Poly1305,
            "a0a1a2a3a4a5a6a7a8a9aaab644a690ec3c4cb9e3c0a12f3cf46387bbb3718cd76eb488c9f18cc",
        ),
    ];
    assert_eq!(vectors.len(), EncryptionAlgorithm::ALL.len());
    for (algorithm, expected) in vectors {
        let cipher = spec_cipher(algorithm);
        let mut sealed = b"before".to_vec();
        cipher.seal_into(&spec_iv(), spec_nonce(), b"hello kopia", &mut sealed);
        assert_eq!(&sealed[..6], b"before");
        assert_eq!(hex::encode(&sealed[6..]), expected);
        assert_eq!(
            cipher.open(&spec_iv(), &sealed[6..]).unwrap(),
            b"hello kopia"
        );
    }
}

#[test]
fn what_kopia_sealed_opens() {
    let objects = json("objects.json");
    let master_key = hex_bytes(&objects, "master_key_hex");
    for vector in list(&objects["encryption"], "vectors") {
        let algorithm = EncryptionAlgorithm::from_name(text(vector, "encryption")).unwrap();
        let cipher = ContentCipher::new(algorithm, &master_key);
        let hash = hex_bytes(vector, "content_hash_hex");
        let iv = &hash[hash.len() - 16..];
        let mut sealed = base64_bytes(vector, "ciphertext_base64");
        let plain = plaintext(text(vector, "plaintext"));
        assert_eq!(sealed.len(), plain.len() + ContentCipher::OVERHEAD_BYTES);
        assert_eq!(cipher.open(iv, &sealed).unwrap(), plain, "{vector}");
        assert_eq!(cipher.open_in_place(iv, &mut sealed).unwrap(), plain);
    }
}

#[test]
fn names_are_kopias() {
    for &algorithm in EncryptionAlgorithm::ALL {
        assert_eq!(
            EncryptionAlgorithm::from_name(algorithm.name()),
            Some(algorithm)
        );
    }
    assert_eq!(EncryptionAlgorithm::from_name("NONE"), None);
}

#[test]
fn every_damaged_byte_is_noticed() {
    for &algorithm in EncryptionAlgorithm::ALL {
        let cipher = spec_cipher(algorithm);
        let mut sealed = Vec::new();
        cipher.seal_into(&spec_iv(), spec_nonce(), b"hello kopia", &mut sealed);
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut damaged = sealed.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(
                    cipher.open(&spec_iv(), &damaged),
                    Err(CipherError::NotAuthentic)
                );
                assert!(cipher.open_in_place(&spec_iv(), &mut damaged).is_err());
            }
        }
        for length in 0..sealed.len() {
            let expected = if length < ContentCipher::OVERHEAD_BYTES {
                CipherError::TooShort {
                    bytes: length as u64,
                }
            } else {
                CipherError::NotAuthentic
            };
            assert_eq!(cipher.open(&spec_iv(), &sealed[..length]), Err(expected));
        }
        let mut longer = sealed.clone();
        longer.push(0);
        assert!(cipher.open(&spec_iv(), &longer).is_err());
    }
}

#[test]
fn another_iv_key_or_cipher_does_not_open() {
    let aes = spec_cipher(EncryptionAlgorithm::Aes256Gcm);
    let mut sealed = Vec::new();
    aes.seal_into(&spec_iv(), spec_nonce(), b"hello kopia", &mut sealed);
    assert!(aes.open(&[9; 16], &sealed).is_err());
    assert!(aes.open(&spec_iv()[..15], &sealed).is_err());
    let other_key = ContentCipher::new(EncryptionAlgorithm::Aes256Gcm, &[1; 32]);
    assert!(other_key.open(&spec_iv(), &sealed).is_err());
    let chacha = spec_cipher(EncryptionAlgorithm::Chacha20Poly1305);
    assert!(chacha.open(&spec_iv(), &sealed).is_err());
}

#[test]
fn debug_text_hides_the_secret() {
    let text = format!("{:?}", spec_cipher(EncryptionAlgorithm::Aes256Gcm));
    assert_eq!(text, "ContentCipher { algorithm: Aes256Gcm, .. }");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_sealed_opens(
        plain in prop::collection::vec(any::<u8>(), 0..300),
        iv in prop::collection::vec(any::<u8>(), 0..40),
        nonce in any::<[u8; 12]>(),
    ) {
        for &algorithm in EncryptionAlgorithm::ALL {
            let cipher = spec_cipher(algorithm);
            let mut sealed = Vec::new();
            cipher.seal_into(&iv, nonce, &plain, &mut sealed);
            prop_assert_eq!(sealed.len(), plain.len() + ContentCipher::OVERHEAD_BYTES);
            prop_assert_eq!(&cipher.open(&iv, &sealed).unwrap(), &plain);
            prop_assert_eq!(cipher.open_in_place(&iv, &mut sealed).unwrap(), &plain[..]);
        }
    }
}

fn open_in_pieces(
    cipher: &ContentCipher,
    iv: &[u8],
    sealed: &[u8],
    piece_bytes: usize,
) -> Result<Vec<u8>, CipherError> {
    let mut opener = cipher.open_in_pieces(iv, sealed.len() as u64)?;
    let mut opened = Vec::new();
    for piece in sealed.chunks(piece_bytes) {
        opened.extend_from_slice(opener.push(&mut piece.to_vec()));
    }
    opener.finish().map(|()| opened)
}

#[test]
fn pieces_open_to_what_the_whole_opens_to() {
    for &algorithm in EncryptionAlgorithm::ALL {
        let cipher = spec_cipher(algorithm);
        for plaintext_bytes in [0, 1, 15, 16, 17, 64, 1000] {
            let plain: Vec<u8> = (0..plaintext_bytes).map(|n| (n % 251) as u8).collect();
            let mut sealed = Vec::new();
            cipher.seal_into(&spec_iv(), spec_nonce(), &plain, &mut sealed);
            for piece_bytes in [1, 5, 12, 16, 33, 4096] {
                assert_eq!(
                    open_in_pieces(&cipher, &spec_iv(), &sealed, piece_bytes).as_ref(),
                    Ok(&plain),
                    "{algorithm:?}, {plaintext_bytes} in pieces of {piece_bytes}"
                );
            }
        }
    }
}

#[test]
fn damaged_pieces_are_not_authentic() {
    for &algorithm in EncryptionAlgorithm::ALL {
        let cipher = spec_cipher(algorithm);
        let mut sealed = Vec::new();
        cipher.seal_into(&spec_iv(), spec_nonce(), &[7; 100], &mut sealed);
        let refused = |sealed: &[u8]| {
            assert_eq!(
                open_in_pieces(&cipher, &spec_iv(), sealed, 32),
                Err(CipherError::NotAuthentic)
            );
        };
        for place in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[place] ^= 4;
            refused(&damaged);
        }
        refused(&sealed[..sealed.len() - 1]);
        refused(&[&sealed[..], &[0]].concat());
        let mut opener = cipher
            .open_in_pieces(&spec_iv(), sealed.len() as u64)
            .unwrap();
        opener.push(&mut sealed[..90]);
        assert_eq!(opener.finish(), Err(CipherError::NotAuthentic), "cut short");
        assert!(cipher.open_in_pieces(&spec_iv(), 27).is_err());
    }
}
