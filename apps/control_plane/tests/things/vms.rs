//! VMs: how well they are protected, and the first screen.

use std::time::Duration;

use control_plane::store::entity::{alarm, host, point, repository, run, vm};
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::NotSet, ActiveValue::Set, ConnectionTrait as _,
    EntityTrait as _,
};
use serde_json::{Value, json};
use time_and_chance::Chance;

use crate::ground::{self, Ground, HOUR, PointOf, text};

/// Makes a point of a VM by a run of a job, both `hours` ago.
async fn backed_up(ground: &Ground, job: &str, vm: i64, name: &str, hours: i64) -> i64 {
    let run = ground.run(job, "success", hours).await;
    let backup_type = if hours > 40 { "full" } else { "incremental" };
    let of = PointOf {
        job: Some(job),
        run: &run,
        vm: Some(vm),
        name,
        backup_type,
        changed_bytes: hours,
        hours_ago: hours,
        ..Default::default()
    };
    ground.point(of).await
}

fn outcomes(row: &Value) -> Vec<String> {
    let strip = row["strip"].as_array().expect("days");
    assert_eq!(strip.len(), 30);
    strip.iter().map(|day| text(&day["outcome"])).collect()
}

#[tokio::test]
async fn a_row_says_how_a_vm_fares_and_why() {
    let ground = Ground::new().await;
    ground::set_zone(&ground, "UTC").await;
    // It is 08:00 on the first of March.
    let job = ground.job(ground.wish()).await;
    let job = text(&job["id"]);
    let good = ground.vm("good").await;
    let old = ground.vm("old").await;
    let bare = ground.vm("bare").await;
    for hours in [58, 34, 10] {
        backed_up(&ground, &job, good, "good", hours).await;
    }
    backed_up(&ground, &job, old, "old", 58).await;
    let failed = ground.run(&job, "partial_success", 34).await;
    ground
        .event(
            &failed,
            "HYPERV_VM_FAILED",
            json!({"vm_name": "old", "message": "locked"}),
        )
        .await;
    let missed = ground.run(&job, "missed", 20).await;
    let list = ground.viewer.get("/vms").await.expect(200);
    let rows = list["items"].as_array().expect("rows");
    assert_eq!(
        rows.iter()
            .map(|row| text(&row["name"]))
            .collect::<Vec<_>>(),
        ["bare", "good", "old"]
    );
    let row = |id: i64| {
        rows.iter()
            .find(|row| row["id"] == id)
            .expect("a row")
            .clone()
    };
    let (good, old, bare) = (row(good), row(old), row(bare));
    assert_eq!(good["health"], "good", "{}", good["health_reason"]);
    assert_eq!(good["health_reason"], "last good point is 10 h old");
    assert_eq!(
        (&good["is_protected"], &good["objective_hours"]),
        (&json!(true), &json!(26))
    );
    assert_eq!(
        good["change_rate_bytes_per_day"], 22,
        "the median of 34 and 10"
    );
    assert_eq!(
        (&good["size_bytes"], &good["last_consistency"]),
        (&json!(4_096), &json!("application"))
    );
    assert_eq!(good["next_run_at"], "2026-03-01T22:00:00Z");
    let days = outcomes(&good);
    assert_eq!(
        days[26..],
        ["good", "good", "warning", "none"],
        "a run of the last night was missed, one went well"
    );
    assert_eq!(good["strip"][28]["run_id"], missed);
    assert_eq!(old["health"], "bad");
    assert_eq!(
        old["health_reason"],
        "last good point is 2 days old, objective is 26 h; its last run did not take place"
    );
    assert_eq!(outcomes(&old)[26..], ["good", "failed", "missed", "none"]);
    assert_eq!(old["strip"][27]["run_id"], failed);
    // It was made known a hundred days ago, and its job is of today.
    assert_eq!(
        (&bare["health"], &bare["last_point_at"]),
        (&json!("warning"), &json!(null))
    );
    ground.world.clock.advance(Duration::from_secs(27 * 3_600));
    // The session has ended meanwhile.
    let viewer = &ground.viewer;
    let viewer = ground.world.session(&viewer.user_id, &viewer.email).await;
    let bare = viewer
        .get(&format!("/vms/{}", bare["id"]))
        .await
        .expect(200);
    assert_eq!(bare["health"], "bad");
    assert_eq!(
        (&bare["disks"][0]["format"], &bare["cpu_count"]),
        (&json!("VHDX"), &json!(4))
    );
}

#[tokio::test]
async fn a_row_is_not_good_where_there_is_a_reason_to_doubt_it() {
    let ground = Ground::new().await;
    let db = ground.world.plane.store.db();
    let job = text(&ground.job(ground.wish()).await["id"]);
    let vm = ground.vm("web01").await;
    let run = ground.run(&job, "success", 1).await;
    let of = PointOf {
        job: Some(&job),
        run: &run,
        vm: Some(vm),
        name: "web01",
        disks: json!({"D:\\VM\\a.vhdx": "m"}),
        ..PointOf::default()
    };
    ground.point(of).await;
    let judged = async || {
        let row = ground.viewer.get(&format!("/vms/{vm}")).await.expect(200);
        (text(&row["health"]), text(&row["health_reason"]))
    };
    assert_eq!(judged().await.0, "good");
    // A disk that its last point does not hold.
    let disks = |paths: &[&str]| {
        let disks: Vec<Value> = paths
            .iter()
            .map(|path| json!({"path": path, "size_bytes": 1}))
            .collect();
        vm::ActiveModel {
            id: Set(vm),
            disks_json: Set(json!(disks).to_string()),
            ..Default::default()
        }
    };
    disks(&["a.vhdx", "PhysicalDisk2"])
        .update(db)
        .await
        .expect("changed");
    let (health, why) = judged().await;
    assert!(
        health == "warning" && why.contains("a disk that its last point"),
        "{health}: {why}"
    );
    disks(&["a.vhdx"]).update(db).await.expect("changed");
    // A run that ended well without it.
    ground.world.clock.advance(Duration::from_secs(60));
    let without = ground.run(&job, "success", 0).await;
    let (health, why) = judged().await;
    assert!(
        health == "warning" && why.contains("made no point of it"),
        "{health}: {why}"
    );
    run::Entity::delete_by_id(without)
        .exec(db)
        .await
        .expect("deleted");
    assert_eq!(judged().await.0, "good");
    // A host that is disabled.
    let host = |is_disabled| host::ActiveModel {
        id: Set(ground.host.clone()),
        is_disabled: Set(is_disabled),
        ..Default::default()
    };
    host(true).update(db).await.expect("disabled");
    let (health, why) = judged().await;
    assert!(
        health == "unprotected" && why.contains("its host is disabled"),
        "{health}: {why}"
    );
    let unprotected = ground.viewer.get("/vms?protected=no").await.expect(200);
    assert_eq!(unprotected["items"].as_array().map(Vec::len), Some(1));
    host(false).update(db).await.expect("enabled");
    // A name that the job's pattern no longer takes, and a job that is switched off.
    let path = format!("/jobs/{job}");
    for (change, reason) in [
        (json!({"vms": {"include": ["db*"]}}), "no job protects it"),
        (
            json!({"vms": {"all": true}, "status": "paused"}),
            "is paused",
        ),
    ] {
        ground.operator.patch(&path, change).await.expect(200);
        let (health, why) = judged().await;
        assert!(
            health == "unprotected" && why.contains(reason),
            "{health}: {why}"
        );
    }
}

#[tokio::test]
async fn what_ran_on_a_host_before_a_vm_came_there_says_nothing_of_it() {
    let ground = Ground::new().await;
    let plane = &ground.world.plane;
    let job = text(&ground.job(ground.wish()).await["id"]);
    let id = ground::host(&ground.world, &ground.tenant, "hv02").await;
    let share = json!({"name": "Share", "kind": "local", "path": r"\\nas\vault"});
    let share = ground.owner.post("/repositories", share).await.expect(201);
    let mut wish = ground.wish();
    wish["host_id"] = json!(id);
    wish["repository_id"] = share["id"].clone();
    let there = text(&ground.job(wish).await["id"]);
    let vm = ground.vm("web01").await;
    backed_up(&ground, &job, vm, "web01", 1).await;
    let pass = || ground.world.clock.advance(Duration::from_secs(60));
    for status in ["failed", "success"] {
        pass();
        ground.run(&there, status, 0).await;
    }
    pass();
    let row = vm::Entity::find_by_id(vm).one(plane.store.db()).await;
    let known = row.expect("read").expect("a VM");
    let listed = protocol::reports::Vm {
        id: known.guid,
        name: known.name,
        state: known.state,
        ..Default::default()
    };
    let host = host::Entity::find_by_id(&id).one(plane.store.db()).await;
    let host = host.expect("read").expect("a host");
    let store = &plane.store;
    store
        .list_vms(&host, &[listed], ground.now())
        .await
        .expect("moved");
    let judged = async || {
        let row = ground.viewer.get(&format!("/vms/{vm}")).await.expect(200);
        assert_eq!(row["host_name"], "hv02");
        (text(&row["health"]), text(&row["health_reason"]))
    };
    let (health, why) = judged().await;
    assert_eq!(health, "good", "{why}");
    // What runs there since does.
    pass();
    ground.run(&there, "success", 0).await;
    let (health, why) = judged().await;
    assert!(
        health == "warning" && why.contains("made no point of it"),
        "{health}: {why}"
    );
}

#[tokio::test]
async fn days_follow_the_tenants_zone_and_the_night_a_run_began_in() {
    let ground = Ground::new().await;
    ground::set_zone(&ground, "Pacific/Auckland").await;
    let job = text(&ground.job(ground.wish()).await["id"]);
    let vm = ground.vm("web01").await;
    // It is 21:00 on 1 March there, and the run began at 01:00 of that day, which was 28 February in UTC.
    let run = ground.run(&job, "success", 20).await;
    let at = PointOf {
        job: Some(&job),
        run: &run,
        vm: Some(vm),
        name: "web01",
        hours_ago: 2,
        ..Default::default()
    };
    ground.point(at).await;
    let row = ground.viewer.get(&format!("/vms/{vm}")).await.expect(200);
    let strip = row["strip"].as_array().expect("days");
    assert_eq!(strip[29]["day"], "2026-03-01");
    assert_eq!(
        (&strip[29]["outcome"], &strip[28]["outcome"]),
        (&json!("good"), &json!("none"))
    );
}

#[tokio::test]
async fn consistency_below_what_was_asked_is_a_warning() {
    let ground = Ground::new().await;
    let job = text(&ground.job(ground.wish()).await["id"]);
    let vm = ground.vm("web01").await;
    let run = ground.run(&job, "warning", 5).await;
    let of = PointOf {
        job: Some(&job),
        run: &run,
        vm: Some(vm),
        name: "web01",
        consistency: "crash",
        hours_ago: 5,
        ..Default::default()
    };
    ground.point(of).await;
    let row = ground.viewer.get(&format!("/vms/{vm}")).await.expect(200);
    assert_eq!(row["health"], "warning");
    assert_eq!(
        row["health_reason"],
        "its last point is crash-consistent, application-consistent was asked for"
    );
    assert!(outcomes(&row).contains(&"warning".to_owned()));
}

#[tokio::test]
async fn vms_are_found_by_name_host_and_protection_in_pages() {
    let ground = Ground::new().await;
    let second = ground::host(&ground.world, &ground.tenant, "hv02").await;
    for name in ["web01", "Web02", "db01"] {
        ground.vm(name).await;
    }
    let guid = "aaaaaaaa-0000-4000-8000-000000000001";
    ground::vm_of(&ground.world, &ground.tenant, &second, "web03", guid).await;
    let mut wish = ground.wish();
    wish["vms"] = json!({"include": ["web*"]});
    ground.job(wish).await;
    let names = async |query: &str| {
        let page = ground.viewer.get(&format!("/vms{query}")).await.expect(200);
        let items = page["items"].as_array().expect("items").clone();
        let names: Vec<String> = items.iter().map(|it| text(&it["name"])).collect();
        (names, page["next"].as_str().map(str::to_owned))
    };
    assert_eq!(names("?q=WEB").await.0, ["web01", "Web02", "web03"]);
    assert_eq!(names("?protected=yes").await.0, ["web01", "Web02"]);
    assert_eq!(names("?protected=no").await.0, ["db01", "web03"]);
    assert_eq!(names(&format!("?host_id={second}")).await.0, ["web03"]);
    let (first, next) = names("?limit=3").await;
    assert_eq!(first, ["db01", "web01", "Web02"]);
    let (last, end) = names(&format!("?limit=3&cursor={}", next.expect("more"))).await;
    assert_eq!((last, end), (vec!["web03".to_owned()], None));
    ground
        .viewer
        .get("/vms?protected=perhaps")
        .await
        .refused(422, "invalid");
    assert_eq!(
        ground.foreigner.get("/vms").await.expect(200)["items"],
        json!([])
    );
}

#[tokio::test]
async fn an_operator_excuses_a_vm_or_gives_it_an_objective() {
    let ground = Ground::new().await;
    let vm = ground.vm("web01").await;
    let path = format!("/vms/{vm}");
    let excused = ground
        .operator
        .patch(&path, json!({"is_excused": true}))
        .await
        .expect(200);
    assert_eq!(
        (&excused["health"], &excused["is_excused"]),
        (&json!("excused"), &json!(true))
    );
    let change = json!({"is_excused": false, "objective_hours": 4});
    let changed = ground.operator.patch(&path, change).await.expect(200);
    assert_eq!(
        (&changed["health"], &changed["objective_hours"]),
        (&json!("unprotected"), &json!(4))
    );
    let changed = ground
        .operator
        .patch(&path, json!({"objective_hours": null}))
        .await
        .expect(200);
    assert_eq!(changed["objective_hours"], json!(null));
    let refused = ground
        .operator
        .patch(&path, json!({"objective_hours": 0}))
        .await
        .refused(422, "invalid");
    assert_eq!(refused["field"], "objective_hours");
    ground
        .viewer
        .patch(&path, json!({"is_excused": true}))
        .await
        .refused(403, "forbidden");
    for answer in [
        ground.foreigner.get(&path).await,
        ground
            .foreigner
            .patch(&path, json!({"is_excused": true}))
            .await,
        ground.foreigner.get(&format!("{path}/points")).await,
        ground.viewer.get("/vms/99999999999999999999").await,
    ] {
        answer.refused(404, "not_found");
    }
}

#[tokio::test]
async fn the_first_screen_shows_what_needs_a_decision_and_whether_all_is_safe() {
    let ground = Ground::new().await;
    let empty = ground.foreigner.get("/overview").await.expect(200);
    assert_eq!(
        empty["setup"],
        json!({"has_host": false, "has_repository": false, "has_job": false, "has_point": false})
    );
    assert_eq!(
        (&empty["vms"], &empty["counts"]["vms"]),
        (&json!([]), &json!(0))
    );
    let job = text(&ground.job(ground.wish()).await["id"]);
    let vm = ground.vm("web01").await;
    backed_up(&ground, &job, vm, "web01", 10).await;
    ground
        .operator
        .post(&format!("/jobs/{job}/runs"), json!({}))
        .await
        .expect(202);
    let db = ground.world.plane.store.db();
    for (number, severity, snoozed) in [
        (1, "warning", None),
        (2, "critical", None),
        (3, "critical", Some(ground.now() + HOUR)),
    ] {
        alarm::ActiveModel {
            id: NotSet,
            tenant_id: Set(ground.tenant.clone()),
            kind: Set("run_failed".to_owned()),
            subject_kind: Set("job".to_owned()),
            subject_id: Set(number.to_string()),
            subject_name: Set("Nightly".to_owned()),
            grade: Set(0),
            graded_at: Set(0),
            severity: Set(severity.to_owned()),
            message: Set("look".to_owned()),
            detail_json: Set("{}".to_owned()),
            open_key: Set(Some(number.to_string())),
            opened_at: Set(ground.now()),
            last_seen_at: Set(ground.now()),
            acknowledged_at: Set(None),
            acknowledged_by: Set(String::new()),
            snoozed_until: Set(snoozed),
            resolved_at: Set(None),
            resolved_by: Set(String::new()),
        }
        .insert(db)
        .await
        .expect("an alarm");
    }
    let row = repository::Entity::find_by_id(&ground.repository)
        .one(db)
        .await
        .expect("read")
        .expect("there");
    ground
        .world
        .plane
        .store
        .note_stored_bytes(db, &row, 500, ground.now())
        .await
        .expect("noted");
    ground
        .world
        .plane
        .store
        .note_stored_bytes(db, &row, 700, ground.now())
        .await
        .expect("noted again");
    let shown = ground.viewer.get("/overview").await.expect(200);
    let decisions: Vec<&Value> = shown["decisions"]
        .as_array()
        .expect("alarms")
        .iter()
        .map(|it| &it["subject_id"])
        .collect();
    assert_eq!(decisions, [&json!("2"), &json!("1")]);
    assert_eq!(
        shown["counts"],
        json!({
            "vms": 1, "protected": 1, "good": 1, "warning": 0, "bad": 0, "unprotected": 0, "excused": 0, "with_point": 1,
            "proven": 0, "hosts_online": 1, "hosts": 1,
        })
    );
    assert_eq!(shown["running"][0]["status"], "queued");
    assert_eq!(
        shown["oldest_last_point_at"],
        shown["vms"][0]["last_point_at"]
    );
    assert_eq!(shown["next_run_at"], shown["vms"][0]["next_run_at"]);
    let today = &ground.viewer.get("/stored").await.expect(200)["days"][29];
    assert_eq!(
        (&today["stored_bytes"], &today["source_bytes"]),
        (&json!(700), &json!(1_000))
    );
    assert_eq!(
        shown["setup"],
        json!({"has_host": true, "has_repository": true, "has_job": true, "has_point": true})
    );
    assert_eq!(
        ground
            .viewer
            .get(&format!("/repositories/{}", ground.repository))
            .await
            .expect(200)["stored_bytes"],
        700
    );
}

#[tokio::test]
async fn a_proof_of_any_point_counts_for_its_vm() {
    let ground = Ground::new().await;
    let job = text(&ground.job(ground.wish()).await["id"]);
    let vm = ground.vm("web01").await;
    let first = backed_up(&ground, &job, vm, "web01", 50).await;
    backed_up(&ground, &job, vm, "web01", 10).await;
    let proven = point::ActiveModel {
        id: Set(first),
        proven_at: Set(Some(ground.now())),
        proven_how: Set("restore".to_owned()),
        ..Default::default()
    };
    proven
        .update(ground.world.plane.store.db())
        .await
        .expect("proven");
    let row = ground.viewer.get(&format!("/vms/{vm}")).await.expect(200);
    assert_eq!(row["last_proven_at"], "2026-03-01T08:00:00Z");
}

/// The first screen counts VMs by what is newest of them, and shows them by their days: both must say the same.
#[tokio::test]
async fn what_is_newest_judges_a_vm_as_all_its_days_do() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..4 {
        let chance = Chance::from_seed(seed);
        let ground = Ground::new().await;
        let one_of = |words: &[&'static str]| words[chance.below(words.len() as u64) as usize];
        let mut jobs = Vec::new();
        for name in ["Nightly", "Noon"] {
            let mut wish = ground.wish();
            wish["name"] = json!(name);
            wish["objective_hours"] = json!(100);
            jobs.push(text(&ground.job(wish).await["id"]));
        }
        let mut vms = Vec::new();
        for number in 0..25 {
            let name = format!("vm{number}");
            vms.push((ground.vm(&name).await, name));
        }
        let db = ground.world.plane.store.db();
        for since_ever in [
            "UPDATE jobs SET created_at = 0, updated_at = 0",
            "UPDATE vms SET first_seen_at = 0",
        ] {
            db.execute_unprepared(since_ever).await.expect(since_ever);
        }
        for hours_ago in [500, 300, 200, 120, 90, 60, 40, 20, 8, 3] {
            // Ids sort by when they were made.
            ground.world.clock.advance(Duration::from_millis(1));
            let job = &jobs[chance.below(2) as usize];
            let status = one_of(&[
                "success",
                "warning",
                "partial_success",
                "failed",
                "cancelled",
                "missed",
            ]);
            let run = ground.run(job, status, hours_ago).await;
            for (vm, name) in &vms {
                match chance.below(4) {
                    0 | 1 if status != "missed" => {
                        let of = PointOf {
                            job: Some(job),
                            run: &run,
                            vm: Some(*vm),
                            name,
                            consistency: one_of(&["application", "crash"]),
                            hours_ago,
                            ..PointOf::default()
                        };
                        let point = ground.point(of).await;
                        if chance.below(4) == 0 {
                            let gone =
                                format!("UPDATE points SET expired_at = 1 WHERE id = {point}");
                            db.execute_unprepared(&gone).await.expect("removed");
                        }
                    }
                    2 => {
                        let which = json!({"vm_name": name});
                        ground.event(&run, "HYPERV_VM_FAILED", which).await;
                    }
                    _ => {}
                }
            }
        }
        let ids = |page: &Value, health: &str| -> Vec<Value> {
            let rows = page["items"].as_array().expect("rows").iter();
            rows.filter(|row| row["health"] == health)
                .map(|row| row["id"].clone())
                .collect()
        };
        let all = ground.viewer.get("/vms").await.expect(200);
        let counts = ground.viewer.get("/overview").await.expect(200)["counts"].clone();
        for health in ["good", "warning", "bad", "unprotected", "excused"] {
            let by_days = ids(&all, health);
            let path = format!("/vms?health={health}");
            let by_newest = ground.viewer.get(&path).await.expect(200);
            assert_eq!(ids(&by_newest, health), by_days, "{health}, seed {seed}");
            assert_eq!(
                counts[health],
                json!(by_days.len()),
                "{health}, seed {seed}"
            );
            if !by_days.is_empty() {
                seen.insert(health);
            }
        }
        let refused = ground.viewer.get("/vms?health=fine").await;
        refused.refused(422, "invalid");
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}
