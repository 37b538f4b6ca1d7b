//! One event of each kind, so that none is forgotten.

use protocol::event::*;
use protocol::hyperv_results::{BackupType, Consistency};

fn text() -> String {
    "x".repeat(400)
}

/// Returns one event of each kind.
pub fn all() -> Vec<Event> {
    let mut events: Vec<Event> = vec![
        BackupStarting { engine: text() }.into(),
        ScanningSource {}.into(),
        NoChanges {}.into(),
        LogTruncated {}.into(),
        ProgressUpdate {
            pct: Percent::of(1, 3),
            bytes_done: 7,
            bytes_total: 7,
            files_done: 7,
            files_total: 7,
            speed_bps: 7,
            eta_seconds: 7,
        }
        .into(),
        SummaryTotal { bytes_done: 7 }.into(),
        CompletedSuccess { engine: text() }.into(),
        CompletedWarning {}.into(),
        CompletedFailed {
            error: text(),
            engine: text(),
        }
        .into(),
        CancelRequested { message: text() }.into(),
        Cancelled {
            message: text(),
            vm_name: text(),
        }
        .into(),
        ValidationStart {}.into(),
        ValidationSuccess {}.into(),
        ValidationFailed {}.into(),
        ErrorAuth {}.into(),
        ErrorPermission {}.into(),
        ErrorNotFound {}.into(),
        ErrorNetwork {}.into(),
        ErrorRateLimit {}.into(),
        ErrorQuota {}.into(),
        ErrorInternal {}.into(),
        KopiaStage {
            stage: Stage::UploadStart,
            bucket: Some(text()),
            prefix: Some(text()),
            endpoint: Some(text()),
            region: Some(text()),
            source: Some(text()),
            stable_source: Some(text()),
            compression: Some(text()),
            parallel_uploads: Some(7),
            bandwidth_kbps: Some(7),
            include_glob: Some(text()),
            exclude_glob: Some(text()),
            repo_path: Some(text()),
        }
        .into(),
        KopiaSourceEmpty { source: text() }.into(),
        KopiaSourceEstimate { files: 7, bytes: 7 }.into(),
        KopiaMultiSource {
            sources: vec![text(), text()],
        }
        .into(),
        KopiaPolicy {
            compression: text(),
            parallel_uploads: 7,
            bandwidth_kbps: Some(7),
        }
        .into(),
        KopiaThrottleSet {
            upload_bytes_per_sec: 7,
            bandwidth_kbps: 7,
        }
        .into(),
        KopiaThrottleSetFailed { error: text() }.into(),
        KopiaPreviousSnapshots {
            count: 7,
            stable_source: text(),
        }
        .into(),
        KopiaUploadCallStart {
            stable_source: text(),
            bucket: text(),
            prefix: text(),
        }
        .into(),
        KopiaUploadStart {
            source: text(),
            bucket: text(),
            prefix: text(),
            parallel_uploads: Some(7),
            compression: Some(text()),
            previous_snapshots: Some(7),
        }
        .into(),
        KopiaProgressUpdate {
            pct: Percent::of(1, 3),
            bytes_processed: 7,
            bytes_uploaded: 7,
            bytes_total: 7,
            files_done: 7,
            files_total: 7,
            speed_bps: 7,
            eta_seconds: 7,
            current: text(),
        }
        .into(),
        KopiaUploadFinished {
            bytes_hashed: 7,
            bytes_uploaded: 7,
        }
        .into(),
        KopiaUploadComplete {
            manifest_id: text(),
            stable_source: text(),
        }
        .into(),
        KopiaUploadCallDone {
            duration_ms: 7,
            error: text(),
        }
        .into(),
        KopiaUploadFailed { error: text() }.into(),
        KopiaUploadNilManifest {}.into(),
        KopiaSaveSnapshotFailed { error: text() }.into(),
        KopiaManifestUpdateFailed { error: text() }.into(),
        KopiaManifestRecorded {
            manifest_id: text(),
            source: text(),
            bucket: text(),
            prefix: text(),
        }
        .into(),
        KopiaManifestFallback {
            manifest_id: text(),
            source: text(),
            bucket: text(),
            prefix: text(),
        }
        .into(),
        KopiaManifestMissing {
            source: text(),
            bucket: text(),
            prefix: text(),
        }
        .into(),
        KopiaRetentionStart {
            keep_last: 7,
            source: text(),
        }
        .into(),
        KopiaRetentionComplete {
            deleted_count: 7,
            keep_last: 7,
        }
        .into(),
        KopiaRetentionFailed { error: text() }.into(),
        HypervNoVms { error: text() }.into(),
        HypervVmStarting {
            vm_name: text(),
            vm_id: 7,
            message: text(),
        }
        .into(),
        HypervDiskStarting {
            vm_name: text(),
            disk_path: text(),
            size: 7,
        }
        .into(),
        HypervCheckpointsDisabled {
            vm_name: text(),
            message: text(),
        }
        .into(),
        HypervReferencePointFailed {
            vm_name: text(),
            message: text(),
        }
        .into(),
        HypervFinalizing {
            vm_name: text(),
            phase: FinalPhase::Merging,
            elapsed_seconds: 7,
            message: text(),
            avhdx_bytes_left: Some(7),
            avhdx_bytes_total: Some(7),
            merged_pct: Some(Percent::of(1, 3)),
        }
        .into(),
        HypervVmComplete {
            vm_name: text(),
            backup_type: BackupType::Full,
            changed_bytes: 7,
            total_bytes: 7,
            consistency: Consistency::Crash,
            message: text(),
            warnings: vec![text(), text()],
        }
        .into(),
        HypervVmFailed {
            vm_name: text(),
            message: text(),
            error: text(),
            technical_log: text(),
        }
        .into(),
        HypervRestoreStarting {
            vm_name: text(),
            vm_count: 7,
            disk_count: 7,
            target_path: text(),
            backup_type: BackupType::Full,
        }
        .into(),
        HypervRestoreDiskStarting {
            vm_name: text(),
            disk_name: text(),
            disk_index: 7,
            total_disks: 7,
            manifest_id: text(),
        }
        .into(),
        HypervRestoreDiskProgress {
            disk_name: text(),
            bytes_done: 7,
            bytes_total: 7,
            status: text(),
        }
        .into(),
        HypervRestoreDiskComplete {
            vm_name: text(),
            disk_name: text(),
            disk_index: 7,
            total_disks: 7,
        }
        .into(),
        HypervRestoreDiskFailed {
            vm_name: text(),
            disk_name: text(),
            message: text(),
        }
        .into(),
        HypervRestoreFailed { message: text() }.into(),
        HypervRestoreComplete {
            status: text(),
            message: text(),
            restored_disks: 7,
            total_disks: 7,
            vm_count: 7,
            target_path: text(),
        }
        .into(),
        RestoreStarting {
            manifest_id: text(),
            target_path: text(),
            mount: true,
        }
        .into(),
        RestoreProgress {
            files_restored: 7,
            dirs_restored: 7,
            bytes_restored: 7,
            files_skipped: 7,
        }
        .into(),
        RestoreCompleted {
            manifest_id: text(),
            target_path: text(),
        }
        .into(),
        RestoreFailed {
            error: text(),
            manifest_id: text(),
            target_path: text(),
        }
        .into(),
        KopiaRestoreConnecting {
            bucket: text(),
            prefix: text(),
        }
        .into(),
        KopiaRestoreLoading {
            manifest_id: text(),
            disk_name: text(),
        }
        .into(),
        KopiaRestoreSnapshotLoaded {
            manifest_id: text(),
            source_path: text(),
            start_time: text(),
        }
        .into(),
        KopiaRestoreStarted {
            manifest_id: text(),
            target_path: text(),
            disk_name: text(),
        }
        .into(),
        KopiaRestoreStats {
            files_restored: 7,
            dirs_restored: 7,
            bytes_restored: 7,
            files_skipped: 7,
            errors: 7,
            disk_name: Some(text()),
        }
        .into(),
        DiskRestoreStarting {
            target_disk: text(),
            manifest_id: text(),
        }
        .into(),
        DiskRestoreStarted {
            target_disk: text(),
        }
        .into(),
        DiskRestoreCompleted {
            target_disk: text(),
        }
        .into(),
        DiskRestoreFailed { error: text() }.into(),
        MaintenanceStarting { mode: text() }.into(),
        MaintenanceCompleted { mode: text() }.into(),
        MaintenanceFailed {
            mode: text(),
            error: text(),
        }
        .into(),
    ];
    for reason in [
        StorageReason::DnsLookupFailed,
        StorageReason::TcpTimeout,
        StorageReason::TcpRefused,
        StorageReason::TlsFailed,
        StorageReason::HttpBlocked,
        StorageReason::EndpointUnreachable,
        StorageReason::EndpointInvalid,
    ] {
        events.push(
            StorageFailed {
                reason,
                summary: text(),
                hint: text(),
                endpoint: text(),
                host: text(),
                port: 443,
                error: text(),
                stage: Stage::StoragePreflight,
            }
            .into(),
        );
    }
    for severity in [Severity::Info, Severity::Warning, Severity::Error] {
        events.push(
            HypervDiskRead {
                timed_out: severity == Severity::Info,
                severity,
                disk: text(),
                reader: text(),
                offset_bytes: 1,
                request_bytes: 2,
                read_bytes: 3,
                zero_filled: false,
                near_tail: true,
                error: text(),
            }
            .into(),
        );
        events.push(
            HypervBackupComplete {
                severity,
                message: text(),
                status: "warning".to_owned(),
                success_vms: vec![text()],
                failed_vms: Vec::new(),
                warning_vms: Vec::new(),
                total_count: 1,
            }
            .into(),
        );
    }
    events
}
