//! Tests of `key`: Kopia's own vectors, properties, damage.

use super::*;
use crate::test_vectors::{hex_bytes, json, list, text};

fn spec_unique_id() -> Vec<u8> {
    (0..=0x1f).collect()
}

#[test]
fn keys_agree_with_the_spec() {
    let id = spec_unique_id();
    let scrypt = format_key(KeyDerivation::Scrypt65536_8_1, "correct horse", &id).unwrap();
    assert_eq!(
        hex::encode(scrypt.as_bytes()),
        "d88dd954315ef92b27d902c52d3c1b2c90b4f0f755030167664638ca506f2a5c"
    );
    let pbkdf2 = format_key(KeyDerivation::Pbkdf2Sha256_600000, "correct horse", &id).unwrap();
    assert_eq!(
        hex::encode(pbkdf2.as_bytes()),
        "6e0e47b07fb12cc6608ce003ec335e64e80afd97be2916c2b75e7acca956b65f"
    );
    let derived = |secret: &[u8], salt: &[u8], purpose| {
        hex::encode(&derive_key(secret, salt, purpose, 32)[..])
    };
    assert_eq!(
        derived(scrypt.as_bytes(), &id, "AES"),
        "623159848da275ecc54649e222f99bbd3f914e15a45ce52d74ab8530891c02df"
    );
    assert_eq!(
        derived(scrypt.as_bytes(), &id, "CHECKSUM"),
        "e556c6a11cab8a9689daa9f826acc358b16f4cabab0ed72aad81e7e01da92cac"
    );
    let master_key: Vec<u8> = (0x20..=0x3f).collect();
    assert_eq!(
        derived(&master_key, b"encryption", ""),
        "49cbbd8ec38e25389b29de48aa0a383cb3aa37e0e2aa4e02e75c7894aebfacce"
    );
}

#[test]
fn keys_agree_with_kopia() {
    let objects = json("objects.json");
    let mut kinds = Vec::new();
    for vector in list(&objects, "key_derivation") {
        let kind = text(vector, "kind");
        let salt = text(vector, "salt").as_bytes();
        let key = if kind == "hkdf-sha256" {
            let length = vector["length"].as_u64().unwrap() as usize;
            let master_key = hex_bytes(vector, "master_key_hex");
            derive_key(&master_key, salt, text(vector, "purpose"), length).to_vec()
        } else {
            let algorithm = KeyDerivation::from_name(kind).unwrap();
            let key = format_key(algorithm, text(vector, "password"), salt).unwrap();
            key.as_bytes().to_vec()
        };
        assert_eq!(hex::encode(key), text(vector, "key_hex"), "{vector}");
        kinds.push(kind.to_owned());
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(
        kinds,
        ["hkdf-sha256", "pbkdf2-sha256-600000", "scrypt-65536-8-1"]
    );
}

#[test]
fn a_unique_id_too_short_to_be_a_salt_is_refused() {
    for &algorithm in KeyDerivation::ALL {
        let error = format_key(algorithm, "password", &[1; 15]).unwrap_err();
        assert_eq!(error, UniqueIdTooShort { bytes: 15 });
    }
}

#[test]
fn names_are_kopias() {
    for &algorithm in KeyDerivation::ALL {
        assert_eq!(KeyDerivation::from_name(algorithm.name()), Some(algorithm));
    }
    assert_eq!(KeyDerivation::from_name(""), None);
}

#[test]
fn debug_text_hides_the_key() {
    let text = format!("{:?}", FormatKey::from_bytes([0xab; 32]));
    assert_eq!(text, "FormatKey(hidden)");
}
