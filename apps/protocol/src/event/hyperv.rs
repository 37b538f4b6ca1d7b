//! Events of backups of whole VMs.

use super::{Event, Percent, Severity, events, param};
use crate::hyperv_results::{BackupType, Consistency};
use crate::words::closed_words;

closed_words! {
    /// What is left to do when a VM's data is safe.
    FinalPhase {
        /// The backup's checkpoint is merged.
        Merging = "merging backup checkpoint",
        /// Change tracking is made ready for the next run.
        EnablingTracking = "enabling change tracking",
    }
}

impl super::Param for FinalPhase {
    fn value(self) -> Option<serde_json::Value> {
        Some(self.as_str().into())
    }
}

impl super::Param for BackupType {
    fn value(self) -> Option<serde_json::Value> {
        Some(self.as_str().into())
    }
}

impl super::Param for Consistency {
    fn value(self) -> Option<serde_json::Value> {
        Some(self.text().into())
    }
}

events! {
    /// A job has no VM that could be backed up.
    HypervNoVms = "HYPERV_NO_VMS", "error", "error" {
        error: String,
    }

    /// A VM's turn begins.
    HypervVmStarting = "HYPERV_VM_STARTING", "info", "info" {
        vm_name: String,
        vm_id: u64,
        message: String,
    }

    /// A disk's turn begins.
    HypervDiskStarting = "HYPERV_DISK_STARTING", "info", "info" {
        vm_name: String,
        disk_path: String,
        size: u64,
    }

    /// A VM's checkpoints are switched off.
    HypervCheckpointsDisabled = "HYPERV_CHECKPOINTS_DISABLED", "warning", "warning" {
        vm_name: String,
        message: String,
    }

    /// The next run will read everything.
    HypervReferencePointFailed = "HYPERV_REFERENCE_POINT_FAILED", "warning", "warning" {
        vm_name: String,
        message: String,
    }

    /// A VM's data is safe, and the host is tidied up.
    HypervFinalizing = "HYPERV_FINALIZING", "progress", "info" {
        vm_name: String,
        phase: FinalPhase,
        elapsed_seconds: u64,
        message: String,
        avhdx_bytes_left: Option<u64>,
        avhdx_bytes_total: Option<u64>,
        merged_pct: Option<Percent>,
    }

    /// A VM is done.
    HypervVmComplete = "HYPERV_VM_COMPLETE", "info", "info" {
        vm_name: String,
        backup_type: BackupType,
        changed_bytes: u64,
        total_bytes: u64,
        consistency: Consistency,
        message: String,
        warnings: Vec<String>,
    }

    /// A VM failed.
    HypervVmFailed = "HYPERV_VM_FAILED", "error", "error" {
        vm_name: String,
        message: String,
        error: String,
        technical_log: String,
    }
}

/// A disk could be read only in part, or slowly.
#[derive(Clone, Debug, PartialEq)]
pub struct HypervDiskRead {
    /// Whether it took too long, rather than failed.
    pub timed_out: bool,
    /// How grave it is.
    pub severity: Severity,
    /// The disk.
    pub disk: String,
    /// What read it.
    pub reader: String,
    /// Where.
    pub offset_bytes: u64,
    /// How much was asked for.
    pub request_bytes: u64,
    /// How much came.
    pub read_bytes: u64,
    /// Whether zeros stand for what did not come.
    pub zero_filled: bool,
    /// Whether it was near the disk's end.
    pub near_tail: bool,
    /// What the error says.
    pub error: String,
}

impl From<HypervDiskRead> for Event {
    fn from(read: HypervDiskRead) -> Self {
        let message_id = match read.timed_out {
            true => "HYPERV_DISK_READ_TIMEOUT",
            false => "HYPERV_DISK_READ_WARNING",
        };
        let (kind, level) = match read.severity {
            Severity::Info => ("info", "info"),
            Severity::Warning | Severity::Error => ("warning", "warning"),
        };
        let mut params = serde_json::Map::new();
        for (name, number) in [
            ("offset_bytes", read.offset_bytes),
            ("request_bytes", read.request_bytes),
            ("read_bytes", read.read_bytes),
        ] {
            param::set(&mut params, name, number);
        }
        param::set(&mut params, "disk", read.disk);
        param::set(&mut params, "reader", read.reader);
        param::set(&mut params, "zero_filled", read.zero_filled);
        param::set(&mut params, "near_tail", read.near_tail);
        param::set(&mut params, "error", read.error);
        Self::new(message_id, kind, level, params)
    }
}

/// All VMs of a run have had their turn; sent after the terminal update.
#[derive(Clone, Debug, PartialEq)]
pub struct HypervBackupComplete {
    /// How grave it is.
    pub severity: Severity,
    /// What came of it, for people.
    pub message: String,
    /// The run's terminal status.
    pub status: String,
    /// VMs that are backed up.
    pub success_vms: Vec<String>,
    /// VMs that failed.
    pub failed_vms: Vec<String>,
    /// VMs that are backed up, with warnings.
    pub warning_vms: Vec<String>,
    /// All VMs of the run.
    pub total_count: u64,
}

impl From<HypervBackupComplete> for Event {
    fn from(complete: HypervBackupComplete) -> Self {
        let level = match complete.severity {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let mut params = serde_json::Map::new();
        param::set(&mut params, "message", complete.message);
        param::set(&mut params, "status", complete.status);
        for (count, names, vms) in [
            ("success_count", "success_vms", complete.success_vms),
            ("fail_count", "failed_vms", complete.failed_vms),
            ("warning_count", "warning_vms", complete.warning_vms),
        ] {
            param::set(&mut params, count, vms.len() as u64);
            param::set(&mut params, names, vms);
        }
        param::set(&mut params, "total_count", complete.total_count);
        Self::new("HYPERV_BACKUP_COMPLETE", "summary", level, params)
    }
}
