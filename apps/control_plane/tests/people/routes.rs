//! Every route of the OpenAPI document, with who may call it: a route that is missing from the table fails the test, and so do
//! one that is listed and not served, and one that lets in whom it should not.

use axum::http::{Method, StatusCode};
use control_plane::people_api::caller::Role;
use control_plane::plane::token_hash;
use control_plane::store::entity::api_token;
use sea_orm::{ActiveModelTrait as _, ActiveValue::Set};
use serde_json::{Value, json};

use crate::server::{Client, World};

/// The least that somebody must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Least {
    /// Anybody at all.
    Nobody,
    /// A role, in the tenant or the installation.
    Role(Role),
    /// An owner of the installation.
    Installation,
    /// Anybody who is signed in as a person.
    Person,
}

const V: Least = Least::Role(Role::Viewer);
const O: Least = Least::Role(Role::Operator);
const W: Least = Least::Role(Role::Owner);
use Least::{Installation, Nobody, Person};

pub const TABLE: &[(&str, &str, Least)] = &[
    // Signing in.
    ("get", "/setup", Nobody),
    ("post", "/setup", Nobody),
    ("post", "/session", Nobody),
    ("get", "/session", Person),
    ("delete", "/session", Person),
    ("post", "/session/password", Person),
    ("post", "/session/totp", Person),
    ("put", "/session/totp", Person),
    ("delete", "/session/totp", Person),
    // Management.
    ("get", "/tenants", V),
    ("post", "/tenants", Installation),
    ("patch", "/tenants/{id}", W),
    ("get", "/users", W),
    ("post", "/users", W),
    ("patch", "/users/{id}", W),
    ("delete", "/users/{id}", W),
    ("get", "/api-tokens", W),
    ("post", "/api-tokens", W),
    ("delete", "/api-tokens/{id}", W),
    ("get", "/enrolment-tokens", W),
    ("post", "/enrolment-tokens", W),
    ("delete", "/enrolment-tokens/{id}", W),
    ("get", "/audit", W),
    ("get", "/settings", Installation),
    ("put", "/settings", Installation),
    // Hosts and VMs.
    ("get", "/hosts", V),
    ("get", "/hosts/{id}", V),
    ("patch", "/hosts/{id}", O),
    ("delete", "/hosts/{id}", W),
    ("post", "/hosts/{id}/refresh", O),
    ("post", "/hosts/{id}/browse", O),
    ("post", "/hosts/{id}/log-tail", O),
    ("get", "/hosts/{id}/events", V),
    ("get", "/commands/{id}", V),
    ("get", "/vms", V),
    ("get", "/vms/{id}", V),
    ("patch", "/vms/{id}", O),
    ("get", "/vms/{id}/points", V),
    // Repositories.
    ("get", "/repositories", V),
    ("post", "/repositories", W),
    ("get", "/repositories/{id}", V),
    ("patch", "/repositories/{id}", W),
    ("delete", "/repositories/{id}", W),
    ("post", "/repositories/{id}/password", W),
    ("get", "/repositories/{id}/operations", V),
    ("post", "/repositories/{id}/operations", O),
    // Jobs and runs.
    ("get", "/jobs", V),
    ("post", "/jobs", O),
    ("get", "/jobs/{id}", V),
    ("patch", "/jobs/{id}", O),
    ("delete", "/jobs/{id}", O),
    ("post", "/jobs/{id}/runs", O),
    ("post", "/jobs/preview", O),
    ("get", "/runs", V),
    ("get", "/runs/{id}", V),
    ("post", "/runs/{id}/cancel", O),
    ("get", "/runs/{id}/events", V),
    ("get", "/runs/{id}/log", V),
    ("get", "/runs/{id}/stream", V),
    ("get", "/live", V),
    // Points and restores.
    ("get", "/points", V),
    ("get", "/points/{id}", V),
    ("post", "/points/{id}/browse", O),
    ("post", "/points/{id}/pin", O),
    ("post", "/points/{id}/restore", O),
    // Alarms.
    ("get", "/alarms", V),
    ("post", "/alarms/{id}/acknowledge", O),
    ("post", "/alarms/{id}/snooze", O),
    ("post", "/alarms/{id}/resolve", O),
    ("get", "/alarm-channels", W),
    ("post", "/alarm-channels", W),
    ("patch", "/alarm-channels/{id}", W),
    ("delete", "/alarm-channels/{id}", W),
    ("post", "/alarm-channels/{id}/test", W),
    // First screen.
    ("get", "/overview", V),
    ("get", "/stored", V),
];

/// A route that the document names.
#[derive(Clone, Debug)]
struct Route {
    method: Method,
    path: String,
    least: Least,
}

impl Route {
    fn is_changing(&self) -> bool {
        self.method != Method::GET
    }

    /// The path with ids of things that do not exist.
    fn made_up(&self) -> String {
        let numbered = ["/vms/", "/points/", "/commands/", "/alarms/"];
        let id = if numbered.iter().any(|start| self.path.starts_with(start)) {
            "424242"
        } else {
            "00000000-0000-7000-8000-000000000000"
        };
        self.path.replace("{id}", id)
    }

    /// Calls it; streams are left where they are.
    async fn status(&self, client: &Client) -> (StatusCode, Value) {
        let body = self.is_changing().then(|| json!({}));
        if self.path == "/live" || self.path.ends_with("/stream") {
            let request = axum::http::Request::builder()
                .uri(format!("/api/v1{}", self.made_up()))
                .body(axum::body::Body::empty())
                .expect("a request");
            return (client.open(request).await.status(), Value::Null);
        }
        let answer = client
            .call(self.method.clone(), &self.made_up(), body)
            .await;
        let body = if answer.status.is_client_error() {
            answer.json()
        } else {
            Value::Null
        };
        (answer.status, body)
    }
}

async fn document(world: &World) -> Value {
    world.stranger().get("/openapi.json").await.expect(200)
}

/// The routes of the document, each with its row of the table.
async fn routes(world: &World) -> Vec<Route> {
    let document = document(world).await;
    let mut routes = Vec::new();
    let mut missing = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("methods").keys() {
            let row = TABLE.iter().find(|(of, at, _)| of == method && at == path);
            match row {
                Some((_, _, least)) => routes.push(Route {
                    method: method.to_uppercase().parse().expect("a method"),
                    path: path.clone(),
                    least: *least,
                }),
                None => missing.push(format!("{method} {path}")),
            }
        }
    }
    assert!(
        missing.is_empty(),
        "say in the table who may call: {missing:#?}"
    );
    let not_served: Vec<String> = TABLE
        .iter()
        .filter(|(method, path, _)| !document["paths"][path][method].is_object())
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    assert!(
        not_served.is_empty() && routes.len() == TABLE.len(),
        "the table lists what is not served, or lists it twice: {not_served:#?}"
    );
    routes
}

#[tokio::test]
async fn every_route_stands_in_the_table_and_says_what_it_may_answer() {
    let world = World::new().await;
    let document = document(&world).await;
    for route in routes(&world).await {
        let method = route.method.as_str().to_lowercase();
        let operation = &document["paths"][&route.path][&method];
        let answers = operation["responses"].as_object().expect("answers");
        let name = format!("{method} {}", route.path);
        assert!(
            answers.keys().any(|status| status.starts_with('2')),
            "{name} never succeeds"
        );
        assert!(operation["operationId"].is_string(), "{name} has no name");
        assert!(
            operation["summary"].is_string() || operation["description"].is_string(),
            "{name} is not described"
        );
        let is_open = route.least == Nobody;
        assert_eq!(
            answers.contains_key("401"),
            !is_open || route.path == "/session",
            "{name}"
        );
        assert_eq!(operation.get("security").is_some(), is_open, "{name}");
        if route.path.contains("{id}") {
            assert!(answers.contains_key("404"), "{name} does not say 404");
        }
    }
}

#[tokio::test]
async fn a_stranger_is_let_in_nowhere() {
    let world = World::new().await;
    let mut ended = world.person("owner", None).await;
    ended.get("/session").await.expect(200);
    ended.delete("/session").await.expect(204);
    let mut liar = world.stranger();
    liar.bearer = Some("0".repeat(40));
    ended.user_id.clear();
    for route in routes(&world).await {
        if route.least == Nobody {
            continue;
        }
        for client in [&world.stranger(), &ended, &liar] {
            let (status, _) = route.status(client).await;
            assert_eq!(status, 401, "{route:?}");
        }
    }
}

#[tokio::test]
async fn a_role_lets_in_where_it_is_enough_and_nowhere_else() {
    let world = World::new().await;
    let tenant = world.tenant("Acme").await;
    let everybody = [
        (Role::Viewer, Some(&tenant)),
        (Role::Operator, Some(&tenant)),
        (Role::Owner, Some(&tenant)),
        (Role::Viewer, None),
        (Role::Operator, None),
        (Role::Owner, None),
    ];
    for route in routes(&world).await {
        for (role, tenant) in everybody {
            let may = match route.least {
                Nobody | Person => true,
                Least::Role(least) => role >= least,
                Installation => role == Role::Owner && tenant.is_none(),
            };
            // Somebody new each time: the call may end their session.
            let tenant = tenant.map(String::as_str);
            let person = world.person(role.as_str(), tenant).await;
            let (status, body) = route.status(&person).await;
            let is_refused =
                status == 401 || (status == 403 && body["code"] != "wrong_credentials");
            if route.path != "/session" || route.method != Method::POST {
                assert_eq!(
                    is_refused, !may,
                    "{route:?} as {role:?} of {tenant:?}: {status} {body}"
                );
            }
            assert!(!status.is_server_error(), "{route:?}: {status}");
        }
    }
}

#[tokio::test]
async fn a_token_may_what_its_role_may_and_has_no_session() {
    let world = World::new().await;
    let tenant = world.tenant("Acme").await;
    let maker = world.person("owner", Some(&tenant)).await;
    for role in [Role::Viewer, Role::Operator, Role::Owner] {
        let program = program(&world, &maker, role).await;
        for route in routes(&world).await {
            let may = match route.least {
                Nobody => continue,
                Least::Role(least) => role >= least,
                Installation | Person => false,
            };
            let (status, body) = route.status(&program).await;
            assert_eq!(
                status == 403,
                !may,
                "{route:?} as {role:?}: {status} {body}"
            );
        }
    }
}

async fn program(world: &World, maker: &Client, role: Role) -> Client {
    let token = world.plane.new_token();
    let row = api_token::ActiveModel {
        id: Set(world.plane.new_id()),
        tenant_id: Set(None),
        user_id: Set(maker.user_id.clone()),
        name: Set("a program".to_owned()),
        token_hash: Set(token_hash(&token)),
        role: Set(role.as_str().to_owned()),
        created_at: Set(0),
        last_used_at: Set(None),
        expires_at: Set(None),
        revoked_at: Set(None),
    };
    row.insert(world.plane.store.db()).await.expect("a token");
    let mut client = world.stranger();
    client.bearer = Some(token);
    client
}

#[tokio::test]
async fn a_call_that_changes_something_takes_the_csrf_token_of_its_session() {
    let world = World::new().await;
    let owner = world.person("owner", None).await;
    let other = world.person("owner", None).await;
    for route in routes(&world).await {
        if !route.is_changing() || route.least == Nobody {
            continue;
        }
        for csrf in [None, Some(String::new()), other.csrf.clone()] {
            let mut forged = owner.clone();
            forged.csrf = csrf;
            let (status, body) = route.status(&forged).await;
            assert_eq!(
                (status.as_u16(), &body["code"]),
                (403, &json!("csrf")),
                "{route:?}"
            );
        }
    }
    owner.get("/session").await.expect(200);
}
