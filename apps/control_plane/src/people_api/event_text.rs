//! What happened, in English: a sentence for every event of the contract (section 6), from its id and parameters.
//!
//! A template has places in braces, and passages in square brackets that are left out when a parameter for one of
//! their places is missing. So no place stays visible, whatever an agent sends. What is counted stands behind its number
//! as in `{files#file}`: "1 file", "2 files".

use serde_json::{Map, Value};

/// Returns the sentence for an event. One whose id is not known says its `message`, or what else it brought.
pub fn sentence(message_id: &str, params: &Map<String, Value>) -> String {
    match template(message_id) {
        Some(template) => capitalised(fill(template, params)),
        None => unknown(message_id, params),
    }
}

/// Returns a number of bytes as people read it.
pub fn bytes_text(bytes: f64) -> String {
    let mut rest = bytes;
    for unit in ["bytes", "KiB", "MiB", "GiB", "TiB"] {
        if rest.abs() < 1024.0 {
            return match unit {
                "bytes" => format!("{rest:.0} {unit}"),
                _ => format!("{rest:.1} {unit}"),
            };
        }
        rest /= 1024.0;
    }
    format!("{rest:.1} PiB")
}

/// Returns a number of seconds as people read it.
pub fn duration_text(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match (seconds / 86_400, seconds / 3_600, seconds / 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {} min", minutes % 60),
        (days, hours, _) => format!("{days} d {} h", hours % 24),
    }
}

fn template(message_id: &str) -> Option<&'static str> {
    general(message_id)
        .or_else(|| repository(message_id))
        .or_else(|| hyperv(message_id))
        .or_else(|| restore(message_id))
        .or_else(|| disk_image(message_id))
        .or_else(|| health(message_id))
}

/// 6.2, and what the server writes itself.
fn general(message_id: &str) -> Option<&'static str> {
    Some(match message_id {
        "BACKUP_STARTING" => "The backup begins.",
        "SCANNING_SOURCE" => "The source is looked through.",
        "NO_CHANGES" => "Nothing has changed since the last backup.",
        "LOG_TRUNCATED" => "The log was cut: it had become too long.",
        "PROGRESS_UPDATE" => {
            "[{pct} done: ]{bytes_done}[ of {bytes_total}][, {files_done} of {files_total#file}][, {speed_bps}][, {eta_seconds} to go]."
        }
        "SUMMARY_TOTAL" => "{bytes_done} were handled in all.",
        "COMPLETED_SUCCESS" => "The run ended well.",
        "COMPLETED_WARNING" => "The run ended with warnings.",
        "COMPLETED_FAILED" => "The run failed[: {error}].",
        "CANCEL_REQUESTED" => "The run is asked to stop[: {message}].",
        "CANCELLED" => "[{vm_name}: ]stopped[: {message}].",
        "VALIDATION_START" => "The result is being checked.",
        "VALIDATION_SUCCESS" => "The result was found sound.",
        "VALIDATION_FAILED" => "The result was found damaged.",
        "ERROR_AUTH" => "A key or password was not accepted[: {error}].",
        "ERROR_PERMISSION" => "Something may not be read or written[: {error}].",
        "ERROR_NOT_FOUND" => "Something is missing[: {error}].",
        "ERROR_NETWORK" => "The network failed[: {error}].",
        "ERROR_RATE_LIMIT" => "The storage asks for fewer requests[: {error}].",
        "ERROR_QUOTA" => "There is no room left[: {error}].",
        "ERROR_INTERNAL" => "Something unexpected went wrong[: {error}].",
        "AGENT_START_FAILURE" => "The agent could not begin the run[: {summary}].",
        "EVENTS_TRUNCATED" => "More events than are kept were sent[; {cap} are kept][ ({note})].",
        "RESTORE_QUEUED" => {
            "The restore waits for the host[ {host_name}][, to go to {target_path}]."
        }
        "HYPERV_RESTORE_QUEUED" => {
            "The restore[ of {vm_name}] waits for the host[ {host_name}][, to go to {target_path}]."
        }
        _ => return None,
    })
}

/// 6.3.
fn repository(message_id: &str) -> Option<&'static str> {
    Some(match message_id {
        "KOPIA_STAGE" => "{stage}[ for {source}][, compression {compression}].",
        "KOPIA_SOURCE_EMPTY" => "There is nothing in {source}.",
        "KOPIA_SOURCE_ESTIMATE" => "The source holds about[ {files#file} and] {bytes}.",
        "KOPIA_MULTI_SOURCE" => "Several sources are backed up: {sources}.",
        "KOPIA_POLICY" => {
            "Compression: {compression}[; uploads side by side: {parallel_uploads}][; limit {bandwidth_kbps}]."
        }
        "KOPIA_THROTTLE_SET" => "The upload is limited to {upload_bytes_per_sec}.",
        "KOPIA_THROTTLE_SET_FAILED" => "The upload could not be limited[: {error}].",
        "KOPIA_PREVIOUS_SNAPSHOTS" => "Earlier snapshots to build on: {count}.",
        "KOPIA_UPLOAD_CALL_START" => "The upload[ of {stable_source}] begins.",
        "KOPIA_UPLOAD_START" => {
            "The upload[ of {source}][ to {bucket}] begins[; compression {compression}]."
        }
        "KOPIA_PROGRESS_UPDATE" => {
            "[{pct} done: ]{bytes_processed} read[ of {bytes_total}][, {bytes_uploaded} uploaded][, {speed_bps}][, {eta_seconds} to go][; at {current}]."
        }
        "KOPIA_UPLOAD_FINISHED" => "[{bytes_hashed} read, ]{bytes_uploaded} uploaded.",
        "KOPIA_UPLOAD_COMPLETE" => "The upload is complete[; it is snapshot {manifest_id}].",
        "KOPIA_UPLOAD_CALL_DONE" => "The upload ended[ after {duration_ms} ms][: {error}].",
        "KOPIA_UPLOAD_FAILED" => "The upload failed[: {error}].",
        "KOPIA_UPLOAD_NIL_MANIFEST" => "The upload ended without a snapshot.",
        "KOPIA_SAVE_SNAPSHOT_FAILED" => "The snapshot could not be stored[: {error}].",
        "KOPIA_MANIFEST_UPDATE_FAILED" => {
            "The snapshot's manifest could not be changed[: {error}]."
        }
        "KOPIA_MANIFEST_RECORDED" => "Snapshot {manifest_id}[ of {source}] is recorded.",
        "KOPIA_MANIFEST_FALLBACK" => {
            "Snapshot {manifest_id}[ of {source}] was found by looking for it."
        }
        "KOPIA_MANIFEST_MISSING" => "There is no snapshot[ of {source}].",
        "KOPIA_RETENTION_START" => {
            "Old snapshots[ of {source}] are dropped[; the last {keep_last} stay]."
        }
        "KOPIA_RETENTION_COMPLETE" => "Old snapshots dropped: {deleted_count}.",
        "KOPIA_RETENTION_FAILED" => "Old snapshots could not be dropped[: {error}].",
        "STORAGE_DNS_FAILED" => "The storage's name {host} leads nowhere[: {summary}][ {hint}]",
        "STORAGE_TCP_TIMEOUT" => {
            "The storage at {host}[:{port}] does not answer[: {summary}][ {hint}]"
        }
        "STORAGE_TCP_REFUSED" => {
            "The storage at {host}[:{port}] refuses the connection[: {summary}][ {hint}]"
        }
        "STORAGE_TLS_FAILED" => {
            "There is no safe connection to the storage at {host}[:{port}][: {summary}][ {hint}]"
        }
        "STORAGE_HTTP_BLOCKED" => {
            "Something between here and the storage at {host}[:{port}] answers in its place[: {summary}][ {hint}]"
        }
        "STORAGE_ENDPOINT_UNREACHABLE" => {
            "The storage at {host}[:{port}] cannot be reached[: {summary}][ {hint}]"
        }
        _ => return None,
    })
}

/// 6.4.
fn hyperv(message_id: &str) -> Option<&'static str> {
    Some(match message_id {
        "HYPERV_NO_VMS" => "There is no VM to back up[: {error}].",
        "HYPERV_VM_STARTING" => "{vm_name}: its backup begins.",
        "HYPERV_DISK_STARTING" => "{vm_name}: disk {disk_path}[ ({size})] begins.",
        "HYPERV_CHECKPOINTS_DISABLED" => "[{vm_name}: ]{message}",
        "HYPERV_REFERENCE_POINT_FAILED" => "[{vm_name}: ]{message}",
        "HYPERV_DISK_READ_WARNING" => {
            "Disk {disk}: {read_bytes} of {request_bytes} were read[ at {offset_bytes}][: {error}]."
        }
        "HYPERV_DISK_READ_TIMEOUT" => {
            "Disk {disk}: reading {request_bytes}[ at {offset_bytes}] took too long[: {error}]."
        }
        "HYPERV_FINALIZING" => {
            "{vm_name}: {phase}[, {merged_pct} merged][, {avhdx_bytes_left} left][, for {elapsed_seconds}][ – {message}]."
        }
        "HYPERV_VM_COMPLETE" => {
            "{vm_name}: backed up[, {backup_type}][, {changed_bytes} changed][ of {total_bytes}][, {consistency}][; {warnings}]."
        }
        "HYPERV_VM_FAILED" => "{vm_name}: the backup failed[: {message}].",
        "HYPERV_BACKUP_COMPLETE" => "{message}",
        _ => return None,
    })
}

/// 6.5.
fn restore(message_id: &str) -> Option<&'static str> {
    Some(match message_id {
        "HYPERV_RESTORE_STARTING" => {
            "The restore of {vm_name} begins[: {disk_count#disk}][, to {target_path}]."
        }
        "HYPERV_RESTORE_DISK_STARTING" => {
            "[{vm_name}: ]disk {disk_name}[ ({disk_index} of {total_disks})] begins."
        }
        "HYPERV_RESTORE_DISK_PROGRESS" => {
            "Disk {disk_name}: [{bytes_done} of {bytes_total} ]restored[ ({status})]."
        }
        "HYPERV_RESTORE_DISK_COMPLETE" => {
            "[{vm_name}: ]disk {disk_name}[ ({disk_index} of {total_disks})] is restored."
        }
        "HYPERV_RESTORE_DISK_FAILED" => {
            "[{vm_name}: ]disk {disk_name} could not be restored[: {message}]."
        }
        "HYPERV_RESTORE_FAILED" => "The restore failed[: {message}].",
        "HYPERV_RESTORE_COMPLETE" => {
            "The restore ended[: {restored_disks} of {total_disks#disk}][ in {target_path}][; {message}]."
        }
        "RESTORE_STARTING" => "The restore[ to {target_path}] begins.",
        "RESTORE_PROGRESS" => {
            "{files_restored#file}[ and {dirs_restored#folder}] restored[, {bytes_restored}][; skipped: {files_skipped}]."
        }
        "RESTORE_COMPLETED" => "The restore[ to {target_path}] ended well.",
        "RESTORE_FAILED" => "The restore[ to {target_path}] failed[: {error}].",
        "KOPIA_RESTORE_CONNECTING" => "The repository[ in {bucket}] is opened.",
        "KOPIA_RESTORE_LOADING" => "Snapshot {manifest_id}[ of {disk_name}] is looked up.",
        "KOPIA_RESTORE_SNAPSHOT_LOADED" => {
            "Snapshot {manifest_id}[ of {source_path}][, made {start_time},] was found."
        }
        "KOPIA_RESTORE_STARTED" => "Snapshot {manifest_id} is restored[ to {target_path}].",
        "KOPIA_RESTORE_STATS" => {
            "[{disk_name}: ]{bytes_restored} restored[, {files_restored#file}][, {dirs_restored#folder}][, skipped: {files_skipped}][, errors: {errors}]."
        }
        "DISK_RESTORE_STARTING" => "The restore to disk {target_disk} begins.",
        "DISK_RESTORE_STARTED" => "Disk {target_disk} is written.",
        "DISK_RESTORE_COMPLETED" => "Disk {target_disk} is restored.",
        "DISK_RESTORE_FAILED" => "The restore to a disk failed[: {error}].",
        "MAINTENANCE_STARTING" => "[{mode} ]maintenance of the repository begins.",
        "MAINTENANCE_COMPLETED" => "[{mode} ]maintenance of the repository ended well.",
        "MAINTENANCE_FAILED" => "[{mode} ]maintenance of the repository failed[: {error}].",
        "RECOVERY_TIME_SYNC_ATTEMPT" => "The recovery medium sets its clock.",
        "RECOVERY_TIME_DIAGNOSTICS" => "The recovery medium looks at its clock[: {message}].",
        "RECOVERY_TIME_SYNC_OK" => "The recovery medium's clock is right.",
        "RECOVERY_TIME_SYNC_FAILED" => "The recovery medium's clock could not be set[: {error}].",
        "RECOVERY_STORAGE_INIT_FAILED" => {
            "The recovery medium cannot reach the storage[: {error}]."
        }
        _ => return None,
    })
}

/// 6.6.
fn disk_image(message_id: &str) -> Option<&'static str> {
    Some(match message_id {
        "DISK_IMAGE_STARTING" => "The image[ of {source}][ as {format}] begins.",
        "DISK_IMAGE_STREAM_START" => "Reading[ {device}] begins.",
        "DISK_IMAGE_STREAM_COMPLETED" => "Reading[ {device}] is done.",
        "DISK_IMAGE_SIZE_PROBE_FAILED" => "The disk's size could not be found[: {error}].",
        "DISK_IMAGE_READ_PLAN_FALLBACK" => {
            "The whole disk is read: what is in use cannot be told[: {error}]."
        }
        "DISK_IMAGE_READ_RECOVERED" => "A part of the disk could be read after all[: {message}].",
        "DISK_IMAGE_CHANGE_MAP" => "What has changed on the disk is known[: {message}].",
        "DISK_IMAGE_FINALIZING_SLOW" => "Finishing the image takes longer than usual[: {message}].",
        "DISK_IMAGE_FINALIZING_STALLED" => "Finishing the image does not go on[: {message}].",
        "DISK_IMAGE_STALLED" => "The image does not go on[: {message}].",
        "DISK_IMAGE_FAILED" => "The image failed[: {error}].",
        "DISK_IMAGE_RESTORE_READINESS_VERIFYING" => {
            "Whether the image can be restored is being checked."
        }
        "DISK_IMAGE_RESTORE_READINESS_RETRY" => {
            "Whether the image can be restored is checked again[: {message}]."
        }
        "DISK_IMAGE_RESTORE_READINESS_FAILED" => {
            "Whether the image can be restored could not be shown[: {error}]."
        }
        "DISK_IMAGE_RESTORE_READY" => "The image can be restored.",
        "DISK_IMAGE_COMPLETED" => "The image[ of {source}][ as {format}] is complete.",
        "DISK_IMAGE_DRIVER_BUNDLE_PRESENT" => "The machine's drivers are stored already.",
        "DISK_IMAGE_DRIVER_BUNDLE_SKIPPED" => "The machine's drivers are not stored[: {message}].",
        "DISK_IMAGE_DRIVER_BUNDLE_READY" => "The machine's drivers are stored.",
        _ => return None,
    })
}

/// 6.7.
fn health(message_id: &str) -> Option<&'static str> {
    Some(match message_id {
        "AGENT_SERVICE_STARTED" => "The agent[ {version}] has started.",
        "AGENT_SERVICE_STOPPING" => "The agent stops[: {reason}].",
        "AGENT_ENROLLED" => "The agent was enrolled[ by {method}].",
        "AGENT_ENROLLMENT_FAILED" => "The agent could not be enrolled[: {reason}].",
        "AGENT_SERVER_CONNECTION" => "The agent's connection to this server: {state}.",
        "AGENT_DEVICE_ONLINE" => "The machine has a network.",
        "AGENT_DEVICE_OFFLINE" => "The machine has no network[: {reason}].",
        "AGENT_COMMAND_RECEIVED" => "The agent took command {command_id}[, {type}].",
        "AGENT_COMMAND_COMPLETED" => "The agent carried out command {command_id}[, {type}].",
        "AGENT_COMMAND_FAILED" => "Command {command_id}[, {type},] failed[: {error}].",
        "AGENT_RUN_STARTED" => "Run {run_id} has begun.",
        "AGENT_RUN_FINISHED" => "Run {run_id} has ended[: {status}].",
        "TRAY_STARTED" => "The tray program has started.",
        "TRAY_STOPPING" => "The tray program stops.",
        _ => return None,
    })
}

fn unknown(message_id: &str, params: &Map<String, Value>) -> String {
    let said = ["message", "summary", "error"]
        .iter()
        .find_map(|name| value_text(name, params.get(*name)?));
    said.unwrap_or_else(|| {
        let words = message_id.to_lowercase().replace('_', " ");
        match words.trim() {
            "" => "The agent reported something without saying what.".to_owned(),
            words => capitalised(format!("{words}.")),
        }
    })
}

fn fill(template: &str, params: &Map<String, Value>) -> String {
    let mut said = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['[', '{']) {
        said.push_str(&rest[..at]);
        let (open, after) = rest[at..].split_at(1);
        let close = if open == "[" { ']' } else { '}' };
        let Some((inner, behind)) = after.split_once(close) else {
            break;
        };
        match open {
            "[" => said.push_str(&passage(inner, params).unwrap_or_default()),
            _ => said.push_str(&place(inner, params).unwrap_or_else(|| "something".to_owned())),
        }
        rest = behind;
    }
    said.push_str(rest);
    // Texts of agents often end with a full stop of their own.
    let said = said.trim();
    match said.strip_suffix('.') {
        Some(without) if without.ends_with(['.', '!', '?']) => without.to_owned(),
        _ => said.to_owned(),
    }
}

fn passage(inner: &str, params: &Map<String, Value>) -> Option<String> {
    let mut said = String::new();
    let mut rest = inner;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}')?;
        said.push_str(before);
        said.push_str(&place(name, params)?);
        rest = behind;
    }
    said.push_str(rest);
    Some(said)
}

fn place(name: &str, params: &Map<String, Value>) -> Option<String> {
    let Some((name, counted)) = name.split_once('#') else {
        return value_text(name, params.get(name)?);
    };
    let number = value_text(name, params.get(name)?)?;
    let ending = if number == "1" { "" } else { "s" };
    Some(format!("{number} {counted}{ending}"))
}

/// Returns a parameter as people read it; `None` where it says nothing.
fn value_text(name: &str, value: &Value) -> Option<String> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    if let Some(number) = number
        && let Some(said) = quantity(name, number)
    {
        return Some(said);
    }
    let said = match value {
        Value::Null => return None,
        Value::String(text) => text.trim().to_owned(),
        Value::Array(items) => {
            let said: Vec<String> = items
                .iter()
                .filter_map(|item| value_text("", item))
                .collect();
            said.join(", ")
        }
        other => other.to_string(),
    };
    let said = match name {
        "stage" => stage(&said).to_owned(),
        "backup_type" | "mode" => said.to_lowercase(),
        _ => said,
    };
    (!said.is_empty()).then_some(said)
}

fn quantity(name: &str, number: f64) -> Option<String> {
    if name == "size" || name == "bytes" || name.starts_with("bytes_") || name.contains("_bytes") {
        let is_speed = name.ends_with("per_sec");
        let per = if is_speed { "/s" } else { "" };
        return Some(bytes_text(number) + per);
    }
    match name {
        "speed_bps" => Some(format!("{}/s", bytes_text(number))),
        "bandwidth_kbps" => Some(format!("{}/s", bytes_text(number * 1024.0))),
        "eta_seconds" | "elapsed_seconds" => Some(duration_text(number as i64)),
        "pct" | "merged_pct" => Some(format!("{number:.1} %")),
        _ => None,
    }
}

fn stage(word: &str) -> &str {
    match word {
        "storage_init" => "the storage is reached for",
        "repo_init_connect" => "the repository is looked for",
        "repo_open" => "the repository is opened",
        "policy_applied" => "the policy is in force",
        "upload_start" => "the upload begins",
        "storage_preflight" => "the storage is tried out",
        other => other,
    }
}

fn capitalised(text: String) -> String {
    let mut letters = text.chars();
    match letters.next() {
        // Names of VMs and paths keep their case: only our own words, which a blank or a mark follows, are raised.
        Some(first) if first.is_lowercase() && !starts_with_name(&text) => {
            first.to_uppercase().chain(letters).collect()
        }
        _ => text,
    }
}

fn starts_with_name(text: &str) -> bool {
    let word = text.split(' ').next().unwrap_or_default();
    word.ends_with(':') && word != "stopped:"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(message_id: &str, params: Value) -> String {
        sentence(message_id, params.as_object().unwrap())
    }

    /// Every id that section 6 of the contract names.
    const NAMED: &str = "BACKUP_STARTING SCANNING_SOURCE NO_CHANGES LOG_TRUNCATED PROGRESS_UPDATE SUMMARY_TOTAL \
        COMPLETED_SUCCESS COMPLETED_WARNING COMPLETED_FAILED CANCEL_REQUESTED CANCELLED VALIDATION_START \
        VALIDATION_SUCCESS VALIDATION_FAILED ERROR_AUTH ERROR_PERMISSION ERROR_NOT_FOUND ERROR_NETWORK \
        ERROR_RATE_LIMIT ERROR_QUOTA ERROR_INTERNAL AGENT_START_FAILURE EVENTS_TRUNCATED RESTORE_QUEUED \
        HYPERV_RESTORE_QUEUED KOPIA_STAGE KOPIA_SOURCE_EMPTY KOPIA_SOURCE_ESTIMATE KOPIA_MULTI_SOURCE KOPIA_POLICY \
        KOPIA_THROTTLE_SET KOPIA_THROTTLE_SET_FAILED KOPIA_PREVIOUS_SNAPSHOTS KOPIA_UPLOAD_CALL_START \
        KOPIA_UPLOAD_START KOPIA_PROGRESS_UPDATE KOPIA_UPLOAD_FINISHED KOPIA_UPLOAD_COMPLETE KOPIA_UPLOAD_CALL_DONE \
        KOPIA_UPLOAD_FAILED KOPIA_UPLOAD_NIL_MANIFEST KOPIA_SAVE_SNAPSHOT_FAILED KOPIA_MANIFEST_UPDATE_FAILED \
        KOPIA_MANIFEST_RECORDED KOPIA_MANIFEST_FALLBACK KOPIA_MANIFEST_MISSING KOPIA_RETENTION_START \
        KOPIA_RETENTION_COMPLETE KOPIA_RETENTION_FAILED STORAGE_DNS_FAILED STORAGE_TCP_TIMEOUT STORAGE_TCP_REFUSED \
        STORAGE_TLS_FAILED STORAGE_HTTP_BLOCKED STORAGE_ENDPOINT_UNREACHABLE HYPERV_NO_VMS HYPERV_VM_STARTING \
        HYPERV_DISK_STARTING HYPERV_CHECKPOINTS_DISABLED HYPERV_REFERENCE_POINT_FAILED HYPERV_DISK_READ_WARNING \
        HYPERV_DISK_READ_TIMEOUT HYPERV_FINALIZING HYPERV_VM_COMPLETE HYPERV_VM_FAILED HYPERV_BACKUP_COMPLETE \
        HYPERV_RESTORE_STARTING HYPERV_RESTORE_DISK_STARTING HYPERV_RESTORE_DISK_PROGRESS \
        HYPERV_RESTORE_DISK_COMPLETE HYPERV_RESTORE_DISK_FAILED HYPERV_RESTORE_FAILED HYPERV_RESTORE_COMPLETE \
        RESTORE_STARTING RESTORE_PROGRESS RESTORE_COMPLETED RESTORE_FAILED KOPIA_RESTORE_CONNECTING \
        KOPIA_RESTORE_LOADING KOPIA_RESTORE_SNAPSHOT_LOADED KOPIA_RESTORE_STARTED KOPIA_RESTORE_STATS \
        DISK_RESTORE_STARTING DISK_RESTORE_STARTED DISK_RESTORE_COMPLETED DISK_RESTORE_FAILED MAINTENANCE_STARTING \
        MAINTENANCE_COMPLETED MAINTENANCE_FAILED RECOVERY_TIME_SYNC_ATTEMPT RECOVERY_TIME_DIAGNOSTICS \
        RECOVERY_TIME_SYNC_OK RECOVERY_TIME_SYNC_FAILED RECOVERY_STORAGE_INIT_FAILED DISK_IMAGE_STARTING \
        DISK_IMAGE_STREAM_START DISK_IMAGE_STREAM_COMPLETED DISK_IMAGE_SIZE_PROBE_FAILED \
        DISK_IMAGE_READ_PLAN_FALLBACK DISK_IMAGE_READ_RECOVERED DISK_IMAGE_CHANGE_MAP DISK_IMAGE_FINALIZING_SLOW \
        DISK_IMAGE_FINALIZING_STALLED DISK_IMAGE_STALLED DISK_IMAGE_FAILED DISK_IMAGE_RESTORE_READINESS_VERIFYING \
        DISK_IMAGE_RESTORE_READINESS_RETRY DISK_IMAGE_RESTORE_READINESS_FAILED DISK_IMAGE_RESTORE_READY \
        DISK_IMAGE_COMPLETED DISK_IMAGE_DRIVER_BUNDLE_PRESENT DISK_IMAGE_DRIVER_BUNDLE_SKIPPED \
        DISK_IMAGE_DRIVER_BUNDLE_READY AGENT_SERVICE_STARTED AGENT_SERVICE_STOPPING AGENT_ENROLLED \
        AGENT_ENROLLMENT_FAILED AGENT_SERVER_CONNECTION AGENT_DEVICE_ONLINE AGENT_DEVICE_OFFLINE \
        AGENT_COMMAND_RECEIVED AGENT_COMMAND_COMPLETED AGENT_COMMAND_FAILED AGENT_RUN_STARTED AGENT_RUN_FINISHED \
        TRAY_STARTED TRAY_STOPPING";

    #[test]
    fn every_event_of_the_contract_is_a_sentence_without_places_whatever_it_brings() {
        for message_id in NAMED.split_whitespace() {
            let template = template(message_id).unwrap_or_else(|| panic!("{message_id}"));
            let names = template
                .split('{')
                .skip(1)
                .map(|it| it.split(['#', '}']).next().unwrap());
            let all: Map<String, Value> = names.map(|name| (name.to_owned(), json!(7))).collect();
            for params in [Map::new(), all] {
                let said = sentence(message_id, &params);
                assert!(!said.contains(['{', '}', '[', ']']), "{message_id}: {said}");
                assert!(
                    !said.is_empty() && !said.contains("  "),
                    "{message_id}: {said}"
                );
            }
        }
    }

    #[test]
    fn quantities_read_like_quantities() {
        let progress = json!({"pct": 12.5, "bytes_done": 1_073_741_824_u64, "bytes_total": "4294967296",
            "files_done": 0, "files_total": 2, "speed_bps": 104_857_600, "eta_seconds": 3_720});
        assert_eq!(
            said("PROGRESS_UPDATE", progress),
            "12.5 % done: 1.0 GiB of 4.0 GiB, 0 of 2 files, 100.0 MiB/s, 1 h 2 min to go."
        );
        let complete = json!({"vm_name": "web01", "backup_type": "Incremental", "changed_bytes": 734_003_200,
            "total_bytes": 41_875_931_136_u64, "consistency": "application-consistent", "warnings": []});
        assert_eq!(
            said("HYPERV_VM_COMPLETE", complete),
            "web01: backed up, incremental, 700.0 MiB changed of 39.0 GiB, application-consistent."
        );
        assert_eq!(
            said(
                "KOPIA_THROTTLE_SET",
                json!({"upload_bytes_per_sec": 2_097_152})
            ),
            "The upload is limited to 2.0 MiB/s."
        );
        assert_eq!(
            said("SUMMARY_TOTAL", json!({"bytes_done": 12})),
            "12 bytes were handled in all."
        );
        assert_eq!(
            said(
                "HYPERV_RESTORE_COMPLETE",
                json!({"restored_disks": 1, "total_disks": 1})
            ),
            "The restore ended: 1 of 1 disk."
        );
        assert_eq!(duration_text(59), "59 s");
        assert_eq!(duration_text(200_000), "2 d 7 h");
    }

    #[test]
    fn what_is_missing_is_left_out() {
        assert_eq!(said("COMPLETED_FAILED", json!({})), "The run failed.");
        assert_eq!(
            said("COMPLETED_FAILED", json!({"error": "no route."})),
            "The run failed: no route."
        );
        assert_eq!(said("CANCELLED", json!({"vm_name": ""})), "Stopped.");
        assert_eq!(
            said(
                "HYPERV_VM_FAILED",
                json!({"vm_name": "web01", "message": "locked"})
            ),
            "web01: the backup failed: locked."
        );
        assert_eq!(
            said("MAINTENANCE_STARTING", json!({"mode": "quick"})),
            "Quick maintenance of the repository begins."
        );
        assert_eq!(
            said("KOPIA_STAGE", json!({"stage": "repo_open"})),
            "The repository is opened."
        );
    }

    #[test]
    fn an_event_that_is_not_known_says_what_it_brought() {
        assert_eq!(
            said("NEW_ONE", json!({"message": "As it is: {x}"})),
            "As it is: {x}"
        );
        assert_eq!(said("NEW_ONE", json!({})), "New one.");
        assert_eq!(
            said("", json!({})),
            "The agent reported something without saying what."
        );
    }
}
