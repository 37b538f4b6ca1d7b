//! Events of repositories, uploads and the storage under them.

use super::{Event, Percent, events};
use crate::words::closed_words;

closed_words! {
    /// A step on the way to the upload.
    Stage {
        /// The storage is reached for.
        StorageInit = "storage_init",
        /// The repository is made or connected to.
        RepoInitConnect = "repo_init_connect",
        /// The repository is opened.
        RepoOpen = "repo_open",
        /// The policy is in force.
        PolicyApplied = "policy_applied",
        /// The upload begins.
        UploadStart = "upload_start",
        /// The storage is tried out.
        StoragePreflight = "storage_preflight",
    }
}

impl super::Param for Stage {
    fn value(self) -> Option<serde_json::Value> {
        Some(self.as_str().into())
    }
}

events! {
    /// A step on the way to the upload is taken.
    KopiaStage = "KOPIA_STAGE", "info", "info" {
        stage: Stage,
        bucket: Option<String>,
        prefix: Option<String>,
        endpoint: Option<String>,
        region: Option<String>,
        source: Option<String>,
        stable_source: Option<String>,
        compression: Option<String>,
        parallel_uploads: Option<u64>,
        bandwidth_kbps: Option<u64>,
        include_glob: Option<String>,
        exclude_glob: Option<String>,
        repo_path: Option<String>,
    }

    /// There is nothing below a source.
    KopiaSourceEmpty = "KOPIA_SOURCE_EMPTY", "warn", "warn" {
        source: String,
    }

    /// How much a source is expected to hold.
    KopiaSourceEstimate = "KOPIA_SOURCE_ESTIMATE", "info", "info" {
        files: u64,
        bytes: u64,
    }

    /// A run has several sources.
    KopiaMultiSource = "KOPIA_MULTI_SOURCE", "info", "info" {
        sources: Vec<String>,
    }

    /// What the work is done by.
    KopiaPolicy = "KOPIA_POLICY", "info", "info" {
        compression: String,
        parallel_uploads: u64,
        bandwidth_kbps: Option<u64>,
    }

    /// The upload is slowed down.
    KopiaThrottleSet = "KOPIA_THROTTLE_SET", "info", "info" {
        upload_bytes_per_sec: u64,
        bandwidth_kbps: u64,
    }

    /// The upload could not be slowed down.
    KopiaThrottleSetFailed = "KOPIA_THROTTLE_SET_FAILED", "info", "warn" {
        error: String,
    }

    /// How many earlier snapshots there are.
    KopiaPreviousSnapshots = "KOPIA_PREVIOUS_SNAPSHOTS", "info", "info" {
        count: u64,
        stable_source: String,
    }

    /// The upload is called.
    KopiaUploadCallStart = "KOPIA_UPLOAD_CALL_START", "info", "info" {
        stable_source: String,
        bucket: String,
        prefix: String,
    }

    /// The upload begins.
    KopiaUploadStart = "KOPIA_UPLOAD_START", "info", "info" {
        source: String,
        bucket: String,
        prefix: String,
        parallel_uploads: Option<u64>,
        compression: Option<String>,
        previous_snapshots: Option<u64>,
    }

    /// How far the upload is.
    KopiaProgressUpdate = "KOPIA_PROGRESS_UPDATE", "progress", "info" {
        pct: Percent,
        bytes_processed: u64,
        bytes_uploaded: u64,
        bytes_total: u64,
        files_done: u64,
        files_total: u64,
        speed_bps: u64,
        eta_seconds: u64,
        current: String,
    }

    /// All is uploaded.
    KopiaUploadFinished = "KOPIA_UPLOAD_FINISHED", "info", "info" {
        bytes_hashed: u64,
        bytes_uploaded: u64,
    }

    /// The snapshot is there.
    KopiaUploadComplete = "KOPIA_UPLOAD_COMPLETE", "info", "info" {
        manifest_id: String,
        stable_source: String,
    }

    /// The upload's call returned well.
    KopiaUploadCallDone = "KOPIA_UPLOAD_CALL_DONE", "info", "info" {
        duration_ms: u64,
        error: String,
    }

    /// The upload failed.
    KopiaUploadFailed = "KOPIA_UPLOAD_FAILED", "error", "error" {
        error: String,
    }

    /// The upload gave no manifest.
    KopiaUploadNilManifest = "KOPIA_UPLOAD_NIL_MANIFEST", "error", "error" {}

    /// The snapshot could not be published.
    KopiaSaveSnapshotFailed = "KOPIA_SAVE_SNAPSHOT_FAILED", "error", "error" {
        error: String,
    }

    /// The manifest could not be changed.
    KopiaManifestUpdateFailed = "KOPIA_MANIFEST_UPDATE_FAILED", "error", "error" {
        error: String,
    }

    /// The run's manifest is recorded.
    KopiaManifestRecorded = "KOPIA_MANIFEST_RECORDED", "info", "info" {
        manifest_id: String,
        source: String,
        bucket: String,
        prefix: String,
    }

    /// The run's manifest was found in another way.
    KopiaManifestFallback = "KOPIA_MANIFEST_FALLBACK", "info", "info" {
        manifest_id: String,
        source: String,
        bucket: String,
        prefix: String,
    }

    /// There is no manifest.
    KopiaManifestMissing = "KOPIA_MANIFEST_MISSING", "error", "error" {
        source: String,
        bucket: String,
        prefix: String,
    }

    /// Old snapshots are dropped.
    KopiaRetentionStart = "KOPIA_RETENTION_START", "info", "info" {
        keep_last: u64,
        source: String,
    }

    /// Old snapshots were dropped.
    KopiaRetentionComplete = "KOPIA_RETENTION_COMPLETE", "info", "info" {
        deleted_count: u64,
        keep_last: u64,
    }

    /// Old snapshots could not be dropped.
    KopiaRetentionFailed = "KOPIA_RETENTION_FAILED", "warn", "warn" {
        error: String,
    }
}

/// Why a storage cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageReason {
    /// The name leads nowhere.
    DnsLookupFailed,
    /// Nobody answers.
    TcpTimeout,
    /// The door is shut.
    TcpRefused,
    /// There is no safe line.
    TlsFailed,
    /// Something in between answers.
    HttpBlocked,
    /// It cannot be reached for another reason.
    EndpointUnreachable,
    /// The endpoint makes no sense.
    EndpointInvalid,
}

impl StorageReason {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::DnsLookupFailed => ("STORAGE_DNS_FAILED", "dns_lookup_failed"),
            Self::TcpTimeout => ("STORAGE_TCP_TIMEOUT", "tcp_timeout"),
            Self::TcpRefused => ("STORAGE_TCP_REFUSED", "tcp_refused"),
            Self::TlsFailed => ("STORAGE_TLS_FAILED", "tls_failed"),
            Self::HttpBlocked => ("STORAGE_HTTP_BLOCKED", "http_blocked"),
            Self::EndpointUnreachable => ("STORAGE_ENDPOINT_UNREACHABLE", "endpoint_unreachable"),
            Self::EndpointInvalid => ("STORAGE_ENDPOINT_UNREACHABLE", "endpoint_invalid"),
        }
    }
}

/// A storage cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub struct StorageFailed {
    /// Why.
    pub reason: StorageReason,
    /// What happened, for people.
    pub summary: String,
    /// What to do next.
    pub hint: String,
    /// The endpoint.
    pub endpoint: String,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u64,
    /// What the error says.
    pub error: String,
    /// When it happened.
    pub stage: Stage,
}

impl From<StorageFailed> for Event {
    fn from(failed: StorageFailed) -> Self {
        let (message_id, code) = failed.reason.words();
        let mut params = serde_json::Map::new();
        for (name, text) in [
            ("reason_code", code.to_owned()),
            ("summary", failed.summary),
            ("hint", failed.hint),
            ("endpoint", failed.endpoint),
            ("host", failed.host),
            ("error", failed.error),
        ] {
            super::param::set(&mut params, name, text);
        }
        super::param::set(&mut params, "port", failed.port);
        super::param::set(&mut params, "stage", failed.stage);
        let mut event = Self::new(message_id, "error", "error", params);
        event.code = Some(code.to_owned());
        event
    }
}
