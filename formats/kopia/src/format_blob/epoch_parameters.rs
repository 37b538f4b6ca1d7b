//! When index epochs begin and when superseded index blobs may go (Kopia spec 5.5).

use serde::{Deserialize, Serialize};

use super::error::{FormatError, Reason};

const MINUTE_NS: i64 = 60 * 1_000_000_000;
const HOUR_NS: i64 = 60 * MINUTE_NS;
const MIB: u64 = 1 << 20;

/// The epoch manager's parameters. Durations are nanoseconds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EpochParameters {
    /// Whether index blobs are managed in epochs at all; if not, the rest means nothing.
    #[serde(default)]
    pub enabled: bool,
    /// The greatest age of a listing that decisions may rest on.
    #[serde(default, rename = "EpochRefreshFrequency")]
    pub epoch_refresh_frequency_ns: i64,
    /// How many epochs one range compaction covers.
    #[serde(default)]
    pub full_checkpoint_frequency: u32,
    /// How old a replacement must be before the blobs it supersedes go.
    #[serde(default, rename = "CleanupSafetyMargin")]
    pub cleanup_safety_margin_ns: i64,
    /// The shortest time between the beginnings of two epochs.
    #[serde(default, rename = "MinEpochDuration")]
    pub min_epoch_duration_ns: i64,
    /// How many index blobs make an epoch end.
    #[serde(default)]
    pub epoch_advance_on_count_threshold: u32,
    /// How many bytes of index blobs make an epoch end.
    #[serde(default)]
    pub epoch_advance_on_total_size_bytes_threshold: u64,
    /// How many deletions may run at a time.
    #[serde(default)]
    pub delete_parallelism: u32,
}

impl Default for EpochParameters {
    /// Returns what Kopia gives a new repository.
    fn default() -> Self {
        Self {
            enabled: true,
            epoch_refresh_frequency_ns: 20 * MINUTE_NS,
            full_checkpoint_frequency: 7,
            cleanup_safety_margin_ns: 4 * HOUR_NS,
            min_epoch_duration_ns: 24 * HOUR_NS,
            epoch_advance_on_count_threshold: 20,
            epoch_advance_on_total_size_bytes_threshold: 10 * MIB,
            delete_parallelism: 4,
        }
    }
}

impl EpochParameters {
    /// Returns what a format without epoch parameters means: legacy index management.
    pub fn disabled() -> Self {
        Self {
            enabled: false,
            epoch_refresh_frequency_ns: 0,
            full_checkpoint_frequency: 0,
            cleanup_safety_margin_ns: 0,
            min_epoch_duration_ns: 0,
            epoch_advance_on_count_threshold: 0,
            epoch_advance_on_total_size_bytes_threshold: 0,
            delete_parallelism: 0,
        }
    }

    /// Refuses the parameters that Kopia refuses. Disabled ones are never refused.
    pub fn check(&self) -> Result<(), FormatError> {
        if !self.enabled {
            return Ok(());
        }
        let three_refreshes_ns = i128::from(self.epoch_refresh_frequency_ns) * 3;
        let rules = [
            (
                self.min_epoch_duration_ns >= 10 * MINUTE_NS,
                "MinEpochDuration is under 10 minutes",
            ),
            (
                three_refreshes_ns <= i128::from(self.min_epoch_duration_ns),
                "EpochRefreshFrequency is over a third of MinEpochDuration",
            ),
            (
                self.full_checkpoint_frequency >= 1,
                "FullCheckpointFrequency is 0",
            ),
            (
                i128::from(self.cleanup_safety_margin_ns) >= three_refreshes_ns,
                "CleanupSafetyMargin is under three times EpochRefreshFrequency",
            ),
            (
                self.epoch_advance_on_count_threshold >= 10,
                "EpochAdvanceOnCountThreshold is under 10",
            ),
            (
                self.epoch_advance_on_total_size_bytes_threshold >= MIB,
                "EpochAdvanceOnTotalSizeBytesThreshold is under 1 MiB",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, broken)) => Err(Reason::EpochParameters(broken).into()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
