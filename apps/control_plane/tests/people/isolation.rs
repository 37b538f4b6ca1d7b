//! Every route with an id, called with the id of a thing that exists: by strangers, by those whose role is not enough, and by
//! an owner of another tenant. They are refused, and nothing changes. Then by an owner of its own tenant, who is not: so the
//! calls were worth refusing.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use control_plane::people_api::caller::Role;
use control_plane::store::entity::alarm;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue::NotSet, ActiveValue::Set, DbBackend, FromQueryResult as _,
    JsonValue, Statement,
};
use serde_json::{Value, json};

use crate::ground::{self, Ground, PointOf, local, text};
use crate::routes::{Least, TABLE};
use crate::server::{Answer, Client, PASSWORD};

/// A tenant's things, one of each kind, by where they are found: `/hosts`.
struct Things {
    ground: Ground,
    ids: BTreeMap<&'static str, String>,
}

impl Things {
    async fn new() -> Self {
        let ground = Ground::new().await;
        let (owner, operator) = (&ground.owner, &ground.operator);
        let job = text(&ground.job(ground.wish()).await["id"]);
        let run = ground.run(&job, "running", 1).await;
        let vm = ground.vm("acme-web").await;
        let of = PointOf {
            job: Some(&job),
            run: &run,
            name: "acme-files",
            ..PointOf::default()
        };
        let point = ground.point(of).await;
        let made = async |path: &str, wish: Value| {
            let made = owner.post(path, wish).await.expect(201);
            text(&made["id"])
        };
        let user = json!({"email": "bob@acme.example", "name": "Bob", "role": "viewer", "password": PASSWORD});
        let channel =
            json!({"name": "acme-mail", "kind": "email", "addresses": ["ops@acme.example"]});
        let user = made("/users", user).await;
        let api_token = made("/api-tokens", json!({"name": "acme-api", "role": "viewer"})).await;
        let enrolment = made("/enrolment-tokens", json!({"description": "acme-hosts"})).await;
        let channel = made("/alarm-channels", channel).await;
        let refresh = format!("/hosts/{}/refresh", ground.host);
        let command = operator.post(&refresh, json!({})).await.expect(202);
        let alarm = alarm(&ground).await;
        let ids = BTreeMap::from([
            ("/tenants", ground.tenant.clone()),
            ("/users", user),
            ("/api-tokens", api_token),
            ("/enrolment-tokens", enrolment),
            ("/hosts", ground.host.clone()),
            ("/commands", command["id"].to_string()),
            ("/vms", vm.to_string()),
            ("/repositories", ground.repository.clone()),
            ("/jobs", job),
            ("/runs", run),
            ("/points", point.to_string()),
            ("/alarms", alarm.to_string()),
            ("/alarm-channels", channel),
        ]);
        Self { ground, ids }
    }

    /// Returns every route of the table that names a thing, as it is called for this tenant's.
    fn calls(&self) -> Vec<Call> {
        let mut calls: Vec<Call> = TABLE
            .iter()
            .filter(|(_, path, _)| path.contains("{id}"))
            .map(|(method, path, least)| {
                let place = path.split("/{id}").next().expect("a part");
                let id = self
                    .ids
                    .get(place)
                    .unwrap_or_else(|| panic!("make a thing for {path}"));
                Call {
                    method: method.to_uppercase().parse().expect("a method"),
                    path: path.replace("{id}", id),
                    body: self.body(method, path),
                    least: *least,
                }
            })
            .collect();
        // What removes things comes last, and what others stand on last of all.
        calls.sort_by_key(|call| {
            let rank = ["/jobs", "/hosts", "/repositories"];
            let stands_on = rank.iter().position(|it| call.path.starts_with(it));
            (
                call.method == Method::DELETE,
                stands_on.map_or(0, |at| at + 1),
            )
        });
        assert!(calls.len() > 35, "{}", calls.len());
        calls
    }

    /// Returns a body with which the call would do something.
    fn body(&self, method: &str, path: &str) -> Option<Value> {
        let host = &self.ground.host;
        Some(match (method, path) {
            ("get" | "delete", _) => return None,
            ("post", "/hosts/{id}/browse") => json!({"path": "C:\\"}),
            ("patch", "/vms/{id}") => json!({"is_excused": true}),
            ("post", "/repositories/{id}/password") => json!({"password": PASSWORD}),
            ("post", "/repositories/{id}/operations") => json!({"kind": "maintenance_full"}),
            ("post", "/points/{id}/browse") => json!({"path": ""}),
            ("post", "/points/{id}/pin") => json!({"is_pinned": true}),
            ("post", "/points/{id}/restore") => {
                json!({"kind": "files", "host_id": host, "target_path": r"D:\Restore"})
            }
            ("post", "/alarms/{id}/snooze") => json!({"until": "2026-03-02T08:00:00Z"}),
            ("patch", _) => json!({"name": "Renamed"}),
            ("post", _) => json!({}),
            _ => panic!("say what {method} {path} is called with"),
        })
    }

    /// Returns all that the database holds, as text, by table.
    async fn everything(&self) -> BTreeMap<String, BTreeSet<String>> {
        let db = self.ground.world.plane.store.db();
        let backend = db.get_database_backend();
        let tables = match backend {
            DbBackend::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table'",
            _ => "SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema()",
        };
        let rows = async |sql: String| {
            JsonValue::find_by_statement(Statement::from_string(backend, sql))
                .all(db)
                .await
                .expect("read")
        };
        let mut everything = BTreeMap::new();
        for table in rows(tables.to_owned()).await {
            let name = text(&table["name"]);
            let content = rows(format!("SELECT * FROM {name}")).await;
            let content: BTreeSet<String> = content.iter().map(Value::to_string).collect();
            everything.insert(name, content);
        }
        assert!(everything.len() > 20 && !everything["hosts"].is_empty());
        everything
    }
}

async fn alarm(ground: &Ground) -> i64 {
    alarm::ActiveModel {
        id: NotSet,
        tenant_id: Set(ground.tenant.clone()),
        kind: Set("agent_silent".to_owned()),
        subject_kind: Set("host".to_owned()),
        subject_id: Set(ground.host.clone()),
        subject_name: Set("acme-host".to_owned()),
        severity: Set("warning".to_owned()),
        grade: Set(0),
        graded_at: Set(ground.now()),
        message: Set("it is silent".to_owned()),
        detail_json: Set("{}".to_owned()),
        open_key: Set(Some("acme/agent_silent/host".to_owned())),
        opened_at: Set(ground.now()),
        last_seen_at: Set(ground.now()),
        acknowledged_at: Set(None),
        acknowledged_by: Set(String::new()),
        snoozed_until: Set(None),
        resolved_at: Set(None),
        resolved_by: Set(String::new()),
    }
    .insert(ground.world.plane.store.db())
    .await
    .expect("an alarm")
    .id
}

#[derive(Debug)]
struct Call {
    method: Method,
    path: String,
    body: Option<Value>,
    least: Least,
}

impl Call {
    async fn status(&self, client: &Client) -> (StatusCode, String) {
        if self.path.ends_with("/stream") {
            let request = Request::get(format!("/api/v1{}", self.path)).body(Body::empty());
            let answer = client.open(request.expect("a request")).await;
            return (answer.status(), String::new());
        }
        let answer: Answer = client
            .call(self.method.clone(), &self.path, self.body.clone())
            .await;
        (answer.status, answer.text())
    }
}

/// Somebody who must be refused, and how.
struct Refused {
    who: &'static str,
    client: Client,
    status: u16,
}

#[tokio::test]
async fn nobody_but_its_own_tenant_sees_or_changes_a_thing() {
    let things = Things::new().await;
    let (ground, world) = (&things.ground, &things.ground.world);
    let root = world.person("owner", None).await;
    let other = world.tenant("Another").await;
    let mut liar = world.stranger();
    liar.bearer = Some("0".repeat(40));
    let bound = json!({"name": "bound", "role": "owner", "tenant_id": other});
    let bound = root.post("/api-tokens", bound).await.expect(201);
    let mut program = world.stranger();
    program.bearer = bound["token"].as_str().map(str::to_owned);
    // It was used before, which is written down once a minute.
    program.get("/hosts").await.expect(200);
    let foreign = |who, client| Refused {
        who,
        client,
        status: 404,
    };
    let unknown = |who, client| Refused {
        who,
        client,
        status: 401,
    };
    let refused = [
        unknown("a stranger", world.stranger()),
        unknown("a program with no token of ours", liar),
        foreign("an owner of another tenant", ground.foreigner.clone()),
        foreign("a program bound to another tenant", program),
    ];
    let before = things.everything().await;
    for call in things.calls() {
        for Refused {
            who,
            client,
            status: expected,
        } in &refused
        {
            // What takes a session tells programs so.
            let (status, body) = call.status(client).await;
            assert_eq!(status, *expected, "{call:?} by {who}: {body}");
        }
        assert_eq!(things.everything().await, before, "{call:?}");
    }
}

#[tokio::test]
async fn a_role_that_is_not_enough_changes_no_thing_of_its_own_tenant() {
    let things = Things::new().await;
    let ground = &things.ground;
    let before = things.everything().await;
    for call in things.calls() {
        let Least::Role(least) = call.least else {
            panic!("{call:?}: say who may");
        };
        for (role, client) in [
            (Role::Viewer, &ground.viewer),
            (Role::Operator, &ground.operator),
        ] {
            if role < least {
                let (status, body) = call.status(client).await;
                assert_eq!(status, 403, "{call:?} as {role:?}: {body}");
            }
        }
        assert_eq!(things.everything().await, before, "{call:?}");
    }
}

#[tokio::test]
async fn an_owner_of_the_tenant_is_let_in_with_the_very_same_calls() {
    let things = Things::new().await;
    for call in things.calls() {
        let (status, body) = call.status(&things.ground.owner).await;
        assert!(
            status.is_success() || status == 409,
            "{call:?}: {status} {body}"
        );
    }
}

#[tokio::test]
async fn no_list_holds_what_is_another_tenants() {
    let things = Things::new().await;
    let foreigner = &things.ground.foreigner;
    let lists = TABLE
        .iter()
        .filter(|(method, path, _)| *method == "get" && !path.contains("{id}"))
        .filter(|(_, path, least)| *path != "/live" && matches!(least, Least::Role(_)));
    let mut count = 0;
    for (_, path, _) in lists {
        let tenant = &things.ground.tenant;
        let own = foreigner.get(path).await;
        own.expect(200);
        let asked = foreigner.get(&format!("{path}?tenant_id={tenant}")).await;
        // Who asks for the list of tenants does not choose among them.
        let is_refused = asked.status == 404 || *path == "/tenants";
        assert!(is_refused, "{path}: {}", asked.text());
        for (place, id) in &things.ids {
            for answer in [&own, &asked] {
                // Numbers stand for anything, and a refusal repeats what was asked for.
                let is_told = id.len() > 10 && answer.text().contains(id.as_str());
                assert!(
                    !is_told || answer.status == 404,
                    "{path} tells of {place}: {}",
                    answer.text()
                );
                assert!(!answer.text().contains("acme"), "{path}: {}", answer.text());
            }
        }
        count += 1;
    }
    assert!(count > 10, "{count}");
}

#[tokio::test]
async fn nothing_is_made_of_or_for_another_tenants_things() {
    let things = Things::new().await;
    let (ground, world) = (&things.ground, &things.ground.world);
    let theirs = world.tenant("Another").await;
    let their_owner = world.person("owner", Some(&theirs)).await;
    let their_host = ground::host(world, &theirs, "theirs").await;
    let their_repository = their_owner.post("/repositories", local("Theirs")).await;
    let their_repository = text(&their_repository.expect(201)["id"]);
    let job = format!("/jobs/{}", things.ids["/jobs"]);
    let point = format!("/points/{}", things.ids["/points"]);
    let with = |member: &str, id: &str| {
        let mut wish = ground.wish();
        wish[member] = json!(id);
        wish
    };
    let of_them = |mut wish: Value| {
        wish["tenant_id"] = json!(theirs);
        wish
    };
    let restore =
        |kind: &str| json!({"kind": kind, "host_id": their_host, "target_path": r"D:\Restore"});
    let user =
        json!({"email": "eve@example.com", "name": "Eve", "role": "owner", "password": PASSWORD});
    let calls = [
        (
            Method::POST,
            "/jobs".to_owned(),
            with("host_id", &their_host),
        ),
        (
            Method::POST,
            "/jobs".to_owned(),
            with("repository_id", &their_repository),
        ),
        (Method::POST, "/jobs".to_owned(), of_them(ground.wish())),
        (
            Method::POST,
            "/jobs/preview".to_owned(),
            with("host_id", &their_host),
        ),
        (
            Method::POST,
            "/jobs/preview".to_owned(),
            with("repository_id", &their_repository),
        ),
        (Method::PATCH, job.clone(), json!({"host_id": their_host})),
        (
            Method::PATCH,
            job,
            json!({"repository_id": their_repository}),
        ),
        (
            Method::POST,
            format!("{point}/browse"),
            json!({"host_id": their_host}),
        ),
        (Method::POST, format!("{point}/restore"), restore("files")),
        (Method::POST, "/users".to_owned(), of_them(user)),
        (
            Method::POST,
            "/api-tokens".to_owned(),
            of_them(json!({"name": "a", "role": "owner"})),
        ),
        (
            Method::POST,
            "/enrolment-tokens".to_owned(),
            of_them(json!({})),
        ),
        (
            Method::POST,
            "/repositories".to_owned(),
            of_them(local("Mine")),
        ),
        (
            Method::POST,
            "/alarm-channels".to_owned(),
            of_them(json!({"name": "a", "kind": "email", "addresses": ["a@example.com"]})),
        ),
    ];
    let before = things.everything().await;
    for (method, path, body) in calls {
        let answer = ground
            .owner
            .call(method.clone(), &path, Some(body.clone()))
            .await;
        assert!(
            [403, 404, 422].contains(&answer.status.as_u16()),
            "{method} {path} {body}: {} {}",
            answer.status,
            answer.text()
        );
        assert_eq!(things.everything().await, before, "{method} {path} {body}");
    }
}
