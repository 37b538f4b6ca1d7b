//! Points, and restores that say exactly what agents of the contract read.

use control_plane::store::entity::{command, point};
use protocol::commands::{Command, Order};
use sea_orm::{ActiveModelTrait as _, ActiveValue::Set, EntityTrait as _, QueryOrder as _};
use serde_json::{Value, json};

use crate::ground::{self, Ground, PointOf, text};

/// Returns the command that was queued last, as it is stored and as an agent reads it.
async fn queued(ground: &Ground) -> (command::Model, Command) {
    let row = command::Entity::find()
        .order_by_desc(command::Column::Id)
        .one(ground.world.plane.store.db())
        .await
        .expect("read")
        .expect("a command");
    let wire = json!({"command_id": row.id, "type": row.kind, "run_id": row.run_id,
        "payload": serde_json::from_str::<Value>(&row.payload_json).expect("JSON")});
    let command = serde_json::from_value(wire).expect("a command");
    (row, command)
}

fn disks() -> Value {
    json!({"D:\\VM\\z.vhdx": "m-z", "D:\\VM\\a.vhdx": "m-a"})
}

#[tokio::test]
async fn files_are_restored_by_a_command_that_names_its_run() {
    let ground = Ground::new().await;
    let point = ground.point(PointOf::default()).await;
    let path = format!("/points/{point}/restore");
    let wish = json!({"kind": "files", "host_id": ground.host, "target_path": r"D:\Restore", "paths": ["a/b.txt"]});
    ground
        .viewer
        .post(&path, wish.clone())
        .await
        .refused(403, "forbidden");
    ground
        .foreigner
        .post(&path, wish.clone())
        .await
        .refused(404, "not_found");
    let run = ground.operator.post(&path, wish).await.expect(202);
    assert_eq!(
        (&run["kind"], &run["status"]),
        (&json!("restore"), &json!("queued"))
    );
    assert_eq!(run["target"]["target_path"], r"D:\Restore");
    let (row, command) = queued(&ground).await;
    let Order::Restore(restore) = command.order().expect("an order") else {
        panic!("{}", row.kind);
    };
    assert_eq!(restore.manifest_id, "9c41f09c41f09c41f09c41f09c41f09c");
    assert_eq!(restore.selected_paths, ["a/b.txt"]);
    assert_eq!(
        restore
            .restore_point_id
            .map(|id| serde_json::to_value(id).expect("a number")),
        Some(json!(point))
    );
    let reported = command.restore_run().expect("a run");
    assert_eq!(serde_json::to_value(reported).expect("an id"), run["id"]);
    assert_eq!(row.run_id.as_deref(), run["id"].as_str());
    let context: Value = serde_json::from_str(&row.context_json).expect("JSON");
    assert_eq!(
        context,
        json!({"repository_id": ground.repository, "point_id": point, "job_id": null})
    );
}

#[tokio::test]
async fn a_vm_is_restored_with_its_chain_and_what_is_to_be_made_of_it() {
    let ground = Ground::new().await;
    let vm = ground.vm("web01").await;
    for (manifest, backup_type) in [
        ("m0", "full"),
        ("m1", "full"),
        ("m2", "incremental"),
        ("m3", "incremental"),
    ] {
        let of = PointOf {
            vm: Some(vm),
            name: "web01",
            manifest,
            backup_type,
            disks: disks(),
            ..Default::default()
        };
        ground.point(of).await;
    }
    let points = ground
        .viewer
        .get(&format!("/vms/{vm}/points"))
        .await
        .expect(200);
    let newest = points["items"][0]["id"].as_i64().expect("a number");
    let path = format!("/points/{newest}/restore");
    let wish = json!({"kind": "vm", "host_id": ground.host, "target_path": r"D:\Restore",
        "register": {"new_id": true, "start": true, "switch": "LAN", "name": "web01-restored"}});
    // The ground's agent is an older one, which would bring back disks and tell of success.
    ground
        .operator
        .post(&path, wish.clone())
        .await
        .refused(409, "agent_outdated");
    ground.update_agents().await;
    let run = ground.operator.post(&path, wish).await.expect(202);
    assert_eq!(run["kind"], "hyperv_restore");
    let (row, command) = queued(&ground).await;
    let Order::HypervRestore(restore) = command.order().expect("an order") else {
        panic!("{}", row.kind);
    };
    assert_eq!(restore.vms.len(), 1);
    let only = &restore.vms[0];
    assert_eq!((&*only.vm_name, &*only.subfolder), ("web01", ""));
    assert!(!only.vm_guid.is_empty());
    assert_eq!(only.disk_manifests.get(r"D:\VM\z.vhdx"), Some("m-z"));
    assert_eq!(only.disk_manifests.len(), 2);
    let chain: Vec<&str> = only
        .restore_chain
        .iter()
        .map(|link| &*link.manifest_id)
        .collect();
    assert_eq!(chain, ["m1", "m2", "m3"]);
    let payload: Value = serde_json::from_str(&row.payload_json).expect("JSON");
    let register =
        json!({"new_id": true, "start": true, "switch": "LAN", "name": "web01-restored"});
    assert_eq!(
        (&payload["register"], &payload["backup_type"]),
        (&register, &json!("Incremental"))
    );
    assert_eq!(
        (&payload["restore_run_id"], &payload["restore_run_uuid"]),
        (&run["id"], &run["id"])
    );
    // A full point stands for itself, and disks can be picked.
    let full = points["items"][3]["id"].as_i64().expect("a number");
    let wish = json!({"kind": "disks", "host_id": ground.host, "target_path": r"D:\R", "disks": [r"D:\VM\a.vhdx"]});
    ground
        .operator
        .post(&format!("/points/{full}/restore"), wish)
        .await
        .expect(202);
    let (row, _) = queued(&ground).await;
    let payload: Value = serde_json::from_str(&row.payload_json).expect("JSON");
    assert_eq!(
        payload["vms"][0]["disk_manifests"],
        json!({"D:\\VM\\a.vhdx": "m-a"})
    );
    assert_eq!(payload["vms"][0]["restore_chain"], json!(["m0"]));
    assert!(payload.get("register").is_none());
}

#[tokio::test]
async fn what_a_point_does_not_hold_cannot_be_restored() {
    let ground = Ground::new().await;
    let vm = ground.vm("web01").await;
    let of = PointOf {
        vm: Some(vm),
        name: "web01",
        disks: disks(),
        ..Default::default()
    };
    let of_vm = ground.point(of).await;
    let of_files = ground
        .point(PointOf {
            manifest: "other",
            ..Default::default()
        })
        .await;
    let of_image = point::ActiveModel {
        id: Set(ground
            .point(PointOf {
                manifest: "image",
                ..Default::default()
            })
            .await),
        engine: Set("disk_image".to_owned()),
        ..Default::default()
    };
    let db = ground.world.plane.store.db();
    let of_image = of_image.update(db).await.expect("an image").id;
    let foreign_host = ground::host(&ground.world, "another tenant", "theirs").await;
    let wish = |kind: &str| json!({"kind": kind, "host_id": ground.host, "target_path": r"D:\R"});
    let with = |mut wish: Value, name: &str, value: Value| {
        wish[name] = value;
        wish
    };
    for (point, wish, status, code) in [
        (of_vm, wish("files"), 409, "no_files"),
        (of_image, wish("files"), 409, "no_files"),
        (of_files, wish("vm"), 409, "no_vm"),
        (of_files, wish("disks"), 409, "no_vm"),
        (
            of_vm,
            with(wish("disks"), "disks", json!(["D:\\other.vhdx"])),
            422,
            "invalid",
        ),
        (
            of_vm,
            with(wish("disks"), "disks", json!([])),
            422,
            "invalid",
        ),
        (
            of_vm,
            with(wish("vm"), "target_path", json!("Restore")),
            422,
            "invalid",
        ),
        (
            of_vm,
            with(wish("vm"), "target_path", json!(r"D:\a\..\b")),
            422,
            "invalid",
        ),
        (
            of_vm,
            with(wish("vm"), "host_id", json!(foreign_host)),
            404,
            "not_found",
        ),
        (of_vm, with(wish("vm"), "paths", json!([])), 422, "invalid"),
        (
            of_files,
            with(wish("files"), "paths", json!(["../etc"])),
            422,
            "invalid",
        ),
        (of_vm, wish("tape"), 422, "invalid"),
        (9_999, wish("vm"), 404, "not_found"),
    ] {
        let refused = ground
            .operator
            .post(&format!("/points/{point}/restore"), wish.clone())
            .await;
        assert_eq!(
            (refused.status.as_u16(), &refused.json()["code"]),
            (status, &json!(code)),
            "{wish}"
        );
    }
    let gone = point::ActiveModel {
        id: Set(of_vm),
        expired_at: Set(Some(ground.now())),
        ..Default::default()
    };
    gone.update(ground.world.plane.store.db())
        .await
        .expect("expired");
    ground
        .operator
        .post(&format!("/points/{of_vm}/restore"), wish("vm"))
        .await
        .refused(409, "expired");
    // Nothing of this has left anything behind.
    assert!(
        command::Entity::find()
            .one(ground.world.plane.store.db())
            .await
            .expect("read")
            .is_none()
    );
    assert_eq!(
        ground.viewer.get("/runs").await.expect(200)["items"],
        json!([])
    );
}

#[tokio::test]
async fn a_restore_that_no_host_has_taken_is_cancelled_with_its_command() {
    let ground = Ground::new().await;
    let point = ground.point(PointOf::default()).await;
    let wish = json!({"kind": "files", "host_id": ground.host, "target_path": r"D:\Restore"});
    let path = format!("/points/{point}/restore");
    let run = ground.operator.post(&path, wish.clone()).await.expect(202);
    let cancel = format!("/runs/{}/cancel", text(&run["id"]));
    let run = ground.operator.post(&cancel, json!({})).await.expect(202);
    assert_eq!(run["status"], "cancelled");
    let (row, _) = queued(&ground).await;
    assert_eq!(row.status, "failed");
    // One whose command was handed out is the host's to end.
    let run = ground.operator.post(&path, wish).await.expect(202);
    let (row, _) = queued(&ground).await;
    let taken = command::ActiveModel {
        id: Set(row.id),
        status: Set("processing".to_owned()),
        ..Default::default()
    };
    taken
        .update(ground.world.plane.store.db())
        .await
        .expect("taken");
    let cancel = format!("/runs/{}/cancel", text(&run["id"]));
    let run = ground.operator.post(&cancel, json!({})).await.expect(202);
    assert_eq!(
        (&run["status"], &run["is_cancel_requested"]),
        (&json!("queued"), &json!(true))
    );
}

#[tokio::test]
async fn points_are_listed_newest_first_and_filtered() {
    let ground = Ground::new().await;
    let vm = ground.vm("web01").await;
    for hours_ago in [30, 20, 10] {
        let manifest = format!("m{hours_ago}");
        let of = PointOf {
            vm: Some(vm),
            name: "web01",
            hours_ago,
            manifest: &manifest,
            disks: disks(),
            ..Default::default()
        };
        ground.point(of).await;
    }
    let files = ground
        .point(PointOf {
            manifest: "files",
            ..Default::default()
        })
        .await;
    let ids = async |query: &str| {
        let page = ground
            .viewer
            .get(&format!("/points{query}"))
            .await
            .expect(200);
        let items = page["items"].as_array().expect("items").clone();
        items
            .iter()
            .map(|it| text(&it["manifest_id"]))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("").await, ["files", "m10", "m20", "m30"]);
    assert_eq!(ids(&format!("?vm_id={vm}&limit=2")).await, ["m10", "m20"]);
    assert_eq!(ids("?engine=kopia").await, ["files"]);
    assert_eq!(ids("?is_removed=true").await, [""; 0]);
    assert_eq!(ids("?is_removed=false&limit=1").await, ["files"]);
    assert_eq!(ids("?q=WEB").await, ["m10", "m20", "m30"]);
    assert_eq!(ids("?q=w%25b").await, [""; 0], "a percent sign is itself");
    assert_eq!(
        ids("?from=2026-02-28T11:00:00Z&to=2026-02-28T21:00:00Z").await,
        ["m20"]
    );
    ground
        .viewer
        .get("/points?from=yesterday")
        .await
        .refused(422, "invalid");
    ground
        .viewer
        .get("/points?vm_id=x")
        .await
        .refused(400, "malformed");
    let one = ground
        .viewer
        .get(&format!("/points/{files}"))
        .await
        .expect(200);
    assert_eq!(
        (&one["repository_name"], &one["is_pinned"]),
        (&json!("Vault"), &json!(false))
    );
    ground
        .foreigner
        .get(&format!("/points/{files}"))
        .await
        .refused(404, "not_found");
    assert_eq!(
        ground.foreigner.get("/points").await.expect(200)["items"],
        json!([])
    );
}

#[tokio::test]
async fn a_point_of_files_is_looked_into_through_a_host() {
    let ground = Ground::new().await;
    let vm = ground.vm("web01").await;
    let files = ground.point(PointOf::default()).await;
    let of_vm = ground
        .point(PointOf {
            vm: Some(vm),
            name: "web01",
            ..Default::default()
        })
        .await;
    let path = format!("/points/{files}/browse");
    ground
        .operator
        .post(&path, json!({"path": "docs"}))
        .await
        .expect(202);
    let (row, command) = queued(&ground).await;
    let Order::BrowseSnapshot(browse) = command.order().expect("an order") else {
        panic!("{}", row.kind);
    };
    assert_eq!((&*browse.path, browse.entries_max()), ("docs", 1_000));
    assert!(browse.restore_point_id.is_some());
    ground
        .operator
        .post(&format!("/points/{of_vm}/browse"), json!({}))
        .await
        .refused(409, "no_files");
    ground
        .foreigner
        .post(&path, json!({}))
        .await
        .refused(404, "not_found");
    ground
        .viewer
        .post(&path, json!({}))
        .await
        .refused(403, "forbidden");
}

#[tokio::test]
async fn of_orders_for_the_pins_of_a_point_that_no_host_has_taken_the_last_one_stays() {
    let ground = Ground::new().await;
    let db = ground.world.plane.store.db();
    let second = ground::host(&ground.world, &ground.tenant, "hv02").await;
    ground.update_agents().await;
    let (point, another) = (
        ground.point(PointOf::default()).await,
        ground
            .point(PointOf {
                manifest: "another",
                ..PointOf::default()
            })
            .await,
    );
    let mut ids = Vec::new();
    for (point, is_pinned, host) in [
        (another, true, &ground.host),
        (point, true, &ground.host),
        (point, false, &ground.host),
        (point, true, &second),
        (point, true, &ground.host),
        (point, true, &ground.host),
    ] {
        let wish = json!({"is_pinned": is_pinned, "host_id": host});
        let path = format!("/points/{point}/pin");
        let command = ground.operator.post(&path, wish).await.expect(202);
        ids.push(command["id"].as_i64().expect("a number"));
    }
    assert_eq!(ids[4], ids[5], "the same order is not queued twice");
    ids.pop();
    let mut states = Vec::new();
    for id in ids {
        let row = command::Entity::find_by_id(id).one(db).await;
        let row = row.expect("read").expect("a command");
        states.push((row.status, row.result_message));
    }
    let withdrawn = ("failed", "a later order for the point took its place");
    let waits = ("pending", "");
    let states: Vec<_> = states.iter().map(|(a, b)| (&**a, &**b)).collect();
    assert_eq!(states, [waits, withdrawn, withdrawn, withdrawn, waits]);
}

#[tokio::test]
async fn a_point_is_pinned_by_a_host_and_shows_it_once_that_is_done() {
    let ground = Ground::new().await;
    let vm = ground.vm("web01").await;
    let id = ground
        .point(PointOf {
            vm: Some(vm),
            name: "web01",
            ..Default::default()
        })
        .await;
    let path = format!("/points/{id}/pin");
    ground
        .operator
        .post(&path, json!({"is_pinned": true}))
        .await
        .refused(409, "agent_outdated");
    ground.update_agents().await;
    for (person, status, code) in [
        (&ground.viewer, 403, "forbidden"),
        (&ground.foreigner, 404, "not_found"),
    ] {
        let answer = person.post(&path, json!({"is_pinned": true})).await;
        answer.refused(status, code);
    }
    let shown = async || {
        let point = ground
            .viewer
            .get(&format!("/points/{id}"))
            .await
            .expect(200);
        let preview = ground.operator.post("/jobs/preview", ground.wish()).await;
        let pinned = preview.expect(200)["retention"]["pinned"].clone();
        let numbers: Vec<Value> = pinned
            .as_array()
            .expect("a list")
            .iter()
            .map(|it| it["id"].clone())
            .collect();
        (point["is_pinned"] == true, numbers)
    };
    for (is_pinned, is_done, expected) in [
        (true, false, (false, vec![])),
        (true, true, (true, vec![json!(id)])),
        (false, true, (false, vec![])),
    ] {
        let wish = json!({"is_pinned": is_pinned});
        let command = ground.operator.post(&path, wish).await.expect(202);
        let (row, sent) = queued(&ground).await;
        assert_eq!(command["id"], json!(row.id));
        let Order::PinPoint(order) = sent.order().expect("an order") else {
            panic!("{}", row.kind);
        };
        assert_eq!(order.is_pinned, Some(is_pinned));
        let store = &ground.world.plane.store;
        store
            .answer_command(&ground.host, row.id, is_done, "", None, ground.now())
            .await
            .expect("answered");
        assert_eq!(shown().await, expected);
    }
}
