//! Keys: from a password to the format key, and from a key to the keys for each purpose.
//!
//! Kopia spec 2.2 and 2.4. Knows nothing of what the keys open.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// The shortest unique ID that a password may be stretched with.
const SALT_BYTES_MIN: usize = 16;
/// The longest output that HKDF with SHA-256 defines.
const DERIVED_BYTES_MAX: usize = 255 * 32;

/// How a password is stretched into the format key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyDerivation {
    /// `scrypt-65536-8-1`, Kopia's default: a quarter of a second and 64 MiB of memory a call.
    Scrypt65536_8_1,
    /// `pbkdf2-sha256-600000`.
    Pbkdf2Sha256_600000,
}

impl KeyDerivation {
    /// Every key derivation there is.
    pub const ALL: &[Self] = &[Self::Scrypt65536_8_1, Self::Pbkdf2Sha256_600000];

    /// Returns the name that format blobs use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scrypt65536_8_1 => "scrypt-65536-8-1",
            Self::Pbkdf2Sha256_600000 => "pbkdf2-sha256-600000",
        }
    }

    /// Returns the key derivation of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kdf| kdf.name() == name)
    }
}

/// A unique ID cannot be the salt of a key derivation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the repository's unique ID is damaged: {bytes} bytes are too few")]
pub struct UniqueIdTooShort {
    /// How long it is.
    pub bytes: usize,
}

/// The key that opens a repository's format blob. It is all that a password is good for.
#[derive(Clone, PartialEq, Eq)]
pub struct FormatKey([u8; 32]);

impl FormatKey {
    /// Returns the key made of these bytes, as kept by whoever does not keep the password.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes. They are as secret as the password.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for FormatKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for FormatKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FormatKey(hidden)")
    }
}

/// Stretches a password into the format key of the repository with this unique ID.
///
/// Takes a tenth to a quarter of a second. Any password gives a key; whether it is the right one
/// shows when the key opens the format blob.
pub fn format_key(
    algorithm: KeyDerivation,
    password: &str,
    unique_id: &[u8],
) -> Result<FormatKey, UniqueIdTooShort> {
    if unique_id.len() < SALT_BYTES_MIN {
        return Err(UniqueIdTooShort {
            bytes: unique_id.len(),
        });
    }
    let mut key = FormatKey([0; 32]);
    match algorithm {
        KeyDerivation::Scrypt65536_8_1 => {
            let params = scrypt::Params::new(16, 8, 1)
                .expect("N = 2^16, r = 8, p = 1 are valid scrypt parameters");
            scrypt::scrypt(password.as_bytes(), unique_id, &params, &mut key.0)
                .expect("scrypt can give 32 bytes");
        }
        KeyDerivation::Pbkdf2Sha256_600000 => {
            pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), unique_id, 600_000, &mut key.0);
        }
    }
    Ok(key)
}

/// Derives a key for one purpose: HKDF with SHA-256, the unique ID as salt.
///
/// # Panics
/// If more than 8,160 bytes are asked for, which HKDF does not define.
pub fn derive_key(
    secret: &[u8],
    unique_id: &[u8],
    purpose: &str,
    bytes: usize,
) -> Zeroizing<Vec<u8>> {
    assert!(
        bytes <= DERIVED_BYTES_MAX,
        "HKDF with SHA-256 gives no {bytes} bytes"
    );
    let mut key = Zeroizing::new(vec![0; bytes]);
    Hkdf::<Sha256>::new(Some(unique_id), secret)
        .expand(purpose.as_bytes(), &mut key)
        .expect("the length was checked");
    key
}

#[cfg(test)]
mod tests;
