//! Runs of files, and what goes wrong around them.

use std::fs;

use backup::LockWait;
use backup::vm::StateFolder;
use kopia::snapshot::SnapshotSource;
use point::Points;
use progress::Progress;
use scripted_control_plane::{CommandOrder, Fault, Generation, RunOrder, Settings};
use serde_json::json;
use time_and_chance::SystemClock;

use crate::world::{PASSWORD, World};

#[test]
fn a_run_of_files_is_stored_and_reported_once() {
    let world = World::at_work(Settings::default());
    let run = world.queue(world.files());
    assert_eq!(world.end_of(&run), "success");
    let update = world.last_update(&run);
    let repository = world.repository(PASSWORD);
    let points = Points::load(&repository).unwrap();
    let point = points
        .find(update["manifest_id"].as_str().unwrap())
        .unwrap();
    let source = &point.snapshot().manifest.source;
    assert_eq!((&*source.user_name, &*source.host), ("agent", "testhost"));
    assert_eq!(source.path, world.path("source").display().to_string());
    assert_eq!(update["stats_json"]["retention"]["deleted_count"], 0);
    // The values of repositories that the older agent opens.
    let format = repository.format();
    assert_eq!((format.version, format.max_pack_size), (2, 64 << 20));
    assert_eq!(format.splitter, "DYNAMIC-4M-BUZHASH");
    world.check();
}

#[test]
fn an_older_server_is_served_with_numbers() {
    let world = World::at_work(Settings {
        generation: Generation::Old,
        php_artefacts: true,
        ..Settings::default()
    });
    let run = world.queue(world.files());
    assert!(run.is_number());
    assert_eq!(world.end_of(&run), "success");
    world.check();
}

#[test]
fn an_end_that_is_not_acknowledged_is_told_again_byte_for_byte() {
    let world = World::at_work(Settings::default());
    // Whichever call it is that ends the run, it meets a fault; and so do its repetitions.
    let faults = [Fault::ServerError, Fault::AnswerLost, Fault::Reset];
    for (call, fault) in (1..=6).zip(faults.iter().cycle()) {
        world.plane.inject("agent_update_run", call, fault.clone());
    }
    let run = world.queue(world.files());
    world.wait_for("the run's end", |plane| {
        let calls = plane.calls_of("agent_update_run");
        let mut ends = calls
            .iter()
            .filter(|it| it.call.body["status"] == "success");
        ends.any(|it| it.was_acknowledged())
    });
    assert_eq!(world.end_of(&run), "success");
    world.check();
}

#[test]
fn an_end_survives_a_server_that_is_down_and_a_service_that_is_restarted() {
    let mut world = World::at_work(Settings::default());
    let run = world.queue(world.files());
    world.wait_for("the run", |plane| {
        !plane.calls_of("agent_update_run").is_empty()
    });
    world.plane.go_down();
    let outbox = world.path("state/outbox");
    world.wait_for("the end in the outbox", |_| {
        let of_identity = fs::read_dir(&outbox).into_iter().flatten();
        let mut ends = of_identity.filter_map(|it| fs::read_dir(it.ok()?.path()).ok());
        ends.any(|mut ends| ends.next().is_some())
    });
    world.end();
    world.plane.agent_was_killed();
    world.plane.come_back();
    world.begin();
    assert_eq!(world.end_of(&run), "success");
    world.check();
}

#[test]
fn events_that_cannot_be_pushed_hurt_nobody() {
    let world = World::at_work(Settings {
        push_events_broken: true,
        ..Settings::default()
    });
    let run = world.queue(world.files());
    assert_eq!(world.end_of(&run), "success");
    world.check();
}

#[test]
fn engines_that_are_not_here_end_at_once() {
    let world = World::at_work(Settings::default());
    for engine in ["disk_image", "sync", "never-heard-of"] {
        let run = world.queue(RunOrder {
            engine: engine.to_owned(),
            ..RunOrder::default()
        });
        assert_eq!(world.end_of(&run), "failed");
        let update = world.last_update(&run);
        let words = format!("engine {engine} is not in this version");
        assert_eq!(update["error_summary"], words);
    }
    world.check();
}

#[test]
fn what_cannot_be_backed_up_fails_and_says_why() {
    let world = World::at_work(Settings::default());
    let gone = world.path("gone").display().to_string();
    for (order, words) in [
        (world.files().with("source_paths", json!([gone])), "gone"),
        (world.files().with("source_paths", json!([])), "names none"),
        (
            world.files().with("source_paths", json!(["relative"])),
            "no whole path",
        ),
        (
            world.files().with("dest_local_path", json!("")),
            "no folder",
        ),
        (
            world
                .files()
                .with("dest_type", json!("s3"))
                .with("dest_secret_key", json!("")),
            "no storage keys",
        ),
        (
            world
                .files()
                .with("retention_json", json!({"keep_last": "many"})),
            "cannot be used",
        ),
    ] {
        let run = world.queue(order);
        assert_eq!(world.end_of(&run), "failed");
        let why = world.last_update(&run)["error_summary"].clone();
        assert!(why.as_str().unwrap().contains(words), "{why}");
    }
    world.check();
}

#[test]
fn a_wrong_password_is_never_no_repository() {
    let world = World::at_work(Settings::default());
    let run = world.queue(world.files());
    assert_eq!(world.end_of(&run), "success");
    let before = crate::world::contents(&world.path("repo"));
    // What opened it before is remembered, so another password does no harm.
    let other = world
        .files()
        .with("repository_password", json!("other".repeat(8)));
    let run = world.queue(other.clone());
    assert_eq!(world.end_of(&run), "success");
    fs::remove_dir_all(world.path("state/credentials")).unwrap();
    let run = world.queue(other.with("local_bandwidth_limit_kbps", json!(100_000)));
    assert_eq!(world.end_of(&run), "failed");
    let why = world.last_update(&run)["error_summary"].to_string();
    assert!(why.contains("it is there"), "{why}");
    assert_eq!(crate::world::contents(&world.path("repo")), before);
    world.check();
}

#[test]
fn a_run_is_cancelled_within_seconds() {
    let world = World::at_work(Settings::default());
    for number in 0..40 {
        let bytes: Vec<u8> = (0..1 << 20)
            .map(|at: u32| (at.wrapping_mul(2_654_435_761) >> (number % 24)) as u8)
            .collect();
        fs::write(world.path("source").join(format!("{number}.bin")), bytes).unwrap();
    }
    // A pack cannot be put in less than a minute.
    let order = world.files().with("local_bandwidth_limit_kbps", json!(16));
    let run = world.queue(order.with("compression_enabled", json!(false)));
    world.wait_for("the run", |plane| {
        plane.with(|world| world.run_status(&run) == "running")
    });
    world.plane.request_cancel(&run);
    assert_eq!(world.end_of(&run), "cancelled");
    world.check();
}

#[test]
fn a_backup_that_is_stopped_with_the_service_is_taken_up_when_it_is_handed_out_again() {
    let mut world = World::at_work(Settings {
        reclaim_grace_secs: 1,
        ..Settings::default()
    });
    let bytes: Vec<u8> = (0..24u32 << 20)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs::write(world.path("source/large.bin"), bytes).unwrap();
    let order = world.files().with("compression_enabled", json!(false));
    let slow = order.with("local_bandwidth_limit_kbps", json!(2048));
    let run = world.queue(slow);
    world.wait_for("the run", |plane| {
        plane.with(|world| world.run_status(&run) == "running")
    });
    world.end();
    world.plane.agent_was_killed();
    assert_eq!(
        world.plane.with(|world| world.run_status(&run).to_owned()),
        "running"
    );
    world.begin();
    assert_eq!(world.end_of(&run), "success");
    world.check();
}

#[test]
fn a_run_waits_for_who_backs_its_source_up() {
    let world = World::at_work(Settings::default());
    let run = world.queue(world.files());
    assert_eq!(world.end_of(&run), "success");
    let source = SnapshotSource {
        host: "testhost".to_owned(),
        user_name: "agent".to_owned(),
        path: world.path("source").display().to_string(),
    };
    let repository = world.repository(PASSWORD).unique_id_hex();
    let state = StateFolder::open(world.path("state")).unwrap();
    let clock = SystemClock::new();
    let wait = LockWait {
        clock: clock.as_ref(),
        progress: &Progress::silent(),
        max: LockWait::USUAL_MAX,
    };
    let held = state.lock_source(&repository, &source, &wait).unwrap();
    let run = world.queue(world.files());
    world.waits(&run);
    drop(held);
    assert_eq!(world.end_of(&run), "success");
    world.check();
}

#[test]
fn two_agents_make_one_repository_at_once_and_both_use_it() {
    let worlds = [Settings::default(), Settings::default()].map(World::at_work);
    let place = worlds[0].path("repo").display().to_string();
    let runs = worlds.each_ref().map(|world| {
        let order = world.files();
        world.queue(order.with("dest_local_path", json!(place)))
    });
    for (world, run) in worlds.iter().zip(&runs) {
        assert_eq!(world.end_of(run), "success", "{}", world.last_update(run));
        world.check();
    }
    let repository = worlds[0].repository(PASSWORD);
    let points = Points::load(&repository).unwrap();
    for (world, run) in worlds.iter().zip(&runs) {
        let update = world.last_update(run);
        assert!(points.find(update["manifest_id"].as_str().unwrap()).is_ok());
    }
}

#[test]
fn a_creation_that_was_cut_short_stands_in_nobodys_way() {
    let world = World::at_work(Settings::default());
    fs::create_dir(world.path("repo")).unwrap();
    // What newer clients write before the repository itself.
    fs::write(world.path("repo/kopia.blobcfg.f"), "sealed with a lost key").unwrap();
    let run = world.queue(world.files());
    assert_eq!(world.end_of(&run), "success", "{}", world.last_update(&run));
    world.repository(PASSWORD);
    world.check();
}

#[test]
fn files_are_compressed_as_the_job_says() {
    let world = World::at_work(Settings::default());
    let lines = (0..1_u64 << 14).map(|it| format!("line {it:x} of a long letter\n"));
    let text: String = lines.collect();
    fs::write(world.path("source/numbers.txt"), &text).unwrap();
    for (place, (is_wanted, policy, is_small)) in [
        (true, json!(null), true),
        (false, json!([]), false),
        (true, json!({"compression": "none"}), false),
        (
            false,
            json!({"compression": "s2-default", "parallel_uploads": "3", "debug_logs": "1"}),
            true,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let order = world
            .files()
            .with("compression_enabled", json!(is_wanted))
            .with("policy_json", policy.clone())
            .with(
                "dest_local_path",
                json!(world.path(&format!("repo{place}"))),
            );
        let run = world.queue(order);
        assert_eq!(world.end_of(&run), "success");
        let stored = world.last_update(&run)["bytes_transferred"]
            .as_u64()
            .unwrap();
        let whole = text.len() as u64;
        assert_eq!(
            stored < whole * 3 / 4,
            is_small,
            "{policy}: {stored} of {whole}"
        );
        let told = world.event(&run, "KOPIA_POLICY");
        let uploads = if place == 3 { 3 } else { 16 };
        assert_eq!(told["parallel_uploads"], uploads, "{told}");
        if place == 3 {
            world.event(&run, "KOPIA_UPLOAD_CALL_START");
            world.event(&run, "KOPIA_UPLOAD_CALL_DONE");
        }
    }
    world.check();
}

#[test]
fn a_store_that_cannot_be_used_is_told_of_with_what_to_look_at() {
    let world = World::at_work(Settings::default());
    let order = world
        .files()
        .with("dest_type", json!("s3"))
        .with("dest_endpoint", json!("ftp://files.example.net:21"));
    let run = world.queue(order);
    assert_eq!(world.end_of(&run), "failed");
    let told = world.event(&run, "STORAGE_ENDPOINT_UNREACHABLE");
    assert_eq!(told["reason_code"], "endpoint_invalid", "{told}");
    assert_eq!(
        (&told["host"], &told["port"]),
        (&json!("files.example.net"), &json!(21))
    );
    for name in ["summary", "hint", "error", "endpoint", "stage"] {
        assert!(!told[name].as_str().unwrap().is_empty(), "{told}");
    }
    // Restores tell of it too, and once.
    for name in ["restore", "hyperv_restore"] {
        for (endpoint, reason) in [
            ("ftp://files.example.net:21", "endpoint_invalid"),
            ("http://127.0.0.1:1", "tcp_refused"),
        ] {
            let run = world.plane.with(|world| world.queue_restore_run(name));
            let payload = json!({
                "target_path": world.path("restored"), "restore_run_id": run, "manifest_id": "aa",
                "vms": [{"vm_name": "web", "disk_manifests": {"a.vhdx": "aa"}}],
            });
            let mut context = world.destination();
            for (member, value) in [
                ("dest_type", "s3"),
                ("dest_bucket_name", "bucket"),
                ("dest_endpoint", endpoint),
                ("dest_access_key", "AK"),
                ("dest_secret_key", "SK"),
            ] {
                context[member] = json!(value);
            }
            let command = CommandOrder::new(name, payload).with_context(context);
            let (is_done, said) = world.answer_to(world.plane.queue_command(command));
            assert!(!is_done, "{said}");
            assert_eq!(world.end_of(&run), "failed");
            let message_id = match reason {
                "tcp_refused" => "STORAGE_TCP_REFUSED",
                _ => "STORAGE_ENDPOINT_UNREACHABLE",
            };
            let told = world.events_of(&run, message_id);
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!(told[0]["reason_code"], reason);
        }
    }
    world.check();
}

#[test]
fn a_share_is_reached_with_the_jobs_account_or_the_run_says_why_not() {
    let world = World::at_work(Settings::default());
    let account = json!({"username": "backup", "password": PASSWORD, "domain": "CORP"});
    let order = world
        .files()
        .with("source_paths", json!([r"\\nas\data\x"]))
        .with("network_credentials", account);
    let run = world.queue(order);
    assert_eq!(world.end_of(&run), "failed");
    let why = world.last_update(&run)["error_summary"].to_string();
    assert!(why.contains(r"no \\\\nas\\data here"), "{why}");
    world.check();
}
