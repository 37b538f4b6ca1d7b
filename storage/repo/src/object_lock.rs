//! Object locks: switching them on and off, and making those of blobs that are there longer
//! (Kopia spec 2.5). How much longer, and which, whoever calls decides.

use std::time::Duration;

use kopia::format_blob::BlobConfig;
use time_and_chance::Timestamp;

use crate::Repository;
use crate::error::{RepoError, RepoErrorKind, store_error};
use crate::settings::{CONFIG_BLOB, FORMAT_BLOB, format_error, put_options, read_format_blob};

/// Kopia takes no shorter periods.
pub const LOCK_PERIOD_MIN: Duration = Duration::from_hours(24);
/// So much longer than the time between two full maintenances a lock must hold, for it is the
/// next one that lengthens it; as Kopia wants it.
pub const LOCK_MARGIN: Duration = Duration::from_hours(24);

/// Returns the settings that lock blobs in `mode` for `period`.
///
/// # Errors
/// `Invalid` if the period is too short, for Kopia or for full maintenance every
/// `full_interval`.
pub fn lock_config(
    mode: &str,
    period: Duration,
    full_interval: Duration,
) -> Result<BlobConfig, RepoError> {
    let invalid = |what: String| {
        RepoError::new(
            RepoErrorKind::Invalid,
            format!("lock the repository's blobs: {what}"),
        )
    };
    let hours = |duration: Duration| duration.as_secs().div_ceil(3600);
    if !matches!(mode, "GOVERNANCE" | "COMPLIANCE") {
        return Err(invalid(format!(
            "{mode:?} is no mode; there are GOVERNANCE and COMPLIANCE"
        )));
    }
    let needed = LOCK_PERIOD_MIN.max(full_interval.saturating_add(LOCK_MARGIN));
    if period < needed {
        return Err(invalid(format!(
            "{} hours are too short: full maintenance, which makes locks longer, runs every {} hours, and {} hours more must be left, so {} at least",
            hours(period),
            hours(full_interval),
            hours(LOCK_MARGIN),
            hours(needed)
        )));
    }
    let period_ns = i64::try_from(period.as_nanos())
        .map_err(|error| invalid("the period is too long".to_owned()).caused_by(error))?;
    Ok(BlobConfig {
        retention_mode: mode.to_owned(),
        retention_period_ns: period_ns,
    })
}

impl Repository {
    /// Stores how blobs are locked from now on, as Kopia does: the settings, then the format blob
    /// once more, so that it is locked, too. Other clients heed it within a quarter of an hour.
    ///
    /// # Errors
    /// What the store says if it has no locks to give; nothing was changed then.
    pub fn set_blob_config(&self, config: &BlobConfig) -> Result<(), RepoError> {
        self.check_may_write()?;
        let blob = read_format_blob(&self.store)?;
        let key = self.format_key_of(&blob)?;
        blob.open(&key).map_err(format_error)?;
        let sealed = config.seal(&key, &blob.unique_id, self.chance().bytes());
        for (name, bytes) in [(CONFIG_BLOB, sealed), (FORMAT_BLOB, blob.to_bytes())] {
            let options = put_options(config, name, self.clock().now());
            self.store
                .put(name, &[&bytes], &options)
                .map_err(store_error(format!(
                    "change how blobs are locked: write {name}"
                )))?;
        }
        self.reread_settings()
    }

    /// Lets the blob of this name be locked until `until`, in the repository's mode.
    pub fn extend_lock(&self, name: &str, until: Timestamp) -> Result<(), RepoError> {
        self.check_may_write()?;
        self.store
            .extend_lock(name, &self.blob_config().retention_mode, until)
            .map_err(store_error(format!("make the lock of blob {name} longer")))
    }
}
