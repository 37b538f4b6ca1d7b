//! Events of restores and of maintenance.

use super::events;
use crate::hyperv_results::BackupType;

events! {
    /// A restore of VMs begins.
    HypervRestoreStarting = "HYPERV_RESTORE_STARTING", "info", "info" {
        vm_name: String,
        vm_count: u64,
        disk_count: u64,
        target_path: String,
        backup_type: BackupType,
    }

    /// A disk's turn begins.
    HypervRestoreDiskStarting = "HYPERV_RESTORE_DISK_STARTING", "info", "info" {
        vm_name: String,
        disk_name: String,
        disk_index: u64,
        total_disks: u64,
        manifest_id: String,
    }

    /// How far a disk is.
    HypervRestoreDiskProgress = "HYPERV_RESTORE_DISK_PROGRESS", "info", "info" {
        disk_name: String,
        bytes_done: u64,
        bytes_total: u64,
        status: String,
    }

    /// A disk is there.
    HypervRestoreDiskComplete = "HYPERV_RESTORE_DISK_COMPLETE", "info", "info" {
        vm_name: String,
        disk_name: String,
        disk_index: u64,
        total_disks: u64,
    }

    /// A disk failed.
    HypervRestoreDiskFailed = "HYPERV_RESTORE_DISK_FAILED", "error", "error" {
        vm_name: String,
        disk_name: String,
        message: String,
    }

    /// A restore of VMs failed.
    HypervRestoreFailed = "HYPERV_RESTORE_FAILED", "error", "error" {
        message: String,
    }

    /// All disks have had their turn.
    HypervRestoreComplete = "HYPERV_RESTORE_COMPLETE", "info", "info" {
        status: String,
        message: String,
        restored_disks: u64,
        total_disks: u64,
        vm_count: u64,
        target_path: String,
    }

    /// A restore of files begins.
    RestoreStarting = "RESTORE_STARTING", "info", "info" {
        manifest_id: String,
        target_path: String,
        mount: bool,
    }

    /// How far a restore of files is.
    RestoreProgress = "RESTORE_PROGRESS", "progress", "info" {
        files_restored: u64,
        dirs_restored: u64,
        bytes_restored: u64,
        files_skipped: u64,
    }

    /// A restore of files went well.
    RestoreCompleted = "RESTORE_COMPLETED", "summary", "info" {
        manifest_id: String,
        target_path: String,
    }

    /// A restore of files failed.
    RestoreFailed = "RESTORE_FAILED", "error", "error" {
        error: String,
        manifest_id: String,
        target_path: String,
    }

    /// The repository is reached for.
    KopiaRestoreConnecting = "KOPIA_RESTORE_CONNECTING", "info", "info" {
        bucket: String,
        prefix: String,
    }

    /// The snapshot is looked up.
    KopiaRestoreLoading = "KOPIA_RESTORE_LOADING", "info", "info" {
        manifest_id: String,
        disk_name: String,
    }

    /// The snapshot was found.
    KopiaRestoreSnapshotLoaded = "KOPIA_RESTORE_SNAPSHOT_LOADED", "info", "info" {
        manifest_id: String,
        source_path: String,
        start_time: String,
    }

    /// Data is on its way.
    KopiaRestoreStarted = "KOPIA_RESTORE_STARTED", "info", "info" {
        manifest_id: String,
        target_path: String,
        disk_name: String,
    }

    /// What was restored.
    KopiaRestoreStats = "KOPIA_RESTORE_STATS", "info", "info" {
        files_restored: u64,
        dirs_restored: u64,
        bytes_restored: u64,
        files_skipped: u64,
        errors: u64,
        disk_name: Option<String>,
    }

    /// A restore of a whole disk begins.
    DiskRestoreStarting = "DISK_RESTORE_STARTING", "info", "info" {
        target_disk: String,
        manifest_id: String,
    }

    /// A restore of a whole disk is under way.
    DiskRestoreStarted = "DISK_RESTORE_STARTED", "info", "info" {
        target_disk: String,
    }

    /// A restore of a whole disk went well.
    DiskRestoreCompleted = "DISK_RESTORE_COMPLETED", "summary", "info" {
        target_disk: String,
    }

    /// A restore of a whole disk failed.
    DiskRestoreFailed = "DISK_RESTORE_FAILED", "error", "error" {
        error: String,
    }

    /// Maintenance begins.
    MaintenanceStarting = "MAINTENANCE_STARTING", "info", "info" {
        mode: String,
    }

    /// Maintenance went well.
    MaintenanceCompleted = "MAINTENANCE_COMPLETED", "info", "info" {
        mode: String,
    }

    /// Maintenance failed.
    MaintenanceFailed = "MAINTENANCE_FAILED", "error", "error" {
        mode: String,
        error: String,
    }
}
