//! A server for tests: a plane on a database of its own, a clock that is moved by hand, and people who call it.
//!
//! The database is SQLite in a temporary folder, or, where `E3_TEST_DATABASE` is `postgresql`, a new one of a PostgreSQL
//! server that lives as long as the test program: `./check` runs these tests on both.

#![expect(dead_code, reason = "each test program uses a part of it")]

mod postgres;

use std::net::SocketAddr;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use control_plane::people_api::caller::{CSRF_HEADER, PLAIN_COOKIE, SECURE_COOKIE};
use control_plane::plane::{Options, Plane, SharedPlane, token_hash};
use control_plane::sealing::Sealing;
use control_plane::serve::routes;
use control_plane::store::Store;
use control_plane::store::entity::{session, tenant, user};
use sea_orm::{ActiveModelTrait as _, ActiveValue::Set};
use serde_json::Value;
use tempfile::TempDir;
use time_and_chance::{Chance, ManualClock, Timestamp};
use tower::ServiceExt as _;

/// When a world begins: Sunday, 1 March 2026, 08:00 UTC.
pub const BEGIN: &str = "2026-03-01T08:00:00Z";

/// Everybody's password.
pub const PASSWORD: &str = "correct horse battery";

/// A server and what it stands on.
pub struct World {
    pub plane: SharedPlane,
    pub clock: Arc<ManualClock>,
    pub router: Router,
    pub folder: TempDir,
}

impl World {
    /// Returns a server that nobody has used yet.
    pub async fn new() -> Self {
        Self::with(Options::default()).await
    }

    /// Returns a server that was started in another way than the usual.
    pub async fn with(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = store(&folder).await;
        Self::on(store, folder, options)
    }

    /// Returns another instance on the same database, with a clock of its own.
    pub async fn second(&self) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::copy(
            self.folder.path().join("secrets.key"),
            folder.path().join("secrets.key"),
        )
        .expect("the key is there");
        let world = Self::on(self.plane.store.clone(), folder, self.plane.options.clone());
        world.clock.set(self.plane.clock.now());
        world
    }

    fn on(store: Store, folder: TempDir, options: Options) -> Self {
        let clock = ManualClock::at(BEGIN.parse::<Timestamp>().expect("a time"));
        let chance = Chance::from_seed(6);
        let sealing = Sealing::in_folder(folder.path(), &chance).expect("a key");
        let plane = Plane::new(store, clock.clone(), chance, sealing, options);
        Self {
            router: routes(plane.clone()),
            plane,
            clock,
            folder,
        }
    }

    /// Returns somebody whom the server does not know.
    pub fn stranger(&self) -> Client {
        Client {
            router: self.router.clone(),
            address: "192.0.2.1:50000".parse().expect("an address"),
            cookie: None,
            csrf: None,
            bearer: None,
            user_id: String::new(),
            email: String::new(),
        }
    }

    /// Makes a tenant and returns its id.
    pub async fn tenant(&self, name: &str) -> String {
        let id = self.plane.new_id();
        tenant::ActiveModel {
            id: Set(id.clone()),
            name: Set(name.to_owned()),
            time_zone: Set("Europe/Berlin".to_owned()),
            created_at: Set(self.plane.now_ms()),
        }
        .insert(self.plane.store.db())
        .await
        .expect("a tenant");
        id
    }

    /// Returns a person who is signed in: `role` is `owner`, `operator` or `viewer`; without a tenant, somebody of
    /// the installation.
    pub async fn person(&self, role: &str, tenant: Option<&str>) -> Client {
        let id = self.plane.new_id();
        let email = format!("{role}-{}@example.com", &id[id.len() - 12..]);
        user::ActiveModel {
            id: Set(id.clone()),
            tenant_id: Set(tenant.map(str::to_owned)),
            email: Set(email.clone()),
            name: Set(format!("A {role}")),
            role: Set(role.to_owned()),
            password_hash: Set(password_hash()),
            totp_secret_sealed: Set(None),
            totp_pending_sealed: Set(None),
            totp_last_step: Set(0),
            is_disabled: Set(false),
            created_at: Set(self.plane.now_ms()),
        }
        .insert(self.plane.store.db())
        .await
        .expect("a user");
        self.session(&id, &email).await
    }

    /// Returns a new session of somebody who exists.
    pub async fn session(&self, user_id: &str, email: &str) -> Client {
        let now = self.plane.now_ms();
        let (token, csrf) = (self.plane.new_token(), self.plane.new_token());
        session::ActiveModel {
            token_hash: Set(token_hash(&token)),
            user_id: Set(user_id.to_owned()),
            csrf_token: Set(csrf.clone()),
            created_at: Set(now),
            last_seen_at: Set(now),
            expires_at: Set(now + 7 * 86_400_000),
            address: Set("192.0.2.1".to_owned()),
            user_agent: Set("a test".to_owned()),
        }
        .insert(self.plane.store.db())
        .await
        .expect("a session");
        let mut client = self.stranger();
        let name = if self.plane.options.is_secure {
            SECURE_COOKIE
        } else {
            PLAIN_COOKIE
        };
        client.cookie = Some(format!("{name}={token}"));
        client.csrf = Some(csrf);
        client.user_id = user_id.to_owned();
        client.email = email.to_owned();
        client
    }

    /// Returns the owner of the installation, signed in, and the id of the first tenant.
    pub async fn sign_up_owner(&self) -> (Client, String) {
        let tenant = self.tenant("Example").await;
        (self.person("owner", None).await, tenant)
    }

    /// Serves by HTTP on this machine from now on, until the test ends; returns where.
    pub async fn listen(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("an address");
        let service = self
            .router
            .clone()
            .into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        address
    }
}

/// Returns [`PASSWORD`] by Argon2id at its least cost, so that a test that signs in by it is quick.
fn password_hash() -> String {
    let params = Params::new(Params::MIN_M_COST, 1, 1, None).expect("fit parameters");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(PASSWORD.as_bytes(), b"only for a test")
        .expect("a fit salt")
        .to_string()
}

async fn store(folder: &TempDir) -> Store {
    if std::env::var("E3_TEST_DATABASE").as_deref() != Ok("postgresql") {
        return Store::in_folder(folder.path()).await.expect("a database");
    }
    let server = postgres::server().expect("PostgreSQL's programs are there");
    let url = server.new_database().await;
    Store::at(&url).await.expect("a database")
}

/// Somebody who calls the server: a person with a session, a program with a token, or a stranger.
#[derive(Clone)]
pub struct Client {
    router: Router,
    /// Where the calls come from.
    pub address: SocketAddr,
    /// The `Cookie` header.
    pub cookie: Option<String>,
    /// The CSRF token that changing calls repeat.
    pub csrf: Option<String>,
    /// The API token.
    pub bearer: Option<String>,
    /// Who it is.
    pub user_id: String,
    /// What the person signs in with.
    pub email: String,
}

impl Client {
    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    /// Calls `path`, which lies under `/api/v1`, with a JSON body.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).expect("a request")).await
    }

    /// Sends any request as this person, and reads the answer to its end.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let answer = self.open(request).await;
        let (parts, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX)
            .await
            .expect("the answer's body");
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// Sends any request as this person, and leaves the answer's body to be read: for server-sent events.
    pub async fn open(&self, mut request: Request<Body>) -> Response<Body> {
        request.extensions_mut().insert(ConnectInfo(self.address));
        let headers = request.headers_mut();
        let mut add = |name: HeaderName, value: Option<&str>| {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_str(value).expect("a header"));
            }
        };
        add(COOKIE, self.cookie.as_deref());
        add(HeaderName::from_static(CSRF_HEADER), self.csrf.as_deref());
        let bearer = self.bearer.as_ref().map(|token| format!("Bearer {token}"));
        add(AUTHORIZATION, bearer.as_deref());
        self.router
            .clone()
            .oneshot(request)
            .await
            .expect("a router always answers")
    }

    /// Takes the cookie and the CSRF token of an answer that began a session, as a browser does.
    pub fn keep_session(&mut self, answer: &Answer) {
        let cookie = answer.headers[SET_COOKIE].to_str().expect("a cookie");
        self.cookie = cookie.split(';').next().map(str::to_owned);
        let session = answer.json();
        self.csrf = session["csrf_token"].as_str().map(str::to_owned);
        self.user_id = session["user"]["id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.email = session["user"]["email"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// Returns the body as a text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the body as JSON; null if there is none.
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// Returns the body as JSON, if the status is `status`.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self.json()
    }

    /// Checks a refusal's status and its word.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{body}");
        body
    }
}
