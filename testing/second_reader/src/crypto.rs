//! Hashes, key derivation and sealing (Kopia spec 2.2, 2.3, 3.1, 3.2).

use aes_gcm::aead::{Aead, KeyInit, Payload};
use hmac::Mac;

use crate::ecc::Ecc;

/// A keyed hash of the repository's choice.
pub(crate) struct Hash {
    name: String,
    secret: Vec<u8>,
    /// The length of its output.
    pub(crate) length_bytes: usize,
}

impl Hash {
    pub(crate) fn new(name: &str, secret: &[u8]) -> Result<Hash, String> {
        let length_bytes = keyed_hash(name, secret, b"")?.len();
        Ok(Hash {
            name: name.to_owned(),
            secret: secret.to_owned(),
            length_bytes,
        })
    }

    pub(crate) fn of(&self, data: &[u8]) -> Vec<u8> {
        keyed_hash(&self.name, &self.secret, data)
            .expect("name and key were tried when this was made")
    }
}

fn keyed_hash(name: &str, secret: &[u8], data: &[u8]) -> Result<Vec<u8>, String> {
    use blake2::digest::consts::{U16, U32};
    match name {
        "BLAKE2B-256" => mac::<blake2::Blake2bMac<U32>>(secret, data),
        "BLAKE2B-256-128" => first_16(mac::<blake2::Blake2bMac<U32>>(secret, data)),
        "BLAKE2S-128" => mac::<blake2::Blake2sMac<U16>>(secret, data),
        "BLAKE2S-256" => mac::<blake2::Blake2sMac<U32>>(secret, data),
        "BLAKE3-256" => Ok(blake3_keyed(secret, data)),
        "BLAKE3-256-128" => first_16(Ok(blake3_keyed(secret, data))),
        "HMAC-SHA256" => mac::<hmac::Hmac<sha2::Sha256>>(secret, data),
        "HMAC-SHA256-128" => first_16(mac::<hmac::Hmac<sha2::Sha256>>(secret, data)),
        "HMAC-SHA224" => mac::<hmac::Hmac<sha2::Sha224>>(secret, data),
        "HMAC-SHA3-224" => mac::<hmac::SimpleHmac<sha3::Sha3_224>>(secret, data),
        "HMAC-SHA3-256" => mac::<hmac::SimpleHmac<sha3::Sha3_256>>(secret, data),
        _ => Err(format!("unknown hash {name:?}")),
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Result<Vec<u8>, String> {
    let mac = <M as KeyInit>::new_from_slice(key)
        .map_err(|_| "the hash cannot take this key".to_owned())?;
    Ok(mac.chain_update(data).finalize().into_bytes().to_vec())
}

fn first_16(hash: Result<Vec<u8>, String>) -> Result<Vec<u8>, String> {
    hash.map(|mut bytes| {
        bytes.truncate(16);
        bytes
    })
}

fn blake3_keyed(secret: &[u8], data: &[u8]) -> Vec<u8> {
    let key = match secret.first_chunk::<32>() {
        Some(key) => *key,
        None => blake3::derive_key("kopia blake3 derived key v1", secret),
    };
    blake3::keyed_hash(&key, data).as_bytes().to_vec()
}

/// HMAC-SHA-256.
pub(crate) fn hmac_sha256(key: &[u8], data: &[u8]) -> Vec<u8> {
    mac::<hmac::Hmac<sha2::Sha256>>(key, data).expect("HMAC takes keys of any length")
}

/// HKDF with SHA-256, 32 bytes.
pub(crate) fn hkdf(secret: &[u8], salt: &[u8], info: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    hkdf::Hkdf::<sha2::Sha256>::new(Some(salt), secret)
        .expand(info, &mut key)
        .expect("32 bytes are not too many");
    key
}

/// The key that a password opens the format blob with.
pub(crate) fn format_key(key_algo: &str, password: &[u8], salt: &[u8]) -> Result<[u8; 32], String> {
    let mut key = [0; 32];
    match key_algo {
        "scrypt-65536-8-1" => {
            let params = scrypt::Params::new(16, 8, 1).map_err(|error| error.to_string())?;
            scrypt::scrypt(password, salt, &params, &mut key).map_err(|error| error.to_string())?;
        }
        "pbkdf2-sha256-600000" => {
            pbkdf2::pbkdf2_hmac::<sha2::Sha256>(password, salt, 600_000, &mut key)
        }
        _ => return Err(format!("unknown keyAlgo {key_algo:?}")),
    }
    Ok(key)
}

/// Opens what is sealed with the format key: `encryptedBlockFormat` and `kopia.blobcfg`.
pub(crate) fn open_format_sealed(
    format_key: &[u8],
    unique_id: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, String> {
    let key = hkdf(format_key, unique_id, b"AES");
    let aad = hkdf(format_key, unique_id, b"CHECKSUM");
    open_aes(&key, &aad, sealed)
}

/// Opens nonce ‖ AES-256-GCM.
pub(crate) fn open_aes(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, String> {
    let cipher = aes_gcm::Aes256Gcm::new(key.into());
    let (nonce, text) = sealed
        .split_first_chunk::<12>()
        .ok_or("sealed bytes are too short")?;
    cipher
        .decrypt(nonce.into(), Payload { msg: text, aad })
        .map_err(|_| "authentication failed".to_owned())
}

fn open_chacha(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, String> {
    let cipher = chacha20poly1305::ChaCha20Poly1305::new(key.into());
    let (nonce, text) = sealed
        .split_first_chunk::<12>()
        .ok_or("sealed bytes are too short")?;
    cipher
        .decrypt(nonce.into(), Payload { msg: text, aad })
        .map_err(|_| "authentication failed".to_owned())
}

/// Nonce and tag: what sealing adds.
pub(crate) const SEAL_OVERHEAD_BYTES: u64 = 28;

#[derive(Clone, Copy)]
enum Cipher {
    Aes,
    ChaCha,
}

/// Opens what is sealed with the content encryptor, error correction included.
pub(crate) struct Sealer {
    cipher: Cipher,
    secret: [u8; 32],
    pub(crate) ecc: Option<Ecc>,
}

impl Sealer {
    pub(crate) fn new(
        encryption: &str,
        master_key: &[u8],
        ecc: Option<Ecc>,
    ) -> Result<Sealer, String> {
        let cipher = match encryption {
            "AES256-GCM-HMAC-SHA256" => Cipher::Aes,
            "CHACHA20-POLY1305-HMAC-SHA256" => Cipher::ChaCha,
            _ => return Err(format!("unknown encryption {encryption:?}")),
        };
        Ok(Sealer {
            cipher,
            secret: hkdf(master_key, b"encryption", b""),
            ecc,
        })
    }

    /// Opens sealed bytes; any damage that error correction had to repair is put into `damage`.
    pub(crate) fn open(
        &self,
        iv: &[u8],
        sealed: &[u8],
        damage: &mut Vec<String>,
    ) -> Result<Vec<u8>, String> {
        let corrected;
        let sealed = match &self.ecc {
            None => sealed,
            Some(ecc) => {
                corrected = ecc.decode(sealed, damage)?;
                &corrected
            }
        };
        let key: [u8; 32] = hmac_sha256(&self.secret, iv)
            .try_into()
            .map_err(|_| "HMAC-SHA-256 gives 32 bytes".to_owned())?;
        match self.cipher {
            Cipher::Aes => open_aes(&key, iv, sealed),
            Cipher::ChaCha => open_chacha(&key, iv, sealed),
        }
    }
}

/// The part of a hash that contents and blobs are sealed with.
pub(crate) fn last_16(hash: &[u8]) -> Result<&[u8], String> {
    hash.last_chunk::<16>()
        .map(|iv| &iv[..])
        .ok_or_else(|| "hash is shorter than 16 bytes".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob_name::{from_hex, to_hex};

    fn bytes(from: u8) -> Vec<u8> {
        (from..from + 32).collect()
    }

    #[test]
    fn keys_are_those_of_the_specification() {
        let unique_id = bytes(0);
        let scrypt = format_key("scrypt-65536-8-1", b"correct horse", &unique_id).unwrap();
        assert_eq!(
            to_hex(&scrypt),
            "d88dd954315ef92b27d902c52d3c1b2c90b4f0f755030167664638ca506f2a5c"
        );
        let aes = hkdf(&scrypt, &unique_id, b"AES");
        assert_eq!(
            to_hex(&aes),
            "623159848da275ecc54649e222f99bbd3f914e15a45ce52d74ab8530891c02df"
        );
        let maintenance = hkdf(&bytes(0x20), &unique_id, b"maintenance schedule");
        assert_eq!(
            to_hex(&maintenance),
            "327e5ba0d7687c8a777e26dddaccb1fc6bdcf0e21a7f753928633d8186db741f"
        );
        let pbkdf2 = format_key("pbkdf2-sha256-600000", b"correct horse", &unique_id).unwrap();
        assert_eq!(
            to_hex(&pbkdf2),
            "6e0e47b07fb12cc6608ce003ec335e64e80afd97be2916c2b75e7acca956b65f"
        );
    }

    #[test]
    fn both_ciphers_open_what_the_specification_sealed() {
        let iv: Vec<u8> = (0..16).collect();
        for (name, sealed) in [
            (
                "AES256-GCM-HMAC-SHA256",
                "cf0f95a37f3593bcd91b8cc406551c1fad63dacd03a7c60eb92988",
            ),
            (
                "CHACHA20-POLY1305-HMAC-SHA256",
                "644a690ec3c4cb9e3c0a12f3cf46387bbb3718cd76eb488c9f18cc",
            ),
        ] {
            let sealed = from_hex(&format!("a0a1a2a3a4a5a6a7a8a9aaab{sealed}")).unwrap();
            let sealer = Sealer::new(name, &bytes(0x20), None).unwrap();
            assert_eq!(
                sealer.open(&iv, &sealed, &mut Vec::new()).unwrap(),
                b"hello kopia",
                "{name}"
            );
        }
    }

    #[test]
    fn hashes_are_those_of_the_specification() {
        for (name, hash) in [
            (
                "BLAKE2B-256",
                "f9cbfd617f9e6dd17aa0669f7d084312867f82851ecc0e164017b6ea85e54c32",
            ),
            ("BLAKE2B-256-128", "f9cbfd617f9e6dd17aa0669f7d084312"),
            ("BLAKE2S-128", "0974d922499b20b56f3de0470dad43cc"),
            (
                "BLAKE2S-256",
                "90265cd7363e4b6fea8e19ac2178a2cb41ae839998fbc23c0622af812fb61158",
            ),
            (
                "BLAKE3-256",
                "5d1dd713f73773df894467f44ed43df970d3093dbd5bc254ad4bf707cd8eae02",
            ),
            ("BLAKE3-256-128", "5d1dd713f73773df894467f44ed43df9"),
            (
                "HMAC-SHA256",
                "c49951646e181b1931aba22ea26b10815031a45c7e36b94550264e0249d9be3a",
            ),
            ("HMAC-SHA256-128", "c49951646e181b1931aba22ea26b1081"),
            (
                "HMAC-SHA224",
                "9cf93bc9a401e88131cf0243ecba3f7c2c718cd245d2236a277e0454",
            ),
            (
                "HMAC-SHA3-224",
                "b82ad0dde54cf1db393a0e0b44043dba39b837500636a96e867c6431",
            ),
            (
                "HMAC-SHA3-256",
                "3b41bea092aa97db097ce0682390b411f044aa9801a705841fa2b4c725448eab",
            ),
        ] {
            assert_eq!(
                to_hex(&Hash::new(name, &bytes(0x40)).unwrap().of(b"hello kopia")),
                hash,
                "{name}"
            );
        }
        let short = Hash::new("BLAKE3-256", b"short").unwrap();
        assert_eq!(
            to_hex(&short.of(b"hello kopia")),
            "e163232af84026c92a24901cc2a93c21f478d35b14571e4b7642c1cb9ec3cfd9"
        );
    }
}
