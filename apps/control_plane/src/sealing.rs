//! Secrets at rest: AES-256-GCM under a key that lies outside of the database.

use std::fmt;
use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use time_and_chance::Chance;
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;

/// A key that cannot be used, or something that it did not seal.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// The key's file cannot be read or made.
    #[error("reading the key of the control plane's secrets, {file}: {reason}")]
    Key {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// The bytes were sealed with another key, for something else, or were changed.
    #[error(
        "a secret of {of} cannot be opened: it was sealed with another key; put back the secrets.key that belongs to this database"
    )]
    Foreign {
        /// What it is a secret of.
        of: String,
    },
}

/// Seals and opens secrets.
pub struct Sealing {
    key: LessSafeKey,
    chance: Chance,
}

impl Sealing {
    /// Reads the key from `secrets.key` in `data`, making it, readable for its owner alone, when there is none.
    pub fn in_folder(data: &Path, chance: &Chance) -> Result<Self, SealingError> {
        Self::from_file(&data.join("secrets.key"), chance)
    }

    /// Reads the key from `file`, making it when there is none. Instances that share a database share the key.
    pub fn from_file(file: &Path, chance: &Chance) -> Result<Self, SealingError> {
        let trouble = |reason: String| SealingError::Key {
            file: file.display().to_string(),
            reason,
        };
        let key = match std::fs::read_to_string(file) {
            Ok(text) => {
                let bytes = hex::decode(text.trim()).map_err(|e| trouble(e.to_string()))?;
                Zeroizing::new(bytes)
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let key = Zeroizing::new(chance.bytes::<KEY_BYTES>().to_vec());
                local_file::replace(file, hex::encode(&*key).as_bytes())
                    .map_err(|e| trouble(e.to_string()))?;
                key
            }
            Err(e) => return Err(trouble(e.to_string())),
        };
        let key = UnboundKey::new(&AES_256_GCM, &key)
            .map_err(|_| trouble("it must be 64 hex digits".to_owned()))?;
        Ok(Self {
            key: LessSafeKey::new(key),
            chance: chance.clone(),
        })
    }

    /// Seals `secret`. `of` names what it is a secret of, such as `repository/5c0e…/password`: opened for
    /// anything else it is refused, so rows cannot be swapped.
    pub fn seal(&self, of: &str, secret: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = self.chance.bytes();
        let mut sealed = secret.to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(of.as_bytes()),
                &mut sealed,
            )
            .expect("secrets are far shorter than the cipher's limit");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Opens what [`Self::seal`] made of a secret of `of`.
    pub fn open(&self, of: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealingError> {
        let foreign = || SealingError::Foreign { of: of.to_owned() };
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or_else(foreign)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| foreign())?;
        let mut plain = Zeroizing::new(rest.to_vec());
        let length = self
            .key
            .open_in_place(nonce, Aad::from(of.as_bytes()), &mut plain)
            .map_err(|_| foreign())?
            .len();
        plain.truncate(length);
        Ok(plain)
    }

    /// Opens a secret that is a text.
    pub fn open_text(&self, of: &str, sealed: &[u8]) -> Result<Zeroizing<String>, SealingError> {
        let plain = self.open(of, sealed)?;
        String::from_utf8(plain.to_vec())
            .map(Zeroizing::new)
            .map_err(|_| SealingError::Foreign { of: of.to_owned() })
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_for_what_it_was_sealed_for_and_for_nothing_else() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let chance = Chance::from_seed(1);
        let sealing = Sealing::in_folder(folder.path(), &chance).expect("a new key");
        let sealed = sealing.seal("repository/1/password", b"only a test");
        let again = Sealing::in_folder(folder.path(), &chance).expect("the same key");
        assert_eq!(
            again
                .open_text("repository/1/password", &sealed)
                .expect("opens")
                .as_str(),
            "only a test"
        );
        assert!(again.open("repository/2/password", &sealed).is_err());
        let mut changed = sealed.clone();
        changed[NONCE_LEN] ^= 1;
        assert!(again.open("repository/1/password", &changed).is_err());
        assert!(again.open("repository/1/password", &sealed[..5]).is_err());
    }

    #[test]
    fn a_key_that_is_no_key_is_refused_and_stays() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("secrets.key");
        std::fs::write(&file, "abcd").expect("written");
        let error = Sealing::in_folder(folder.path(), &Chance::from_seed(1)).expect_err("refused");
        assert!(error.to_string().contains("64 hex digits"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).expect("read"), "abcd");
    }
}
