//! Changing the password: both blobs that it seals are sealed anew; no other blob knows it
//! (Kopia spec 2.4).
//!
//! No store writes two blobs at once, so the order is such that whoever is stopped after any step
//! loses nothing:
//!
//! ```text
//! without object locks   delete kopia.blobcfg ─► write kopia.repository ─► write kopia.blobcfg
//!                        each step leaves a repository that one of the passwords opens: a
//!                        kopia.blobcfg that is not there says the same as an empty one
//! with object locks      write kopia.blobcfg ─► write kopia.repository
//!                        as Kopia does; between the two neither password opens both, and a change
//!                        from the same password to the same other one finishes it
//! ```

use blob::{PutOptions, SharedBlobStore};
use kopia::format_blob::{BlobConfig, FormatBlob, FormatError};
use kopia::key::FormatKey;
use time_and_chance::{Chance, SharedClock};

use crate::error::{RepoError, RepoErrorKind, store_error};
use crate::settings::{
    CONFIG_BLOB, FORMAT_BLOB, Settings, format_error, is_sealed_otherwise, put_options,
    read_format_blob, read_sealed_config, unseal,
};

/// What became of a change of the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordChange {
    /// The password was changed.
    Done,
    /// An earlier change from and to the same passwords had been interrupted, and is finished now.
    Finished,
}

/// Changes the password of the repository in `store`.
///
/// # Errors
/// `WrongPassword` if neither password opens the repository, `Unsupported` if its format ties its
/// data to the password, `Invalid` if the new password is empty or the old one.
pub fn change_password(
    store: &SharedBlobStore,
    old: &str,
    new: &str,
    clock: &SharedClock,
    chance: &Chance,
) -> Result<PasswordChange, RepoError> {
    if new.is_empty() || new == old {
        let what = if new.is_empty() {
            "empty"
        } else {
            "the old one"
        };
        return Err(RepoError::new(
            RepoErrorKind::Invalid,
            format!("change the password: the new one is {what}"),
        ));
    }
    let blob = read_format_blob(store)?;
    let keys = Keys {
        old: blob.format_key(old).map_err(format_error)?,
        new: blob.format_key(new).map_err(format_error)?,
        chance,
    };
    change(store, &keys, clock)
}

fn change(
    store: &SharedBlobStore,
    keys: &Keys<'_>,
    clock: &SharedClock,
) -> Result<PasswordChange, RepoError> {
    // Stretching a password takes long: what is sealed anew is read after it, so that little time
    // is left for other clients to change it.
    let blob = read_format_blob(store)?;
    let sealed_config = read_sealed_config(store)?;
    let (new_blob, outcome) = keys.reseal_format(&blob)?;
    new_blob
        .open(&keys.new)
        .and_then(|format| format.check_readable(clock.now(), None))
        .map_err(format_error)?;
    let config = keys.open_config(&blob, sealed_config.as_deref())?;

    let options = |name| put_options(&config, name, clock.now());
    let write_format = || {
        write(
            store,
            FORMAT_BLOB,
            &new_blob.to_bytes(),
            &options(FORMAT_BLOB),
        )
    };
    let write_config = || {
        let sealed = config.seal(&keys.new, &blob.unique_id, keys.chance.bytes());
        write(store, CONFIG_BLOB, &sealed, &options(CONFIG_BLOB))
    };
    if config == BlobConfig::default() {
        if sealed_config.is_some() {
            store.delete(CONFIG_BLOB).map_err(store_error(format!(
                "change the password: delete {CONFIG_BLOB}, which is written anew"
            )))?;
        }
        write_format()?;
        write_config()?;
    } else {
        write_config()?;
        write_format()?;
    }
    check(store, &new_blob, &config, &keys.new)?;
    Ok(outcome)
}

/// Both keys of one repository.
struct Keys<'a> {
    old: FormatKey,
    new: FormatKey,
    chance: &'a Chance,
}

impl Keys<'_> {
    /// Returns the format blob under the new key; it may be under it already.
    fn reseal_format(&self, blob: &FormatBlob) -> Result<(FormatBlob, PasswordChange), RepoError> {
        let changes = |format: kopia::format_blob::RepositoryFormat| {
            if format.enable_password_change {
                return Ok(());
            }
            Err(RepoError::new(
                RepoErrorKind::Unsupported,
                "change the password: the keys of this repository's data come from its password, as in repositories made by Kopia 0.8 or older (format version 1); copy its snapshots into a new repository with `kopia snapshot migrate`",
            ))
        };
        match blob.open(&self.old) {
            Ok(format) => {
                changes(format)?;
                let resealed = blob.resealed(&self.old, &self.new, self.chance.bytes());
                Ok((resealed.map_err(format_error)?, PasswordChange::Done))
            }
            Err(error) if is_sealed_otherwise(&error) => match blob.open(&self.new) {
                Ok(format) => {
                    changes(format)?;
                    Ok((blob.clone(), PasswordChange::Finished))
                }
                Err(_) => Err(format_error(error)),
            },
            Err(error) => Err(format_error(error)),
        }
    }

    /// Opens the object-lock settings with whichever key fits.
    fn open_config(
        &self,
        blob: &FormatBlob,
        sealed: Option<&[u8]>,
    ) -> Result<BlobConfig, RepoError> {
        let Some(sealed) = sealed else {
            return Ok(BlobConfig::default());
        };
        let open = |key| BlobConfig::open(key, &blob.unique_id, sealed);
        open(&self.old)
            .or_else(|_: FormatError| open(&self.new))
            .map_err(|error| {
                RepoError::new(
                    RepoErrorKind::PasswordHalfChanged,
                    format!("change the password: neither password opens {CONFIG_BLOB}, which says how blobs are locked: an earlier change to a third password was interrupted, or it was altered"),
                )
                .caused_by(error)
            })
    }
}

fn write(
    store: &SharedBlobStore,
    name: &str,
    bytes: &[u8],
    options: &PutOptions,
) -> Result<(), RepoError> {
    store
        .put(name, &[bytes], options)
        .map_err(store_error(format!(
            "change the password: write {name}; run it again with the same two passwords"
        )))
}

/// Opens what was written as another client would.
fn check(
    store: &SharedBlobStore,
    wanted: &FormatBlob,
    config: &BlobConfig,
    key: &FormatKey,
) -> Result<(), RepoError> {
    let blob = read_format_blob(store)?;
    let Settings {
        format,
        blob_config,
    } = unseal(store, &blob, key)?;
    let as_wanted = wanted.open(key).is_ok_and(|wanted| wanted == format);
    if as_wanted && blob_config == *config {
        return Ok(());
    }
    Err(RepoError::new(
        RepoErrorKind::Damaged,
        "change the password: what was written reads back otherwise; did another client change the repository's parameters at the same moment?",
    ))
}

#[cfg(test)]
mod tests;
