//! Runs of whole VMs on a simulated host.

use std::collections::BTreeSet;

use backup::vm::StateFolder;
use hyperv::HypervHost as _;
use hyperv::sim::SimFault;
use point::Points;
use scripted_control_plane::world::{OperationOrder, VmOrder};
use scripted_control_plane::{RunOrder, Settings};
use serde_json::{Value, json};

use crate::world::{PASSWORD, World};

/// Returns the order to back VMs up.
fn order(world: &World, vms: &[(&str, String)]) -> RunOrder {
    world.stored_in_folder(RunOrder {
        engine: "hyperv".to_owned(),
        vms: vms
            .iter()
            .map(|(name, guid)| VmOrder {
                name: (*name).to_owned(),
                guid: guid.to_uppercase(),
                unregistered: false,
            })
            .collect(),
        ..RunOrder::default()
    })
}

fn world(names: &[&str]) -> (World, Vec<String>) {
    let mut world = World::new(Settings::default());
    let vms = world.with_vms(names);
    world.configure(&[("hyperv_host", "sim")]);
    world.begin();
    (world, vms.iter().map(ToString::to_string).collect())
}

#[test]
fn a_vm_is_backed_up_in_full_and_then_by_what_changed() {
    let (world, vms) = world(&["web"]);
    let job = json!("0195c001-0000-7000-8000-000000000001");
    let order = order(&world, &[("web", vms[0].clone())]).of_job(&job);
    let order = order.with("hyperv_config", json!({}));
    let run = world.queue(order.clone());
    assert_eq!(world.end_of(&run), "success");
    let first = world.last_update(&run)["hyperv_results"][0].clone();
    let last = world.last_update(&run);
    assert!(last["bytes_processed"].as_u64() > Some(0), "{last}");
    assert_eq!(last["bytes_processed"], last["bytes_total"]);
    let told = &world.last_update(&run)["stats_json"]["vms"][0];
    assert_eq!(told["vm_guid"], vms[0].to_uppercase());
    assert_eq!(told["disks"].as_array().unwrap().len(), 2);
    assert!(told["disks"][0]["full_reason"].is_string(), "{told}");
    world.events_of(&run, "HYPERV_BACKUP_COMPLETE");
    let finalizing = world.events_of(&run, "HYPERV_FINALIZING");
    let merging = finalizing
        .iter()
        .find(|it| it["phase"] == "merging backup checkpoint")
        .unwrap();
    let bytes = |name: &str| merging[name].as_u64().unwrap();
    assert!(bytes("avhdx_bytes_left") > 0, "{merging}");
    assert!(bytes("avhdx_bytes_left") <= bytes("avhdx_bytes_total"));
    assert!(merging["merged_pct"].is_number(), "{merging}");
    assert_eq!(first["backup_type"], "Full");
    assert_eq!(first["consistency_level"], "Application");
    assert!(first["checkpoint_id"].as_str().unwrap().len() <= 64);
    let manifests = first["disk_manifests"].as_object().unwrap().clone();
    assert_eq!(manifests.len(), 2);
    let ids: Vec<&Value> = manifests.values().collect();
    assert_eq!(ids[0], ids[1], "all disks of a VM are in one snapshot");
    let repository = world.repository(PASSWORD);
    let points = Points::load(&repository).unwrap();
    let point = points.find(ids[0].as_str().unwrap()).unwrap();
    let open = point.open(&repository).unwrap();
    for disk in &open.descriptor().disks {
        assert!(manifests.contains_key(&disk.original_path));
    }
    let guid = vms[0].parse().unwrap();
    world.host().write_random(guid, 0, 256 << 10, 9).unwrap();
    let run = world.queue(order.clone());
    assert_eq!(world.end_of(&run), "success");
    let second = world.last_update(&run)["hyperv_results"][0].clone();
    assert_eq!(second["backup_type"], "Incremental");
    let told = &world.last_update(&run)["stats_json"]["vms"][0]["disks"];
    assert_eq!(told[0]["type"], "incremental");
    assert!(told[0]["full_reason"].is_null(), "{told}");
    assert!(second["changed_bytes"].as_u64() < first["total_bytes"].as_u64());
    // Told not to track, it reads everything, and has a base all the same.
    let full = order.clone().with(
        "hyperv_config",
        json!({"enable_rct": false, "consistency_level": "crash"}),
    );
    let run = world.queue(full);
    assert_eq!(world.end_of(&run), "success", "{}", world.last_update(&run));
    let third = world.last_update(&run)["hyperv_results"][0].clone();
    assert_eq!(third["backup_type"], "Full");
    assert_eq!(third["consistency_level"], "Crash");
    assert_ne!(third["checkpoint_id"], second["checkpoint_id"]);
    // What follows builds on that base.
    let run = world.queue(order);
    assert_eq!(world.end_of(&run), "success");
    let fourth = world.last_update(&run)["hyperv_results"][0].clone();
    assert_eq!(fourth["backup_type"], "Incremental");
    assert!(world.host().checkpoints(guid).unwrap().is_empty());
    world.check();
}

#[test]
fn a_vm_that_fails_is_named_and_the_others_have_points() {
    let (world, vms) = world(&["web", "db", "mail"]);
    let broken = vms[1].parse().unwrap();
    let fault = SimFault::parse(&["job-fails-at", "create"]).unwrap();
    world.host().add_fault(broken, fault, None).unwrap();
    let names = ["web", "db", "mail"];
    let wanted: Vec<_> = names.into_iter().zip(vms).collect();
    let run = world.queue(order(&world, &wanted));
    assert_eq!(world.end_of(&run), "warning");
    let update = world.last_update(&run);
    let why = update["error_summary"].as_str().unwrap();
    assert!(why.contains("db:") && !why.contains("web:"), "{why}");
    let results = update["hyperv_results"].as_array().unwrap();
    let named: Vec<&Value> = results.iter().map(|it| &it["vm_name"]).collect();
    assert_eq!(named, ["web", "mail"]);
    assert!(results.iter().all(|it| it["error"].is_null()));
    world.check();
}

#[test]
fn all_vms_but_the_excluded_are_taken_and_new_ones_registered() {
    let (world, vms) = world(&["web", "db", "mail"]);
    let config = json!({"backup_all_vms": true, "exclude_vms": [vms[1].to_uppercase()]});
    let run = world.queue(order(&world, &[("web", vms[0].clone())]).with("hyperv_config", config));
    assert_eq!(world.end_of(&run), "success");
    let results = world.last_update(&run)["hyperv_results"].clone();
    let results = results.as_array().unwrap();
    let named: Vec<&Value> = results.iter().map(|it| &it["vm_name"]).collect();
    assert_eq!(named, ["web", "mail"]);
    assert!(
        results.iter().all(|it| it["vm_id"].as_u64() > Some(0)),
        "{results:?}"
    );
    let known = world.plane.with(|world| world.vms.len());
    assert_eq!(known, 2, "the excluded one is not registered");
    world.check();
}

#[test]
fn a_run_whose_vms_are_all_gone_fails() {
    let (world, _) = world(&["web"]);
    let gone = "99999999-0000-4000-8000-000000000009".to_owned();
    let run = world.queue(order(&world, &[("gone", gone)]));
    assert_eq!(world.end_of(&run), "failed");
    let why = world.last_update(&run)["error_summary"].to_string();
    assert!(why.contains("gone: it is not on this host"), "{why}");
    world.check();
}

#[test]
fn a_run_waits_for_who_works_on_its_vm_and_says_so_and_can_be_cancelled() {
    let (world, vms) = world(&["web"]);
    let vm = vms[0].parse().unwrap();
    let order = order(&world, &[("web", vms[0].clone())]);
    // As another process would: a clean-up, retention, a backup by hand.
    let held = StateFolder::open(world.path("state"))
        .unwrap()
        .lock(vm)
        .unwrap();
    let run = world.queue(order.clone());
    world.waits(&run);
    drop(held);
    assert_eq!(world.end_of(&run), "success");
    let held = StateFolder::open(world.path("state"))
        .unwrap()
        .lock(vm)
        .unwrap();
    let run = world.queue(order);
    world.waits(&run);
    world.plane.request_cancel(&run);
    assert_eq!(world.end_of(&run), "cancelled");
    drop(held);
    assert!(world.log().contains("web: waiting until another run"));
    world.check();
}

#[test]
fn a_guest_has_as_long_to_be_quiesced_as_the_job_says() {
    let (world, vms) = world(&["web"]);
    let guid = vms[0].parse().unwrap();
    let silent = SimFault::parse(&["silent-guest"]).unwrap();
    world.host().add_fault(guid, silent, Some(1)).unwrap();
    let order = order(&world, &[("web", vms[0].clone())]);
    let config = json!({"quiesce_timeout_seconds": 1});
    let run = world.queue(order.with("hyperv_config", config));
    assert_eq!(world.end_of(&run), "warning");
    let result = world.last_update(&run)["hyperv_results"][0].clone();
    assert_eq!(result["consistency_level"], "Crash");
    let warnings = result["warnings"].to_string();
    assert!(warnings.contains("not quiesced within 1 s"), "{warnings}");
    assert!(world.host().checkpoints(guid).unwrap().is_empty());
    world.check();
}

#[test]
fn points_of_vms_are_kept_by_the_jobs_rule_and_others_by_the_repositorys() {
    let (world, vms) = world(&["web", "db"]);
    let back_up = |place: usize, rule: Value| {
        let order = order(&world, &[(["web", "db"][place], vms[place].clone())]);
        let run = world.queue(order.with("retention_json", rule));
        assert_eq!(world.end_of(&run), "success");
    };
    back_up(1, json!(null));
    world.keep_nothing_by_default();
    back_up(1, json!(null));
    for _ in 0..3 {
        back_up(0, json!({"schema": 1, "retention": {"keep_last": "2"}}));
    }
    let left = || [0, 1].map(|it| world.points_of(&format!("hyperv/{}", vms[it])));
    assert_eq!(left(), [2, 2]);
    let operation = OperationOrder {
        op_type: "retention_apply".to_owned(),
        repository_id: "5c0e0000-0000-4000-8000-000000000001".to_owned(),
        effective_policy: json!({"keep_last": 1}),
        ..OperationOrder::default()
    };
    world.plane.with(|world| world.queue_operation(operation));
    world.wait_for("the operation", |_| left() == [2, 1]);
    world.check();
}

#[test]
fn a_vm_is_compressed_as_the_job_says() {
    let (world, vms) = world(&["web"]);
    let guid = vms[0].parse().unwrap();
    let lines = (0..1_u64 << 15).map(|it| format!("line {it:x} of a long letter\n"));
    let text: String = lines.collect();
    world.host().write(guid, 0, 0, text.as_bytes()).unwrap();
    let stored_bytes = |is_wanted: bool, policy: Value, place: &str| {
        let order = order(&world, &[("web", vms[0].clone())])
            .with("compression_enabled", json!(is_wanted))
            .with("policy_json", policy)
            .with("dest_local_path", json!(world.path(place)));
        let run = world.queue(order);
        assert_eq!(world.end_of(&run), "success");
        world.last_update(&run)["bytes_transferred"]
            .as_u64()
            .unwrap()
    };
    let plain = stored_bytes(false, json!([]), "plain");
    let compressed = stored_bytes(true, json!({"parallel_disk_reads": false}), "compressed");
    let less = plain.saturating_sub(compressed);
    assert!(less > text.len() as u64 / 3, "{plain} {compressed}");
    world.check();
}

#[test]
fn how_far_each_disk_is_is_told_while_its_vm_is_backed_up() {
    let (world, vms) = world(&["web"]);
    let guid = vms[0].parse().unwrap();
    world.host().write_random(guid, 0, 1 << 20, 9).unwrap();
    // So slowly that its updates come in between.
    let slow = order(&world, &[("web", vms[0].clone())]);
    let run = world.queue(slow.with("local_bandwidth_limit_kbps", json!(4096)));
    assert_eq!(world.end_of(&run), "success");
    let disks = world.host().vm(guid).unwrap().disks;
    let paths: Vec<String> = disks
        .iter()
        .map(|disk| disk.original_path.display().to_string())
        .collect();
    let calls = world.plane.calls_of("agent_update_run");
    let of_run = calls.iter().filter(|it| it.call.body["run_id"] == run);
    let told: Vec<Value> = of_run
        .filter_map(|it| it.call.body["progress_json"]["disks"].as_array().cloned())
        .flatten()
        .collect();
    assert!(!told.is_empty(), "no update tells of a disk");
    for disk in &told {
        let bytes = |name: &str| disk[name].as_u64().unwrap();
        assert_eq!(disk["vm_name"], "web");
        assert!(
            paths.contains(&disk["disk_path"].as_str().unwrap().to_owned()),
            "{disk}"
        );
        assert!(bytes("bytes_done") <= bytes("bytes_total"), "{disk}");
    }
    let is_done = |disk: &&Value| disk["bytes_done"] == disk["bytes_total"];
    let done: BTreeSet<_> = told
        .iter()
        .filter(is_done)
        .map(|it| it["disk_path"].as_str())
        .collect();
    assert_eq!(done.len(), paths.len(), "{told:?}");
    world.check();
}

#[test]
fn a_vm_that_is_complete_is_told_of_while_others_go_on() {
    let mut world = World::new(Settings::default());
    let vms = world.with_vms(&["db", "web"]);
    world.configure(&[("hyperv_host", "sim"), ("vms_at_once", "2")]);
    world.begin();
    let vms: Vec<String> = vms.iter().map(ToString::to_string).collect();
    // As another process would hold it.
    let held = StateFolder::open(world.path("state")).unwrap();
    let held = held.lock(vms[0].parse().unwrap()).unwrap();
    let wanted: Vec<_> = ["db", "web"].into_iter().zip(vms).collect();
    let run = world.queue(order(&world, &wanted));
    let complete = world.event(&run, "HYPERV_VM_COMPLETE");
    assert_eq!(complete["vm_name"], "web");
    let status = world.plane.with(|it| it.run_status(&run).to_owned());
    assert!(matches!(&*status, "starting" | "running"), "{status}");
    drop(held);
    assert_eq!(world.end_of(&run), "success");
    world.event(&run, "HYPERV_BACKUP_COMPLETE");
    let complete = world.events_of(&run, "HYPERV_VM_COMPLETE");
    let names: Vec<&Value> = complete.iter().map(|it| &it["vm_name"]).collect();
    assert_eq!(names, ["web", "db"]);
    world.check();
}
