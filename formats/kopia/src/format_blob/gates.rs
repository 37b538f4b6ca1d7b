//! Who may open a repository, and who may write to it: required features, the upgrade lock, and
//! everything a client must refuse (Kopia spec 9.1 to 9.3).

use jiff::Timestamp;

use super::error::{FormatError, Reason};
use super::repository_format::RepositoryFormat;
use crate::cipher::EncryptionAlgorithm;
use crate::hash::HashAlgorithm;

/// The features we have, by the names that `requiredFeatures` uses.
const FEATURES: &[&str] = &["index-v1", "index-v2"];

const PACK_BYTES_MIN: u64 = 10 << 20;
const PACK_BYTES_MAX: u64 = 120 << 20;

impl RepositoryFormat {
    /// Refuses a repository that must not be opened, even for reading, and else returns warnings
    /// to show to people.
    ///
    /// `our_owner` is the name under which we hold an upgrade lock, if we do.
    pub fn check_readable(
        &self,
        now: Timestamp,
        our_owner: Option<&str>,
    ) -> Result<Vec<String>, FormatError> {
        if !(1..=3).contains(&self.version) {
            return Err(out_of_range("format version", self.version));
        }
        if self.index_version > 2 {
            return Err(out_of_range("index version", self.index_version));
        }
        if HashAlgorithm::from_name(&self.hash).is_none() {
            return Err(unknown_name("hash", &self.hash));
        }
        if EncryptionAlgorithm::from_name(&self.encryption).is_none() {
            return Err(unknown_name("encryption", &self.encryption));
        }
        self.error_correction()?;
        let mut warnings = self.check_required_features()?;
        warnings.extend(self.check_upgrade_lock(now, our_owner)?);
        Ok(warnings)
    }

    /// Refuses to write to a repository whose format we cannot honour in full, with the reason.
    ///
    /// This asks only what opening does not ask; [`check_readable`](Self::check_readable) comes
    /// first.
    pub fn check_writable(&self) -> Result<(), FormatError> {
        if self.version < 2 {
            return Err(not_writable(
                "it has format version 1; upgrade it with Kopia (\"kopia repository upgrade\") first",
            ));
        }
        if !self.epoch_parameters.enabled {
            return Err(not_writable(
                "its indexes are managed the old way, without epochs; upgrade it with Kopia \
                 (\"kopia repository upgrade\") first",
            ));
        }
        self.epoch_parameters.check()?;
        if self.effective_index_version() < 2 {
            return Err(not_writable(
                "it wants indexes of version 1, which this program does not write",
            ));
        }
        if !self.enable_password_change {
            return Err(not_writable(
                "its packs must carry copies of the format blob, as in repositories upgraded from \
                 format version 1, which this program does not write",
            ));
        }
        if !self.ecc.is_empty() {
            return Err(not_writable(
                "it uses error correction, which this program does not write",
            ));
        }
        self.splitter()?;
        if !(PACK_BYTES_MIN..=PACK_BYTES_MAX).contains(&self.max_pack_bytes()) {
            return Err(Reason::OutOfRange {
                what: "a maximum pack size in bytes of",
                value: self.max_pack_bytes(),
            }
            .into());
        }
        self.hasher()?;
        self.cipher()?;
        Ok(())
    }

    fn check_required_features(&self) -> Result<Vec<String>, FormatError> {
        let mut warnings = Vec::new();
        for required in &self.required_features {
            if FEATURES.contains(&required.feature.as_str()) {
                continue;
            }
            let description = required.description();
            if !required.if_not_understood.warn {
                return Err(Reason::RequiredFeature { description }.into());
            }
            warnings.push(format!(
                "the repository uses a feature this program does not have: {description}"
            ));
        }
        Ok(warnings)
    }

    /// Refuses a repository that another client has locked; warns of a lock that is to come.
    fn check_upgrade_lock(
        &self,
        now: Timestamp,
        our_owner: Option<&str>,
    ) -> Result<Option<String>, FormatError> {
        let Some(lock) = &self.upgrade_lock else {
            return Ok(None);
        };
        if our_owner == Some(lock.owner_id.as_str()) {
            return Ok(None);
        }
        let message = match lock.message.as_str() {
            "" => String::new(),
            message => format!(": {message}"),
        };
        if lock.is_locked(now) {
            return Err(Reason::UpgradeInProgress {
                owner: lock.owner_id.clone(),
                message,
            }
            .into());
        }
        Ok(Some(format!(
            "the repository is about to be upgraded by {}{message}",
            lock.owner_id
        )))
    }
}

fn out_of_range(what: &'static str, value: u32) -> FormatError {
    Reason::OutOfRange {
        what,
        value: value.into(),
    }
    .into()
}

fn unknown_name(what: &'static str, name: &str) -> FormatError {
    Reason::UnknownName {
        what,
        name: name.to_owned(),
    }
    .into()
}

fn not_writable(reason: &'static str) -> FormatError {
    Reason::NotWritable(reason).into()
}

#[cfg(test)]
mod tests;
