//! The format blob `kopia.repository`, what it seals, and who may open the repository.
//!
//! ```text
//! password ── stretched with uniqueID ──► format key ──► opens encryptedBlockFormat ──► RepositoryFormat
//!                                                   └──► opens kopia.blobcfg ─────────► BlobConfig
//! ```
//!
//! Kopia spec 2 and 9.1 to 9.3. Deliberately ignorant of where blobs are stored.

mod blob_config;
mod epoch_parameters;
mod error;
mod gates;
mod lenient_json;
mod repository_format;
mod required_feature;
mod seal;
mod upgrade_lock;

pub use blob_config::BlobConfig;
pub use epoch_parameters::EpochParameters;
pub use error::{FormatError, FormatErrorKind};
pub use repository_format::RepositoryFormat;
pub use required_feature::{IfNotUnderstood, RequiredFeature};
pub use upgrade_lock::UpgradeLock;

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::key::{self, FormatKey, KeyDerivation};
use error::Reason;

/// The only encryption of format blobs that there is.
const FORMAT_ENCRYPTION: &str = "AES256_GCM";

/// What messages call the blob this module reads.
const DOCUMENT: &str = "kopia.repository";

const FIELD_NAMES: &[&str] = &[
    "tool",
    "buildVersion",
    "buildInfo",
    "uniqueID",
    "keyAlgo",
    "encryption",
    "encryptedBlockFormat",
];

/// The blob `kopia.repository`: in the open, how to get at what is sealed inside.
///
/// A member that is missing reads as empty, as for Kopia.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FormatBlob {
    /// Which program wrote the blob, for people.
    pub tool: String,
    /// Its version, for people.
    pub build_version: String,
    /// Its build, for people.
    pub build_info: String,
    /// The repository's ID and the salt of all its key derivations; never changes.
    #[serde(rename = "uniqueID", with = "lenient_json::base64_bytes")]
    pub unique_id: Vec<u8>,
    /// The name of the password's key derivation.
    #[serde(rename = "keyAlgo")]
    pub key_algorithm: String,
    /// The name of the cipher that seals the rest.
    pub encryption: String,
    /// The sealed [`RepositoryFormat`].
    #[serde(with = "lenient_json::base64_bytes")]
    pub encrypted_block_format: Vec<u8>,
}

impl FormatBlob {
    /// Reads the blob. Whether we support what it names shows when a key is made and used.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        lenient_json::from_slice(bytes, FIELD_NAMES, &[])
            .map_err(|source| FormatError::json(DOCUMENT, source))
    }

    /// Returns the blob's bytes, laid out as Kopia lays them out.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self)
            .expect("strings and byte strings can always be written as JSON");
        bytes.push(b'\n');
        bytes
    }

    /// Stretches a password into the key of this blob; takes a tenth to a quarter of a second.
    pub fn format_key(&self, password: &str) -> Result<FormatKey, FormatError> {
        let derivation = KeyDerivation::from_name(&self.key_algorithm).ok_or_else(|| {
            FormatError::from(Reason::UnknownName {
                what: "key derivation",
                name: self.key_algorithm.clone(),
            })
        })?;
        Ok(key::format_key(derivation, password, &self.unique_id)?)
    }

    /// Opens what is sealed inside. A key that does not fit comes from a wrong password.
    ///
    /// Before using the format, ask [`RepositoryFormat::check_readable`].
    pub fn open(&self, key: &FormatKey) -> Result<RepositoryFormat, FormatError> {
        if self.encryption != FORMAT_ENCRYPTION {
            return Err(Reason::UnknownName {
                what: "format encryption",
                name: self.encryption.clone(),
            }
            .into());
        }
        let plaintext = seal::open(key, &self.unique_id, &self.encrypted_block_format)?;
        RepositoryFormat::from_sealed_json(&plaintext)
    }

    /// Returns the blob with what is sealed inside, whatever it says, under another key that was
    /// stretched from the same unique ID by the same algorithm. The nonce must be random.
    pub fn resealed(
        &self,
        old: &FormatKey,
        new: &FormatKey,
        nonce: [u8; 12],
    ) -> Result<Self, FormatError> {
        let plaintext = seal::open(old, &self.unique_id, &self.encrypted_block_format)?;
        Ok(Self {
            encrypted_block_format: seal::seal(new, &self.unique_id, nonce, &plaintext),
            ..self.clone()
        })
    }

    /// Seals a format under a key that was stretched from the same unique ID.
    ///
    /// The nonce must be random. The informational members name this program.
    pub fn seal(
        unique_id: &[u8],
        key_derivation: KeyDerivation,
        key: &FormatKey,
        format: &RepositoryFormat,
        nonce: [u8; 12],
    ) -> Result<Self, FormatError> {
        let plaintext = Zeroizing::new(format.to_sealed_json()?);
        Ok(Self {
            tool: "e3-backup-agent".to_owned(),
            build_version: env!("CARGO_PKG_VERSION").to_owned(),
            build_info: String::new(),
            unique_id: unique_id.to_vec(),
            key_algorithm: key_derivation.name().to_owned(),
            encryption: FORMAT_ENCRYPTION.to_owned(),
            encrypted_block_format: seal::seal(key, unique_id, nonce, &plaintext),
        })
    }
}

impl fmt::Debug for FormatBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FormatBlob")
            .field("tool", &self.tool)
            .field("build_version", &self.build_version)
            .field("key_algorithm", &self.key_algorithm)
            .field("encryption", &self.encryption)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
