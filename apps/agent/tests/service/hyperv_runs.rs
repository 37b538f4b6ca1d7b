//! Runs of whole VMs on a simulated host.

use hyperv::HypervHost as _;
use hyperv::sim::SimFault;
use point::Points;
use scripted_control_plane::world::VmOrder;
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
    assert!(second["changed_bytes"].as_u64() < first["total_bytes"].as_u64());
    // Told not to track, it reads everything, and has a base all the same.
    let full = order.with(
        "hyperv_config",
        json!({"enable_rct": false, "consistency_level": "crash"}),
    );
    let run = world.queue(full);
    assert_eq!(world.end_of(&run), "success", "{}", world.last_update(&run));
    let third = world.last_update(&run)["hyperv_results"][0].clone();
    assert_eq!(third["backup_type"], "Full");
    assert_eq!(third["consistency_level"], "Crash");
    assert_ne!(third["checkpoint_id"], second["checkpoint_id"]);
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
