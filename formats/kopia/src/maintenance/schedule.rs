//! The schedule blob: when maintenance is due, and what it did (Kopia spec 8.2).

use std::collections::BTreeMap;

use jiff::Timestamp;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::decode_error::DecodeError;
use crate::go_json::{self, null_is_default};
use crate::time_text;

const STRUCTURE: &str = "maintenance schedule";
const ADDITIONAL_DATA: &[u8] = b"maintenance";
const NONCE_BYTES: usize = 12;
const RUNS_MAX: usize = 50;

/// The purpose that the key of the schedule is derived for, to be given to
/// [`RepositoryFormat::purpose_key`](crate::format_blob::RepositoryFormat::purpose_key).
pub const SCHEDULE_KEY_PURPOSE: &str = "maintenance schedule";
/// The length of that key.
pub const SCHEDULE_KEY_BYTES: usize = 32;

/// What maintenance did, and when it is due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceSchedule {
    /// When full maintenance is due.
    #[serde(default, with = "time_text::json")]
    pub next_full_maintenance: Timestamp,
    /// When quick maintenance is due.
    #[serde(default, with = "time_text::json")]
    pub next_quick_maintenance: Timestamp,
    /// The latest runs of each task, the newest first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub runs: BTreeMap<String, Vec<TaskRun>>,
    /// Members that newer clients may have added.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// One run of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRun {
    /// When it began.
    #[serde(with = "time_text::json")]
    pub start: Timestamp,
    /// When it ended.
    #[serde(with = "time_text::json")]
    pub end: Timestamp,
    /// Whether it did what it should.
    #[serde(default, skip_serializing_if = "go_json::is_default")]
    pub success: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "go_json::is_default")]
    pub error: String,
    /// Its figures, and members that newer clients may have added.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl Default for MaintenanceSchedule {
    /// Returns the schedule of a repository that nobody has maintained yet.
    fn default() -> Self {
        Self {
            next_full_maintenance: Timestamp::UNIX_EPOCH,
            next_quick_maintenance: Timestamp::UNIX_EPOCH,
            runs: BTreeMap::new(),
            other: BTreeMap::new(),
        }
    }
}

impl MaintenanceSchedule {
    /// Opens the blob with the key for [`SCHEDULE_KEY_PURPOSE`].
    ///
    /// # Errors
    /// If it was altered, or is no schedule.
    pub fn open(key: &[u8], sealed: &[u8]) -> Result<Self, DecodeError> {
        let (nonce, text) = sealed
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(|| DecodeError::malformed(STRUCTURE, "it is too short"))?;
        let mut text = Zeroizing::new(text.to_vec());
        let json = cipher(key)?
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(ADDITIONAL_DATA),
                &mut text,
            )
            .map_err(|_| {
                DecodeError::malformed(
                    STRUCTURE,
                    "it was altered, or belongs to another repository",
                )
            })?;
        serde_json::from_slice(json)
            .map_err(|error| DecodeError::because(STRUCTURE, error.to_string(), error))
    }

    /// Seals the schedule; the nonce must be random.
    ///
    /// # Errors
    /// If the key is not [`SCHEDULE_KEY_BYTES`] long, or a time has no four-digit year.
    pub fn seal(&self, key: &[u8], nonce: [u8; NONCE_BYTES]) -> Result<Vec<u8>, DecodeError> {
        let json = go_json::to_vec(self)
            .map_err(|error| DecodeError::because(STRUCTURE, error.to_string(), error))?;
        let mut sealed = nonce.to_vec();
        sealed.extend_from_slice(&json);
        let tag = cipher(key)?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(ADDITIONAL_DATA),
                &mut sealed[NONCE_BYTES..],
            )
            .map_err(|_| DecodeError::too_large(STRUCTURE, "it is too long to be sealed"))?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Notes a run; beyond the latest fifty of a task they are forgotten.
    pub fn note(&mut self, task: &str, run: TaskRun) {
        let runs = self.runs.entry(task.to_owned()).or_default();
        runs.insert(0, run);
        runs.truncate(RUNS_MAX);
    }

    /// Returns the runs of a task that did what they should, the newest first.
    pub fn successes(&self, task: &str) -> impl Iterator<Item = &TaskRun> {
        let runs = self.runs.get(task).map_or(&[][..], Vec::as_slice);
        runs.iter().filter(|run| run.success)
    }
}

fn cipher(key: &[u8]) -> Result<LessSafeKey, DecodeError> {
    let key = UnboundKey::new(&AES_256_GCM, key)
        .map_err(|_| DecodeError::malformed(STRUCTURE, "its key has not 32 bytes"))?;
    Ok(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::format_blob::FormatBlob;
    use crate::test_vectors;

    fn run(second: i64) -> TaskRun {
        let start = Timestamp::from_second(second).unwrap();
        TaskRun {
            start,
            end: start,
            success: second % 2 == 0,
            error: String::new(),
            other: BTreeMap::new(),
        }
    }

    /// A schedule that Kopia wrote, its key and its blob.
    fn of_fixture(name: &str) -> (MaintenanceSchedule, Vec<u8>) {
        let folder = test_vectors::folder().join(name).join("repo");
        let blob =
            FormatBlob::parse(&fs::read(folder.join("kopia.repository.f")).unwrap()).unwrap();
        let format_key = blob.format_key("fixture-password").unwrap();
        let format = blob.open(&format_key).unwrap();
        let key = format.purpose_key(
            &blob.unique_id,
            &format_key,
            SCHEDULE_KEY_PURPOSE,
            SCHEDULE_KEY_BYTES,
        );
        let sealed = fs::read(folder.join("kopia.maintenance.f")).unwrap();
        let schedule = MaintenanceSchedule::open(&key, &sealed).unwrap();
        (schedule, key.to_vec())
    }

    #[test]
    fn kopias_own_schedules_are_read_and_kept() {
        for name in [
            "default",
            "deleted-contents",
            "epochs-maintained",
            "format-v1-compacted",
        ] {
            let (schedule, key) = of_fixture(name);
            let again = schedule.seal(&key, [7; 12]).unwrap();
            assert_eq!(MaintenanceSchedule::open(&key, &again).unwrap(), schedule);
        }
        let (schedule, _) = of_fixture("epochs-maintained");
        assert!(!schedule.runs.is_empty(), "{schedule:?}");
    }

    #[test]
    fn damage_and_other_keys_are_errors() {
        let sealed = MaintenanceSchedule::default()
            .seal(&[1; 32], [2; 12])
            .unwrap();
        assert!(MaintenanceSchedule::open(&[1; 32], &sealed).is_ok());
        assert!(MaintenanceSchedule::open(&[2; 32], &sealed).is_err());
        assert!(MaintenanceSchedule::open(&[1; 31], &sealed).is_err());
        for cut in 0..sealed.len() {
            assert!(MaintenanceSchedule::open(&[1; 32], &sealed[..cut]).is_err());
        }
    }

    #[test]
    fn the_latest_fifty_runs_are_kept() {
        let mut schedule = MaintenanceSchedule::default();
        for second in 0..60 {
            schedule.note("snapshot-gc", run(second));
        }
        assert_eq!(schedule.runs["snapshot-gc"].len(), RUNS_MAX);
        let newest = schedule.successes("snapshot-gc").next().unwrap();
        assert_eq!(newest.start.as_second(), 58);
        assert_eq!(schedule.successes("cleanup-logs").count(), 0);
    }
}
