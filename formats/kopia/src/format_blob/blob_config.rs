//! The sealed blob `kopia.blobcfg`: for how long stored blobs must be locked (Kopia spec 2.5).

use serde::{Deserialize, Serialize};

use super::error::FormatError;
use super::{lenient_json, seal};
use crate::go_json::is_default;
use crate::key::FormatKey;

const DOCUMENT: &str = "kopia.blobcfg";
const FIELD_NAMES: &[&str] = &["retentionMode", "retentionPeriod"];

/// How stored blobs must be locked. The default, and a blob that is not there, mean not at all.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BlobConfig {
    /// `GOVERNANCE` or `COMPLIANCE`, the store's words; empty for no locking.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub retention_mode: String,
    /// For how long a blob is locked when it is written, in nanoseconds; 0 for no locking.
    #[serde(rename = "retentionPeriod", skip_serializing_if = "is_default")]
    pub retention_period_ns: i64,
}

impl BlobConfig {
    /// Returns whether blobs must be locked when they are written.
    pub fn locks_blobs(&self) -> bool {
        !self.retention_mode.is_empty() && self.retention_period_ns != 0
    }

    /// Opens the blob. A key that does not fit comes from a wrong password.
    pub fn open(key: &FormatKey, unique_id: &[u8], sealed: &[u8]) -> Result<Self, FormatError> {
        let plaintext = seal::open(key, unique_id, sealed)?;
        lenient_json::from_slice(&plaintext, FIELD_NAMES, &[])
            .map_err(|source| FormatError::json(DOCUMENT, source))
    }

    /// Returns the blob's bytes. The nonce must be random.
    pub fn seal(&self, key: &FormatKey, unique_id: &[u8], nonce: [u8; 12]) -> Vec<u8> {
        let plaintext =
            serde_json::to_vec(self).expect("a string and a number can always be written as JSON");
        seal::seal(key, unique_id, nonce, &plaintext)
    }
}
