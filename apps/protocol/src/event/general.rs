//! Events that every run has.

use super::{Percent, events};

events! {
    /// A backup begins.
    BackupStarting = "BACKUP_STARTING", "info", "info" {
        engine: String,
    }

    /// The source is looked through.
    ScanningSource = "SCANNING_SOURCE", "info", "info" {}

    /// Nothing has changed.
    NoChanges = "NO_CHANGES", "info", "info" {}

    /// The run's log was cut.
    LogTruncated = "LOG_TRUNCATED", "info", "info" {}

    /// How far a run is.
    ProgressUpdate = "PROGRESS_UPDATE", "progress", "info" {
        pct: Percent,
        bytes_done: u64,
        bytes_total: u64,
        files_done: u64,
        files_total: u64,
        speed_bps: u64,
        eta_seconds: u64,
    }

    /// What a run has moved in all.
    SummaryTotal = "SUMMARY_TOTAL", "summary", "info" {
        bytes_done: u64,
    }

    /// A run went well.
    CompletedSuccess = "COMPLETED_SUCCESS", "summary", "info" {
        engine: String,
    }

    /// A run went well but for something to be looked at.
    CompletedWarning = "COMPLETED_WARNING", "summary", "warn" {}

    /// A run failed.
    CompletedFailed = "COMPLETED_FAILED", "error", "error" {
        error: String,
        engine: String,
    }

    /// The agent was told to stop a run.
    CancelRequested = "CANCEL_REQUESTED", "cancelled", "warn" {
        message: String,
    }

    /// A run, or one VM of it, was stopped.
    Cancelled = "CANCELLED", "cancelled", "warn" {
        message: String,
        vm_name: String,
    }

    /// The result is being checked.
    ValidationStart = "VALIDATION_START", "info", "info" {}

    /// The result was found sound.
    ValidationSuccess = "VALIDATION_SUCCESS", "info", "info" {}

    /// The result was found damaged.
    ValidationFailed = "VALIDATION_FAILED", "error", "error" {}

    /// Keys or passwords are wrong.
    ErrorAuth = "ERROR_AUTH", "error", "error" {}

    /// Something may not be read or written.
    ErrorPermission = "ERROR_PERMISSION", "error", "error" {}

    /// Something is not there.
    ErrorNotFound = "ERROR_NOT_FOUND", "error", "error" {}

    /// The line fails.
    ErrorNetwork = "ERROR_NETWORK", "error", "error" {}

    /// The storage wants to be asked less often.
    ErrorRateLimit = "ERROR_RATE_LIMIT", "error", "error" {}

    /// There is no room.
    ErrorQuota = "ERROR_QUOTA", "error", "error" {}

    /// Anything else.
    ErrorInternal = "ERROR_INTERNAL", "error", "error" {}
}
