//! Opening what is sealed with the repository's cipher: damage that error correction makes up for
//! is corrected and remembered, then the seal is opened (Kopia spec 3.2, 3.3).
//!
//! Where bytes come from and what they mean this module does not know.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use kopia::cipher::{CipherError, ContentCipher};
use kopia::decode_error::DecodeError;
use kopia::error_correction::ErrorCorrection;

use crate::error::{RepoError, RepoErrorKind};

/// Why a seal does not open.
pub(crate) const ALTERED: &str = "it was altered, cut, or belongs to another repository";

/// Opens sealed bytes. Clones share what they remember.
#[derive(Debug, Clone)]
pub(crate) struct Opener {
    cipher: ContentCipher,
    correction: Option<ErrorCorrection>,
    corrected: Arc<Mutex<BTreeSet<String>>>,
}

/// Why bytes do not open.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// More is damaged than error correction makes up for.
    Correction(DecodeError),
    /// They are not what was sealed.
    Seal(CipherError),
}

impl OpenError {
    /// Returns it as an error of a blob or content that was being read.
    pub(crate) fn while_doing(self, doing: &str) -> RepoError {
        let damaged =
            |what: String| RepoError::new(RepoErrorKind::Damaged, format!("{doing}: {what}"));
        match self {
            Self::Correction(error) => damaged(error.to_string()),
            Self::Seal(CipherError::TooShort { .. }) => {
                damaged("it is too short to be sealed data".to_owned())
            }
            Self::Seal(CipherError::NotAuthentic) => damaged(ALTERED.to_owned()),
        }
    }
}

impl Opener {
    pub(crate) fn new(cipher: ContentCipher, correction: Option<ErrorCorrection>) -> Self {
        Self {
            cipher,
            correction,
            corrected: Arc::default(),
        }
    }

    /// Opens what lies sealed in `blob`, all of it or a part.
    pub(crate) fn open(&self, blob: &str, iv: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let Some(correction) = &self.correction else {
            return self.cipher.open(iv, sealed).map_err(OpenError::Seal);
        };
        let mut decoded = correction.decode(sealed).map_err(OpenError::Correction)?;
        let plain = self
            .cipher
            .open_in_place(iv, &mut decoded.bytes)
            .map_err(OpenError::Seal)?
            .to_vec();
        self.note(blob, decoded.damaged_shards);
        Ok(plain)
    }

    pub(crate) fn cipher(&self) -> &ContentCipher {
        &self.cipher
    }

    pub(crate) fn correction(&self) -> Option<&ErrorCorrection> {
        self.correction.as_ref()
    }

    /// Remembers a blob in which so many shards are damaged.
    pub(crate) fn note(&self, blob: &str, damaged_shards: u64) {
        if damaged_shards > 0 {
            self.corrected().insert(blob.to_owned());
        }
    }

    /// Returns the blobs in which damage was corrected so far.
    pub(crate) fn corrected(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.corrected
            .lock()
            .expect("no thread panics while it notes a blob")
    }
}
