//! Tenants, people, tokens, settings and the audit log; and that none of it crosses from one tenant to another.

use std::time::Duration;

use axum::http::Method;
use control_plane::people_api::caller::Role;
use control_plane::plane::Options;
use serde_json::{Value, json};

use crate::server::{Client, PASSWORD, World};

fn new_user(email: &str, role: &str) -> Value {
    json!({"email": email, "name": "Somebody", "role": role, "password": PASSWORD})
}

fn ids(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("items");
    items
        .iter()
        .map(|item| item["id"].as_str().expect("an id"))
        .collect()
}

#[tokio::test]
async fn a_tenant_is_made_by_the_installation_and_renamed_by_its_owner() {
    let world = World::new().await;
    let root = world.person("owner", None).await;
    let made = root
        .post(
            "/tenants",
            json!({"name": " Acme ", "time_zone": "Europe/Berlin"}),
        )
        .await
        .expect(201);
    assert_eq!(made["name"], "Acme");
    let id = made["id"].as_str().expect("an id").to_owned();
    let owner = world.person("owner", Some(&id)).await;
    let path = format!("/tenants/{id}");
    let wrong = json!({"time_zone": "Mars/Olympus"});
    assert_eq!(
        owner.patch(&path, wrong).await.refused(422, "invalid")["field"],
        "time_zone"
    );
    let renamed = owner
        .patch(&path, json!({"name": "Acme GmbH"}))
        .await
        .expect(200);
    assert_eq!(
        (&renamed["name"], &renamed["time_zone"]),
        (&json!("Acme GmbH"), &json!("Europe/Berlin"))
    );
    assert_eq!(ids(&owner.get("/tenants").await.expect(200)), [id.as_str()]);
    let audit = owner.get("/audit").await.expect(200);
    let actions: Vec<&Value> = audit["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| &item["action"])
        .collect();
    assert_eq!(actions, ["tenant.update", "tenant.create"]);
}

#[tokio::test]
async fn a_list_comes_in_pages_that_follow_each_other() {
    let world = World::new().await;
    for n in 0..5 {
        world.tenant(&format!("Tenant {n}")).await;
    }
    let root = world.person("viewer", None).await;
    let (mut seen, mut path) = (Vec::new(), "/tenants?limit=2".to_owned());
    loop {
        let page = root.get(&path).await.expect(200);
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        match page["next"].as_str() {
            Some(next) => path = format!("/tenants?limit=2&cursor={next}"),
            None => break,
        }
    }
    let all = root.get("/tenants").await.expect(200);
    assert_eq!(seen, ids(&all));
    assert_eq!(seen.len(), 5);
    for wrong in ["limit=0", "limit=501"] {
        let refusal = root
            .get(&format!("/tenants?{wrong}"))
            .await
            .refused(422, "invalid");
        assert_eq!(refusal["field"], "limit");
    }
    root.get("/tenants?limit=many")
        .await
        .refused(400, "malformed");
}

#[tokio::test]
async fn people_are_made_changed_and_removed() {
    let world = World::new().await;
    let root = world.person("owner", None).await;
    let made = root
        .post("/users", new_user("Bob@example.com", "viewer"))
        .await
        .expect(201);
    assert_eq!(
        (&made["email"], &made["tenant_id"]),
        (&json!("bob@example.com"), &Value::Null)
    );
    root.post("/users", new_user("bob@EXAMPLE.com", "viewer"))
        .await
        .refused(409, "email_taken");
    let refusal = root
        .post("/users", new_user("bob", "viewer"))
        .await
        .refused(422, "invalid");
    assert_eq!(refusal["field"], "email");
    root.post("/users", new_user("eve@example.com", "god"))
        .await
        .refused(422, "invalid");
    let mut unknown = new_user("eve@example.com", "viewer");
    unknown["is_admin"] = json!(true);
    root.post("/users", unknown).await.refused(422, "invalid");
    let mut nowhere = new_user("eve@example.com", "viewer");
    nowhere["tenant_id"] = json!("nowhere");
    assert_eq!(
        root.post("/users", nowhere).await.refused(422, "invalid")["field"],
        "tenant_id"
    );

    let path = format!("/users/{}", made["id"].as_str().expect("an id"));
    let changed = root
        .patch(&path, json!({"role": "operator"}))
        .await
        .expect(200);
    assert_eq!(changed["role"], "operator");
    root.delete(&path).await.expect(204);
    root.delete(&path).await.refused(404, "not_found");
    root.patch(&path, json!({})).await.refused(404, "not_found");
}

#[tokio::test]
async fn one_owner_always_stays() {
    let world = World::new().await;
    let root = world.person("owner", None).await;
    let own = format!("/users/{}", root.user_id);
    root.patch(&own, json!({"role": "viewer"}))
        .await
        .refused(409, "last_owner");
    root.patch(&own, json!({"is_disabled": true}))
        .await
        .refused(409, "last_owner");
    root.delete(&own).await.refused(409, "last_owner");
    root.patch(&own, json!({"name": "Root"})).await.expect(200);
    let other = world.person("owner", None).await;
    let (a, b) = (format!("/users/{}", other.user_id), own.clone());
    let (a, b) = tokio::join!(root.delete(&a), other.delete(&b));
    let mut statuses = [a.status.as_u16(), b.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses[0], 204, "one of them is gone");
    assert!(
        [401, 404, 409].contains(&statuses[1]),
        "and one of them stays: {statuses:?}"
    );

    // A tenant's last owner keeps the role, too, unless the installation takes it.
    let root = world.person("owner", None).await;
    let tenant = world.tenant("Acme").await;
    let owner = world.person("owner", Some(&tenant)).await;
    let path = format!("/users/{}", owner.user_id);
    owner.delete(&path).await.refused(409, "last_owner");
    root.delete(&path).await.expect(204);
    owner.get("/session").await.expect(401);
}

#[tokio::test]
async fn an_own_password_is_not_changed_without_the_old_one() {
    let world = World::new().await;
    let root = world.person("owner", None).await;
    let own = format!("/users/{}", root.user_id);
    for change in [
        json!({"password": "a new password"}),
        json!({"reset_totp": true}),
    ] {
        root.patch(&own, change).await.refused(409, "own_account");
    }
}

#[tokio::test]
async fn a_token_works_until_it_ends_is_taken_back_or_its_maker_goes() {
    let world = World::new().await;
    let root = world.person("owner", None).await;
    let keeper = world.person("owner", None).await;
    let program = async |body: Value| {
        let made = keeper.post("/api-tokens", body).await.expect(201);
        let mut client = world.stranger();
        client.bearer = made["token"].as_str().map(str::to_owned);
        (client, made["id"].as_str().expect("an id").to_owned())
    };
    let ends = json!({"name": "a", "role": "viewer", "expires_at": "2026-03-01T09:00:00Z"});
    let (ending, _) = program(ends).await;
    let (taken, taken_id) = program(json!({"name": "b", "role": "viewer"})).await;
    let (orphan, _) = program(json!({"name": "c", "role": "owner"})).await;
    for client in [&ending, &taken, &orphan] {
        client.get("/tenants").await.expect(200);
    }
    let over = json!({"name": "d", "role": "viewer", "expires_at": "2026-03-01T07:00:00Z"});
    root.post("/api-tokens", over).await.refused(422, "invalid");

    world.clock.advance(Duration::from_secs(3_600));
    ending.get("/tenants").await.refused(401, "unauthenticated");
    let list = root.get("/api-tokens").await.expect(200);
    assert!(!list.to_string().contains("token_hash"));
    assert_eq!(list["items"][0]["last_used_at"], "2026-03-01T08:00:00Z");
    let path = format!("/api-tokens/{taken_id}");
    root.delete(&path).await.expect(204);
    root.delete(&path).await.refused(404, "not_found");
    taken.get("/tenants").await.refused(401, "unauthenticated");

    // Never more than whoever made it.
    orphan.get("/users").await.expect(200);
    let maker = format!("/users/{}", keeper.user_id);
    root.patch(&maker, json!({"role": "viewer"}))
        .await
        .expect(200);
    orphan.get("/users").await.refused(403, "forbidden");
    orphan.get("/tenants").await.expect(200);
    root.delete(&maker).await.expect(204);
    orphan.get("/tenants").await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_new_password_takes_tokens_back_unless_they_are_to_be_kept() {
    let world = World::new().await;
    let root = world.person("owner", None).await;
    let maker = world.person("owner", None).await;
    let path = format!("/users/{}", maker.user_id);
    // A new password ends sessions, so the maker comes anew each time.
    let program = async || {
        let maker = world.session(&maker.user_id, &maker.email).await;
        let wish = json!({"name": "a", "role": "viewer"});
        let made = maker.post("/api-tokens", wish).await.expect(201);
        let mut client = world.stranger();
        client.bearer = made["token"].as_str().map(str::to_owned);
        client
    };
    let token = program().await;
    root.patch(&path, json!({"name": "Maker"}))
        .await
        .expect(200);
    token.get("/tenants").await.expect(200);
    let kept = json!({"password": "a new password", "keeps_tokens": true});
    root.patch(&path, kept).await.expect(200);
    token.get("/tenants").await.expect(200);
    let reset = json!({"password": "another password"});
    root.patch(&path, reset).await.expect(200);
    token.get("/tenants").await.refused(401, "unauthenticated");
    let audit = root.get("/audit?object_kind=user").await.expect(200);
    assert_eq!(audit["items"][0]["detail"]["revoked_tokens"], 1);

    // One's own password: as one says.
    let token = program().await;
    let own = world.session(&maker.user_id, &maker.email).await;
    let change = json!({"current": "another password", "new": "a third password"});
    own.post("/session/password", change).await.expect(204);
    token.get("/tenants").await.expect(200);
    let change =
        json!({"current": "a third password", "new": "a fourth password", "revoke_tokens": true});
    own.post("/session/password", change).await.expect(204);
    token.get("/tenants").await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn an_enrolment_token_comes_with_the_line_to_run() {
    let world = World::new().await;
    let (root, tenant) = world.sign_up_owner().await;
    let wish = json!({"tenant_id": tenant, "description": "for the new hosts", "max_uses": 2});
    let made = root.post("/enrolment-tokens", wish).await.expect(201);
    let token = made["token"].as_str().expect("a token");
    assert_eq!(token.len(), 40);
    assert_eq!(
        made["command"],
        format!(
            "e3-backup-agent enroll --url http://ADDRESS-OF-THIS-SERVER/modules/addons/cloudstorage/api --token {token}"
        )
    );
    let nobodys = root
        .post("/enrolment-tokens", json!({}))
        .await
        .refused(422, "invalid");
    assert_eq!(nobodys["field"], "tenant_id");
    let never = json!({"tenant_id": tenant, "max_uses": 0});
    root.post("/enrolment-tokens", never)
        .await
        .refused(422, "invalid");
    let list = root.get("/enrolment-tokens").await.expect(200);
    assert!(!list.to_string().contains(token));
    let path = format!("/enrolment-tokens/{}", made["id"].as_str().expect("an id"));
    root.delete(&path).await.expect(204);
    root.delete(&path).await.refused(404, "not_found");
    assert!(ids(&root.get("/enrolment-tokens").await.expect(200)).is_empty());

    // Known by the settings, the command line or what the caller called, in this order.
    let url = async |client: &Client, host: &str| {
        let request = axum::http::Request::post("/api/v1/enrolment-tokens")
            .header("content-type", "application/json")
            .header("host", host)
            .body(json!({"tenant_id": tenant}).to_string().into());
        let made = client.send(request.expect("a request")).await.expect(201);
        let command = made["command"].as_str().expect("a command");
        command.split(' ').nth(3).expect("an address").to_owned()
    };
    assert!(
        url(&root, "10.0.0.1:8080")
            .await
            .starts_with("http://10.0.0.1:8080/modules/")
    );
    assert!(
        url(&root, "a$(reboot)")
            .await
            .starts_with("http://ADDRESS-OF-THIS-SERVER/")
    );
    let settings = json!({"public_url": "https://backup.example.com/"});
    root.put("/settings", settings).await.expect(200);
    assert!(
        url(&root, "10.0.0.1")
            .await
            .starts_with("https://backup.example.com/modules/")
    );
}

#[tokio::test]
async fn the_mail_servers_password_is_kept_and_never_shown() {
    let world = World::new().await;
    let root = world.person("owner", None).await;
    let history = json!({
        "runs_days": 400, "events_days": 90, "commands_days": 30, "messages_days": 30,
        "gone_points_days": 90, "alarms_days": 400, "audit_days": 1095,
    });
    let empty = json!({
        "public_url": "", "min_agent_version": "", "smtp": null, "has_smtp_password": false,
        "history": history, "webhook_networks": [],
    });
    assert_eq!(root.get("/settings").await.expect(200), empty);
    let smtp = |host: &str| json!({"host": host, "port": 587, "tls": "starttls", "username": "e3", "from": "e3@example.com"});
    let mut with_password =
        json!({"public_url": "", "min_agent_version": "1.8.2", "smtp": smtp("mail.example.com")});
    with_password["smtp"]["password"] = json!("a mail secret");
    let kept = root.put("/settings", with_password).await.expect(200);
    assert_eq!(kept["has_smtp_password"], true);
    assert!(!kept.to_string().contains("a mail secret"));
    let password = async || {
        let store = &world.plane.store;
        let sealing = &world.plane.sealing;
        let found = store
            .smtp_password(store.db(), sealing)
            .await
            .expect("read");
        found.expect("opened").map(|text| text.to_string())
    };
    assert_eq!(password().await.as_deref(), Some("a mail secret"));

    // What was read can be written back, and the password stays; it does not go to another server.
    root.put("/settings", kept.clone()).await.expect(200);
    assert_eq!(password().await.as_deref(), Some("a mail secret"));
    let elsewhere = json!({"smtp": smtp("evil.example.com")});
    let refusal = root
        .put("/settings", elsewhere)
        .await
        .refused(422, "invalid");
    assert_eq!(refusal["field"], "smtp.password");
    for (field, wrong) in [
        ("public_url", json!({"public_url": "https://a/b"})),
        ("min_agent_version", json!({"min_agent_version": "new"})),
        ("smtp.host", json!({"smtp": smtp("a b")})),
        ("history.runs_days", json!({"history": {"runs_days": 34}})),
        (
            "history.audit_days",
            json!({"history": {"audit_days": 3651}}),
        ),
        (
            "history.events_days",
            json!({"history": {"runs_days": 40, "events_days": 41}}),
        ),
    ] {
        assert_eq!(
            root.put("/settings", wrong).await.refused(422, "invalid")["field"],
            field
        );
    }
    root.put("/settings", json!({"smtp": null}))
        .await
        .expect(200);
    assert_eq!(password().await, None);
    let audit = root.get("/audit?object_kind=settings").await.expect(200);
    assert!(!audit.to_string().contains("a mail secret"));
    assert_eq!(audit["items"].as_array().expect("items").len(), 3);
    // A member that is left out is as usual, and a history that is left out stays.
    let longer = json!({"history": {"runs_days": 800, "events_days": 100}});
    root.put("/settings", longer).await.expect(200);
    let kept = root.put("/settings", json!({})).await.expect(200)["history"].clone();
    assert_eq!(
        (&kept["runs_days"], &kept["audit_days"]),
        (&json!(800), &json!(1095))
    );
}

#[tokio::test]
async fn where_webhooks_may_call_is_kept_until_it_is_given_anew() {
    let world = World::new().await;
    let root = world.person("owner", None).await;
    let wish = json!({"webhook_networks": ["10.1.0.0/16", " hooks.lan "]});
    let kept = root.put("/settings", wish).await.expect(200);
    assert_eq!(
        kept["webhook_networks"],
        json!(["10.1.0.0/16", "hooks.lan"])
    );
    let kept = root.put("/settings", json!({})).await.expect(200);
    assert_eq!(
        kept["webhook_networks"],
        json!(["10.1.0.0/16", "hooks.lan"])
    );
    let wrong = json!({"webhook_networks": ["10.1.0.0/33"]});
    let refusal = root.put("/settings", wrong).await.refused(422, "invalid");
    assert_eq!(refusal["field"], "webhook_networks");
    let none = json!({"webhook_networks": []});
    let kept = root.put("/settings", none).await.expect(200);
    assert_eq!(kept["webhook_networks"], json!([]));
}

#[tokio::test]
async fn the_audit_log_is_searched_by_time_and_thing() {
    let world = World::new().await;
    let root = world.person("owner", None).await;
    for name in ["One", "Two"] {
        let wish = json!({"name": name, "time_zone": "UTC"});
        root.post("/tenants", wish).await.expect(201);
        world.clock.advance(Duration::from_secs(60));
    }
    let found = async |query: &str| {
        let list = root.get(&format!("/audit?{query}")).await.expect(200);
        list["items"].as_array().expect("items").len()
    };
    assert_eq!(found("").await, 2);
    assert_eq!(found("from=2026-03-01T08:01:00Z").await, 1);
    assert_eq!(found("to=2026-03-01T08:01:00Z").await, 1);
    assert_eq!(found("object_kind=user").await, 0);
    let page = root.get("/audit?limit=1").await.expect(200);
    let next = page["next"].as_str().expect("more").to_owned();
    assert_eq!(found(&format!("limit=1&cursor={next}")).await, 1);
    root.get("/audit?from=yesterday")
        .await
        .refused(422, "invalid");
    root.get("/audit?cursor=x").await.refused(422, "invalid");
}

#[tokio::test]
async fn nothing_of_one_tenant_is_seen_or_touched_from_another() {
    let world = World::new().await;
    let (acme, other) = (world.tenant("Acme").await, world.tenant("Other").await);
    let owner = world.person("owner", Some(&acme)).await;
    let stranger = world.person("owner", Some(&other)).await;
    let user = owner
        .post("/users", new_user("bob@example.com", "viewer"))
        .await
        .expect(201);
    let token = owner
        .post("/api-tokens", json!({"name": "a", "role": "viewer"}))
        .await
        .expect(201);
    let enrolment = owner.post("/enrolment-tokens", json!({})).await.expect(201);
    for made in [&user, &token, &enrolment] {
        assert_eq!(made["tenant_id"], acme.as_str(), "{made}");
    }
    let of = |thing: &Value| thing["id"].as_str().expect("an id").to_owned();
    for (method, path) in [
        (Method::PATCH, format!("/tenants/{acme}")),
        (Method::PATCH, format!("/users/{}", of(&user))),
        (Method::DELETE, format!("/users/{}", of(&user))),
        (Method::DELETE, format!("/api-tokens/{}", of(&token))),
        (
            Method::DELETE,
            format!("/enrolment-tokens/{}", of(&enrolment)),
        ),
    ] {
        let body = (method == Method::PATCH).then(|| json!({}));
        let answer = stranger.call(method.clone(), &path, body.clone()).await;
        answer.refused(404, "not_found");
        // To the very words it is as if there were nothing.
        let nothing = path.rsplit_once('/').expect("a path").0.to_owned() + "/nothing";
        let nothing = stranger.call(method, &nothing, body).await;
        nothing.refused(404, "not_found");
    }
    for list in [
        "/users",
        "/api-tokens",
        "/enrolment-tokens",
        "/audit",
        "/tenants",
    ] {
        let theirs = stranger.get(list).await.expect(200).to_string();
        assert!(!theirs.contains(&acme), "{list}: {theirs}");
        if list != "/tenants" {
            let asked = format!("{list}?tenant_id={acme}");
            stranger.get(&asked).await.refused(404, "not_found");
        }
    }
    for path in ["/users", "/api-tokens", "/enrolment-tokens"] {
        let mut wish = match path {
            "/users" => new_user("eve@example.com", "owner"),
            "/api-tokens" => json!({"name": "a", "role": "owner"}),
            _ => json!({}),
        };
        wish["tenant_id"] = json!(acme);
        stranger.post(path, wish).await.refused(403, "forbidden");
    }
    // People of the installation are not there for owners of a tenant.
    let root = world.person("owner", None).await;
    let path = format!("/users/{}", root.user_id);
    stranger
        .patch(&path, json!({"role": "viewer"}))
        .await
        .refused(404, "not_found");
    stranger.delete(&path).await.refused(404, "not_found");
    // A token of the installation that is bound to a tenant stays there.
    let bound = json!({"name": "a", "role": "owner", "tenant_id": other});
    let made = root.post("/api-tokens", bound).await.expect(201);
    let mut program = world.stranger();
    program.bearer = made["token"].as_str().map(str::to_owned);
    assert!(
        !program
            .get("/users")
            .await
            .expect(200)
            .to_string()
            .contains(&acme)
    );
    program.get("/settings").await.refused(403, "forbidden");
    program
        .post("/users", new_user("mal@example.com", "owner"))
        .await
        .expect(201);
    assert_eq!(Role::of("owner"), Some(Role::Owner));
}

#[tokio::test]
async fn where_calls_come_from_is_what_the_proxy_says_if_there_is_one() {
    let world = World::with(Options {
        trusts_proxy: true,
        ..Options::default()
    })
    .await;
    let root = world.person("owner", None).await;
    let request = axum::http::Request::post("/api/v1/tenants")
        .header("content-type", "application/json")
        .header("x-forwarded-for", "6.6.6.6, 203.0.113.9")
        .body(json!({"name": "A", "time_zone": "UTC"}).to_string().into());
    root.send(request.expect("a request")).await.expect(201);
    let audit = root.get("/audit").await.expect(200);
    assert_eq!(audit["items"][0]["address"], "203.0.113.9");
}
