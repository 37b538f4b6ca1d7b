//! Commands: found out, restored, maintained, refused.

use std::fs;

use agent::Afterwards;
use scripted_control_plane::world::OperationOrder;
use scripted_control_plane::{CommandOrder, Fault, Settings, packed};
use serde_json::{Value, json};

use crate::world::{PASSWORD, World};

/// Backs the source up, and returns the manifest.
fn backed_up(world: &World) -> String {
    let run = world.queue(world.files());
    assert_eq!(world.end_of(&run), "success");
    let update = world.last_update(&run);
    update["manifest_id"].as_str().unwrap().to_owned()
}

fn result_of(world: &World, command: u64) -> Value {
    let (is_done, words) = world.answer_to(command);
    assert!(is_done, "{words}");
    world
        .plane
        .with(|world| world.command(command).result.clone())
}

#[test]
fn what_is_there_is_found_out() {
    let mut world = World::new(Settings::default());
    world.with_vms(&["web"]);
    world.begin();
    let order =
        |name: &str, payload: Value| world.plane.queue_command(CommandOrder::new(name, payload));
    let path = world.path("source").display().to_string();
    let found = result_of(&world, order("browse_directory", json!({"path": path})));
    assert_eq!(found["entries"][0]["name"], "letter.txt");
    assert_eq!(found["entries"][0]["size"], 8);
    let found = result_of(&world, order("list_disks", json!({})));
    assert_eq!(found["disks"][0]["path"], "/dev/sda");
    let found = result_of(&world, order("list_hyperv_vms", json!([])));
    assert_eq!(found["count"], 1);
    assert_eq!(found["vms"][0]["name"], "web");
    let id = found["vms"][0]["id"].clone();
    let found = result_of(
        &world,
        order("list_hyperv_vm_details", json!({"vm_ids": [id]})),
    );
    assert_eq!(found["details"][0]["disk_count"], 2);
    assert_eq!(found["details"][0]["leftovers"], json!([]));
    let found = result_of(
        &world,
        order("fetch_log_tail", json!({"log_path": "agent.log"})),
    );
    assert!(
        found["content"]
            .as_str()
            .unwrap()
            .contains("the service begins")
    );
    let (is_done, _) = world.answer_to(order("refresh_inventory", json!({})));
    assert!(is_done);
    assert!(!world.plane.calls_of("agent_report_volumes").is_empty());
    world.check();
}

#[test]
fn what_this_version_does_not_do_is_refused_in_words() {
    let world = World::at_work(Settings::default());
    for (name, words) in [
        ("nas_mount", "not in this version"),
        ("nas_unmount_snapshot", "not in this version"),
        ("agent_update", "no SHA-256"),
        ("brew_coffee", "no command that this version knows"),
    ] {
        let payload = json!({"update_job_id": 3});
        let command = world.plane.queue_command(CommandOrder::new(name, payload));
        let (is_done, said) = world.answer_to(command);
        assert!(!is_done && said.contains(words), "{name}: {said}");
    }
    let run = world
        .plane
        .with(|world| world.queue_restore_run("disk_restore"));
    let payload = json!({"restore_point_id": 4, "manifest_id": "aa", "restore_run_id": run});
    let order = CommandOrder::new("disk_restore", payload).about(&run);
    let (is_done, said) = world.answer_to(world.plane.queue_command(order));
    assert!(
        !is_done && said.contains("disk_image is not in this version"),
        "{said}"
    );
    assert_eq!(world.end_of(&run), "failed");
    world.check();
}

#[test]
fn files_are_browsed_and_restored() {
    let world = World::at_work(Settings::default());
    let manifest = backed_up(&world);
    let browse = json!({"restore_point_id": 5, "path": ""});
    let found = result_of(&world, world.command("browse_snapshot", browse, &manifest));
    assert_eq!(found["entries"][0]["name"], "letter.txt");
    let target = world.path("restored");
    for (selected, manifest_id) in [(json!(null), ""), (json!(["letter.txt"]), &*manifest)] {
        let run = world.plane.with(|world| world.queue_restore_run("restore"));
        let payload = json!({
            "manifest_id": manifest_id, "target_path": target, "mount": false,
            "selected_paths": selected, "restore_run_id": run, "restore_run_uuid": run,
        });
        let (is_done, said) = world.answer_to(world.command("restore", payload, &manifest));
        assert!(is_done, "{said}");
        assert_eq!(world.end_of(&run), "success");
        assert_eq!(fs::read(target.join("letter.txt")).unwrap(), b"dear all");
        fs::remove_dir_all(&target).unwrap();
    }
    let run = world.plane.with(|world| world.queue_restore_run("restore"));
    let missing = "00112233445566778899aabbccddeeff";
    let payload = json!({"manifest_id": missing, "target_path": target, "restore_run_id": run});
    let (is_done, said) = world.answer_to(world.command("restore", payload, ""));
    assert!(!is_done && said.contains(missing), "{said}");
    assert_eq!(world.end_of(&run), "failed");
    world.check();
}

#[test]
fn a_command_that_comes_twice_runs_once() {
    let world = World::at_work(Settings::default());
    let manifest = backed_up(&world);
    for call in 1..6 {
        world
            .plane
            .inject("agent_poll", call, Fault::DeliveredTwice);
    }
    let run = world.plane.with(|world| world.queue_restore_run("restore"));
    let payload = json!({"manifest_id": manifest, "target_path": world.path("restored"), "restore_run_id": run});
    let (is_done, said) = world.answer_to(world.command("restore", payload, ""));
    assert!(is_done, "{said}");
    assert_eq!(world.end_of(&run), "success");
    world.check();
}

/// What the control plane calls this world's repository.
const REPOSITORY: &str = "5c0e0000-0000-4000-8000-000000000001";

/// Orders an operation, and returns how it ended, and with which result.
fn operate(world: &World, op_type: &str, repository_id: &str, policy: Value) -> (String, Value) {
    let order = OperationOrder {
        op_type: op_type.to_owned(),
        repository_id: repository_id.to_owned(),
        effective_policy: policy,
        ..OperationOrder::default()
    };
    let id = world.plane.with(|world| world.queue_operation(order));
    let status = |plane: &scripted_control_plane::ControlPlane| {
        plane.with(|world| {
            let operation = world.operations.iter().find(|it| it.id == id).unwrap();
            (operation.status.clone(), operation.result.clone())
        })
    };
    world.wait_for("the operation", |plane| {
        matches!(&*status(plane).0, "success" | "failed")
    });
    status(&world.plane)
}

#[test]
fn retention_and_maintenance_are_done_where_the_repository_is_known() {
    let world = World::at_work(Settings::default());
    backed_up(&world);
    let operate = |op_type: &str, repository_id: &str| {
        operate(&world, op_type, repository_id, json!({"daily": "30"}))
    };
    let (status, result) = operate("kopia_retention_apply", REPOSITORY);
    assert_eq!(status, "success", "{result}");
    for kind in ["maintenance_quick", "kopia_maintenance_full"] {
        let (status, result) = operate(kind, REPOSITORY);
        assert_eq!(status, "success", "{result}");
    }
    let (status, result) = operate("retention_apply", "5c0e0000-0000-4000-8000-000000000009");
    assert_eq!(status, "failed");
    assert!(
        result.to_string().contains("has not used the repository"),
        "{result}"
    );
    world.check();
}

#[test]
fn points_are_listed_with_their_pins_behind_the_one_that_is_named() {
    let world = World::at_work(Settings::default());
    let mut manifests = [backed_up(&world), backed_up(&world)];
    manifests.sort();
    let operate = |policy: Value| {
        let (status, result) = operate(&world, "list_points", REPOSITORY, policy);
        assert_eq!(status, "success", "{result}");
        result
    };
    let all = json!({"listed": {"points": manifests}});
    assert_eq!(operate(json!({})), all);
    let second = json!({"listed": {"points": [manifests[1]]}});
    assert_eq!(operate(json!({"after": manifests[0]})), second);
    let none = json!({"listed": {"points": []}});
    assert_eq!(operate(json!({"after": manifests[1]})), none);
    world.check();
}

#[test]
fn a_pinned_point_stays_until_its_pins_are_taken_away() {
    let world = World::at_work(Settings::default());
    let manifests = [backed_up(&world), backed_up(&world)];
    world.keep_nothing_by_default();
    let pin = |is_pinned: Value| {
        let payload = json!({"restore_point_id": 5, "is_pinned": is_pinned});
        world.answer_to(world.command("pin_point", payload, &manifests[0]))
    };
    let listed = || {
        let source = json!({"path": world.path("source"), "override_days": 1});
        let policy = json!({"sources": [source]});
        let (status, result) = operate(&world, "retention_apply", REPOSITORY, policy);
        assert_eq!(status, "success", "{result}");
        let (_, result) = operate(&world, "list_points", REPOSITORY, json!({}));
        let points = result["listed"]["points"].as_array().map_or(0, Vec::len);
        (points, result["listed"]["pinned"].clone())
    };
    for _ in 0..2 {
        let (is_done, said) = pin(json!(true));
        assert!(is_done, "{said}");
    }
    assert_eq!(listed(), (2, json!([manifests[0]])));
    let (is_done, said) = pin(json!(null));
    assert!(!is_done && said.contains("does not say"), "{said}");
    let (is_done, said) = pin(json!(false));
    assert!(is_done, "{said}");
    assert_eq!(listed(), (1, json!(null)));
    let (is_done, said) = pin(json!(true));
    assert!(!is_done && said.contains(&manifests[0]), "{said}");
    world.check();
}

#[test]
fn points_are_verified_and_damage_names_the_point_it_hurts() {
    let world = World::at_work(Settings::default());
    let manifest = backed_up(&world);
    let operate =
        |percent: Value| operate(&world, "verify", REPOSITORY, json!({"percent": percent}));
    for (percent, how) in [(json!(0), "structure"), (json!("100"), "content")] {
        let (status, result) = operate(percent);
        assert_eq!(status, "success", "{result}");
        assert_eq!(result, json!({"verified_points": [manifest], "how": how}));
    }
    // The packs of data are lost.
    fs::remove_dir_all(world.path("repo/p")).unwrap();
    let (status, result) = operate(json!(100));
    assert_eq!(status, "success", "{result}");
    assert_eq!(result["damaged_points"], json!([manifest]));
    assert!(!result["error"].as_str().unwrap().is_empty());
    world.check();
}

#[test]
fn a_repositorys_rule_counts_for_sources_without_one_and_is_never_taken_for_their_own() {
    let world = World::at_work(Settings::default());
    let [ruled, free] = ["ruled", "free"].map(|name| {
        let path = world.path(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("note.txt"), name).unwrap();
        path.display().to_string()
    });
    let back_up = |path: &str, rule: Value| {
        let order = world.files().with("source_paths", json!([path]));
        let run = world.queue(order.with("retention_json", rule));
        assert_eq!(world.end_of(&run), "success");
    };
    back_up(&free, json!(null));
    world.keep_nothing_by_default();
    for _ in 0..2 {
        back_up(&free, json!(null));
    }
    for _ in 0..3 {
        back_up(&ruled, json!({"keep_last": 2}));
    }
    let left = || (world.points_of(&ruled), world.points_of(&free));
    assert_eq!(left(), (2, 3));
    let retained = |policy: Value, sources: u64, deleted: u64| {
        let (status, result) = operate(&world, "retention_apply", REPOSITORY, policy);
        assert_eq!(status, "success", "{result}");
        assert_eq!(result["sources_count"], sources);
        assert_eq!(result["deleted_count"], deleted);
        // Our own control plane learns which.
        let removed = result["removed_points"].as_array().map_or(0, Vec::len);
        assert_eq!(removed as u64, deleted, "{result}");
    };
    retained(json!({"keep_last": 2}), 2, 1);
    assert_eq!(left(), (2, 2));
    retained(json!({"keep_last": 1}), 2, 1);
    assert_eq!(left(), (2, 1));
    let named = json!({"vault_default_days": 9, "sources": [{"path": free}]});
    retained(named, 1, 0);
    let named = json!({"sources": [{"path": ruled, "override_days": "1", "retired": false}]});
    retained(named, 1, 1);
    assert_eq!(left(), (1, 1));
    world.check();
}

#[test]
fn a_reset_is_answered_before_the_service_ends() {
    let mut world = World::at_work(Settings::default());
    let command = world
        .plane
        .queue_command(CommandOrder::new("reset_agent", json!({})));
    let (is_done, _) = world.answer_to(command);
    assert!(is_done);
    assert_eq!(world.ends(), Afterwards::Restart);
    world.check();
}

#[test]
fn the_verbose_log_of_a_run_is_pushed_while_it_is_wanted_and_ends_with_the_run() {
    let world = World::at_work(Settings::default());
    let bytes: Vec<u8> = (0..4u32 << 20)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs::write(world.path("source/large.bin"), bytes).unwrap();
    // It goes on until it is cancelled: not even its first pack is paid for by then.
    let order = world.files().with("local_bandwidth_limit_kbps", json!(1));
    let run = world.queue(order.with("compression_enabled", json!(false)));
    world.wait_for("the run", |plane| {
        plane.with(|world| world.run_status(&run) == "running")
    });
    // A piece is refused once, and its answer lost once.
    world
        .plane
        .inject("agent_push_log_chunk", 1, Fault::ServerError);
    world
        .plane
        .inject("agent_push_log_chunk", 2, Fault::AnswerLost);
    for minutes in [json!(1), json!("240")] {
        let payload = json!({"ttl_minutes": minutes});
        let mut order = CommandOrder::new("enable_verbose_admin_logging", payload).about(&run);
        order.by_run_poll = true;
        let (is_done, said) = world.answer_to(world.plane.queue_command(order));
        assert!(is_done, "{said}");
    }
    world.plane.request_cancel(&run);
    assert_eq!(world.end_of(&run), "cancelled");
    let id = run.as_str().unwrap();
    let text = || -> String {
        let calls = world.plane.calls_of("agent_push_log_chunk");
        let taken = calls.iter().filter(|it| it.was_acknowledged());
        let packed = taken.map(|it| it.call.body["content_b64"].as_str().unwrap().to_owned());
        packed.filter_map(|it| packed::text(&it)).collect()
    };
    let last = format!("run {id} ended as cancelled");
    world.wait_for("the end of the run in its log", |_| text().contains(&last));
    // More than the log's file would hold at its level.
    assert!(text().contains(&format!("debug run {id}: ")), "{}", text());
    assert!(!text().contains(PASSWORD), "{}", text());
    let ended = format!("the verbose log of run {id} is not pushed any more: the run is over");
    world.wait_for("the end of pushing", |_| world.log().contains(&ended));
    let payload = json!({"ttl_minutes": 5});
    let order = CommandOrder::new("enable_verbose_admin_logging", payload).about(&run);
    let (is_done, said) = world.answer_to(world.plane.queue_command(order));
    assert!(!is_done && said.contains("not being carried out"), "{said}");
    world.check();
}
