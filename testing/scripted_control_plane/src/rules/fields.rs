//! Every member of every body, and what may stand in it.

use serde_json::Value;

/// What a member may be.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// An identifier of a run or a job, in the form in which the server gave it.
    Id,
    /// A row's number.
    Row,
    /// Text of at most so many characters.
    Text(usize),
    /// A whole number, not below 0.
    Count,
    /// A share in percent.
    Percent,
    /// `true` or `false`.
    Flag,
    /// A time in RFC 3339 and UTC.
    Time,
    /// One of these words.
    Word(&'static [&'static str]),
    /// An object.
    Map,
    /// A list of objects with these members, or of anything.
    List(&'static [Field]),
    /// A list of texts.
    Texts,
    /// Digits in a form.
    Digits,
}

use Kind::{Count, Digits, Flag, Id, List, Map, Percent, Row, Text, Texts, Time, Word};

/// A member: its name, what it may be, and whether it must be there.
pub(super) type Field = (&'static str, Kind, bool);

const MACHINE: [Field; 8] = [
    ("hostname", Text(191), true),
    ("device_id", Text(64), false),
    ("install_id", Text(64), false),
    ("device_name", Text(191), false),
    ("agent_version", Text(64), false),
    ("agent_os", Word(&["windows", "linux"]), false),
    ("agent_arch", Word(&["amd64", "arm64", "386"]), false),
    ("agent_build", Text(64), false),
];

const ENROLL: &[Field] = &[("token", Text(64), true)];

const LOGIN: &[Field] = &[
    ("mode", Word(&["authenticate", "complete"]), false),
    ("email", Text(255), false),
    ("password", Text(255), false),
    ("session_token", Text(64), false),
    ("backup_user_id", Digits, false),
    ("auto_create_user", Word(&["true"]), false),
];

const VERSION: Field = ("agent_version", Text(64), true);

const UPDATE_RUN: &[Field] = &[
    ("run_id", Id, true),
    (
        "status",
        Word(&["running", "success", "warning", "failed", "cancelled"]),
        false,
    ),
    ("started_at", Time, false),
    ("finished_at", Time, false),
    ("progress_pct", Percent, false),
    ("bytes_processed", Count, false),
    ("bytes_transferred", Count, false),
    ("bytes_total", Count, false),
    ("objects_transferred", Count, false),
    ("objects_total", Count, false),
    ("speed_bytes_per_sec", Count, false),
    ("eta_seconds", Count, false),
    ("current_item", Text(1024), false),
    ("error_summary", Text(700), false),
    ("log_excerpt", Text(65_000), false),
    (
        "validation_status",
        Word(&["not_run", "running", "success", "failed"]),
        false,
    ),
    ("validation_log_excerpt", Text(65_000), false),
    ("log_ref", Text(255), false),
    ("manifest_id", Text(255), false),
    ("stats_json", Map, false),
    ("progress_json", Map, false),
    ("disk_manifests_json", Map, false),
    ("hyperv_results", List(HYPERV_RESULT), false),
    VERSION,
    ("agent_os", Word(&["windows", "linux"]), false),
    ("agent_arch", Word(&["amd64", "arm64", "386"]), false),
    ("agent_build", Text(64), false),
];

const HYPERV_RESULT: &[Field] = &[
    ("vm_id", Row, true),
    ("vm_name", Text(255), true),
    ("backup_type", Word(&["Full", "Incremental"]), true),
    ("checkpoint_id", Text(64), false),
    ("rct_ids", Map, false),
    ("disk_manifests", Map, false),
    ("total_bytes", Count, false),
    ("changed_bytes", Count, false),
    (
        "consistency_level",
        Word(&["Application", "Crash", "CrashNoCheckpoint"]),
        false,
    ),
    ("duration_seconds", Count, false),
    ("error", Text(65_000), false),
    ("warnings", Texts, false),
    (
        "warning_code",
        Word(&["CHECKPOINTS_DISABLED", "REFERENCE_POINT_FAILED"]),
        false,
    ),
];

const EVENTS: [Field; 3] = [
    ("events", List(&[]), false),
    ("events_encoding", Word(&["gzip+base64"]), false),
    ("events_b64", Text(usize::MAX), false),
];

const PUSH_EVENTS: &[Field] = &[
    ("run_id", Id, true),
    VERSION,
    EVENTS[0],
    EVENTS[1],
    EVENTS[2],
    ("logs", List(LOG), false),
    ("log_ref", Text(255), false),
    ("manifest_id", Text(255), false),
];

const LOG: &[Field] = &[
    ("level", Text(16), false),
    ("code", Text(64), false),
    ("message", Text(65_000), false),
    ("details_json", Map, false),
];

const PUSH_AGENT_EVENTS: &[Field] = &[VERSION, EVENTS[0], EVENTS[1], EVENTS[2]];

const LOG_CHUNK: &[Field] = &[
    ("run_id", Id, true),
    ("chunk_seq", Count, true),
    ("source", Word(&["agent", "tray", "run"]), true),
    ("encoding", Word(&["gzip"]), true),
    ("content_b64", Text(usize::MAX), true),
    ("line_count", Count, true),
    ("first_ts", Time, false),
    ("last_ts", Time, false),
    VERSION,
];

const COMPLETE_COMMAND: &[Field] = &[
    ("command_id", Row, true),
    ("status", Word(&["completed", "failed"]), true),
    ("result_message", Text(65_000), false),
];

const REPORT_BROWSE: &[Field] = &[
    ("command_id", Row, true),
    ("result_encoding", Word(&["gzip+base64"]), true),
    ("result_b64", Text(usize::MAX), true),
];

const VOLUMES: &[Field] = &[("volumes", List(VOLUME), true)];

const VOLUME: &[Field] = &[
    ("path", Text(1024), true),
    ("label", Text(255), false),
    ("size_bytes", Count, true),
    // Beyond the contract: the addon keeps the list and passes over it.
    ("free_bytes", Count, false),
    ("filesystem", Text(64), false),
    (
        "type",
        Word(&["fixed", "network", "disk", "part", "lvm"]),
        true,
    ),
    ("unc_path", Text(1024), false),
    ("is_network", Flag, false),
];

const DISCOVER: &[Field] = &[("job_id", Id, true), ("vms", List(VM), true)];

const VM: &[Field] = &[
    ("id", Text(64), true),
    ("name", Text(255), true),
    ("generation", Count, false),
    ("is_linux", Flag, false),
    ("integration_services", Flag, false),
    ("rct_enabled", Flag, false),
    ("disks", List(DISK), true),
];

const DISK: &[Field] = &[
    ("path", Text(1024), true),
    ("controller_type", Word(&["SCSI", "IDE"]), true),
    ("controller_number", Count, false),
    ("controller_location", Count, false),
    ("vhd_format", Word(&["VHDX", "VHD"]), true),
    ("size_bytes", Count, false),
    ("used_bytes", Count, false),
    ("rct_enabled", Flag, false),
    ("rct_id", Text(128), false),
];

const COMPLETE_OPERATION: &[Field] = &[
    ("operation_id", Digits, true),
    ("operation_token", Text(191), true),
    ("status", Word(&["success", "failed"]), true),
    ("result_json", Text(65_000), true),
];

const UPDATE_PROGRESS: &[Field] = &[
    ("update_job_id", Row, true),
    (
        "state",
        Word(&[
            "downloading",
            "verifying",
            "applying",
            "restarting",
            "failed",
        ]),
        true,
    ),
    ("detail", Text(65_000), false),
    ("agent_version", Text(64), false),
];

/// Returns the members that an endpoint's body may have; `None` when the contract has no such endpoint,
/// or none that agents call.
pub(super) fn of(endpoint: &str) -> Option<Vec<Field>> {
    let fields = match endpoint {
        "agent_enroll" => return Some([ENROLL, &MACHINE].concat()),
        "agent_login" => {
            let optional = MACHINE.map(|(name, kind, _)| (name, kind, false));
            return Some([LOGIN, &optional].concat());
        }
        "agent_next_run"
        | "agent_poll"
        | "agent_poll_pending_commands"
        | "agent_poll_repo_operations" => &[],
        "agent_update_run" => UPDATE_RUN,
        "agent_push_events" => PUSH_EVENTS,
        "agent_push_agent_events" => PUSH_AGENT_EVENTS,
        "agent_push_log_chunk" => LOG_CHUNK,
        "agent_poll_commands" => &[("run_id", Text(64), true)],
        "agent_complete_command" => COMPLETE_COMMAND,
        "agent_report_browse" => REPORT_BROWSE,
        "agent_report_volumes" => VOLUMES,
        "agent_hyperv_discover" => DISCOVER,
        "agent_complete_repo_operation" => COMPLETE_OPERATION,
        "agent_update_progress" => UPDATE_PROGRESS,
        _ => return None,
    };
    Some(fields.to_vec())
}

/// Returns what is wrong with the members of an object.
pub(super) fn check(fields: &[Field], object: &Value, ids: &[&Value]) -> Vec<String> {
    let Some(members) = object.as_object() else {
        return vec!["an object should be here".to_owned()];
    };
    let mut wrong = Vec::new();
    for (name, kind, is_required) in fields {
        match members.get(*name) {
            None if *is_required => wrong.push(format!("`{name}` is missing")),
            None => {}
            Some(member) => {
                wrong.extend(fault(*kind, member, ids).map(|fault| format!("`{name}` {fault}")))
            }
        }
        if let (List(inner), Some(Value::Array(elements))) = (kind, members.get(*name)) {
            let inner_wrong = elements.iter().filter(|_| !inner.is_empty());
            let inner_wrong = inner_wrong.flat_map(|element| check(inner, element, ids));
            wrong.extend(inner_wrong.map(|fault| format!("in `{name}`: {fault}")));
        }
    }
    let is_known = |name: &String| fields.iter().any(|(known, ..)| known == name);
    let unknown = members.keys().filter(|name| !is_known(name));
    wrong.extend(unknown.map(|name| format!("`{name}` is not in the contract")));
    wrong
}

fn fault(kind: Kind, member: &Value, ids: &[&Value]) -> Option<String> {
    let ok = match kind {
        Id => ids.contains(&member),
        Row | Count => member.as_u64().is_some(),
        Text(max) => return text_fault(member, max),
        Percent => member
            .as_f64()
            .is_some_and(|pct| (0.0..=100.0).contains(&pct)),
        Flag => member.is_boolean(),
        Time => member
            .as_str()
            .is_some_and(|text| text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok()),
        Word(words) => member.as_str().is_some_and(|word| words.contains(&word)),
        Map => member.is_object(),
        List(_) => member.is_array(),
        Texts => member
            .as_array()
            .is_some_and(|list| list.iter().all(Value::is_string)),
        Digits => member
            .as_str()
            .is_some_and(|text| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit())),
    };
    (!ok).then(|| format!("may not be {}", shown(member)))
}

fn text_fault(member: &Value, max: usize) -> Option<String> {
    match member.as_str() {
        None => Some(format!("should be text and is {}", shown(member))),
        Some(text) => {
            (text.chars().count() > max).then(|| format!("is longer than {max} characters"))
        }
    }
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(100).collect()
}
