//! The repository's configuration, sealed inside the format blob (Kopia spec 2.4).

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::epoch_parameters::EpochParameters;
use super::error::{FormatError, Reason};
use super::lenient_json;
use super::required_feature::RequiredFeature;
use super::upgrade_lock::UpgradeLock;
use crate::cipher::{ContentCipher, EncryptionAlgorithm};
use crate::error_correction::ErrorCorrection;
use crate::go_json::is_default;
use crate::hash::{ContentHasher, HashAlgorithm};
use crate::key::{FormatKey, derive_key};
use crate::splitter::Splitter;

const DOCUMENT: &str = "the sealed part of kopia.repository";

/// What 0 or no maximum pack size means.
const DEFAULT_PACK_BYTES: u32 = 20 << 20;

/// The names of all members, those of nested objects too.
const FIELD_NAMES: &[&str] = &[
    "format",
    "hash",
    "encryption",
    "ecc",
    "eccOverheadPercent",
    "secret",
    "masterKey",
    "version",
    "maxPackSize",
    "indexVersion",
    "epochParameters",
    "Enabled",
    "EpochRefreshFrequency",
    "FullCheckpointFrequency",
    "CleanupSafetyMargin",
    "MinEpochDuration",
    "EpochAdvanceOnCountThreshold",
    "EpochAdvanceOnTotalSizeBytesThreshold",
    "DeleteParallelism",
    "enablePasswordChange",
    "splitter",
    "upgradeLock",
    "ownerID",
    "creationTime",
    "advanceNoticeDuration",
    "ioDrainTimeout",
    "statusPollInterval",
    "message",
    "maxPermittedClockDrift",
    "requiredFeatures",
    "feature",
    "ifNotUnderstood",
    "warn",
    "url",
    "upgradeToVersion",
];

/// The only error correction there is.
const ECC_NAME: &str = "REED-SOLOMON-CRC32";

/// The members among them that are lists.
const LIST_NAMES: &[&str] = &["requiredFeatures"];

/// A repository's algorithms, keys and parameters. Its secrets are wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryFormat {
    /// The name of the hash; never changes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
    /// The name of the content cipher; never changes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub encryption: String,
    /// The name of the error correction; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ecc: String,
    /// How much longer error correction makes blobs, in percent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ecc_overhead_percent: u32,
    /// The key of the hash ("HMAC secret").
    #[serde(default, with = "lenient_json::base64_bytes")]
    pub secret: Vec<u8>,
    /// The root of all data keys.
    #[serde(default, with = "lenient_json::base64_bytes")]
    pub master_key: Vec<u8>,
    /// The format version.
    #[serde(default)]
    pub version: u32,
    /// How large a pack may get, in bytes; 0 for the default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_pack_size: u32,
    /// The version of indexes to write; 0 means 1.
    #[serde(default, skip_serializing_if = "is_default")]
    pub index_version: u32,
    /// How index blobs are managed.
    #[serde(default = "EpochParameters::disabled")]
    pub epoch_parameters: EpochParameters,
    /// Whether the password may change. If not, packs carry copies of the format blob, and keys
    /// are derived from the format key.
    #[serde(default)]
    pub enable_password_change: bool,
    /// The name of the default splitter; empty means `FIXED`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub splitter: String,
    /// Set while a client upgrades the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade_lock: Option<UpgradeLock>,
    /// What a client must know to use the repository.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_features: Vec<RequiredFeature>,
}

/// The sealed document: the format is its only member.
#[derive(Serialize, Deserialize)]
struct Sealed<F> {
    format: F,
}

impl RepositoryFormat {
    /// Returns the format that Kopia gives a new repository with these algorithms and secrets,
    /// which must be random and 32 bytes each.
    pub fn for_new_repository(
        hash: HashAlgorithm,
        encryption: EncryptionAlgorithm,
        secret: Vec<u8>,
        master_key: Vec<u8>,
    ) -> Self {
        Self {
            hash: hash.name().to_owned(),
            encryption: encryption.name().to_owned(),
            ecc: String::new(),
            ecc_overhead_percent: 0,
            secret,
            master_key,
            version: 3,
            max_pack_size: DEFAULT_PACK_BYTES,
            index_version: 2,
            epoch_parameters: EpochParameters::default(),
            enable_password_change: true,
            splitter: Splitter::DEFAULT_NAME.to_owned(),
            upgrade_lock: None,
            required_features: Vec::new(),
        }
    }

    /// Returns how large a pack may get.
    pub fn max_pack_bytes(&self) -> u64 {
        match self.max_pack_size {
            0 => DEFAULT_PACK_BYTES.into(),
            bytes => bytes.into(),
        }
    }

    /// Returns the version of indexes to write. Contents may be compressed if it is at least 2.
    pub fn effective_index_version(&self) -> u32 {
        self.index_version.max(1)
    }

    /// Returns the hash that names contents and blobs.
    pub fn hasher(&self) -> Result<ContentHasher, FormatError> {
        let algorithm =
            HashAlgorithm::from_name(&self.hash).ok_or_else(|| Reason::UnknownName {
                what: "hash",
                name: self.hash.clone(),
            })?;
        if self.secret.len() > algorithm.secret_bytes_max() {
            return Err(Reason::SecretTooLong {
                hash: algorithm.name(),
                bytes: self.secret.len(),
            }
            .into());
        }
        Ok(ContentHasher::new(algorithm, &self.secret))
    }

    /// Returns the cipher that contents and index blobs are sealed with.
    pub fn cipher(&self) -> Result<ContentCipher, FormatError> {
        let algorithm = EncryptionAlgorithm::from_name(&self.encryption).ok_or_else(|| {
            Reason::UnknownName {
                what: "encryption",
                name: self.encryption.clone(),
            }
        })?;
        // Under an empty key anyone could open what we seal.
        if self.master_key.is_empty() {
            return Err(Reason::NoMasterKey.into());
        }
        Ok(ContentCipher::new(algorithm, &self.master_key))
    }

    /// Returns the error correction around everything that is sealed with the cipher, if there is
    /// one.
    pub fn error_correction(&self) -> Result<Option<ErrorCorrection>, FormatError> {
        if self.ecc.is_empty() {
            return Ok(None);
        }
        if self.ecc != ECC_NAME {
            return Err(Reason::UnknownName {
                what: "error correction",
                name: self.ecc.clone(),
            }
            .into());
        }
        if self.ecc_overhead_percent == 0 {
            return Ok(None);
        }
        let percent = self.ecc_overhead_percent;
        let correction =
            ErrorCorrection::with_overhead(percent).ok_or_else(|| Reason::OutOfRange {
                what: "an error correction overhead in percent of",
                value: percent.into(),
            })?;
        Ok(Some(correction))
    }

    /// Returns the splitter that objects are cut with by default.
    pub fn splitter(&self) -> Result<Splitter, FormatError> {
        let name = match self.splitter.as_str() {
            "" => "FIXED",
            name => name,
        };
        Splitter::from_name(name).ok_or_else(|| {
            FormatError::from(Reason::UnknownName {
                what: "splitter",
                name: name.to_owned(),
            })
        })
    }

    /// Derives the repository's key for a purpose, `bytes` long.
    pub fn purpose_key(
        &self,
        unique_id: &[u8],
        format_key: &FormatKey,
        purpose: &str,
        bytes: usize,
    ) -> Zeroizing<Vec<u8>> {
        let root: &[u8] = if self.enable_password_change {
            &self.master_key
        } else {
            format_key.as_bytes()
        };
        derive_key(root, unique_id, purpose, bytes)
    }

    pub(super) fn from_sealed_json(plaintext: &[u8]) -> Result<Self, FormatError> {
        let sealed: Sealed<Self> = lenient_json::from_slice(plaintext, FIELD_NAMES, LIST_NAMES)
            .map_err(|source| FormatError::json(DOCUMENT, source))?;
        Ok(sealed.format)
    }

    pub(super) fn to_sealed_json(&self) -> Result<Vec<u8>, FormatError> {
        serde_json::to_vec(&Sealed { format: self })
            .map_err(|source| FormatError::json(DOCUMENT, source))
    }
}

impl Drop for RepositoryFormat {
    fn drop(&mut self) {
        self.secret.zeroize();
        self.master_key.zeroize();
    }
}

impl fmt::Debug for RepositoryFormat {
    /// Shows everything but the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositoryFormat")
            .field("hash", &self.hash)
            .field("encryption", &self.encryption)
            .field("ecc", &self.ecc)
            .field("ecc_overhead_percent", &self.ecc_overhead_percent)
            .field("version", &self.version)
            .field("max_pack_size", &self.max_pack_size)
            .field("index_version", &self.index_version)
            .field("epoch_parameters", &self.epoch_parameters)
            .field("enable_password_change", &self.enable_password_change)
            .field("splitter", &self.splitter)
            .field("upgrade_lock", &self.upgrade_lock)
            .field("required_features", &self.required_features)
            .finish_non_exhaustive()
    }
}
