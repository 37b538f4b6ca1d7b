//! Repositories and their secrets.

use control_plane::store::entity::{audit_entry, host, repo_operation, repository};
use control_plane::watch;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::NotSet, ActiveValue::Set, ColumnTrait as _,
    EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
};
use serde_json::{Value, json};

use crate::ground::{self, Ground, PointOf, local, text};
use crate::server::PASSWORD;

#[tokio::test]
async fn secrets_go_in_and_are_never_shown() {
    let ground = Ground::new().await;
    let wish = json!({"name": "Cloud", "kind": "s3", "endpoint": "https://s3.example.com/", "bucket": "b",
        "prefix": "/hv/", "access_key": "AK", "secret_key": "very-secret-key", "password": "a long password",
        "limit_bytes": 1_000, "verify_percent": 10});
    ground
        .operator
        .post("/repositories", wish.clone())
        .await
        .refused(403, "forbidden");
    let made = ground.owner.post("/repositories", wish).await;
    let made_text = made.text();
    let made = made.expect(201);
    assert_eq!(
        (&made["endpoint"], &made["prefix"]),
        (&json!("https://s3.example.com"), &json!("hv"))
    );
    assert_eq!(made["quick_every_hours"], 6);
    let id = text(&made["id"]);
    let plane = &ground.world.plane;
    let row = repository::Entity::find_by_id(&id)
        .one(plane.store.db())
        .await
        .expect("read")
        .expect("there");
    let key = row.secret_key_sealed.expect("sealed");
    let of = format!("repository/{id}/secret_key");
    assert_eq!(
        plane.sealing.open_text(&of, &key).expect("opens").as_str(),
        "very-secret-key"
    );
    let of = format!("repository/{id}/password");
    assert_eq!(
        plane
            .sealing
            .open_text(&of, &row.password_sealed)
            .expect("opens")
            .as_str(),
        "a long password"
    );
    let shown = ground.viewer.get("/repositories").await.text();
    let audit = audit_entry::Entity::find()
        .all(plane.store.db())
        .await
        .expect("read");
    for text in [made_text, shown, format!("{audit:?}")] {
        assert!(
            !text.contains("very-secret-key") && !text.contains("a long password"),
            "{text}"
        );
        assert!(!text.contains("sealed"), "{text}");
    }
    let path = format!("/repositories/{id}");
    let change = json!({"secret_key": "another", "limit_bytes": null, "name": "Cloud 2"});
    let changed = ground.owner.patch(&path, change).await.expect(200);
    assert_eq!(
        (&changed["limit_bytes"], &changed["name"]),
        (&json!(null), &json!("Cloud 2"))
    );
    let row = repository::Entity::find_by_id(&id)
        .one(plane.store.db())
        .await
        .expect("read")
        .expect("there");
    let of = format!("repository/{id}/secret_key");
    let key = plane
        .sealing
        .open_text(&of, &row.secret_key_sealed.expect("sealed"))
        .expect("opens");
    assert_eq!(key.as_str(), "another");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_named() {
    let ground = Ground::new().await;
    let s3 = |member: &str, value: Value| {
        let mut wish = json!({"name": "Cloud", "kind": "s3", "endpoint": "https://s3.example.com", "bucket": "b",
            "access_key": "AK", "secret_key": "SK"});
        wish[member] = value;
        wish
    };
    for (member, value) in [
        ("name", json!(" ")),
        ("kind", json!("tape")),
        ("endpoint", json!("s3.example.com")),
        ("endpoint", json!("https://me:secret@s3.example.com")),
        ("bucket", json!("")),
        ("access_key", json!("")),
        ("secret_key", json!("")),
        ("password", json!("short")),
        ("limit_bytes", json!(0)),
        ("quick_every_hours", json!(-1)),
        ("verify_percent", json!(101)),
    ] {
        let refused = ground
            .owner
            .post("/repositories", s3(member, value))
            .await
            .refused(422, "invalid");
        assert_eq!(refused["field"], member);
    }
    let refused = ground
        .owner
        .post("/repositories", json!({"name": "x", "kind": "local"}))
        .await;
    assert_eq!(refused.refused(422, "invalid")["field"], "path");
    let path = format!("/repositories/{}", ground.repository);
    let refused = ground
        .owner
        .patch(&path, json!({"access_key": "AK"}))
        .await
        .refused(422, "invalid");
    assert_eq!(refused["field"], "access_key");
    ground
        .owner
        .patch(&path, json!({"path": "elsewhere"}))
        .await
        .refused(422, "invalid");
    ground.foreigner.get(&path).await.refused(404, "not_found");
    ground
        .foreigner
        .patch(&path, json!({"name": "x"}))
        .await
        .refused(404, "not_found");
    ground
        .foreigner
        .delete(&path)
        .await
        .refused(404, "not_found");
}

#[tokio::test]
async fn a_repository_goes_only_when_nothing_uses_it() {
    let ground = Ground::new().await;
    let path = format!("/repositories/{}", ground.repository);
    let job = ground.job(ground.wish()).await;
    ground.owner.delete(&path).await.refused(409, "in_use");
    ground
        .operator
        .delete(&format!("/jobs/{}", text(&job["id"])))
        .await
        .expect(204);
    ground.point(PointOf::default()).await;
    let shown = ground.viewer.get(&path).await.expect(200);
    assert_eq!(
        (&shown["job_count"], &shown["point_count"]),
        (&json!(0), &json!(1))
    );
    ground.owner.delete(&path).await.refused(409, "in_use");
    let other = ground
        .owner
        .post("/repositories", local("Unused"))
        .await
        .expect(201);
    ground
        .owner
        .delete(&format!("/repositories/{}", text(&other["id"])))
        .await
        .expect(204);
}

#[tokio::test]
async fn upkeep_is_due_after_its_hours_and_is_queued_once_for_a_host_that_can_do_it() {
    let ground = Ground::new().await;
    let path = format!("/repositories/{}", ground.repository);
    let shown = ground.viewer.get(&path).await.expect(200);
    assert_eq!(
        (&shown["maintenance_due"], &shown["verification_due"]),
        (&json!(false), &json!(false))
    );
    ground
        .world
        .clock
        .advance(std::time::Duration::from_secs(7 * 3_600));
    assert_eq!(
        ground.viewer.get(&path).await.expect(200)["maintenance_due"],
        true
    );
    let operations = format!("{path}/operations");
    let full = json!({"kind": "maintenance_full"});
    ground
        .operator
        .post(&operations, full.clone())
        .await
        .refused(409, "no_host");
    // A job alone does not do: its host knows the repository from its runs.
    ground.job(ground.wish()).await;
    ground
        .operator
        .post(&operations, full.clone())
        .await
        .refused(409, "no_host");
    let job = ground.viewer.get("/jobs").await.expect(200)["items"][0]["id"].clone();
    let job = job.as_str();
    ground
        .point(PointOf {
            job,
            ..PointOf::default()
        })
        .await;
    let queued = ground
        .operator
        .post(&operations, full.clone())
        .await
        .expect(202);
    assert_eq!(
        (&queued["kind"], &queued["status"]),
        (&json!("maintenance_full"), &json!("queued"))
    );
    ground
        .operator
        .post(&operations, full.clone())
        .await
        .refused(409, "already_queued");
    ground
        .operator
        .post(&operations, json!({"kind": "format_disk"}))
        .await
        .refused(422, "invalid");
    ground
        .viewer
        .post(&operations, full.clone())
        .await
        .refused(403, "forbidden");
    ground
        .foreigner
        .post(&operations, full)
        .await
        .refused(404, "not_found");
    // The ground's agent is an older one.
    let verify = json!({"kind": "verify"});
    ground
        .operator
        .post(&operations, verify.clone())
        .await
        .refused(409, "agent_outdated");
    ground.update_agents().await;
    let verification = ground.operator.post(&operations, verify).await.expect(202);
    assert_eq!(verification["kind"], "verify");
    // Retention is ordered by each job's own rule, for its own VMs.
    ground.vm("web01").await;
    let retention = json!({"kind": "retention_apply"});
    let queued_last = ground
        .operator
        .post(&operations, retention)
        .await
        .expect(202);
    let number = queued_last["id"].as_i64().expect("a number");
    let row = repo_operation::Entity::find_by_id(number)
        .one(ground.world.plane.store.db())
        .await
        .expect("read")
        .expect("there");
    let payload: Value = serde_json::from_str(&row.payload_json).expect("JSON");
    assert_eq!(
        (
            &payload["daily"],
            payload["sources"].as_array().map(Vec::len)
        ),
        (&json!(30), Some(1))
    );
    let listed = ground.viewer.get(&operations).await.expect(200);
    assert_eq!(listed["items"][1]["id"], verification["id"]);
    assert_eq!(listed["items"][2]["id"], queued["id"]);
    assert!(!listed.to_string().contains("token"));
}

#[tokio::test]
async fn a_folder_is_of_the_first_host_that_uses_it_until_it_is_said_to_have_moved() {
    let ground = Ground::new().await;
    let path = format!("/repositories/{}", ground.repository);
    assert_eq!(
        ground.viewer.get(&path).await.expect(200)["host_id"],
        json!(null)
    );
    let other = ground::host(&ground.world, &ground.tenant, "hv02").await;
    let mut there = ground.wish();
    there["host_id"] = json!(other);
    // A look ahead takes nothing.
    ground
        .operator
        .post("/jobs/preview", there.clone())
        .await
        .expect(200);
    let job = ground.job(ground.wish()).await;
    let shown = ground.viewer.get(&path).await.expect(200);
    assert_eq!(
        (&shown["host_id"], &shown["host_name"]),
        (&json!(ground.host), &json!("hv01"))
    );
    for route in ["/jobs", "/jobs/preview"] {
        let refused = ground.operator.post(route, there.clone()).await;
        let refused = refused.refused(422, "invalid");
        assert_eq!(refused["field"], "repository_id", "{route}");
        let message = text(&refused["message"]);
        assert!(message.contains("of hv01"), "{message}");
    }
    let job_path = format!("/jobs/{}", text(&job["id"]));
    let moved = json!({"host_id": other});
    ground
        .operator
        .patch(&job_path, moved.clone())
        .await
        .refused(422, "invalid");
    let point = ground.point(PointOf::default()).await;
    let restore =
        json!({"kind": "files", "host_id": other, "target_path": r"D:\Restore", "paths": []});
    let restores = format!("/points/{point}/restore");
    ground
        .operator
        .post(&restores, restore.clone())
        .await
        .refused(409, "other_host");
    ground
        .operator
        .post(
            &format!("/points/{point}/browse"),
            json!({"host_id": other}),
        )
        .await
        .refused(409, "other_host");

    // The disk was put into the other host.
    let said = json!({"host_id": null});
    ground
        .operator
        .patch(&path, said.clone())
        .await
        .refused(403, "forbidden");
    let to = json!({"host_id": other});
    ground.owner.patch(&path, to).await.refused(422, "invalid");
    ground.owner.patch(&path, said).await.expect(200);
    // As long as the job is where it was, a second one elsewhere is not taken.
    let refused = ground.operator.post("/jobs", there.clone()).await;
    refused.refused(422, "invalid");
    ground.operator.patch(&job_path, moved).await.expect(200);
    let shown = ground.viewer.get(&path).await.expect(200);
    assert_eq!(shown["host_name"], "hv02");
    ground.operator.post(&restores, restore).await.expect(202);

    // Whose folder it was is removed.
    ground.operator.delete(&job_path).await.expect(204);
    let unused = ground::host(&ground.world, &ground.tenant, "hv03").await;
    let share = json!({"name": "Share", "kind": "local", "path": r"\\nas\vault"});
    let share = ground.owner.post("/repositories", share).await.expect(201);
    for host in [&other, &unused] {
        let mut wish = ground.wish();
        wish["host_id"] = json!(host);
        wish["repository_id"] = share["id"].clone();
        let job = ground.job(wish).await;
        let job_path = format!("/jobs/{}", text(&job["id"]));
        ground.operator.delete(&job_path).await.expect(204);
    }
}

#[tokio::test]
async fn the_password_of_a_repository_is_shown_to_who_gives_the_own_one() {
    let ground = Ground::new().await;
    let path = format!("/repositories/{}/password", ground.repository);
    let own = json!({"password": PASSWORD});
    ground
        .operator
        .post(&path, own.clone())
        .await
        .refused(403, "forbidden");
    ground
        .foreigner
        .post(&path, own.clone())
        .await
        .refused(404, "not_found");
    let wrong = json!({"password": "not my password"});
    ground
        .owner
        .post(&path, wrong)
        .await
        .refused(403, "wrong_credentials");
    let shown = ground.owner.post(&path, own).await.expect(200);
    assert_eq!(text(&shown["password"]).len(), 64);
    let audit = audit_entry::Entity::find()
        .all(ground.world.plane.store.db())
        .await
        .expect("read");
    let last = audit.last().expect("an entry");
    assert_eq!(
        (&*last.action, &*last.object_id),
        ("repository.password", &*ground.repository)
    );
    assert!(!last.detail_json.contains(&text(&shown["password"])));
}

/// Reports an operation on the ground's repository as its host does.
async fn report(ground: &Ground, kind: &str, is_done: bool, result: Value) {
    let plane = &ground.world.plane;
    let db = plane.store.db();
    let operation = repo_operation::ActiveModel {
        id: NotSet,
        tenant_id: Set(ground.tenant.clone()),
        repository_id: Set(ground.repository.clone()),
        kind: Set(kind.to_owned()),
        token: Set(plane.new_id()),
        payload_json: Set("{}".to_owned()),
        status: Set("running".to_owned()),
        host_id: Set(Some(ground.host.clone())),
        attempts: Set(1),
        not_before: Set(0),
        locked_until: Set(None),
        result_json: Set("{}".to_owned()),
        created_at: Set(0),
        finished_at: Set(None),
    };
    let operation = operation.insert(db).await.expect("an operation");
    end(ground, operation.id, &operation.token, is_done, result).await;
}

async fn end(ground: &Ground, id: i64, token: &str, is_done: bool, result: Value) {
    let plane = &ground.world.plane;
    let host = host::Entity::find_by_id(&ground.host)
        .one(plane.store.db())
        .await
        .expect("read")
        .expect("a host");
    let result = result.to_string();
    plane
        .store
        .report_operation(&host, id, token, is_done, result, ground.now())
        .await
        .expect("reported");
}

#[tokio::test]
async fn what_an_agent_measured_after_its_work_is_what_a_repository_holds() {
    let ground = Ground::new().await;
    report(
        &ground,
        "maintenance_full",
        true,
        json!({"stored_bytes": 5_000}),
    )
    .await;
    let path = format!("/repositories/{}", ground.repository);
    let shown = ground.viewer.get(&path).await.expect(200);
    assert_eq!(shown["stored_bytes"], 5_000);
    assert_eq!(shown["measured_at"], shown["last_full_at"]);
    let stored = ground.viewer.get("/stored").await.expect(200);
    assert_eq!(stored["days"][29]["stored_bytes"], 5_000);
}

#[tokio::test]
async fn what_work_says_of_points_is_written_down_with_them() {
    let ground = Ground::new().await;
    let mut ids = Vec::new();
    for manifest in ["removed", "whole", "damaged"] {
        let of = PointOf {
            manifest,
            ..PointOf::default()
        };
        ids.push(ground.point(of).await);
    }
    let removed = json!({"deleted_count": 1, "removed_points": ["removed", "unknown"]});
    report(&ground, "retention_apply", true, removed).await;
    let found =
        json!({"verified_points": ["whole"], "damaged_points": ["damaged"], "how": "content"});
    report(&ground, "verify", false, found).await;
    let mut shown = Vec::new();
    for id in ids {
        let path = format!("/points/{id}");
        shown.push(ground.viewer.get(&path).await.expect(200));
    }
    assert!(shown[0]["expired_at"].is_string(), "{}", shown[0]);
    assert!(shown[1]["expired_at"].is_null(), "{}", shown[1]);
    assert_eq!(shown[1]["proven_how"], "content");
    assert!(shown[2]["proven_at"].is_null(), "{}", shown[2]);
    let warning = text(&shown[2]["warnings"][0]);
    assert!(warning.contains("damaged"), "{warning}");
    let alarms = async || {
        let plane = &ground.world.plane;
        let now = plane.now_ms();
        let facts = plane.store.facts(now, now).await.expect("facts");
        let mut findings = watch::judge(&facts, now);
        findings.retain(|it| it.kind == "points_damaged");
        findings.iter().map(|it| it.extent).collect::<Vec<_>>()
    };
    assert_eq!(alarms().await, [1], "whatever the point holds");
    // Somebody repaired it.
    let whole = json!({"verified_points": ["damaged"], "how": "content"});
    report(&ground, "verify", true, whole).await;
    let path = format!("/points/{}", shown[2]["id"]);
    let repaired = ground.viewer.get(&path).await.expect(200);
    assert_eq!(repaired["warnings"], json!([]));
    assert_eq!(alarms().await, [0; 0]);
    assert!(repaired["proven_at"].is_string(), "{repaired}");
}

#[tokio::test]
async fn a_verification_that_failed_leaves_no_vm_good_of_which_nothing_was_found() {
    let ground = Ground::new().await;
    let plane = &ground.world.plane;
    let job = text(&ground.job(ground.wish()).await["id"]);
    let mut vms = Vec::new();
    for name in ["db01", "web01"] {
        let vm = ground.vm(name).await;
        let run = ground.run(&job, "success", 1).await;
        let of = PointOf {
            job: Some(&job),
            run: &run,
            vm: Some(vm),
            name,
            manifest: name,
            ..PointOf::default()
        };
        ground.point(of).await;
        vms.push(vm);
    }
    let doubt =
        "the last verification of Vault failed, so nobody knows whether its points can be restored";
    for (is_done, result, healths, doubts) in [
        (true, json!({}), ["good", "good"], [false, false]),
        (
            false,
            json!({"error": "a blob is gone"}),
            ["warning", "warning"],
            [true, true],
        ),
        (
            false,
            json!({"verified_points": ["web01"]}),
            ["warning", "good"],
            [true, false],
        ),
        (
            false,
            json!({"damaged_points": ["db01"]}),
            ["bad", "warning"],
            [false, true],
        ),
        (
            true,
            json!({"verified_points": ["db01"]}),
            ["good", "good"],
            [false, false],
        ),
    ] {
        ground
            .world
            .clock
            .advance(std::time::Duration::from_secs(60));
        report(&ground, "verify", is_done, result.clone()).await;
        for ((vm, health), is_doubtful) in vms.iter().zip(healths).zip(doubts) {
            let row = ground.viewer.get(&format!("/vms/{vm}")).await.expect(200);
            let why = text(&row["health_reason"]);
            assert_eq!(row["health"], health, "{result} {why}");
            assert_eq!(why.contains(doubt), is_doubtful, "{result} {why}");
        }
        // The alarm and the rows are of the same mind.
        let now = plane.now_ms();
        let facts = plane.store.facts(now, now).await.expect("facts");
        let findings = watch::judge(&facts, now);
        let is_told = findings.iter().any(|it| it.kind == "verification_failed");
        assert_eq!(is_told, !is_done, "{result}");
    }
}

#[tokio::test]
async fn points_that_are_not_in_the_list_of_their_repository_are_gone_however_many_they_are() {
    let ground = Ground::new().await;
    let db = ground.world.plane.store.db();
    ground.update_agents().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let manifest = format!("manifest {number}");
        let of = PointOf {
            manifest: &manifest,
            ..PointOf::default()
        };
        ids.push(ground.point(of).await);
    }
    // More went than retention had room to name.
    let told = json!({"deleted_count": 3, "removed_points": ["manifest 0"]});
    report(&ground, "retention_apply", true, told).await;
    let pages = [
        json!({"listed": {"points": ["manifest 2"], "pinned": ["manifest 2"], "next": "manifest 2"}}),
        json!({"listed": {"points": ["manifest 4", "of others"]}}),
    ];
    let path = format!("/repositories/{}", ground.repository);
    for (page, after) in pages.into_iter().zip([None, Some("manifest 2")]) {
        let shown = ground.viewer.get(&path).await.expect(200);
        assert!(shown["last_listed_at"].is_null(), "{shown}");
        let queued = repo_operation::Entity::find()
            .filter(repo_operation::Column::Kind.eq("list_points"))
            .filter(repo_operation::Column::Status.eq("queued"))
            .all(db)
            .await
            .expect("operations");
        let [operation] = &queued[..] else {
            panic!("{queued:?}");
        };
        let payload: Value = serde_json::from_str(&operation.payload_json).expect("JSON");
        assert_eq!(payload["after"].as_str(), after);
        let claimed = repo_operation::ActiveModel {
            status: Set("running".to_owned()),
            host_id: Set(Some(ground.host.clone())),
            ..operation.clone().into_active_model()
        };
        claimed.update(db).await.expect("claimed");
        end(&ground, operation.id, &operation.token, true, page).await;
    }
    let mut gone = Vec::new();
    let mut pinned = Vec::new();
    for id in ids {
        let shown = ground
            .viewer
            .get(&format!("/points/{id}"))
            .await
            .expect(200);
        gone.push(shown["expired_at"].is_string());
        pinned.push(shown["is_pinned"] == true);
    }
    assert_eq!(gone, [true, true, false, true, false]);
    assert_eq!(pinned, [false, false, true, false, false]);
    let shown = ground.viewer.get(&path).await.expect(200);
    assert!(shown["last_listed_at"].is_string(), "{shown}");
}

#[tokio::test]
async fn a_point_says_since_when_nobody_confirmed_it() {
    let ground = Ground::new().await;
    for (hours_ago, is_doubtful) in [(24, false), (8 * 24, true)] {
        let of = PointOf {
            hours_ago,
            manifest: if is_doubtful { "old" } else { "new" },
            ..PointOf::default()
        };
        let path = format!("/points/{}", ground.point(of).await);
        let shown = ground.viewer.get(&path).await.expect(200);
        let since = &shown["unconfirmed_since"];
        assert_eq!(since.is_string(), is_doubtful, "{shown}");
        assert!(!is_doubtful || *since == shown["created_at"], "{shown}");
    }
}

#[tokio::test]
async fn every_route_has_a_name_of_its_own_for_programs() {
    let ground = Ground::new().await;
    let document = ground.viewer.get("/openapi.json").await.expect(200);
    let mut names: Vec<String> = Vec::new();
    for item in document["paths"].as_object().expect("paths").values() {
        let operations = item.as_object().expect("methods").values();
        names.extend(operations.map(|it| text(&it["operationId"])));
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert!(count > 50 && names.len() == count, "{names:?}");
    assert!(names.contains(&"post_points_id_restore".to_owned()));
}
