//! Jobs, their preview, and runs that are asked for.

use serde_json::{Value, json};

use crate::ground::{self, Ground, local, set_zone, text};

#[tokio::test]
async fn a_job_is_made_changed_paused_and_deleted() {
    let ground = Ground::new().await;
    set_zone(&ground, "Europe/Berlin").await;
    ground
        .viewer
        .post("/jobs", ground.wish())
        .await
        .refused(403, "forbidden");
    let job = ground.job(ground.wish()).await;
    assert_eq!(job["next_run_at"], "2026-03-01T21:00:00Z");
    assert_eq!(job["consistency"], "application");
    assert_eq!(job["objective_hours"], 26);
    assert_eq!(
        (&job["host_name"], &job["repository_name"]),
        (&json!("hv01"), &json!("Vault"))
    );
    assert_eq!(job["schedule"]["at"], "22:00");
    let path = format!("/jobs/{}", text(&job["id"]));
    let paused = ground
        .operator
        .patch(&path, json!({"status": "paused"}))
        .await
        .expect(200);
    assert_eq!(
        (&paused["next_run_at"], &paused["status"]),
        (&json!(null), &json!("paused"))
    );
    ground
        .operator
        .post(&format!("{path}/runs"), json!({}))
        .await
        .refused(409, "paused");
    let schedule = json!({"kind": "cron", "expression": "30 4 * * *", "time_zone": "UTC"});
    let change = json!({"status": "active", "schedule": schedule, "objective_hours": 30, "name": "Morning",
        "vms": {"include": ["web*"]}, "policy": {"compression": "zstd-fastest"}});
    let changed = ground.operator.patch(&path, change).await.expect(200);
    assert_eq!(changed["next_run_at"], "2026-03-02T04:30:00Z");
    assert_eq!(
        changed["vms"],
        json!({"all": false, "guids": [], "include": ["web*"], "exclude": []})
    );
    assert_eq!(changed["policy"], json!({"compression": "zstd-fastest"}));
    assert_eq!(changed["retention"], json!({"daily": 30, "weekly": 8}));
    ground.foreigner.get(&path).await.refused(404, "not_found");
    ground
        .foreigner
        .patch(&path, json!({"name": "x"}))
        .await
        .refused(404, "not_found");
    ground
        .foreigner
        .post(&format!("{path}/runs"), json!({}))
        .await
        .refused(404, "not_found");
    ground
        .foreigner
        .delete(&path)
        .await
        .refused(404, "not_found");
    let run = ground
        .operator
        .post(&format!("{path}/runs"), json!({}))
        .await
        .expect(202);
    ground.operator.delete(&path).await.expect(204);
    ground.viewer.get(&path).await.refused(404, "not_found");
    assert_eq!(
        ground.viewer.get("/jobs").await.expect(200)["items"],
        json!([])
    );
    let run = ground
        .viewer
        .get(&format!("/runs/{}", text(&run["id"])))
        .await
        .expect(200);
    assert_eq!(
        (&run["status"], &run["error_summary"]),
        (&json!("cancelled"), &json!("the job was deleted"))
    );
}

#[tokio::test]
async fn what_cannot_be_carried_out_is_refused_and_named() {
    let ground = Ground::new().await;
    let other = ground::host(&ground.world, "another tenant", "theirs").await;
    let theirs = ground
        .foreigner
        .post("/repositories", local("Theirs"))
        .await
        .expect(201);
    let files = json!({"engine": "kopia"});
    for (members, field) in [
        (json!({"name": ""}), "name"),
        (json!({"host_id": other}), "host_id"),
        (json!({"repository_id": theirs["id"]}), "repository_id"),
        (json!({"engine": "tape"}), "engine"),
        (json!({"vms": {}}), "vms"),
        (json!({"vms": {"guids": ["no guid"]}}), "vms.guids"),
        (json!({"vms": {"include": [""]}}), "vms.include"),
        (json!({"vms": {"include": vec!["x"; 1_001]}}), "vms.include"),
        (files, "sources"),
        (
            json!({"engine": "disk_image", "sources": ["C:", "D:"]}),
            "sources",
        ),
        (json!({"consistency": "perfect"}), "consistency"),
        (
            json!({"schedule": {"kind": "hourly", "every_hours": 25}}),
            "schedule.every_hours",
        ),
        (
            json!({"schedule": {"kind": "daily", "at": "12:00", "time_zone": "Mars"}}),
            "schedule.time_zone",
        ),
        (
            json!({"retention": {"keep_last": 0}}),
            "retention.keep_last",
        ),
        (
            json!({"retention": {"keep_last": 7, "daily": 30}}),
            "retention",
        ),
        (json!({"retention": {"daily": 0}}), "retention"),
        (
            json!({"policy": {"compression": "rar"}}),
            "policy.compression",
        ),
        (
            json!({"policy": {"parallel_uploads": 65}}),
            "policy.parallel_uploads",
        ),
        (json!({"bandwidth_kib_s": -1}), "bandwidth_kib_s"),
        (json!({"objective_hours": 0}), "objective_hours"),
        (json!({"status": "deleted"}), "status"),
    ] {
        let mut wish = ground.wish();
        for (name, value) in members.as_object().expect("members") {
            wish[name] = value.clone();
        }
        let refused = ground
            .operator
            .post("/jobs", wish)
            .await
            .refused(422, "invalid");
        assert_eq!(refused["field"], field, "{refused}");
    }
    let mut foreign = ground.wish();
    foreign["tenant_id"] = json!("another tenant");
    ground
        .operator
        .post("/jobs", foreign)
        .await
        .refused(404, "not_found");
    let mut unknown = ground.wish();
    unknown["tenant_secret"] = json!(1);
    ground
        .operator
        .post("/jobs", unknown)
        .await
        .refused(422, "invalid");
}

#[tokio::test]
async fn a_job_runs_once_at_a_time() {
    let ground = Ground::new().await;
    // A share, so that the job may move.
    let share = json!({"name": "Share", "kind": "local", "path": r"\\nas\vault"});
    let share = ground.owner.post("/repositories", share).await.expect(201);
    let mut wish = ground.wish();
    wish["repository_id"] = share["id"].clone();
    let job = ground.job(wish).await;
    let path = format!("/jobs/{}/runs", text(&job["id"]));
    let (one, two) = tokio::join!(
        ground.operator.post(&path, json!({})),
        ground.operator.post(&path, json!({}))
    );
    let (queued, refused) = if one.status == 202 {
        (one, two)
    } else {
        (two, one)
    };
    let run = queued.expect(202);
    let refused = refused.refused(409, "already_running");
    assert!(
        text(&refused["message"]).contains(&text(&run["id"])),
        "{refused}"
    );
    assert_eq!(
        (&run["status"], &run["trigger"]),
        (&json!("queued"), &json!("manual"))
    );
    assert_eq!(run["waits_for"], "hv01 to take it");
    let move_away = json!({"host_id": ground::host(&ground.world, &ground.tenant, "hv02").await});
    let path = format!("/jobs/{}", text(&job["id"]));
    ground
        .operator
        .patch(&path, move_away.clone())
        .await
        .refused(409, "already_running");
    let listed = ground.viewer.get("/jobs").await.expect(200);
    assert_eq!(listed["items"][0]["last_run"]["id"], run["id"]);
    let cancel = format!("/runs/{}/cancel", text(&run["id"]));
    assert_eq!(
        ground.operator.post(&cancel, json!({})).await.expect(202)["status"],
        "cancelled"
    );
    ground.operator.patch(&path, move_away).await.expect(200);
}

#[tokio::test]
async fn a_preview_shows_when_whom_and_what_stays() {
    let ground = Ground::new().await;
    for name in ["web01", "web02", "test9"] {
        ground.vm(name).await;
    }
    let mut wish = ground.wish();
    wish["vms"] = json!({"include": ["web*"], "exclude": ["*02"]});
    let preview = ground
        .operator
        .post("/jobs/preview", wish.clone())
        .await
        .expect(200);
    let next = preview["next_runs"].as_array().expect("moments");
    assert_eq!((next.len(), &next[0]), (10, &json!("2026-03-01T21:00:00Z")));
    let chosen: Vec<(String, bool, String)> = preview["vms"]
        .as_array()
        .expect("VMs")
        .iter()
        .map(|vm| {
            (
                text(&vm["name"]),
                vm["is_included"] == true,
                text(&vm["why"]),
            )
        })
        .collect();
    let why = |text: &str| text.to_owned();
    assert_eq!(
        chosen,
        [
            (why("web01"), true, why("its name is included by `web*`")),
            (why("web02"), false, why("its name is excluded by `*02`")),
            (why("test9"), false, why("no rule names it")),
        ]
    );
    let retention = &preview["retention"];
    let count = |of: &Value| of.as_u64().expect("a number");
    assert_eq!(
        count(&retention["kept_count"]) + count(&retention["dropped_count"]),
        400
    );
    assert_eq!(retention["kept"][0]["reasons"][0], "latest-1");
    // Nothing was made.
    assert_eq!(
        ground.viewer.get("/jobs").await.expect(200)["items"],
        json!([])
    );
    ground
        .viewer
        .post("/jobs/preview", wish.clone())
        .await
        .refused(403, "forbidden");
    ground
        .foreigner
        .post("/jobs/preview", wish)
        .await
        .refused(422, "invalid");
}
