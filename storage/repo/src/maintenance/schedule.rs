//! The schedule blob: read, written, and dated by the store.

use blob::BlobErrorKind;
use kopia::blob_name::MAINTENANCE;
use kopia::maintenance::{MaintenanceSchedule, SCHEDULE_KEY_BYTES, SCHEDULE_KEY_PURPOSE};
use time_and_chance::Timestamp;
use zeroize::Zeroizing;

use crate::Repository;
use crate::error::{RepoError, RepoErrorKind, store_error};

/// Reads and writes the schedule with its key.
pub struct ScheduleKeeper<'a> {
    repo: &'a Repository,
    key: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ScheduleKeeper<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScheduleKeeper")
    }
}

impl<'a> ScheduleKeeper<'a> {
    /// Derives the key; takes as long as opening the repository.
    pub fn new(repo: &'a Repository) -> Result<Self, RepoError> {
        let key = repo.purpose_key(SCHEDULE_KEY_PURPOSE, SCHEDULE_KEY_BYTES)?;
        Ok(Self { repo, key })
    }

    /// Reads the schedule; a repository that nobody has maintained has none yet.
    pub fn read(&self) -> Result<Option<MaintenanceSchedule>, RepoError> {
        let sealed = match self.repo.store.get(MAINTENANCE) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == BlobErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(store_error("read the maintenance schedule")(error)),
        };
        let schedule = MaintenanceSchedule::open(&self.key, &sealed).map_err(|error| {
            RepoError::new(RepoErrorKind::Damaged, format!("read blob {MAINTENANCE}"))
                .caused_by(error)
        })?;
        Ok(Some(schedule))
    }

    /// Writes the schedule and returns when the store says that it was written.
    pub fn write(&self, schedule: &MaintenanceSchedule) -> Result<Timestamp, RepoError> {
        self.repo.check_may_write()?;
        let sealed = schedule
            .seal(&self.key, self.repo.chance().bytes())
            .map_err(|error| {
                RepoError::new(RepoErrorKind::Invalid, "seal the maintenance schedule")
                    .caused_by(error)
            })?;
        self.repo.put_blob(MAINTENANCE, &sealed)?;
        let stored = self.repo.store.metadata(MAINTENANCE);
        let stored = stored.map_err(store_error("read the time of the maintenance schedule"))?;
        Ok(stored.modified)
    }
}
