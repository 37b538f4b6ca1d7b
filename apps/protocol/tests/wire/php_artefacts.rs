//! What PHP and its database make of numbers, booleans and empty maps (contract 1.5).

use protocol::WireId;
use protocol::commands::{Command, Order, Poll, PollCommands};
use protocol::identifier::VmNumber;
use protocol::next_run::{Engine, NextRun, Offer, Run};
use protocol::repo_operations::{OperationKind, PollRepoOperations};
use serde_json::json;

use crate::{answer, run_id};

fn run(members: serde_json::Value) -> Run {
    let mut run = json!({"run_id": 17, "engine": "hyperv"});
    for (name, member) in members.as_object().unwrap() {
        run[name] = member.clone();
    }
    match answer(
        &NextRun,
        &json!({"status": "success", "run": run}).to_string(),
    )
    .unwrap()
    {
        Offer::Run(run) => *run,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_forms_of_identifiers_are_kept() {
    let old = run(json!({"run_id": 17, "job_id": 4}));
    assert_eq!(
        (old.run_id, old.job_id),
        (WireId::Number(17), Some(WireId::Number(4)))
    );
    let new = run(json!({"run_id": "17", "job_id": "0195"}));
    assert_eq!(new.run_id, WireId::Text("17".to_owned()));
    assert_eq!(run(json!({"job_id": ""})).job_id, None);
}

#[test]
fn an_empty_map_comes_in_four_forms() {
    for nothing in [json!([]), json!({}), json!(null), json!("")] {
        let run = run(
            json!({"hyperv_config": nothing, "schedule_json": nothing, "retention_json": nothing,
            "policy_json": nothing, "network_credentials": nothing,
            "hyperv_vms": [{"vm_id": 7, "last_rct_ids": nothing}]}),
        );
        assert!(
            run.hyperv_config.reads_changes_only(),
            "an empty object means the defaults"
        );
        assert!(run.hyperv_config.wants_application_consistency());
        assert_eq!(run.hyperv_config.quiesce_timeout_seconds_or_default(), 300);
        assert!(run.retention_json.is_empty() && run.network_credentials.is_none());
        assert!(run.hyperv_vms[0].last_rct_ids.is_empty());
        let command: Command = serde_json::from_value(
            json!({"command_id": 1, "type": "list_disks", "payload": nothing,
                "job_context": nothing}),
        )
        .unwrap();
        assert_eq!(command.order(), Ok(Order::ListDisks));
        assert_eq!(command.context(), Ok(None));
    }
}

#[test]
fn numbers_come_as_texts_and_with_decimals() {
    for (sent, meant) in [
        (json!(5), 5),
        (json!("5"), 5),
        (json!("12.50"), 12),
        (json!(12.5), 12),
        (json!("-1"), 0),
        (json!(-1), 0),
        (json!(""), 0),
        (json!(null), 0),
        (json!("18446744073709551616"), u64::MAX),
    ] {
        let run = run(json!({"local_bandwidth_limit_kbps": sent}));
        assert_eq!(run.destination.local_bandwidth_limit_kbps, meant, "{sent}");
    }
    let run = run(
        json!({"retention_json": {"keep_last": "7"}, "policy_json": {"parallel_uploads": "4"},
        "hyperv_vms": [{"vm_id": "7"}, {"vm_id": 0}, {"vm_name": "no row"}]}),
    );
    assert_eq!(run.retention_json.keep_last, Some(7));
    assert_eq!(run.policy_json.parallel_uploads_within(), 4);
    let rows: Vec<_> = run.hyperv_vms.iter().map(|vm| vm.vm_id).collect();
    assert_eq!(rows, [VmNumber(7), VmNumber(0), VmNumber(0)]);
}

#[test]
fn booleans_come_in_many_forms() {
    for yes in [json!(true), json!(1), json!("1"), json!("true")] {
        let run = run(json!({"resume": yes, "hyperv_config": {"enable_rct": yes}}));
        assert!(
            run.resume && run.hyperv_config.reads_changes_only(),
            "{yes}"
        );
    }
    for no in [json!(false), json!(0), json!("0"), json!("")] {
        let run = run(json!({"resume": no, "hyperv_config": {"enable_rct": no}}));
        assert!(
            !run.resume && !run.hyperv_config.reads_changes_only(),
            "{no}"
        );
    }
    assert!(
        run(json!({"hyperv_config": {"enable_rct": null}}))
            .hyperv_config
            .reads_changes_only()
    );
}

#[test]
fn documents_come_as_texts_and_lists_with_gaps_as_maps() {
    let run = run(
        json!({"policy_json": "{\"compression\":\"zstd\"}", "source_paths": {"0": "C:\\a", "2": "D:\\b"},
        "hyperv_config": "[]", "retention_json": "{\"keep_last\":3}"}),
    );
    assert_eq!(run.policy_json.compression.as_deref(), Some("zstd"));
    assert_eq!(run.sources(), ["C:\\a", "D:\\b"]);
    assert_eq!(run.retention_json.keep_last, Some(3));
}

#[test]
fn an_old_servers_sources_are_one_text() {
    let vms = run(json!({"source_paths": [], "source_path": "5F3B, 6A00,"}));
    assert_eq!(vms.sources(), ["5F3B", "6A00"]);
    let files = run(json!({"engine": "", "source_path": "C:\\a, b"}));
    assert_eq!(files.engine, Engine::Kopia, "an empty engine means files");
    assert_eq!(files.sources(), ["C:\\a, b"]);
}

#[test]
fn unknown_members_and_words_are_no_obstacle() {
    let run = run(
        json!({"engine": "quantum", "novelty": {"deep": [1]}, "hyperv_config": {"novelty": 1}}),
    );
    assert_eq!(run.engine, Engine::Other("quantum".to_owned()));
}

#[test]
fn a_run_that_cannot_be_read_is_still_named() {
    let body = json!({"status": "success", "run": {"run_id": 17, "local_bandwidth_limit_kbps": "fast",
        "dest_secret_key": "hush", "resume": "1", "last_heartbeat_at": "2026-03-01 10:00:00"}});
    match answer(&NextRun, &body.to_string()).unwrap() {
        Offer::Unreadable {
            run_id,
            resume,
            last_heartbeat_at,
            reason,
        } => {
            assert_eq!(run_id, WireId::Number(17));
            assert!(resume && last_heartbeat_at.is_some());
            assert!(reason.contains("`local_bandwidth_limit_kbps`"), "{reason}");
            assert!(
                !reason.contains("fast") && !reason.contains("hush"),
                "{reason}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_command_that_makes_no_sense_costs_no_other() {
    let body = json!({"status": "success", "commands": [
        {"command_id": "1", "type": "agent_update", "payload": {"update_job_id": "many"}},
        "nonsense", {"type": ["x"]}, {"command_id": 2, "type": "list_disks", "payload": []},
        {"command_id": 3, "type": "invented", "payload": 5}],
        "repo_operation": {"operation_id": "none"}, "next_poll_secs": "8"});
    let polled = answer(&Poll { long: false }, &body.to_string()).unwrap();
    assert_eq!(polled.next_poll_secs, Some(8));
    assert_eq!(polled.repo_operation, None);
    let orders: Vec<_> = polled.commands.iter().map(Command::order).collect();
    assert!(
        orders[0].as_ref().unwrap_err().contains("`update_job_id`"),
        "{orders:?}"
    );
    assert_eq!(orders[1], Ok(Order::ListDisks));
    assert_eq!(orders[2], Ok(Order::Unsupported));
    assert_eq!(orders.len(), 3);
}

#[test]
fn cancel_has_no_number() {
    let body = r#"{"status":"success","commands":[{"type":"cancel"},{"type":"enable_verbose_admin_logging","command_id":9,"payload":{"ttl_minutes":"999"}}]}"#;
    let commands = answer(&PollCommands { run_id: run_id() }, body).unwrap();
    assert_eq!(
        (commands[0].order(), commands[0].command_id),
        (Ok(Order::Cancel), None)
    );
    let Ok(Order::EnableVerboseAdminLogging(order)) = commands[1].order() else {
        panic!("it is about verbose logs");
    };
    assert_eq!(order.minutes(), 240);
}

#[test]
fn a_restores_paths_are_a_list_or_a_text_of_one() {
    for (sent, meant) in [
        (json!(["a", "b"]), vec!["a", "b"]),
        (json!("[\"a\",\"b\"]"), vec!["a", "b"]),
        (json!(null), vec![]),
        (json!(""), vec![]),
        (json!("a"), vec!["a"]),
    ] {
        let command: Command =
            serde_json::from_value(json!({"command_id": 1, "type": "restore", "run_id": 8,
            "payload": {"restore_point_id": "4", "selected_paths": sent, "mount": 0}}))
            .unwrap();
        let Ok(Order::Restore(restore)) = command.order() else {
            panic!("it is a restore");
        };
        assert_eq!(restore.selected_paths, meant, "{sent}");
        assert_eq!(command.restore_run(), Some(WireId::Number(8)));
    }
    let of_run: Command =
        serde_json::from_value(json!({"command_id": 1, "type": "restore", "run_id": 8,
        "payload": {}}))
        .unwrap();
    assert_eq!(
        of_run.restore_run(),
        None,
        "the command's own run is the backup's"
    );
}

#[test]
fn a_restore_whose_payload_makes_no_sense_still_names_the_run_that_waits_for_it() {
    for (kind, payload, run) in [
        (
            "restore",
            json!({"restore_run_id": 9, "selected_paths": {"a": {}}}),
            Some(9),
        ),
        (
            "hyperv_restore",
            json!({"restore_run_uuid": 9, "vms": 7}),
            Some(9),
        ),
        ("hyperv_restore", json!({"restore_point_id": 4}), Some(8)),
        ("disk_restore", json!({"restore_run_id": 9}), Some(9)),
        ("disk_restore", json!([]), Some(8)),
        ("maintenance_full", json!({"restore_run_id": 9}), None),
    ] {
        let command: Command = serde_json::from_value(
            json!({"command_id": 1, "type": kind, "run_id": 8, "payload": payload}),
        )
        .unwrap();
        assert_eq!(command.restore_run(), run.map(WireId::Number), "{payload}");
    }
}

#[test]
fn operations_are_known_with_and_without_the_engines_name() {
    let body = json!({"status": "success", "operation": {"operation_id": "5", "repo_id": "1", "operation_token": "t",
        "op_type": "kopia_retention_apply", "dest_secret_key": "hush",
        "effective_policy": {"hourly": "24", "sources": [{"path": "C:\\a", "retired": "1", "override_days": 3}]}}});
    let operation = answer(&PollRepoOperations, &body.to_string())
        .unwrap()
        .unwrap();
    assert_eq!(operation.kind(), Some(OperationKind::RetentionApply));
    assert_eq!(operation.effective_policy.retention.hourly, Some(24));
    assert!(operation.effective_policy.sources[0].retired);
    assert!(!format!("{operation:?}").contains("hush"));
    let none = answer(
        &PollRepoOperations,
        r#"{"status":"success","operation":null}"#,
    );
    assert_eq!(none.unwrap(), None);
}
