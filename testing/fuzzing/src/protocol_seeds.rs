//! Seeds for what agents and control planes say to each other: the contract's examples.

use protocol::packing::pack;

const ANSWERS: [&str; 8] = [
    r#"{"status":"success","run":{"run_id":"0195d2a4-0000-7000-8000-000000000001","job_id":4,"engine":"hyperv","source_type":"local_agent","source_paths":["C:\\a"],"dest_type":"s3","dest_bucket_name":"e3cb-ab12","dest_prefix":"7d1c","dest_endpoint":"https://s3.example.net","dest_region":"","dest_access_key":"AK","dest_secret_key":"s","repository_id":"5c0e","repository_password":"p","repo_password_mode":"v2","payload_version":"v2","local_bandwidth_limit_kbps":"12.50","compression_enabled":1,"retention_json":{"retention":{"keep_last":7,"daily":"3"}},"policy_json":{"parallel_uploads":4,"compression":"zstd"},"schedule_json":[],"network_credentials":{"username":"u","password":"p","domain":"d"},"hyperv_config":{"enable_rct":true,"exclude_vms":["5F3B"],"consistency_level":"application"},"hyperv_vms":[{"vm_id":7,"vm_name":"web01","vm_guid":"5F3B","last_checkpoint_id":"Microsoft:a","last_rct_ids":{"D:\\VM\\web01.vhdx":"rctX:1"}}],"resume":false,"last_heartbeat_at":null}}"#,
    r#"{"status":"no_run"}"#,
    r#"{"status":"success","poll_version":1,"commands":[{"type":"cancel"},{"command_id":311,"type":"hyperv_restore","run_id":"0195","job_id":4,"payload":{"target_path":"D:\\Restore","backup_type":"Full","restore_run_id":"0195e","vms":[{"backup_point_id":88,"vm_name":"web01","vm_guid":"5F3B","subfolder":"","disk_manifests":{"D:\\VM\\web01.vhdx":"9c41f0"},"restore_chain":["9c41f0",{"manifest_id":"9c"}],"backup_type":"Full"}]},"job_context":{"job_id":1,"engine":"hyperv","manifest_id":"9c","policy_json":{}}}],"repo_operation":{"operation_id":5,"repo_id":1,"operation_token":"t","op_type":"kopia_retention_apply","effective_policy":{"hourly":24,"sources":[{"path":"a","retired":true,"override_days":3}]},"repository_id":"5c0e"},"next_poll_secs":15}"#,
    r#"{"status":"success","commands":[{"command_id":"9","type":"agent_update","payload":{"update_job_id":1,"sha256":"ab","size_bytes":"7"}},{"command_id":10,"type":"restore","run_id":8,"payload":{"restore_point_id":4,"selected_paths":"[\"a\"]","mount":0}}]}"#,
    r#"{"status":"success","operation":{"operation_id":5,"op_type":"maintenance_full"}}"#,
    r#"{"status":"success","agent_uuid":"0f0e","client_id":"1204","tenant_id":null,"agent_token":"ab","api_base_url":"https://a/api","session_token":"s","users":[{"id":31,"username":"n"}]}"#,
    r#"{"status":"fail","code":"agent_version_too_old","message":"m","min_version":"2.0","reported_version":"1.8","retry_after_secs":3}"#,
    "<!DOCTYPE html><html></html>",
];

const BODIES: [&str; 5] = [
    r#"{"run_id":"0195","status":"success","started_at":"2026-03-01T10:15:00Z","finished_at":"2026-03-01T11:02:09Z","progress_pct":12.5,"bytes_processed":5,"current_item":"VM 1/3: web01","error_summary":"e","manifest_id":"9c","stats_json":{"a":{"b":1}},"agent_version":"1.8.2","disk_manifests_json":{"D:\\VM\\web01.vhdx":"9c41f0","a":"b"},"hyperv_results":[{"vm_id":7,"vm_name":"web01","backup_type":"Incremental","checkpoint_id":"2C1D","rct_ids":{"D:\\VM\\web01.vhdx":"rctX:1"},"disk_manifests":{"z":"1","a":"2"},"total_bytes":41875931136,"changed_bytes":734003200,"consistency_level":"Application","duration_seconds":214,"warnings":["w"],"warning_code":"CHECKPOINTS_DISABLED"}]}"#,
    r#"{"run_id":17,"agent_version":"1.8.2","events":[{"type":"info","level":"info","code":"","message_id":"HYPERV_VM_STARTING","params_json":{"vm_name":"web01","vm_id":7,"l":["a"]}}],"logs":[{"level":"info","code":"c","message":"m","details_json":{}}],"log_ref":"9c"}"#,
    r#"{"agent_version":"1.8.2","events":[{"source":"agent","ts":"2026-03-01T10:00:00Z","level":"info","code":"AGENT_SERVICE_STARTED","message_id":"AGENT_SERVICE_STARTED","params_json":{"version":"1.8.2"},"dedupe_key":"agent:service:started"}]}"#,
    r#"{"job_id":"0195","vms":[{"id":"5F3B","name":"web01","generation":2,"is_linux":false,"integration_services":true,"rct_enabled":true,"disks":[{"path":"D:\\VM\\web01.vhdx","controller_type":"SCSI","controller_number":0,"controller_location":0,"vhd_format":"VHDX","size_bytes":136365211648,"used_bytes":41875931136,"rct_enabled":true,"rct_id":"rctX:1"}]}]}"#,
    r#"{"volumes":[{"path":"C:\\","label":"System","size_bytes":255998296064,"filesystem":"NTFS","type":"fixed","unc_path":"","is_network":false}],"run_id":1,"chunk_seq":0,"source":"run","encoding":"gzip","content_b64":"eA==","line_count":1}"#,
];

pub(crate) fn answers() -> Vec<Vec<u8>> {
    let with_status = |body: &&str| [b"\0", body.as_bytes()].concat();
    ANSWERS.iter().map(with_status).collect()
}

pub(crate) fn bodies() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = BODIES.iter().map(|body| body.as_bytes().to_vec()).collect();
    let events = pack(br#"[{"message_id":"NO_CHANGES","params_json":[]}]"#);
    bodies.push(
        format!(r#"{{"run_id":1,"events_encoding":"gzip+base64","events_b64":"{events}"}}"#).into(),
    );
    bodies.push(format!(r#"{{"command_id":1,"result_b64":"{events}"}}"#).into());
    bodies
}

pub(crate) fn packed() -> Vec<Vec<u8>> {
    let form = "operation_id=5&operation_token=run-finish-1&status=success&result_json=%7B%22a%22%3A1%7D&e=+";
    let mut seeds: Vec<Vec<u8>> = BODIES
        .iter()
        .map(|body| pack(body.as_bytes()).into_bytes())
        .collect();
    seeds.push(form.as_bytes().to_vec());
    seeds
}
