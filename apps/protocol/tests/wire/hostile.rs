//! Nonsense and malice from outside: errors, and never a panic.

use protocol::commands::{Command, Poll};
use protocol::enrolment::{Enroll, Machine};
use protocol::hyperv_discover::HypervDiscover;
use protocol::log_chunk::PushLogChunk;
use protocol::next_run::{NextRun, Offer};
use protocol::repo_operations::PollRepoOperations;
use protocol::reports::ReportBrowse;
use protocol::run_events::PushEvents;
use protocol::update_run::UpdateRun;
use protocol::{Call, NoAnswer, SecretText};
use serde_json::{Value, json};

use crate::answer;

/// Values that no member expects.
fn nonsense() -> Vec<Value> {
    let huge: Value =
        serde_json::from_str("[1e308, -1e308, 18446744073709551615, -9223372036854775808]")
            .unwrap();
    let mut values = vec![
        json!(null),
        json!(true),
        json!(""),
        json!("\u{0}"),
        json!("NaN"),
        json!("inf"),
        json!("-0"),
        json!("1e999"),
        json!([]),
        json!({}),
        json!([[]]),
        json!([{}]),
        json!({"0": 1}),
        json!({"": null}),
        json!("[]"),
        json!("{\"a\":"),
        json!([null]),
        json!("\u{202e}\u{fffd}"),
        json!("x".repeat(100_000)),
    ];
    values.extend(huge.as_array().unwrap().iter().cloned());
    values
}

fn members_of(call: &str) -> Vec<&'static str> {
    match call {
        "run" => vec![
            "run_id",
            "job_id",
            "engine",
            "source_type",
            "source_paths",
            "source_path",
            "dest_type",
            "dest_bucket_name",
            "dest_prefix",
            "dest_access_key",
            "local_bandwidth_limit_kbps",
            "repository_id",
            "repository_password",
            "compression_enabled",
            "schedule_json",
            "retention_json",
            "policy_json",
            "network_credentials",
            "hyperv_config",
            "hyperv_vms",
            "resume",
            "last_heartbeat_at",
        ],
        _ => vec![
            "command_id",
            "type",
            "run_id",
            "job_id",
            "payload",
            "job_context",
        ],
    }
}

#[test]
fn no_member_of_a_run_may_be_anything_that_panics() {
    for member in members_of("run") {
        for value in nonsense() {
            let mut run = json!({"run_id": "0195", "engine": "hyperv"});
            run[member] = value.clone();
            let body = json!({"status": "success", "run": run}).to_string();
            match answer(&NextRun, &body) {
                Ok(Offer::Run(run)) => {
                    let again = serde_json::to_value(&run).unwrap();
                    let read: protocol::next_run::Run = serde_json::from_value(again).unwrap();
                    assert_eq!(read, *run, "{member}: {value}");
                }
                Ok(Offer::NoRun) => panic!("{member}: {value}"),
                Ok(Offer::Unreadable { .. }) | Err(_) => {}
            }
        }
    }
}

#[test]
fn no_member_of_a_command_may_be_anything_that_panics() {
    let names = [
        "restore",
        "hyperv_restore",
        "browse_directory",
        "browse_snapshot",
        "pin_point",
        "list_hyperv_vm_details",
        "fetch_log_tail",
        "agent_update",
        "enable_verbose_admin_logging",
    ];
    let inner = [
        "restore_point_id",
        "selected_paths",
        "vms",
        "disk_manifests",
        "restore_chain",
        "backup_type",
        "restore_run_id",
        "mount",
        "max_items",
        "vm_ids",
        "update_job_id",
        "size_bytes",
        "ttl_minutes",
    ];
    for value in nonsense() {
        for member in members_of("command") {
            let mut command = json!({"command_id": 1, "type": "list_disks"});
            command[member] = value.clone();
            let body = json!({"status": "success", "commands": [command]});
            for command in answer(&Poll { long: false }, &body.to_string())
                .unwrap()
                .commands
            {
                drop((command.order(), command.context()));
            }
        }
        for name in names {
            for member in inner {
                let command = json!({"command_id": 1, "type": name, "payload": {member: value}});
                drop(serde_json::from_value::<Command>(command).unwrap().order());
            }
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in [
        deep.clone(),
        format!(r#"{{"status":"success","run":{deep}}}"#),
        format!(r#"{{"status":"success","run":{{"run_id":1,"policy_json":{deep}}}}}"#),
    ] {
        assert!(matches!(
            answer(&NextRun, &body),
            Err(NoAnswer::Unreadable { .. })
        ));
    }
    // A document in a text in a text is unpacked once.
    let mut texts = json!({"keep_last": 1});
    for _ in 0..8 {
        texts = Value::String(texts.to_string());
    }
    let body = json!({"status": "success", "run": {"run_id": 1, "retention_json": texts}});
    assert!(matches!(
        answer(&NextRun, &body.to_string()),
        Ok(Offer::Unreadable { .. })
    ));
}

#[test]
fn numbers_beyond_all_bounds_are_refused() {
    for number in ["1e400", "-1e400", "1".repeat(400).as_str()] {
        let body = format!(r#"{{"status":"success","run":{{"run_id":{number}}}}}"#);
        assert!(answer(&NextRun, &body).is_err(), "{number}");
    }
}

#[test]
fn a_bomb_in_a_batch_is_refused() {
    let bomb = protocol::packing::pack(&vec![b' '; 65 << 20]);
    assert!(bomb.len() < 200_000);
    let body = json!({"run_id": 1, "events_encoding": "gzip+base64", "events_b64": bomb});
    assert!(serde_json::from_value::<PushEvents>(body).is_err());
    let report: ReportBrowse =
        serde_json::from_value(json!({"command_id": 1, "result_b64": bomb})).unwrap();
    assert!(report.result_json().is_err());
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let response = protocol::Response {
        http_status: 200,
        headers: Vec::new(),
        body: b"{\"status\":\"success\",\"run\":{\"run_id\":\"\xff\xfe\"}}".to_vec(),
    };
    let refused = protocol::request::answer_of(&NextRun, &response);
    assert!(matches!(refused, Err(NoAnswer::Unreadable { .. })));
}

#[test]
fn every_answer_may_be_any_nonsense() {
    fn feed<C: Call>(call: &C) {
        for value in nonsense() {
            for member in [
                "run",
                "commands",
                "operation",
                "repo_operation",
                "agent_uuid",
                "count",
                "vm_ids",
                "inserted",
                "remaining_capacity",
                "session_token",
                "users",
            ] {
                let body = json!({"status": "success", member: value, "agent_token": "t"});
                drop(answer(call, &body.to_string()));
            }
        }
    }
    let between = (crate::time(), crate::time());
    feed(&NextRun);
    feed(&Poll { long: true });
    feed(&PollRepoOperations);
    feed(&UpdateRun::heartbeat(crate::run_id(), &crate::program()));
    feed(&PushEvents::new(crate::run_id(), "1", Vec::new()));
    feed(&PushLogChunk::new(crate::run_id(), 0, "x", between, "1").unwrap());
    feed(&HypervDiscover {
        job_id: crate::run_id(),
        vms: Vec::new(),
    });
    feed(&Enroll {
        token: SecretText::new("t"),
        machine: Machine::default(),
    });
}
