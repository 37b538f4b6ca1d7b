//! Hosts and commands.

use control_plane::live::What;
use control_plane::store::entity::{agent_event, audit_entry, command, host};
use sea_orm::{ActiveModelTrait as _, ActiveValue::NotSet, ActiveValue::Set, EntityTrait as _};
use serde_json::json;

use crate::ground::{self, Ground, text};

#[tokio::test]
async fn hosts_are_listed_by_name_in_pages_and_each_tenant_sees_its_own() {
    let ground = Ground::new().await;
    for name in ["alpha", "zeta"] {
        ground::host(&ground.world, &ground.tenant, name).await;
    }
    let first = ground.viewer.get("/hosts?limit=2").await.expect(200);
    let names = |page: &serde_json::Value| {
        let items = page["items"].as_array().expect("items").clone();
        items.iter().map(|it| text(&it["name"])).collect::<Vec<_>>()
    };
    assert_eq!(names(&first), ["alpha", "hv01"]);
    let next = format!("/hosts?limit=2&cursor={}", text(&first["next"]));
    let second = ground.viewer.get(&next).await.expect(200);
    assert_eq!(
        (names(&second), second["next"].is_null()),
        (vec!["zeta".to_owned()], true)
    );
    let foreign = ground.foreigner.get("/hosts").await.expect(200);
    assert_eq!(foreign["items"], json!([]));
    let path = format!("/hosts/{}", ground.host);
    ground.foreigner.get(&path).await.refused(404, "not_found");
    ground
        .viewer
        .get("/hosts?limit=0")
        .await
        .refused(422, "invalid");
    ground
        .viewer
        .get("/hosts?cursor=x")
        .await
        .refused(422, "invalid");
    ground
        .world
        .stranger()
        .get("/hosts")
        .await
        .refused(401, "unauthenticated");
    // Somebody of the installation sees all tenants, or one of them.
    let (everybody, _) = ground.world.sign_up_owner().await;
    let one = everybody
        .get(&format!("/hosts?tenant_id={}", ground.tenant))
        .await
        .expect(200);
    assert_eq!(names(&one).len(), 3);
}

#[tokio::test]
async fn a_host_shows_what_is_known_of_it_and_goes_offline() {
    let ground = Ground::new().await;
    ground.vm("web01").await;
    ground.job(ground.wish()).await;
    let path = format!("/hosts/{}", ground.host);
    let host = ground.viewer.get(&path).await.expect(200);
    assert_eq!(host["is_online"], true);
    assert_eq!(
        (&host["vm_count"], &host["job_count"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(host["volumes"][0]["type"], "fixed");
    assert!(host.get("token_hash").is_none());
    ground
        .world
        .clock
        .advance(std::time::Duration::from_secs(181));
    assert_eq!(
        ground.viewer.get(&path).await.expect(200)["is_online"],
        false
    );
}

#[tokio::test]
async fn an_operator_renames_and_disables_a_host_and_an_owner_removes_it_once_nothing_uses_it() {
    let ground = Ground::new().await;
    let job = ground.job(ground.wish()).await;
    let vm = ground.vm("web01").await;
    let path = format!("/hosts/{}", ground.host);
    ground
        .viewer
        .patch(&path, json!({"name": "x"}))
        .await
        .refused(403, "forbidden");
    ground
        .foreigner
        .patch(&path, json!({"name": "x"}))
        .await
        .refused(404, "not_found");
    let long = "ä".repeat(1_001);
    let refused = ground
        .operator
        .patch(&path, json!({"name": long}))
        .await
        .refused(422, "invalid");
    assert_eq!(refused["field"], "name");
    ground
        .operator
        .patch(&path, json!({"token_hash": "x"}))
        .await
        .refused(422, "invalid");
    let host = ground
        .operator
        .patch(&path, json!({"name": "Köln 1", "is_disabled": true}))
        .await
        .expect(200);
    assert_eq!(
        (&host["name"], &host["is_online"]),
        (&json!("Köln 1"), &json!(false))
    );
    let refused = ground
        .operator
        .post(&format!("{path}/refresh"), json!({}))
        .await;
    refused.refused(409, "host_disabled");
    ground
        .operator
        .delete(&path)
        .await
        .refused(403, "forbidden");
    // Who is in again is handed work, and keys with it.
    let enable = json!({"is_disabled": false});
    ground
        .operator
        .patch(&path, enable.clone())
        .await
        .refused(403, "forbidden");
    ground.owner.patch(&path, enable.clone()).await.expect(200);
    ground.operator.patch(&path, enable).await.expect(200);
    ground.owner.delete(&path).await.refused(409, "in_use");
    ground
        .operator
        .delete(&format!("/jobs/{}", text(&job["id"])))
        .await
        .expect(204);
    ground.owner.delete(&path).await.expect(204);
    ground.owner.get(&path).await.refused(404, "not_found");
    assert!(!ground.viewer.get(&format!("/vms/{vm}")).await.expect(200)["gone_at"].is_null());
    let db = ground.world.plane.store.db();
    let audit = audit_entry::Entity::find().all(db).await.expect("read");
    let done: Vec<&str> = audit.iter().map(|it| &*it.action).collect();
    for action in ["host.update", "host.delete", "job.create", "job.delete"] {
        assert!(done.contains(&action), "{action} of {done:?}");
    }
    assert!(
        audit
            .iter()
            .all(|it| it.tenant_id.as_deref() == Some(&*ground.tenant))
    );
}

#[tokio::test]
async fn a_command_is_queued_once_and_its_outcome_is_waited_for() {
    let ground = Ground::new().await;
    let path = format!("/hosts/{}/browse", ground.host);
    ground
        .viewer
        .post(&path, json!({"path": ""}))
        .await
        .refused(403, "forbidden");
    ground
        .foreigner
        .post(&path, json!({"path": ""}))
        .await
        .refused(404, "not_found");
    ground
        .operator
        .post(&path, json!({"path": "a\nb"}))
        .await
        .refused(422, "invalid");
    let mut told = ground.world.plane.live.listen();
    let command = ground
        .operator
        .post(&path, json!({"path": r"C:\Users"}))
        .await
        .expect(202);
    let change = told.recv().await.expect("told");
    assert_eq!(
        (change.what, change.id),
        (What::HostWork, ground.host.clone())
    );
    let again = ground
        .operator
        .post(&path, json!({"path": r"C:\Users"}))
        .await
        .expect(202);
    assert_eq!(command["id"], again["id"]);
    assert_eq!(
        (&command["kind"], &command["status"]),
        (&json!("browse_directory"), &json!("pending"))
    );
    let id = command["id"].as_i64().expect("a number");
    let path = format!("/commands/{id}");
    ground.foreigner.get(&path).await.refused(404, "not_found");
    ground
        .viewer
        .get("/commands/x")
        .await
        .refused(404, "not_found");
    ground
        .viewer
        .get(&format!("{path}?wait=31"))
        .await
        .refused(422, "invalid");
    ground
        .viewer
        .get(&format!("{path}?else=1"))
        .await
        .refused(400, "malformed");
    let waiting = {
        let (viewer, path) = (ground.viewer.clone(), format!("{path}?wait=30"));
        tokio::spawn(async move { viewer.get(&path).await })
    };
    command::ActiveModel {
        id: Set(id),
        status: Set("completed".to_owned()),
        result_json: Set(json!({"path": "C:\\Users", "entries": []}).to_string()),
        finished_at: Set(Some(ground.now())),
        ..Default::default()
    }
    .update(ground.world.plane.store.db())
    .await
    .expect("completed");
    ground
        .world
        .plane
        .live
        .tell(&ground.tenant, What::Command, id);
    let done = waiting.await.expect("answered").expect(200);
    assert_eq!(
        (&done["status"], &done["result"]["entries"]),
        (&json!("completed"), &json!([]))
    );
}

#[tokio::test]
async fn a_refresh_asks_for_volumes_vms_and_their_disks() {
    let ground = Ground::new().await;
    ground.vm("web01").await;
    let path = format!("/hosts/{}/refresh", ground.host);
    let shown = ground.operator.post(&path, json!({})).await.expect(202);
    assert_eq!(shown["kind"], "list_hyperv_vms");
    ground.operator.post(&path, json!({})).await.expect(202);
    let tail = format!("/hosts/{}/log-tail", ground.host);
    ground.operator.post(&tail, json!({})).await.expect(202);
    let queued = command::Entity::find()
        .all(ground.world.plane.store.db())
        .await
        .expect("read");
    let kinds: Vec<&str> = queued.iter().map(|it| &*it.kind).collect();
    assert_eq!(
        kinds,
        [
            "refresh_inventory",
            "list_hyperv_vms",
            "list_hyperv_vm_details",
            "fetch_log_tail"
        ]
    );
    // What is queued is what agents of the contract understand.
    for row in queued {
        let wire = json!({"command_id": row.id, "type": row.kind,
            "payload": serde_json::from_str::<serde_json::Value>(&row.payload_json).expect("JSON")});
        let command: protocol::commands::Command = serde_json::from_value(wire).expect("a command");
        assert_ne!(
            command.order().expect("an order"),
            protocol::commands::Order::Unsupported
        );
    }
}

#[tokio::test]
async fn not_more_commands_than_a_host_can_take_wait_for_it() {
    let ground = Ground::new().await;
    let path = format!("/hosts/{}/browse", ground.host);
    for folder in 0..50 {
        ground
            .operator
            .post(&path, json!({"path": format!("C:\\{folder}")}))
            .await
            .expect(202);
    }
    let answer = ground
        .operator
        .post(&path, json!({"path": "C:\\one more"}))
        .await;
    answer.refused(429, "too_many_commands");
    assert_eq!(answer.headers["retry-after"], "15");
}

#[tokio::test]
async fn what_an_agent_said_of_itself_is_shown_newest_first() {
    let ground = Ground::new().await;
    for number in 0..3 {
        agent_event::ActiveModel {
            id: NotSet,
            tenant_id: Set(ground.tenant.clone()),
            host_id: Set(ground.host.clone()),
            at: Set(ground.now() + number),
            received_at: Set(ground.now()),
            source: Set("agent".to_owned()),
            level: Set("info".to_owned()),
            code: Set("AGENT_SERVICE_STARTED".to_owned()),
            message_id: Set("AGENT_SERVICE_STARTED".to_owned()),
            params_json: Set(json!({"version": format!("1.9.{number}")}).to_string()),
            dedupe_key: Set(String::new()),
        }
        .insert(ground.world.plane.store.db())
        .await
        .expect("an event");
    }
    let path = format!("/hosts/{}/events?limit=2", ground.host);
    let first = ground.viewer.get(&path).await.expect(200);
    assert_eq!(first["items"][0]["text"], "The agent 1.9.2 has started.");
    let next = format!("{path}&cursor={}", text(&first["next"]));
    let second = ground.viewer.get(&next).await.expect(200);
    assert_eq!(second["items"][0]["text"], "The agent 1.9.0 has started.");
    ground.foreigner.get(&path).await.refused(404, "not_found");
    assert!(
        host::Entity::find()
            .one(ground.world.plane.store.db())
            .await
            .expect("read")
            .is_some()
    );
}
