//! One event of each kind, so that none is forgotten.

use protocol::event::*;
use protocol::hyperv_results::{BackupType, Consistency};

fn text() -> String {
    "x".repeat(400)
}

/// Returns one event of each kind.
pub fn all() -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    events.push(BackupStarting { engine: text() }.into());
    events.push(ScanningSource {}.into());
    events.push(NoChanges {}.into());
    events.push(LogTruncated {}.into());
    events.push(
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
    );
    events.push(SummaryTotal { bytes_done: 7 }.into());
    events.push(CompletedSuccess { engine: text() }.into());
    events.push(CompletedWarning {}.into());
    events.push(
        CompletedFailed {
            error: text(),
            engine: text(),
        }
        .into(),
    );
    events.push(CancelRequested { message: text() }.into());
    events.push(
        Cancelled {
            message: text(),
            vm_name: text(),
        }
        .into(),
    );
    events.push(ValidationStart {}.into());
    events.push(ValidationSuccess {}.into());
    events.push(ValidationFailed {}.into());
    events.push(ErrorAuth {}.into());
    events.push(ErrorPermission {}.into());
    events.push(ErrorNotFound {}.into());
    events.push(ErrorNetwork {}.into());
    events.push(ErrorRateLimit {}.into());
    events.push(ErrorQuota {}.into());
    events.push(ErrorInternal {}.into());
    events.push(
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
    );
    events.push(KopiaSourceEmpty { source: text() }.into());
    events.push(KopiaSourceEstimate { files: 7, bytes: 7 }.into());
    events.push(
        KopiaMultiSource {
            sources: vec![text(), text()],
        }
        .into(),
    );
    events.push(
        KopiaPolicy {
            compression: text(),
            parallel_uploads: 7,
            bandwidth_kbps: Some(7),
        }
        .into(),
    );
    events.push(
        KopiaThrottleSet {
            upload_bytes_per_sec: 7,
            bandwidth_kbps: 7,
        }
        .into(),
    );
    events.push(KopiaThrottleSetFailed { error: text() }.into());
    events.push(
        KopiaPreviousSnapshots {
            count: 7,
            stable_source: text(),
        }
        .into(),
    );
    events.push(
        KopiaUploadCallStart {
            stable_source: text(),
            bucket: text(),
            prefix: text(),
        }
        .into(),
    );
    events.push(
        KopiaUploadStart {
            source: text(),
            bucket: text(),
            prefix: text(),
            parallel_uploads: Some(7),
            compression: Some(text()),
            previous_snapshots: Some(7),
        }
        .into(),
    );
    events.push(
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
    );
    events.push(
        KopiaUploadFinished {
            bytes_hashed: 7,
            bytes_uploaded: 7,
        }
        .into(),
    );
    events.push(
        KopiaUploadComplete {
            manifest_id: text(),
            stable_source: text(),
        }
        .into(),
    );
    events.push(
        KopiaUploadCallDone {
            duration_ms: 7,
            error: text(),
        }
        .into(),
    );
    events.push(KopiaUploadFailed { error: text() }.into());
    events.push(KopiaUploadNilManifest {}.into());
    events.push(KopiaSaveSnapshotFailed { error: text() }.into());
    events.push(KopiaManifestUpdateFailed { error: text() }.into());
    events.push(
        KopiaManifestRecorded {
            manifest_id: text(),
            source: text(),
            bucket: text(),
            prefix: text(),
        }
        .into(),
    );
    events.push(
        KopiaManifestFallback {
            manifest_id: text(),
            source: text(),
            bucket: text(),
            prefix: text(),
        }
        .into(),
    );
    events.push(
        KopiaManifestMissing {
            source: text(),
            bucket: text(),
            prefix: text(),
        }
        .into(),
    );
    events.push(
        KopiaRetentionStart {
            keep_last: 7,
            source: text(),
        }
        .into(),
    );
    events.push(
        KopiaRetentionComplete {
            deleted_count: 7,
            keep_last: 7,
        }
        .into(),
    );
    events.push(KopiaRetentionFailed { error: text() }.into());
    events.push(HypervNoVms { error: text() }.into());
    events.push(
        HypervVmStarting {
            vm_name: text(),
            vm_id: 7,
            message: text(),
        }
        .into(),
    );
    events.push(
        HypervDiskStarting {
            vm_name: text(),
            disk_path: text(),
            size: 7,
        }
        .into(),
    );
    events.push(
        HypervCheckpointsDisabled {
            vm_name: text(),
            message: text(),
        }
        .into(),
    );
    events.push(
        HypervReferencePointFailed {
            vm_name: text(),
            message: text(),
        }
        .into(),
    );
    events.push(
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
    );
    events.push(
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
    );
    events.push(
        HypervVmFailed {
            vm_name: text(),
            message: text(),
            error: text(),
            technical_log: text(),
        }
        .into(),
    );
    events.push(
        HypervRestoreStarting {
            vm_name: text(),
            vm_count: 7,
            disk_count: 7,
            target_path: text(),
            backup_type: BackupType::Full,
        }
        .into(),
    );
    events.push(
        HypervRestoreDiskStarting {
            vm_name: text(),
            disk_name: text(),
            disk_index: 7,
            total_disks: 7,
            manifest_id: text(),
        }
        .into(),
    );
    events.push(
        HypervRestoreDiskProgress {
            disk_name: text(),
            bytes_done: 7,
            bytes_total: 7,
            status: text(),
        }
        .into(),
    );
    events.push(
        HypervRestoreDiskComplete {
            vm_name: text(),
            disk_name: text(),
            disk_index: 7,
            total_disks: 7,
        }
        .into(),
    );
    events.push(
        HypervRestoreDiskFailed {
            vm_name: text(),
            disk_name: text(),
            message: text(),
        }
        .into(),
    );
    events.push(HypervRestoreFailed { message: text() }.into());
    events.push(
        HypervRestoreComplete {
            status: text(),
            message: text(),
            restored_disks: 7,
            total_disks: 7,
            vm_count: 7,
            target_path: text(),
        }
        .into(),
    );
    events.push(
        RestoreStarting {
            manifest_id: text(),
            target_path: text(),
            mount: true,
        }
        .into(),
    );
    events.push(
        RestoreProgress {
            files_restored: 7,
            dirs_restored: 7,
            bytes_restored: 7,
            files_skipped: 7,
        }
        .into(),
    );
    events.push(
        RestoreCompleted {
            manifest_id: text(),
            target_path: text(),
        }
        .into(),
    );
    events.push(
        RestoreFailed {
            error: text(),
            manifest_id: text(),
            target_path: text(),
        }
        .into(),
    );
    events.push(
        KopiaRestoreConnecting {
            bucket: text(),
            prefix: text(),
        }
        .into(),
    );
    events.push(
        KopiaRestoreLoading {
            manifest_id: text(),
            disk_name: text(),
        }
        .into(),
    );
    events.push(
        KopiaRestoreSnapshotLoaded {
            manifest_id: text(),
            source_path: text(),
            start_time: text(),
        }
        .into(),
    );
    events.push(
        KopiaRestoreStarted {
            manifest_id: text(),
            target_path: text(),
            disk_name: text(),
        }
        .into(),
    );
    events.push(
        KopiaRestoreStats {
            files_restored: 7,
            dirs_restored: 7,
            bytes_restored: 7,
            files_skipped: 7,
            errors: 7,
            disk_name: Some(text()),
        }
        .into(),
    );
    events.push(
        DiskRestoreStarting {
            target_disk: text(),
            manifest_id: text(),
        }
        .into(),
    );
    events.push(
        DiskRestoreStarted {
            target_disk: text(),
        }
        .into(),
    );
    events.push(
        DiskRestoreCompleted {
            target_disk: text(),
        }
        .into(),
    );
    events.push(DiskRestoreFailed { error: text() }.into());
    events.push(MaintenanceStarting { mode: text() }.into());
    events.push(MaintenanceCompleted { mode: text() }.into());
    events.push(
        MaintenanceFailed {
            mode: text(),
            error: text(),
        }
        .into(),
    );
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
