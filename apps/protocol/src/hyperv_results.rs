//! What one run has of one VM, as the server records it.

use serde::{Deserialize, Serialize};

use crate::identifier::VmNumber;
use crate::lenient;
use crate::limit::{CHECKPOINT_ID_CHARS_MAX, shorten};
use crate::path_map::PathMap;
use crate::words::closed_words;

closed_words! {
    /// Whether a point stands for itself in the server's eyes.
    BackupType {
        /// Everything was read.
        Full = "Full",
        /// What had changed was read; the first point of a VM never is one.
        Incremental = "Incremental",
    }
}

closed_words! {
    /// In which state the guest was frozen.
    Consistency {
        /// Applications had prepared.
        Application = "Application",
        /// As after a loss of power.
        Crash = "Crash",
        /// Without a checkpoint.
        CrashNoCheckpoint = "CrashNoCheckpoint",
    }
}

impl Consistency {
    /// Returns the words for people that events carry.
    pub fn text(self) -> &'static str {
        match self {
            Self::Application => "application-consistent",
            Self::Crash => "crash-consistent",
            Self::CrashNoCheckpoint => "crash-consistent without checkpoint",
        }
    }
}

closed_words! {
    /// Why a point has a warning.
    WarningCode {
        /// The VM's checkpoints are switched off.
        CheckpointsDisabled = "CHECKPOINTS_DISABLED",
        /// No reference point could be made: the next run reads everything.
        ReferencePointFailed = "REFERENCE_POINT_FAILED",
    }
}

/// What one run has of one VM. An entry without [`error`](Self::error) is recorded as a whole point, so
/// only complete VMs have one.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct HypervResult {
    /// The server's row of the VM.
    pub vm_id: VmNumber,
    /// The VM's name.
    #[serde(default, deserialize_with = "lenient::text")]
    pub vm_name: String,
    /// Whether the point stands for itself.
    pub backup_type: BackupType,
    /// What comes back with the next run; see [`checkpoint_key`]. Empty leaves the server's old one.
    #[serde(default, deserialize_with = "lenient::text")]
    pub checkpoint_id: String,
    /// Disk path to change-tracking point.
    #[serde(default)]
    pub rct_ids: PathMap,
    /// Disk path to manifest; the first is the point's primary one.
    #[serde(default)]
    pub disk_manifests: PathMap,
    /// How large the disks are.
    #[serde(default, deserialize_with = "lenient::count")]
    pub total_bytes: u64,
    /// How much had changed.
    #[serde(default, deserialize_with = "lenient::count")]
    pub changed_bytes: u64,
    /// In which state the guest was frozen.
    pub consistency_level: Consistency,
    /// How long it took.
    #[serde(default, deserialize_with = "lenient::count")]
    pub duration_seconds: u64,
    /// Why there is no point. With it the entry is only logged.
    #[serde(
        default,
        deserialize_with = "lenient::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub error: String,
    /// What people should know about the point.
    #[serde(default, deserialize_with = "lenient::texts")]
    pub warnings: Vec<String>,
    /// The most important of the warnings.
    #[serde(
        default,
        deserialize_with = "optional_code",
        skip_serializing_if = "Option::is_none"
    )]
    pub warning_code: Option<WarningCode>,
}

impl HypervResult {
    /// Keeps the entry within the server's columns: one that is not makes it drop all that follow.
    pub(crate) fn within_limits(&self) -> Self {
        let mut result = self.clone();
        shorten(&mut result.vm_name, 255);
        if result.checkpoint_id.chars().count() > CHECKPOINT_ID_CHARS_MAX {
            result.checkpoint_id = checkpoint_key(&result.checkpoint_id).unwrap_or_default();
        }
        result
    }
}

/// Returns what of a reference point's id fits the server's column: the point's own GUID, the last part
/// of `Microsoft:<VM>\<point>`.
pub fn checkpoint_key(reference_point_id: &str) -> Option<String> {
    let last = reference_point_id.rsplit('\\').next().unwrap_or_default();
    let fits = !last.is_empty() && last.chars().count() <= CHECKPOINT_ID_CHARS_MAX;
    fits.then(|| last.to_owned())
}

fn optional_code<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<WarningCode>, D::Error> {
    let Some(word) = lenient::optional_text(from)? else {
        return Ok(None);
    };
    WarningCode::deserialize(serde_json::Value::String(word))
        .map(Some)
        .map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_fits_the_servers_column() {
        let id =
            "Microsoft:5F3B7C5E-0000-4000-8000-000000000001\\2C1D7C5E-0000-4000-8000-000000000002";
        assert_eq!(id.len(), 83);
        assert_eq!(
            checkpoint_key(id).unwrap(),
            "2C1D7C5E-0000-4000-8000-000000000002"
        );
        assert_eq!(checkpoint_key("short").unwrap(), "short");
        assert_eq!(checkpoint_key(""), None);
        assert_eq!(checkpoint_key(&"x".repeat(65)), None);
    }
}
