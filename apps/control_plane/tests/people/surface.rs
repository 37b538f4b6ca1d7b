//! What holds for every answer: headers, refusals in one form, limits, figures for Prometheus.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use control_plane::chores::Chores;
use control_plane::plane::Options;
use serde_json::json;

use crate::server::{Answer, Client, World};

async fn raw(
    client: &Client,
    method: Method,
    uri: &str,
    kind: &str,
    body: impl Into<Body>,
) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("content-type", kind)
        .body(body.into());
    client.send(request.expect("a request")).await
}

#[tokio::test]
async fn the_dashboard_is_at_the_root_and_at_its_own_addresses() {
    let world = World::new().await;
    let stranger = world.stranger();
    for uri in ["/", "/vms/7"] {
        let answer = raw(&stranger, Method::GET, uri, "text/plain", "").await;
        assert_eq!(answer.status, 200, "{uri}");
        let kind = answer.headers.get("content-type").expect("a kind");
        assert!(kind.as_bytes().starts_with(b"text/html"), "{kind:?}");
    }
}

#[tokio::test]
async fn browsers_are_told_to_load_nothing_from_elsewhere() {
    let world = World::new().await;
    let stranger = world.stranger();
    for uri in [
        "/healthz",
        "/api/v1/setup",
        "/api/v1/nothing",
        "/metrics",
        "/nothing",
    ] {
        let answer = raw(&stranger, Method::GET, uri, "text/plain", "").await;
        let header = |name: &str| {
            let value = answer.headers.get(name);
            value
                .unwrap_or_else(|| panic!("{uri}: no {name}"))
                .to_str()
                .expect("a text")
                .to_owned()
        };
        let policy = header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer");
        for of_https in ["cross-origin-opener-policy", "strict-transport-security"] {
            assert!(!answer.headers.contains_key(of_https), "{uri}: {of_https}");
        }
        if uri != "/nothing" {
            assert_eq!(header("cache-control"), "no-store");
        }
    }
}

#[tokio::test]
async fn over_https_windows_that_opened_the_page_are_kept_apart_from_it() {
    let world = World::with(Options {
        is_secure: true,
        ..Options::default()
    })
    .await;
    let answer = raw(&world.stranger(), Method::GET, "/", "text/plain", "").await;
    assert_eq!(answer.headers["cross-origin-opener-policy"], "same-origin");
}

#[tokio::test]
async fn every_refusal_has_the_same_form() {
    let world = World::new().await;
    let owner = world.person("owner", None).await;
    let json = "application/json";
    for (method, uri, kind, body, status, code) in [
        (Method::GET, "/api/v1/nothing", json, "", 404, "not_found"),
        (Method::GET, "/api/v2/users", json, "", 404, "not_found"),
        (
            Method::PUT,
            "/api/v1/users",
            json,
            "{}",
            405,
            "method_not_allowed",
        ),
        (Method::POST, "/api/v1/tenants", json, "{", 400, "malformed"),
        (Method::POST, "/api/v1/tenants", json, "", 400, "malformed"),
        (
            Method::POST,
            "/api/v1/tenants",
            "text/plain",
            "{}",
            415,
            "no_json",
        ),
        (Method::POST, "/api/v1/tenants", json, "{}", 422, "invalid"),
        (Method::POST, "/api/v1/tenants", json, "[]", 422, "invalid"),
        (
            Method::POST,
            "/api/v1/tenants",
            json,
            r#"{"name": 5, "time_zone": "UTC"}"#,
            422,
            "invalid",
        ),
        (
            Method::POST,
            "/api/v1/tenants",
            json,
            r#"{"name": "a\u0000", "time_zone": "UTC"}"#,
            422,
            "invalid",
        ),
        (
            Method::GET,
            "/api/v1/tenants?limit=x",
            json,
            "",
            400,
            "malformed",
        ),
        (
            Method::GET,
            "/api/v1/tenants?cursor=%00",
            json,
            "",
            400,
            "malformed",
        ),
        (
            Method::PATCH,
            "/api/v1/users/%ff",
            json,
            "{}",
            400,
            "malformed",
        ),
    ] {
        let answer = raw(&owner, method.clone(), uri, kind, body).await;
        let refusal = answer.refused(status, code);
        let message = refusal["message"].as_str().expect("a message");
        assert!(!message.is_empty(), "{method} {uri}");
        assert_eq!(
            answer.headers["content-type"], "application/json",
            "{method} {uri}"
        );
    }
}

#[tokio::test]
async fn refusals_name_the_member_that_cannot_be_read() {
    let world = World::new().await;
    let owner = world.person("owner", None).await;
    let json = "application/json";
    let long = format!(
        r#"{{"name": "a", "time_zone": "UTC", "{}": 1}}"#,
        "x".repeat(9_000)
    );
    for (uri, body, status, field) in [
        (
            "/tenants",
            r#"{"name": 5, "time_zone": "UTC"}"#,
            422,
            "name",
        ),
        (
            "/tenants",
            r#"{"name": "a", "time_zone": "UTC", "zone": 1}"#,
            422,
            "zone",
        ),
        ("/tenants", &long, 422, &format!("{}…", "x".repeat(99))),
        (
            "/jobs",
            r#"{"schedule": {"kind": "daily", "at": 7}}"#,
            422,
            "schedule.at",
        ),
        (
            "/jobs",
            r#"{"vms": {"include": ["a", 7]}}"#,
            422,
            "vms.include[1]",
        ),
        (
            "/jobs",
            r#"{"bandwidth_kib_s": 99999999999999999999}"#,
            422,
            "bandwidth_kib_s",
        ),
    ] {
        let answer = raw(
            &owner,
            Method::POST,
            &format!("/api/v1{uri}"),
            json,
            body.to_owned(),
        )
        .await;
        let refusal = answer.refused(status, "invalid");
        assert_eq!(refusal["field"], field, "{refusal}");
        assert!(answer.body.len() < 1_000, "it repeats too much");
    }
    for (uri, field) in [
        ("/tenants?limit=x", "limit"),
        ("/vms?limit=-1", "limit"),
        ("/commands/1?wait=-1", "wait"),
        ("/points?vm_id=1.5", "vm_id"),
    ] {
        let answer = owner.get(uri).await;
        assert_eq!(answer.refused(400, "malformed")["field"], field, "{uri}");
    }
}

#[tokio::test]
async fn a_member_that_comes_twice_is_refused() {
    let world = World::new().await;
    let owner = world.person("owner", None).await;
    let twice = r#"{"name": "a", "time_zone": "UTC", "name": "b"}"#;
    let answer = raw(
        &owner,
        Method::POST,
        "/api/v1/tenants",
        "application/json",
        twice,
    )
    .await;
    let refusal = answer.refused(422, "invalid");
    let message = refusal["message"].as_str().expect("a message");
    assert!(message.contains("duplicate field `name`"), "{message}");
}

#[tokio::test]
async fn refusals_say_in_their_headers_what_would_be_taken() {
    let world = World::new().await;
    let stranger = world.stranger();
    let answer = raw(&stranger, Method::GET, "/api/v1/tenants", "", "").await;
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    let answer = raw(&stranger, Method::PUT, "/api/v1/tenants", "", "").await;
    assert_eq!(answer.headers["allow"], "GET,HEAD,POST");
}

#[tokio::test]
async fn the_word_before_a_token_may_be_written_in_any_case() {
    let world = World::new().await;
    let owner = world.person("owner", None).await;
    let wish = json!({"name": "a", "role": "viewer"});
    let made = owner.post("/api-tokens", wish).await.expect(201);
    let token = made["token"].as_str().expect("a token");
    for (scheme, status) in [("Bearer", 200), ("bearer", 200), ("Basic", 401)] {
        let request = Request::builder()
            .uri("/api/v1/tenants")
            .header("authorization", format!("{scheme} {token}"))
            .body(Body::empty());
        let answer = world.stranger().send(request.expect("a request")).await;
        answer.expect(status);
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let world = World::new().await;
    let owner = world.person("owner", None).await;
    let large = json!({"name": "a".repeat(1 << 20), "time_zone": "UTC"});
    owner
        .post("/tenants", large)
        .await
        .refused(413, "too_large");
    let long = json!({"name": "a".repeat(1_001), "time_zone": "UTC"});
    assert_eq!(
        owner.post("/tenants", long).await.refused(422, "invalid")["field"],
        "name"
    );
}

#[tokio::test]
async fn figures_are_for_the_installation_unless_they_are_for_everybody() {
    let world = World::new().await;
    let metrics = async |client: &Client| raw(client, Method::GET, "/metrics", "", "").await;
    metrics(&world.stranger())
        .await
        .refused(401, "unauthenticated");
    let tenant = world.tenant("Acme").await;
    let theirs = world.person("owner", Some(&tenant)).await;
    metrics(&theirs).await.refused(403, "forbidden");
    let root = world.person("viewer", None).await;
    root.get("/users/0123").await;
    let text = metrics(&root).await.text();
    for line in [
        "e3_http_requests_total{method=\"GET\",route=\"/metrics\",status=\"401\"} 1",
        "e3_hosts{kind=\"online\"} 0",
        "e3_queue_length{kind=\"commands\"} 0",
        "# EOF",
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
    assert!(!text.contains("0123"), "paths are not routes: {text}");

    let open = World::with(Options {
        are_metrics_open: true,
        ..Options::default()
    })
    .await;
    metrics(&open.stranger()).await.expect_text();
}

impl Answer {
    #[track_caller]
    fn expect_text(&self) {
        assert_eq!(self.status.as_u16(), 200, "{}", self.text());
    }
}

#[tokio::test]
async fn health_is_for_everybody() {
    let world = World::new().await;
    let answer = raw(&world.stranger(), Method::GET, "/healthz", "", "").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (200, "ok\n")
    );
}

#[tokio::test]
async fn a_server_whose_chores_stand_still_is_not_well_and_says_so() {
    let world = World::with(Options {
        are_metrics_open: true,
        ..Options::default()
    })
    .await;
    let stranger = world.stranger();
    let get = async |path| raw(&stranger, Method::GET, path, "", "").await;
    world.clock.advance(Duration::from_secs(420));
    let answer = get("/healthz").await;
    assert_eq!(answer.status.as_u16(), 503);
    assert!(answer.text().contains("for 7 minutes"), "{}", answer.text());
    let silence = "\ne3_chores_last_turn_seconds 420\n";
    assert!(get("/metrics").await.text().contains(silence));
    Chores::new(world.plane.clone()).turn().await;
    assert_eq!(get("/healthz").await.status.as_u16(), 200);
}

#[tokio::test]
async fn the_document_says_how_to_call() {
    let world = World::new().await;
    let document = world.stranger().get("/openapi.json").await.expect(200);
    assert_eq!(document["servers"][0]["url"], "/api/v1");
    assert_eq!(
        document["components"]["securitySchemes"]["token"]["scheme"],
        "bearer"
    );
    let body = &document["paths"]["/tenants"]["post"];
    for status in ["201", "400", "401", "403", "413", "415", "422", "500"] {
        assert!(body["responses"][status].is_object(), "{status}");
    }
    assert!(body["responses"]["401"]["headers"]["WWW-Authenticate"].is_object());
    let limited = &document["paths"]["/session"]["post"]["responses"]["429"];
    assert!(limited["headers"]["Retry-After"].is_object(), "{limited}");
    let stream = &document["paths"]["/live"]["get"]["responses"]["200"]["content"];
    let schema = stream["text/event-stream"]["schema"]["$ref"]
        .as_str()
        .expect("a name");
    let name = schema.rsplit('/').next().expect("a name");
    let data = &document["components"]["schemas"][name]["properties"]["data"];
    assert_eq!(
        data["contentSchema"]["$ref"],
        "#/components/schemas/Changed"
    );
    assert!(document["components"]["schemas"]["Changed"].is_object());
}
