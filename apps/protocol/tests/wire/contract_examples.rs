//! The contract's examples, letter by letter.

use protocol::commands::{Command, Order, Poll};
use protocol::hyperv_discover::HypervDiscover;
use protocol::hyperv_results::{BackupType, Consistency};
use protocol::next_run::{Engine, NextRun, Offer};
use protocol::reports::{BrowseResult, ReportBrowse, VmDetails, Vms};
use protocol::run_events::PushEvents;
use protocol::update_run::{RunStatus, UpdateRun};
use protocol::volumes::ReportVolumes;
use protocol::{WireId, agent_events::PushAgentEvents};
use serde_json::{Value, json};

use crate::{answer, sent};

const RUN: &str = r#"{"status":"success","run":{"run_id":"0195d2a4-…","job_id":"0195c001-…","engine":"hyperv",
 "source_type":"local_agent","source_paths":[],"dest_type":"s3","dest_bucket_name":"e3cb-ab12",
 "dest_prefix":"7d1c…","dest_endpoint":"https://s3.example.net","dest_region":"","dest_access_key":"AK…",
 "dest_secret_key":"…","repository_id":"5c0e…","repository_password":"<64 hex>","repo_password_mode":"v2",
 "payload_version":"v2","local_bandwidth_limit_kbps":0,"compression_enabled":true,
 "retention_json":{"keep_last":7},"policy_json":null,"schedule_json":null,"network_credentials":null,
 "hyperv_config":{"enable_rct":true,"consistency_level":"application"},
 "hyperv_vms":[{"vm_id":7,"vm_name":"web01","vm_guid":"5F3B…","last_checkpoint_id":"Microsoft:…",
                "last_rct_ids":{"D:\\VM\\web01.vhdx":"rctX:…"}}],
 "resume":false,"last_heartbeat_at":null}}"#;

#[test]
fn a_run_is_read() {
    let Offer::Run(run) = answer(&NextRun, RUN).unwrap() else {
        panic!("a run is offered");
    };
    assert_eq!(run.run_id, WireId::Text("0195d2a4-…".to_owned()));
    assert_eq!(run.engine, Engine::Hyperv);
    assert_eq!(run.destination.blob_prefix(), "7d1c…/");
    assert_eq!(run.destination.dest_secret_key.reveal(), "…");
    assert_eq!(
        run.destination
            .repository_password
            .as_ref()
            .unwrap()
            .reveal(),
        "<64 hex>"
    );
    assert_eq!(run.retention_json.keep_last, Some(7));
    assert!(run.compression_enabled && run.network_credentials.is_none());
    let vm = &run.hyperv_vms[0];
    assert_eq!(vm.last_rct_ids.get("D:\\VM\\web01.vhdx"), Some("rctX:…"));
    assert_eq!(vm.last_checkpoint_id.as_deref(), Some("Microsoft:…"));
}

#[test]
fn nothing_of_a_run_is_secret_in_what_is_shown_of_it() {
    let Offer::Run(run) = answer(&NextRun, RUN).unwrap() else {
        panic!("a run is offered");
    };
    let shown = format!("{run:?}");
    assert!(
        !shown.contains("<64 hex>") && !shown.contains("AK…"),
        "{shown}"
    );
}

#[test]
fn no_run_is_no_failure() {
    assert_eq!(
        answer(&NextRun, r#"{"status":"no_run"}"#).unwrap(),
        Offer::NoRun
    );
}

#[test]
fn a_terminal_update_comes_back_as_it_was() {
    let body = json!({"run_id":"0195…","status":"success","finished_at":"2026-03-01T11:02:09Z","agent_version":"1.8.2",
 "disk_manifests_json":{"D:\\VM\\web01.vhdx":"9c41f0…"},
 "hyperv_results":[{"vm_id":7,"vm_name":"web01","backup_type":"Incremental",
   "checkpoint_id":"2C1D…","rct_ids":{"D:\\VM\\web01.vhdx":"rctX:…"},
   "disk_manifests":{"D:\\VM\\web01.vhdx":"9c41f0…"},"total_bytes":41875931136_u64,"changed_bytes":734003200,
   "consistency_level":"Application","duration_seconds":214,"warnings":[]}]});
    let update: UpdateRun = serde_json::from_value(body.clone()).unwrap();
    assert_eq!(update.status, Some(RunStatus::Success));
    assert_eq!(
        update.hyperv_results[0].backup_type,
        BackupType::Incremental
    );
    assert_eq!(
        update.hyperv_results[0].consistency_level,
        Consistency::Application
    );
    assert_eq!(sent(&update), body);
}

#[test]
fn events_come_back_as_they_were() {
    let body = json!({"run_id":"0195…","agent_version":"1.8.2",
 "events":[{"type":"info","level":"info","message_id":"HYPERV_VM_STARTING",
            "params_json":{"vm_name":"web01","vm_id":7}}]});
    let push: PushEvents = serde_json::from_value(body.clone()).unwrap();
    assert_eq!(sent(&push), body);
    let body = json!({"agent_version":"1.8.2","events":[{"source":"agent","ts":"2026-03-01T10:00:00Z","level":"info",
  "code":"AGENT_SERVICE_STARTED","message_id":"AGENT_SERVICE_STARTED",
  "params_json":{"version":"1.8.2"},"dedupe_key":"agent:service:started"}]});
    let push: PushAgentEvents = serde_json::from_value(body.clone()).unwrap();
    assert_eq!(sent(&push), body);
}

#[test]
fn registered_vms_come_back_as_they_were() {
    let body = json!({"job_id":"0195…","vms":[{"id":"5F3B…","name":"web01","generation":2,"is_linux":false,
  "integration_services":true,"rct_enabled":true,
  "disks":[{"path":"D:\\VM\\web01.vhdx","controller_type":"SCSI","controller_number":0,
            "controller_location":0,"vhd_format":"VHDX","size_bytes":136365211648_u64,
            "used_bytes":41875931136_u64,"rct_enabled":true,"rct_id":"rctX:…"}]}]});
    let discover: HypervDiscover = serde_json::from_value(body.clone()).unwrap();
    assert_eq!(sent(&discover), body);
    let registered = answer(
        &discover,
        r#"{"status":"success","created":1,"updated":"0","vm_ids":{"5F3B":7}}"#,
    );
    assert_eq!(registered.unwrap().vm_ids[0].0, 7);
}

#[test]
fn volumes_come_back_as_they_were() {
    let body = json!({"volumes":[{"path":"C:\\","label":"System","size_bytes":255998296064_u64,"filesystem":"NTFS","type":"fixed","unc_path":"","is_network":false}]});
    let volumes: ReportVolumes = serde_json::from_value(body.clone()).unwrap();
    assert_eq!(sent(&volumes), body);
    assert_eq!(
        answer(&volumes, r#"{"status":"success","count":1}"#).unwrap(),
        1
    );
}

#[test]
fn a_restore_of_vms_is_read() {
    let payload = json!({"target_path":"D:\\Restore","backup_type":"Full","restore_run_id":"0195e…","restore_run_uuid":"0195e…",
 "vms":[{"backup_point_id":88,"vm_name":"web01","vm_guid":"5F3B…","subfolder":"",
   "disk_manifests":{"D:\\VM\\web01.vhdx":"9c41f0…"},"restore_chain":["9c41f0…"],"backup_type":"Full"}]});
    let poll = json!({"status":"success","poll_version":1,"commands":[{"command_id":311,"type":"hyperv_restore",
        "run_id":"0195a…","job_id":"0195c…","payload":payload,"job_context":{"dest_type":"s3","manifest_id":"9c41f0…"}}],
        "repo_operation":null,"next_poll_secs":15});
    let polled = answer(&Poll { long: true }, &poll.to_string()).unwrap();
    assert_eq!(polled.next_poll_secs, Some(15));
    let command = &polled.commands[0];
    assert_eq!(command.context().unwrap().unwrap().manifest_id, "9c41f0…");
    let Order::HypervRestore(restore) = command.order().unwrap() else {
        panic!("it is a restore of VMs");
    };
    assert_eq!(
        command.restore_run(),
        Some(WireId::Text("0195e…".to_owned()))
    );
    assert_eq!(
        restore.vms[0].disk_manifests.get("D:\\VM\\web01.vhdx"),
        Some("9c41f0…")
    );
    assert_eq!(restore.vms[0].restore_chain[0].manifest_id, "9c41f0…");
}

#[test]
fn an_old_servers_only_vm_is_a_list_of_one() {
    let command: Command = serde_json::from_value(json!({"command_id":"5","type":"hyperv_restore","run_id":17,
        "payload":{"target_path":"D:\\R","restore_run_id":18,"vm_name":"web01","disk_manifests":{"D:\\a.vhdx":"9c"},
        "restore_chain":[{"backup_point_id":3,"manifest_id":"9c","backup_type":"Full","disk_manifests":[]}]}}))
    .unwrap();
    let Order::HypervRestore(restore) = command.order().unwrap() else {
        panic!("it is a restore of VMs");
    };
    assert_eq!(command.restore_run(), Some(WireId::Number(18)));
    assert_eq!(restore.vms.len(), 1);
    assert_eq!(restore.vms[0].vm_name, "web01");
    assert_eq!(restore.vms[0].restore_chain[0].manifest_id, "9c");
}

#[test]
fn our_own_member_of_restores_is_read_where_it_is_and_never_sent_where_it_is_not() {
    let order = |register: Value| {
        let mut payload = json!({"target_path": "D:\\R", "vms": []});
        if register != json!("missing") {
            payload["register"] = register;
        }
        let command = json!({"command_id": 5, "type": "hyperv_restore", "payload": payload});
        let command: Command = serde_json::from_value(command).unwrap();
        match command.order() {
            Ok(Order::HypervRestore(restore)) => Ok(restore),
            Ok(_) => panic!("it is a restore of VMs"),
            Err(error) => Err(error.to_string()),
        }
    };
    for without in ["missing".into(), Value::Null] {
        let restore = order(without).unwrap();
        assert_eq!(restore.register, None);
        let sent = serde_json::to_value(&restore).unwrap();
        assert_eq!(sent.get("register"), None);
    }
    let how = json!({"new_id": true, "start": false, "switch": null, "name": "web 2"});
    let register = order(how.clone()).unwrap().register.unwrap();
    assert!(register.new_id && !register.start);
    assert_eq!(register.name.as_deref(), Some("web 2"));
    assert_eq!(serde_json::to_value(&register).unwrap(), how);
    assert_eq!(order(json!({})).unwrap().register, Some(Default::default()));
    assert!(order(json!(true)).unwrap_err().contains("register"));
}

#[test]
fn reports_have_the_contracts_members() {
    let browse = json!({"path":"C:\\","parent":"","entries":[{"name":"Users","path":"C:\\Users","is_dir":true,"size":0,"modified_at":"2026-02-01T08:00:00Z","type":"folder","icon":"folder"}],"error":""});
    let vms = json!({"vms":[{"id":"5F3B…","name":"web01","state":"Running","generation":2,"cpu_count":4,"memory_mb":8192,"integration_services":true,"is_linux":false,"rct_enabled":true,"disk_count":2}],"count":1});
    let details = json!({"details":[{"id":"5F3B…","name":"web01","disk_count":1,"disks":[{"path":"D:\\VM\\web01.vhdx","size_bytes":136365211648_u64,"used_bytes":41875931136_u64,"vhd_format":"VHDX","rct_enabled":true,"controller_type":"SCSI"}]}],"count":1});
    let id = protocol::identifier::CommandId(312);
    let packed = |report: ReportBrowse| -> Value {
        assert_eq!(sent(&report)["result_encoding"], "gzip+base64");
        serde_json::from_slice(&report.result_json().unwrap()).unwrap()
    };
    let result: BrowseResult = serde_json::from_value(browse.clone()).unwrap();
    assert_eq!(packed(ReportBrowse::new(id, &result)), browse);
    let result: Vms = serde_json::from_value(vms.clone()).unwrap();
    assert_eq!(packed(ReportBrowse::new(id, &result)), vms);
    let result: VmDetails = serde_json::from_value(details.clone()).unwrap();
    assert_eq!(packed(ReportBrowse::new(id, &result)), details);
}
