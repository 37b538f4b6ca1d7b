//! What a job says of how the work is done. What is absent has a default, and so has an empty object.

use serde::{Deserialize, Serialize};

use crate::lenient;

/// Details of how the work is done.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Policy {
    /// A compressor's name, or `none`.
    #[serde(
        deserialize_with = "lenient::optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub compression: Option<String>,
    /// How many uploads at once.
    #[serde(
        deserialize_with = "lenient::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub parallel_uploads: Option<u64>,
    /// Whether disks are read by several hands.
    #[serde(
        deserialize_with = "lenient::optional_boolean",
        skip_serializing_if = "Option::is_none"
    )]
    pub parallel_disk_reads: Option<bool>,
    /// Whether unreadable sectors fail a disk image.
    #[serde(
        deserialize_with = "lenient::optional_boolean",
        skip_serializing_if = "Option::is_none"
    )]
    pub disk_image_strict_read_errors: Option<bool>,
    /// Whether more events are sent.
    #[serde(
        deserialize_with = "lenient::boolean",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub debug_logs: bool,
    /// How many hands restore.
    #[serde(
        deserialize_with = "lenient::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub restore_parallel_workers: Option<u64>,
    /// In pieces of which size a restore works.
    #[serde(
        deserialize_with = "lenient::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub restore_segment_size_mb: Option<u64>,
    /// How many files are restored at once.
    #[serde(
        deserialize_with = "lenient::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub restore_kopia_parallel: Option<u64>,
}

impl Policy {
    /// Returns how many hands restore, within the contract's bounds, if the job says so.
    pub fn restore_parallel_workers_within(&self) -> Option<u64> {
        self.restore_parallel_workers
            .map(|workers| workers.clamp(1, 64))
    }

    /// Returns how many files are restored at once, within the contract's bounds, if the job says so:
    /// for files, else for all restores.
    pub fn restored_files_at_once(&self) -> Option<u64> {
        let files = self.restore_kopia_parallel.map(|files| files.clamp(1, 32));
        files.or_else(|| self.restore_parallel_workers_within())
    }

    /// Returns whether a disk is read by several hands: unless the job says otherwise, yes.
    pub fn reads_disks_in_parallel(&self) -> bool {
        self.parallel_disk_reads.unwrap_or(true)
    }

    /// Returns how many uploads at once, within reason.
    pub fn parallel_uploads_within(&self) -> u64 {
        self.parallel_uploads.unwrap_or(16).clamp(1, 64)
    }
}

/// Which VMs a job backs up, and how.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct HypervConfig {
    /// GUIDs of VMs to take.
    #[serde(
        deserialize_with = "lenient::texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub vms: Vec<String>,
    /// VMs to leave out.
    #[serde(
        deserialize_with = "lenient::texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub exclude_vms: Vec<String>,
    /// Whether to take all VMs of the host.
    #[serde(
        deserialize_with = "lenient::boolean",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub backup_all_vms: bool,
    /// Whether to read only what has changed; use [`HypervConfig::reads_changes_only`].
    #[serde(
        deserialize_with = "lenient::optional_boolean",
        skip_serializing_if = "Option::is_none"
    )]
    pub enable_rct: Option<bool>,
    /// `application` or `crash`; use [`HypervConfig::wants_application_consistency`].
    #[serde(
        deserialize_with = "lenient::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub consistency_level: String,
    /// Whether a VM is to have no point at all rather than one that is less consistent. Our own control plane says
    /// it beyond the contract (`docs/decisions/own-control-plane-extensions.md`).
    #[serde(
        deserialize_with = "lenient::boolean",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub is_consistency_required: bool,
    /// How long guests may take to prepare; use [`HypervConfig::quiesce_timeout_seconds_or_default`].
    #[serde(
        deserialize_with = "lenient::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub quiesce_timeout_seconds: Option<u64>,
    /// Not used by servers of today.
    #[serde(
        deserialize_with = "lenient::boolean",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub instant_restore_enabled: bool,
}

impl HypervConfig {
    /// Tells whether only what has changed is read: unless the job says otherwise, yes.
    pub fn reads_changes_only(&self) -> bool {
        self.enable_rct.unwrap_or(true)
    }

    /// Tells whether applications in the guest are to prepare: unless the job says otherwise, yes.
    pub fn wants_application_consistency(&self) -> bool {
        !self.consistency_level.trim().eq_ignore_ascii_case("crash")
    }

    /// Returns how long guests may take to prepare: 300 seconds unless the job says otherwise.
    pub fn quiesce_timeout_seconds_or_default(&self) -> u64 {
        self.quiesce_timeout_seconds
            .filter(|seconds| *seconds > 0)
            .unwrap_or(300)
    }
}
