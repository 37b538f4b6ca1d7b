//! What a repository says of itself in the two blobs that the password seals: `kopia.repository`
//! and `kopia.blobcfg` (Kopia spec 2).
//!
//! Other clients may change both at any time. How long a copy holds this module does not know.

use blob::{BlobErrorKind, PutOptions, SharedBlobStore};
use kopia::format_blob::{BlobConfig, FormatBlob, FormatError, FormatErrorKind, RepositoryFormat};
use kopia::key::FormatKey;
use time_and_chance::{SignedDuration, Timestamp};

use crate::error::{RepoError, RepoErrorKind, store_error};

pub(crate) const FORMAT_BLOB: &str = "kopia.repository";
pub(crate) const CONFIG_BLOB: &str = "kopia.blobcfg";

/// What blobs begin with that are locked where the repository wants locks (Kopia spec 2.5).
pub const LOCKED_PREFIXES: [&str; 6] = ["n", "x", FORMAT_BLOB, CONFIG_BLOB, "p", "q"];

/// What both blobs say.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) format: RepositoryFormat,
    pub(crate) blob_config: BlobConfig,
}

/// Returns how a blob of this name is to be kept.
pub(crate) fn put_options(config: &BlobConfig, name: &str, now: Timestamp) -> PutOptions {
    let wanted =
        config.locks_blobs() && LOCKED_PREFIXES.iter().any(|start| name.starts_with(start));
    let until = || now.saturating_add(SignedDuration::from_nanos(config.retention_period_ns));
    PutOptions {
        retention: wanted
            .then(until)
            .and_then(Result::ok)
            .map(|until| (config.retention_mode.clone(), until)),
        ..PutOptions::default()
    }
}

pub(crate) fn read_format_blob(store: &SharedBlobStore) -> Result<FormatBlob, RepoError> {
    let bytes = store.get(FORMAT_BLOB).map_err(|error| match error.kind() {
        BlobErrorKind::NotFound => RepoError::new(
            RepoErrorKind::NoRepository,
            format!("find a repository in {}", store.location()),
        ),
        _ => store_error(format!("open the repository in {}", store.location()))(error),
    })?;
    FormatBlob::parse(&bytes).map_err(format_error)
}

/// Reads `kopia.blobcfg` as it is, sealed.
pub(crate) fn read_sealed_config(store: &SharedBlobStore) -> Result<Option<Vec<u8>>, RepoError> {
    match store.get(CONFIG_BLOB) {
        Ok(sealed) => Ok(Some(sealed)),
        Err(error) if error.kind() == BlobErrorKind::NotFound => Ok(None),
        Err(error) => Err(store_error("read the repository's object-lock settings")(
            error,
        )),
    }
}

/// Opens the two blobs that the password seals: if it opens one of them alone, a change of the
/// password got no further, or the other one was altered.
pub(crate) fn unseal(
    store: &SharedBlobStore,
    blob: &FormatBlob,
    key: &FormatKey,
) -> Result<Settings, RepoError> {
    let format = blob.open(key);
    let config =
        read_sealed_config(store)?.map(|sealed| BlobConfig::open(key, &blob.unique_id, &sealed));
    match (format, config) {
        (Err(error), Some(Ok(_))) if is_sealed_otherwise(&error) => {
            Err(half_changed(CONFIG_BLOB, FORMAT_BLOB))
        }
        (Ok(_), Some(Err(error)))
            if is_sealed_otherwise(&error) || error.kind() == FormatErrorKind::Damaged =>
        {
            Err(half_changed(FORMAT_BLOB, CONFIG_BLOB))
        }
        (format, config) => Ok(Settings {
            format: format.map_err(format_error)?,
            blob_config: config
                .transpose()
                .map_err(format_error)?
                .unwrap_or_default(),
        }),
    }
}

pub(crate) fn is_sealed_otherwise(error: &FormatError) -> bool {
    error.kind() == FormatErrorKind::WrongPassword
}

fn half_changed(opens: &str, does_not: &str) -> RepoError {
    RepoError::new(
        RepoErrorKind::PasswordHalfChanged,
        format!(
            "open the repository: the password opens {opens} and not {does_not}: a change of the password was interrupted, or {does_not} was altered"
        ),
    )
}

pub(crate) fn format_error(error: FormatError) -> RepoError {
    let kind = match error.kind() {
        FormatErrorKind::WrongPassword => RepoErrorKind::WrongPassword,
        FormatErrorKind::Damaged => RepoErrorKind::FormatDamaged,
        FormatErrorKind::Unsupported => RepoErrorKind::Unsupported,
        FormatErrorKind::UpgradeInProgress => RepoErrorKind::UpgradeInProgress,
    };
    RepoError::new(kind, "open the repository").caused_by(error)
}
