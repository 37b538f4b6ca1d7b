//! Events: names, parameters, and how batches are packed.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Violation;
use super::fields::{self, Field, Kind};
use crate::fault::Fault;
use crate::record::Recorded;
use crate::world::id_text;

const PLAIN_BYTES_MAX: usize = 48 * 1024;
const PARAMS_BYTES_MAX: usize = 65_000;

const EVENT: &[Field] = &[
    (
        "type",
        Kind::Word(&[
            "info",
            "progress",
            "summary",
            "warn",
            "warning",
            "error",
            "cancelled",
        ]),
        false,
    ),
    (
        "level",
        Kind::Word(&["info", "warn", "warning", "error"]),
        false,
    ),
    ("code", Kind::Text(64), false),
    ("message_id", Kind::Text(64), true),
    ("params_json", Kind::Map, false),
];

const AGENT_EVENT: &[Field] = &[
    ("source", Kind::Word(&["agent", "tray"]), true),
    ("ts", Kind::Time, true),
    ("level", Kind::Word(&["info", "warn", "error"]), true),
    ("code", Kind::Text(64), true),
    ("message_id", Kind::Text(64), true),
    ("params_json", Kind::Map, false),
    ("dedupe_key", Kind::Text(191), false),
];

/// Parameters that the portal formats, and that must therefore be numbers.
const NUMBERS: [&str; 12] = [
    "bytes_done",
    "bytes_total",
    "bytes_restored",
    "size",
    "total_bytes",
    "changed_bytes",
    "avhdx_bytes_left",
    "avhdx_bytes_total",
    "speed_bps",
    "upload_bytes_per_sec",
    "eta_seconds",
    "pct",
];

/// Parameters that texts have places for.
const PARAMS: &[(&str, &[&str])] = &[
    ("BACKUP_STARTING", &["engine"]),
    (
        "PROGRESS_UPDATE",
        &[
            "pct",
            "bytes_done",
            "bytes_total",
            "files_done",
            "files_total",
            "speed_bps",
            "eta_seconds",
        ],
    ),
    ("SUMMARY_TOTAL", &["bytes_done"]),
    ("COMPLETED_SUCCESS", &["engine"]),
    ("COMPLETED_WARNING", &[]),
    ("COMPLETED_FAILED", &["error", "engine"]),
    ("CANCEL_REQUESTED", &["message"]),
    ("CANCELLED", &["message", "vm_name"]),
    ("SCANNING_SOURCE", &[]),
    ("NO_CHANGES", &[]),
    ("LOG_TRUNCATED", &[]),
    ("VALIDATION_START", &[]),
    ("VALIDATION_SUCCESS", &[]),
    ("VALIDATION_FAILED", &[]),
    ("ERROR_AUTH", &[]),
    ("ERROR_PERMISSION", &[]),
    ("ERROR_NOT_FOUND", &[]),
    ("ERROR_NETWORK", &[]),
    ("ERROR_RATE_LIMIT", &[]),
    ("ERROR_QUOTA", &[]),
    ("ERROR_INTERNAL", &[]),
    ("KOPIA_STAGE", &["stage"]),
    ("KOPIA_SOURCE_EMPTY", &["source"]),
    ("KOPIA_SOURCE_ESTIMATE", &["files", "bytes"]),
    ("KOPIA_MULTI_SOURCE", &["sources"]),
    ("KOPIA_POLICY", &["compression", "parallel_uploads"]),
    (
        "KOPIA_THROTTLE_SET",
        &["upload_bytes_per_sec", "bandwidth_kbps"],
    ),
    ("KOPIA_THROTTLE_SET_FAILED", &["error"]),
    ("KOPIA_PREVIOUS_SNAPSHOTS", &["count", "stable_source"]),
    (
        "KOPIA_UPLOAD_CALL_START",
        &["stable_source", "bucket", "prefix"],
    ),
    ("KOPIA_UPLOAD_START", &["source", "bucket", "prefix"]),
    (
        "KOPIA_PROGRESS_UPDATE",
        &[
            "pct",
            "bytes_processed",
            "bytes_uploaded",
            "bytes_total",
            "files_done",
            "files_total",
            "speed_bps",
            "eta_seconds",
            "current",
        ],
    ),
    ("KOPIA_UPLOAD_FINISHED", &["bytes_hashed", "bytes_uploaded"]),
    ("KOPIA_UPLOAD_COMPLETE", &["manifest_id", "stable_source"]),
    ("KOPIA_UPLOAD_CALL_DONE", &["duration_ms", "error"]),
    ("KOPIA_UPLOAD_FAILED", &["error"]),
    ("KOPIA_UPLOAD_NIL_MANIFEST", &[]),
    ("KOPIA_SAVE_SNAPSHOT_FAILED", &["error"]),
    ("KOPIA_MANIFEST_UPDATE_FAILED", &["error"]),
    (
        "KOPIA_MANIFEST_RECORDED",
        &["manifest_id", "source", "bucket", "prefix"],
    ),
    (
        "KOPIA_MANIFEST_FALLBACK",
        &["manifest_id", "source", "bucket", "prefix"],
    ),
    ("KOPIA_MANIFEST_MISSING", &["source", "bucket", "prefix"]),
    ("KOPIA_RETENTION_START", &["keep_last", "source"]),
    ("KOPIA_RETENTION_COMPLETE", &["deleted_count", "keep_last"]),
    ("KOPIA_RETENTION_FAILED", &["error"]),
    ("STORAGE_DNS_FAILED", STORAGE),
    ("STORAGE_TCP_TIMEOUT", STORAGE),
    ("STORAGE_TCP_REFUSED", STORAGE),
    ("STORAGE_TLS_FAILED", STORAGE),
    ("STORAGE_HTTP_BLOCKED", STORAGE),
    ("STORAGE_ENDPOINT_UNREACHABLE", STORAGE),
    ("HYPERV_NO_VMS", &["error"]),
    ("HYPERV_VM_STARTING", &["vm_name", "vm_id", "message"]),
    ("HYPERV_DISK_STARTING", &["vm_name", "disk_path", "size"]),
    ("HYPERV_CHECKPOINTS_DISABLED", &["vm_name", "message"]),
    ("HYPERV_REFERENCE_POINT_FAILED", &["vm_name", "message"]),
    ("HYPERV_DISK_READ_WARNING", DISK_READ),
    ("HYPERV_DISK_READ_TIMEOUT", DISK_READ),
    (
        "HYPERV_FINALIZING",
        &["vm_name", "phase", "elapsed_seconds", "message"],
    ),
    (
        "HYPERV_VM_COMPLETE",
        &[
            "vm_name",
            "backup_type",
            "changed_bytes",
            "total_bytes",
            "consistency",
            "message",
            "warnings",
        ],
    ),
    (
        "HYPERV_VM_FAILED",
        &["vm_name", "message", "error", "technical_log"],
    ),
    (
        "HYPERV_BACKUP_COMPLETE",
        &[
            "message",
            "status",
            "success_count",
            "fail_count",
            "warning_count",
            "total_count",
            "success_vms",
            "failed_vms",
            "warning_vms",
        ],
    ),
    (
        "HYPERV_RESTORE_STARTING",
        &[
            "vm_name",
            "vm_count",
            "disk_count",
            "target_path",
            "backup_type",
        ],
    ),
    (
        "HYPERV_RESTORE_DISK_STARTING",
        &[
            "vm_name",
            "disk_name",
            "disk_index",
            "total_disks",
            "manifest_id",
        ],
    ),
    (
        "HYPERV_RESTORE_DISK_PROGRESS",
        &["disk_name", "bytes_done", "bytes_total", "status"],
    ),
    (
        "HYPERV_RESTORE_DISK_COMPLETE",
        &["vm_name", "disk_name", "disk_index", "total_disks"],
    ),
    (
        "HYPERV_RESTORE_DISK_FAILED",
        &["vm_name", "disk_name", "message"],
    ),
    ("HYPERV_RESTORE_FAILED", &["message"]),
    (
        "HYPERV_RESTORE_COMPLETE",
        &[
            "status",
            "message",
            "restored_disks",
            "total_disks",
            "vm_count",
            "target_path",
        ],
    ),
    ("RESTORE_STARTING", &["manifest_id", "target_path", "mount"]),
    (
        "RESTORE_PROGRESS",
        &[
            "files_restored",
            "dirs_restored",
            "bytes_restored",
            "files_skipped",
        ],
    ),
    ("RESTORE_COMPLETED", &["manifest_id", "target_path"]),
    ("RESTORE_FAILED", &["error", "manifest_id", "target_path"]),
    ("KOPIA_RESTORE_CONNECTING", &["bucket", "prefix"]),
    ("KOPIA_RESTORE_LOADING", &["manifest_id", "disk_name"]),
    (
        "KOPIA_RESTORE_SNAPSHOT_LOADED",
        &["manifest_id", "source_path", "start_time"],
    ),
    (
        "KOPIA_RESTORE_STARTED",
        &["manifest_id", "target_path", "disk_name"],
    ),
    ("KOPIA_RESTORE_STATS", &["files_restored", "bytes_restored"]),
    ("DISK_RESTORE_STARTING", &["target_disk", "manifest_id"]),
    ("DISK_RESTORE_STARTED", &["target_disk"]),
    ("DISK_RESTORE_COMPLETED", &["target_disk"]),
    ("DISK_RESTORE_FAILED", &["error"]),
    ("MAINTENANCE_STARTING", &["mode"]),
    ("MAINTENANCE_COMPLETED", &["mode"]),
    ("MAINTENANCE_FAILED", &["mode", "error"]),
    ("AGENT_SERVICE_STARTED", &["version"]),
    ("AGENT_SERVICE_STOPPING", &["reason"]),
    ("AGENT_ENROLLED", &["method"]),
    ("AGENT_ENROLLMENT_FAILED", &["reason"]),
    ("AGENT_SERVER_CONNECTION", &["state"]),
    ("AGENT_DEVICE_ONLINE", &[]),
    ("AGENT_DEVICE_OFFLINE", &["reason"]),
    ("AGENT_COMMAND_RECEIVED", &["command_id", "type"]),
    ("AGENT_COMMAND_COMPLETED", &["command_id", "type", "status"]),
    ("AGENT_COMMAND_FAILED", &["command_id", "type", "error"]),
    ("AGENT_RUN_STARTED", &["run_id", "job_id"]),
    ("AGENT_RUN_FINISHED", &["run_id", "status"]),
];

const STORAGE: &[&str] = &[
    "reason_code",
    "summary",
    "hint",
    "endpoint",
    "host",
    "port",
    "error",
    "stage",
];

const DISK_READ: &[&str] = &[
    "disk",
    "reader",
    "offset_bytes",
    "request_bytes",
    "read_bytes",
    "zero_filled",
    "near_tail",
    "error",
];

pub(super) fn check(calls: &[Recorded]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut refused = BTreeSet::new();
    for recorded in calls {
        let fields = match recorded.call.endpoint.as_str() {
            "agent_push_events" => EVENT,
            "agent_push_agent_events" => AGENT_EVENT,
            _ => continue,
        };
        let events = recorded.call.events();
        let mut wrong: Vec<String> = events
            .iter()
            .flat_map(|event| event_faults(event, fields))
            .collect();
        let plain = &recorded.call.body["events"];
        if !plain.is_null() && plain.to_string().len() > PLAIN_BYTES_MAX {
            wrong.push("a batch over 48 KiB is not packed".to_owned());
        }
        let run = id_text(&recorded.call.body["run_id"]);
        if refused.remove(&(run.clone(), names(events))) && !plain.is_null() {
            wrong.push("a batch that a firewall refused comes again, and is not packed".to_owned());
        }
        if recorded.fault == Some(Fault::Firewall) {
            refused.insert((run, names(events)));
        }
        found.extend(wrong.into_iter().map(|what| Violation::of(recorded, what)));
    }
    found
}

fn names(events: &[Value]) -> String {
    let names = events
        .iter()
        .map(|event| event["message_id"].as_str().unwrap_or_default());
    names.collect::<Vec<_>>().join(" ")
}

fn event_faults(event: &Value, fields: &[Field]) -> Vec<String> {
    let name = event["message_id"].as_str().unwrap_or_default();
    let mut wrong = fields::check(fields, event, &[]);
    let params = &event["params_json"];
    match PARAMS.iter().find(|(known, _)| *known == name) {
        None => wrong.push("no text is known for it".to_owned()),
        Some((_, params_of)) => {
            let missing = params_of
                .iter()
                .filter(|param| params.get(**param).is_none());
            wrong.extend(missing.map(|param| format!("the parameter `{param}` is missing")));
        }
    }
    for (param, value) in params.as_object().into_iter().flatten() {
        if NUMBERS.contains(&param.as_str()) && !value.is_number() {
            wrong.push(format!("the parameter `{param}` is no number"));
        }
        if is_deep(value) {
            wrong.push(format!(
                "the parameter `{param}` is nested deeper than one level"
            ));
        }
    }
    if params.to_string().len() > PARAMS_BYTES_MAX {
        wrong.push("its parameters take more than 65,000 bytes".to_owned());
    }
    if event["code"] == "" {
        wrong.push("an empty `code` stays empty; leave it out".to_owned());
    }
    wrong
        .into_iter()
        .map(|what| format!("event {name}: {what}"))
        .collect()
}

fn is_deep(value: &Value) -> bool {
    let is_container = |inner: &Value| inner.is_array() || inner.is_object();
    match value {
        Value::Array(elements) => elements.iter().any(is_container),
        Value::Object(members) => members.values().any(is_container),
        _ => false,
    }
}
